//! Captured frames: the first byte chooses the link layer, the rest is the frame.
#![no_main]

use labwatch_agent::net::packet::{self, Captured, Content, LinkType, Plain};
use libfuzzer_sys::fuzz_target;

const DLTS: [i32; 8] = [1, 113, 276, 101, 228, 229, 9, 0];

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, frame)) = bytes.split_first() else {
        return;
    };
    let dlt = DLTS[usize::from(*choice) % DLTS.len()];
    let link = LinkType::from_dlt(dlt).unwrap();
    let len = u32::try_from(frame.len()).unwrap();
    let read = packet::parse(link, frame, len);
    assert_eq!(read.len, len);
    let captured = Captured { link, bytes: frame, len };
    if let Some(plain) = Plain::read(&captured) {
        let Content::Ip(whole) = read.content else {
            panic!("{plain:?}");
        };
        let (sequence, payload) = (whole.sequence, whole.payload);
        let plain = packet::Packet { sequence, payload, ..plain.packet() };
        assert_eq!(plain, whole);
    }
});
