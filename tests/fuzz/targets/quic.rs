//! QUIC: the bytes as a datagram, and as what an Initial packet holds when it has been opened, which no fuzzer could seal.
#![no_main]

use labwatch_agent::net::names::quic::{self, Initials};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut initials = Initials::default();
    let _ = initials.hear(bytes);
    let _ = initials.hear(bytes);
    quic::crypto(bytes, |_, frame| assert!(frame.len() <= bytes.len()));
});
