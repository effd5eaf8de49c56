//! What an opener of a TCP connection says first: a ClientHello, or a request of plain HTTP.
#![no_main]

use labwatch_agent::net::names::{Short, http, tls};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|stream: &[u8]| {
    for read in [tls::server_name(stream), http::host(stream)] {
        match read {
            Ok(Some(name)) => assert!(name.chars().all(|c| c.is_ascii_graphic())),
            Ok(None) => {}
            Err(Short(needed)) => assert!(needed > stream.len()),
        }
    }
    let _ = tls::client_hello(stream);
});
