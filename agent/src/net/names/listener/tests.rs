use proptest::prelude::*;

use super::*;
use crate::net::{
    names::{
        quic,
        tls::tests::{hello, records},
    },
    packet::{Ports, TcpFlags},
};

const CLIENT: &str = "192.168.0.7:40000";
const SERVER: &str = "203.0.113.5:443";
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

fn packet<'a>(protocol: u8, (from, to): (&str, &str), payload: &'a [u8]) -> Packet<'a> {
    let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
    Packet {
        source: from.ip(),
        destination: to.ip(),
        protocol,
        ports: Some(Ports {
            source: from.port(),
            destination: to.port(),
        }),
        tcp_flags: None,
        sequence: 0,
        icmp_type: None,
        payload_len: 0,
        fragment: false,
        payload,
    }
}

fn segment<'a>(flags: u8, sequence: u32, payload: &'a [u8]) -> Packet<'a> {
    Packet {
        tcp_flags: Some(TcpFlags(flags)),
        sequence,
        ..packet(protocol::TCP, (CLIENT, SERVER), payload)
    }
}

fn names(listener: &mut Listener, packet: &Packet<'_>) -> Vec<String> {
    let heard = listener.hear(packet, Duration::ZERO).into_iter();
    heard
        .map(|heard| format!("{} {} {:?}", heard.ip, heard.name.domain, heard.name.source))
        .collect()
}

const EXAM: &str = "203.0.113.5 exam.example Sni";

#[test]
fn a_hello_is_heard_with_and_without_its_syn_and_nothing_is_kept() {
    let hello = records(&hello("exam.example", 32), 16_384);
    for with_syn in [true, false] {
        let mut listener = Listener::default();
        if with_syn {
            assert!(names(&mut listener, &segment(SYN, 100, &[])).is_empty());
        }
        assert_eq!(names(&mut listener, &segment(ACK, 100, &hello)), [EXAM]);
        assert!(listener.openings.is_empty());
        assert!(names(&mut listener, &segment(ACK, 900, b"\x17\x03\x03data")).is_empty());
        assert!(listener.openings.is_empty());
    }
}

#[test]
fn a_hello_in_the_syn_itself_is_heard() {
    let hello = records(&hello("exam.example", 32), 16_384);
    assert_eq!(
        names(&mut Listener::default(), &segment(SYN, 100, &hello)),
        [EXAM]
    );
}

#[test]
fn a_connection_that_says_something_else_is_given_up_at_once() {
    let mut listener = Listener::default();
    names(&mut listener, &segment(SYN, 100, &[]));
    names(&mut listener, &segment(ACK, 103, b"-2.0-x\r\n"));
    assert!(!listener.openings.is_empty());
    names(&mut listener, &segment(ACK, 100, b"SSH"));
    assert!(listener.openings.is_empty());
    names(&mut listener, &segment(ACK, 111, b"more"));
    assert!(listener.openings.is_empty());
}

#[test]
fn a_hello_that_never_ends_and_a_silent_one_are_given_up() {
    let mut listener = Listener::default();
    let endless = records(&hello("exam.example", 60_000), 16_384);
    for (number, part) in endless.chunks(1000).enumerate() {
        let sequence = u32::try_from(number * 1000).unwrap();
        assert!(names(&mut listener, &segment(ACK, sequence, part)).is_empty());
    }
    assert!(listener.openings.is_empty());
    let hello = records(&hello("exam.example", 32), 16_384);
    names(&mut listener, &segment(ACK, 100, &hello[..50]));
    assert!(!listener.openings.is_empty());
    listener.forget_silent(PATIENCE);
    assert!(listener.openings.is_empty());
}

#[test]
fn a_port_used_again_begins_anew() {
    let mut listener = Listener::default();
    let hello = records(&hello("exam.example", 1300), 16_384);
    names(&mut listener, &segment(SYN, 100, &[]));
    names(&mut listener, &segment(ACK, 100, &hello[..700]));
    names(&mut listener, &segment(SYN, 90_000, &[]));
    names(&mut listener, &segment(SYN, 90_000, &[]));
    names(&mut listener, &segment(ACK, 90_000, &hello[..800]));
    assert_eq!(
        names(&mut listener, &segment(ACK, 90_800, &hello[800..])),
        [EXAM]
    );
}

