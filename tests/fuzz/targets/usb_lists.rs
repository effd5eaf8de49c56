//! Lists of USB ids and the kernel's module tables: lines of files that another package writes.
#![no_main]

use labwatch_agent::usb::{
    descriptors::{Interface, Outline},
    drivers::{Drivers, Numbers},
    names::Search,
};
use libfuzzer_sys::fuzz_target;

const VENDORS_OWN: Interface = Interface {
    class: 0xff,
    subclass: 0xff,
    protocol: 0,
};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut search = Search::new("0951", "1666").expect("ids");
    let mut drivers = Drivers::of(&Outline {
        device: Some(Numbers {
            vendor: 0x0951,
            product: 0x1666,
            release: 0x0100,
            class: VENDORS_OWN,
        }),
        interfaces: vec![VENDORS_OWN],
        ..Outline::default()
    })
    .expect("an interface that says nothing");
    for line in text.lines() {
        search.take(line);
        drivers.take_alias(line);
        drivers.take_path(line);
    }
});
