//! USB descriptors, as a device gives them.
#![no_main]

use std::collections::BTreeSet;

use labwatch_agent::usb::{descriptors, drivers::Drivers};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let outline = descriptors::outline(bytes);
    let _ = descriptors::kinds(&outline, &BTreeSet::new());
    let _ = Drivers::of(&outline);
});
