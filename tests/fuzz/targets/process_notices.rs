//! The kernel's notices of processes.
#![no_main]

use labwatch_agent::net::processes::notices;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = notices::parse(bytes);
});
