//! DNS answers, also multicast ones.
#![no_main]

use labwatch_agent::net::names::dns;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    if let Some(answer) = dns::parse(message) {
        assert!(answer.name.len() <= 255 && answer.name.chars().all(|c| c.is_ascii_graphic()));
    }
    for (name, _) in dns::parse_multicast(message) {
        assert!(name.len() <= 255 && name.chars().all(|c| c.is_ascii_graphic()));
    }
});
