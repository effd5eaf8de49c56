//! `/proc/net/tcp` and its like, and `/proc/<pid>/stat`, whose program name users choose.
#![no_main]

use labwatch_agent::net::{flows::Socket, processes::tables};
use labwatch_contract::{event::contact::Direction, scope::protocol};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let socket = Socket {
        protocol: protocol::TCP,
        own: ([192, 168, 0, 7], 40_000).into(),
        peer: ([192, 168, 0, 8], 80).into(),
        direction: Direction::Egress,
        interface: 1,
    };
    let _ = tables::parent(&text);
    let tables = [text];
    let _ = tables::find(&tables, &socket);
    let _ = tables::translated(&tables, &socket);
});
