//! USB descriptors, as a device gives them.
#![no_main]

use labwatch_agent::usb::descriptors;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let interfaces = descriptors::interfaces(bytes);
    let _ = descriptors::kinds(&interfaces);
});
