//! What the kernel says of a Wi-Fi, whose name anybody nearby chose.
#![no_main]

use labwatch_agent::net::{netlink::messages, wifi};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for message in messages(bytes) {
        let _ = wifi::family(&message);
        if let Some(ssid) = wifi::ssid(message.kind, &message) {
            assert!(!ssid.is_empty() && ssid.chars().count() <= 32);
        }
    }
});
