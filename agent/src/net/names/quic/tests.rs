use proptest::prelude::*;

use super::*;
use crate::net::names::tls::tests::hello;

const ID: &[u8] = b"first-id";

fn frame_at(at: usize, bytes: &[u8]) -> Vec<u8> {
    let long = |number: usize| (u32::try_from(number).unwrap() | 0x8000_0000).to_be_bytes();
    [&[6][..], &long(at), &long(bytes.len()), bytes].concat()
}

/// An Initial packet of a client to `id`, sealed with the keys of `key_id`.
pub(in crate::net::names) fn sealed(
    version: u32,
    (id, key_id): (&[u8], &[u8]),
    number: u16,
    payload: &[u8],
) -> Vec<u8> {
    let known = Version::from_number(version).unwrap();
    let first = 0xc1 | if known == Version::Two { 0x10 } else { 0 };
    let id_len = u8::try_from(id.len()).unwrap();
    let header = [&[first], &version.to_be_bytes()[..], &[id_len], id, &[0, 0]].concat();
    let padded = [payload, &[0; 20]].concat();
    Keys::new(known, key_id)
        .unwrap()
        .seal(&header, number, &padded)
}

/// The Initial packet that carries all of a short hello.
pub(in crate::net::names) fn whole(name: &str) -> Vec<u8> {
    sealed(1, (ID, ID), 0, &frame_at(0, &hello(name, 32)))
}

#[test]
fn a_retry_begins_the_stream_anew_with_other_keys() {
    let (other, hello) = (hello("other.example", 1300), hello("exam.example", 1200));
    let (one, two) = hello.split_at(700);
    let mut initials = Initials::default();
    let stale = sealed(1, (ID, ID), 0, &frame_at(0, &other[..700]));
    assert!(initials.hear(&stale).is_err());
    let retried = |number, at, part| sealed(1, (b"retry", b"retry"), number, &frame_at(at, part));
    assert!(initials.hear(&retried(1, 0, one)).is_err());
    let name = initials.hear(&retried(2, 700, two));
    assert_eq!(name, Ok(Some("exam.example".into())));
}

#[test]
fn the_keys_stay_when_the_server_chooses_an_id_or_the_version_changes() {
    let hello = hello("exam.example", 1200);
    let (one, two) = hello.split_at(700);
    for version in [1, 0x6b33_43cf] {
        let mut initials = Initials::default();
        assert!(
            initials
                .hear(&sealed(1, (ID, ID), 0, &frame_at(0, one)))
                .is_err()
        );
        let second = sealed(version, (b"of the server", ID), 1, &frame_at(700, two));
        assert_eq!(initials.hear(&second), Ok(Some("exam.example".into())));
    }
}

#[test]
fn what_cannot_be_opened_teaches_nothing_and_is_not_waited_for() {
    let packet = whole("exam.example");
    assert!(begins(&packet));
    for at in 0..packet.len() {
        let mut changed = packet.clone();
        changed[at] ^= 0x40;
        assert_eq!(Initials::default().hear(&changed), Ok(None), "{at}");
        assert_eq!(Initials::default().hear(&packet[..at]), Ok(None), "{at}");
    }
    assert_eq!(
        Initials::default().hear(&packet),
        Ok(Some("exam.example".into()))
    );
}

#[test]
fn frames_are_read_up_to_the_first_that_has_no_place() {
    let read = |payload: &[u8]| {
        let mut read = vec![];
        crypto(payload, |at, bytes| read.push((at, bytes.to_vec())));
        read
    };
    let (a, b) = (frame_at(5, b"abc"), frame_at(0, b"xy"));
    let acknowledged = [3, 9, 1, 1, 2, 0x40, 0, 3, 1, 1, 1];
    let payload = [&[0, 1][..], &a, &acknowledged, &b, &[0x1c], &a].concat();
    assert_eq!(read(&payload), [(5, b"abc".to_vec()), (0, b"xy".to_vec())]);
    assert_eq!(read(&a[..a.len() - 1]), []);
    assert_eq!(
        read(&[2, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        []
    );
}

proptest! {
    #[test]
    fn any_split_into_packets_in_any_order_gives_the_name(
        cuts in prop::collection::btree_set(1..1500_usize, 0..12),
        order in Just((0..13_usize).collect::<Vec<_>>()).prop_shuffle(),
        together: bool,
    ) {
        let hello = hello("exam.example", 1300);
        let ends: Vec<usize> = cuts.into_iter().filter(|&cut| cut < hello.len()).chain([hello.len()]).collect();
        let parts: Vec<(usize, usize)> = std::iter::once(0).chain(ends.iter().copied()).zip(ends.iter().copied()).collect();
        let packets = order.iter().filter_map(|&number| {
            let &(start, end) = parts.get(number)?;
            Some(sealed(1, (ID, ID), u16::try_from(number).unwrap(), &frame_at(start, &hello[start..end])))
        });
        let packets: Vec<Vec<u8>> = packets.collect();
        let datagrams: Vec<Vec<u8>> = packets.chunks(if together { 3 } else { 1 }).map(<[_]>::concat).collect();
        let mut initials = Initials::default();
        let names: Vec<_> = datagrams.iter().map(|datagram| initials.hear(datagram)).collect();
        prop_assert_eq!(names.last().unwrap(), &Ok(Some("exam.example".to_owned())));
    }

    #[test]
    fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), honest: bool) {
        crypto(&bytes, |_, _| {});
        if honest {
            bytes.splice(0..0, [0xc0, 0, 0, 0, 1, 8]);
        }
        let _ = Initials::default().hear(&bytes);
        let opened = sealed(1, (ID, ID), 0, &bytes);
        let _ = Initials::default().hear(&opened);
    }
}
