//! The kernel's answers about sockets.
#![no_main]

use labwatch_agent::net::processes::diag;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = diag::parse(bytes);
});
