//! What a client sends to the broker: in one piece and byte by byte it is the same packets, or the same mistake.
#![no_main]

use bytes::BytesMut;
use labwatch_broker::packet::{self, Packet, PacketError};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 64 * 1024;

fn all(buffer: &mut BytesMut, packets: &mut Vec<Packet>) -> Result<(), PacketError> {
    while let Some((packet, size)) = packet::read(buffer, LIMIT)? {
        assert!((2..=LIMIT).contains(&size));
        packets.push(packet);
    }
    Ok(())
}

fuzz_target!(|bytes: &[u8]| {
    let mut whole = Vec::new();
    let end = all(&mut BytesMut::from(bytes), &mut whole);
    let (mut buffer, mut slow) = (BytesMut::new(), Vec::new());
    let mut pieces = bytes.iter().map(|byte| {
        buffer.extend_from_slice(&[*byte]);
        all(&mut buffer, &mut slow)
    });
    let first_mistake = pieces.find(Result::is_err).unwrap_or(Ok(()));
    assert_eq!((end, whole), (first_mistake, slow));
});
