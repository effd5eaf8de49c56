//! The mount table, whose paths and sources users choose.
#![no_main]

use labwatch_agent::usb::mountinfo;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = mountinfo::parse(bytes);
});
