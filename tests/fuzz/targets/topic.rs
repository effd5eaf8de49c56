//! Topic names: what is read is written back, byte for byte.
#![no_main]

use labwatch_contract::topic::Root;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let root = Root::default();
    if let Ok(topic) = root.parse(text) {
        assert_eq!(root.text(&topic), text);
    }
});