#[test]
fn quic_is_heard_on_any_port_and_only_from_the_client() {
    let initial = quic::tests::whole("exam.example");
    let mut listener = Listener::default();
    let sent = packet(protocol::UDP, (CLIENT, "203.0.113.5:4433"), &initial);
    assert_eq!(
        names(&mut listener, &sent),
        ["203.0.113.5 exam.example Quic"]
    );
    assert!(listener.initials.is_empty());
}

#[test]
fn what_is_kept_of_a_flood_is_bounded() {
    let mut listener = Listener::default();
    let hello = records(&hello("exam.example", 32), 16_384);
    for port in 1..=5000_u16 {
        let mut syn = segment(SYN, 1, &hello[..50]);
        syn.ports = Some(Ports {
            source: port,
            destination: 443,
        });
        names(&mut listener, &syn);
    }
    assert_eq!(listener.openings.iter().count(), MOST_OPEN);
}

/// How the segments of a stream come: cut at `cuts`, each `copies` times, in `order` if there is one.
fn segments(stream: &[u8], cuts: &[usize], copies: usize) -> Vec<(usize, Vec<u8>)> {
    let mut ends: Vec<usize> = cuts
        .iter()
        .copied()
        .filter(|&cut| cut < stream.len())
        .collect();
    ends.push(stream.len());
    ends.sort_unstable();
    let mut start = 0;
    let mut segments = vec![];
    for end in ends {
        for _ in 0..copies {
            segments.push((start, stream[start..end].to_vec()));
        }
        start = end;
    }
    segments
}

fn heard(first: u32, segments: &[(usize, Vec<u8>)]) -> Vec<String> {
    let mut listener = Listener::default();
    let mut heard = names(&mut listener, &segment(SYN, first, &[]));
    for (at, bytes) in segments {
        let sequence = first.wrapping_add(u32::try_from(*at).unwrap());
        heard.extend(names(&mut listener, &segment(ACK, sequence, bytes)));
    }
    heard.dedup();
    heard
}

proptest! {
    #[test]
    fn any_split_of_a_stream_into_segments_gives_the_name(
        cuts in prop::collection::vec(1..2200_usize, 0..200),
        copies in 1..3_usize,
        record in prop::sample::select(vec![1_usize, 7, 300, 16_384]),
        key_share in 0..1500_usize,
        first: u32,
    ) {
        let stream = records(&hello("exam.example", key_share), record);
        prop_assert_eq!(heard(first, &segments(&stream, &cuts, copies)), [EXAM]);
    }

    #[test]
    fn so_do_a_few_segments_in_any_order(
        cuts in prop::collection::vec(1..1500_usize, 0..20),
        seed in prop::collection::vec(any::<u64>(), 42),
        first: u32,
    ) {
        let stream = records(&hello("exam.example", 1300), 16_384);
        let mut shuffled: Vec<_> = segments(&stream, &cuts, 2).into_iter().zip(seed).collect();
        shuffled.sort_by_key(|(_, key)| *key);
        let shuffled: Vec<_> = shuffled.into_iter().map(|(segment, _)| segment).collect();
        prop_assert_eq!(heard(first, &shuffled), [EXAM]);
    }

    #[test]
    fn no_packets_panic(packets in prop::collection::vec(
        (any::<bool>(), 0..7_usize, any::<u8>(), 0..40_u32, prop::collection::vec(any::<u8>(), 0..60), 0..4_usize), 0..40,
    )) {
        const PORTS: [u16; 7] = [53, 80, 443, 5353, 5355, 40000, 8443];
        const BEGINNINGS: [&[u8]; 4] = [b"", b"GET / HTTP/1.1\r\n", &[22, 3, 1, 0, 40, 1, 0, 0, 30], &[0xc0, 0, 0, 0, 1, 0, 0, 0]];
        let mut listener = Listener::default();
        for (tcp, port, flags, sequence, rest, beginning) in packets {
            let payload = [BEGINNINGS[beginning], &rest].concat();
            let from = format!("192.168.0.7:{}", PORTS[port]);
            let number = if tcp { protocol::TCP } else { protocol::UDP };
            let packet = Packet {
                tcp_flags: tcp.then_some(TcpFlags(flags)),
                sequence,
                ..packet(number, (&from, "203.0.113.5:80"), &payload)
            };
            names(&mut listener, &packet);
        }
    }
}
