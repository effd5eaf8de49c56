use proptest::prelude::*;

use super::*;

fn field(len_bytes: usize, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&len[4 - len_bytes..], body].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &field(2, body)].concat()
}

/// A ClientHello without records, with a key share of `key_share` bytes in front of the name.
pub(in crate::net::names) fn hello(name: &str, key_share: usize) -> Vec<u8> {
    let host = [&[HOST_NAME], &field(2, name.as_bytes())[..]].concat();
    let extensions = [
        extension(0x1a1a, &[]),
        extension(51, &vec![7; key_share]),
        extension(SERVER_NAME, &field(2, &host)),
        extension(43, &[4, 3, 4, 3, 3]),
    ];
    let body = [
        vec![3; VERSION_AND_RANDOM],
        field(1, &[9; 32]),
        field(2, &[0x13, 1, 0x13, 2]),
        field(1, &[0]),
        field(2, &extensions.concat()),
    ];
    [&[CLIENT_HELLO], &field(3, &body.concat())[..]].concat()
}

/// The same in records of at most `size` bytes.
pub(in crate::net::names) fn records(handshake: &[u8], size: usize) -> Vec<u8> {
    let records = handshake.chunks(size);
    records
        .flat_map(|chunk| [&[HANDSHAKE, 3, 1], &field(2, chunk)[..]].concat())
        .collect()
}

#[test]
fn the_name_is_found_as_soon_as_it_is_there_and_not_before() {
    for size in [1, 50, 16_384] {
        let stream = records(&hello("Exam.Example.", 1300), size);
        assert!(size == 1 || begins(&stream));
        let mut needed = 1;
        let found = (0..=stream.len()).find(|&cut| match server_name(&stream[..cut]) {
            Err(Short(more)) => {
                assert!(more > cut && more >= needed, "{cut}: {more}");
                needed = more;
                false
            }
            Ok(name) => {
                assert_eq!(name.as_deref(), Some("exam.example"), "{cut}");
                true
            }
        });
        assert_eq!(found, Some(needed), "told exactly how much is needed");
    }
}

#[test]
fn hellos_without_a_name_and_other_protocols_have_none() {
    let nameless = records(&hello("", 10), 16_384);
    let mut server_hello = records(&hello("exam.example", 10), 16_384);
    server_hello[RECORD_HEADER] = 2;
    let mut broken_length = records(&hello("exam.example", 10), 16_384);
    broken_length[RECORD_HEADER + 3] = 40;
    let of_ssl_2 = [0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10];
    for stream in [
        &nameless[..],
        &server_hello,
        &broken_length,
        &of_ssl_2,
        b"GET / HTTP/1.1\r\n",
        &[HANDSHAKE, 3, 1, 0, 0],
        &[HANDSHAKE, 2],
        &[23, 3, 3, 0, 5, 1, 2, 3, 4, 5],
    ] {
        assert_eq!(server_name(stream), Ok(None), "{stream:02x?}");
    }
}

#[test]
fn what_follows_a_hello_is_not_waited_for() {
    let mut handshake = hello("exam.example", 10);
    // Its extensions claim to go on behind the end of the hello.
    let at = 4 + VERSION_AND_RANDOM + 33 + 6 + 2;
    handshake[at..at + 2].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(client_hello(&handshake), Ok(Some("exam.example".into())));
    let at = handshake.windows(2).position(|two| two == [0, 17]).unwrap();
    handshake[at - 1] = 99; // no longer the server name
    assert_eq!(client_hello(&handshake), Ok(None));
}

proptest! {
    #[test]
    fn no_bytes_panic_and_names_stay_printable(
        mut bytes in prop::collection::vec(any::<u8>(), 0..400),
        changes in prop::collection::vec((0..400_usize, any::<u8>()), 0..8),
        honest: bool,
    ) {
        if honest {
            bytes = records(&hello("exam.example", 100), 120);
            for (at, byte) in changes {
                if let Some(changed) = bytes.get_mut(at) {
                    *changed = byte;
                }
            }
        }
        match server_name(&bytes) {
            Ok(name) => prop_assert!(name.is_none_or(|name| name.chars().all(|c| c.is_ascii_graphic()))),
            Err(Short(needed)) => prop_assert!(needed > bytes.len()),
        }
        let _ = client_hello(&bytes);
    }
}
