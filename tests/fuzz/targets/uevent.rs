//! Kernel uevents, as they come from the netlink socket.
#![no_main]

use labwatch_agent::usb::uevent;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = uevent::parse(bytes);
});
