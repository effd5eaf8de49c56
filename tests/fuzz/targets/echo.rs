//! ICMP packets, as a raw socket hands them over: a reply is ours only with our cookie.
#![no_main]

use labwatch_notifier::echo::{Family, is_reply};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: ([u8; 8], &[u8])| {
    let (cookie, bytes) = input;
    for family in [Family::V4, Family::V6] {
        let ours = is_reply(family, cookie, bytes);
        assert!(!ours || bytes.windows(8).any(|window| window == cookie));
    }
});
