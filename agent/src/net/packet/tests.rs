use proptest::prelude::*;

use super::*;

const UDP_OVER_IPV4: &[u8] = &[
    0x45, 0, 0, 33, 0, 0, 0, 0, 64, 17, 0, 0, 192, 168, 0, 1, 192, 168, 0, 2, // IPv4
    0x9c, 0x40, 0, 53, 0, 13, 0, 0, b'h', b'e', b'l', b'l', b'o', // UDP
];

fn ethernet(tags: &[u8], network: &[u8]) -> Vec<u8> {
    [&[0; 12], tags, network].concat()
}

fn packet_of(link: LinkType, bytes: &[u8]) -> Packet<'_> {
    match parse(link, bytes, u32::try_from(bytes.len()).unwrap()).content {
        Content::Ip(packet) => packet,
        other => panic!("{other:?}"),
    }
}

fn ipv6(next: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).unwrap().to_be_bytes();
    let mut bytes = vec![0x60, 0, 0, 0, len[0], len[1], next, 64];
    bytes.extend_from_slice(&[1; 16]);
    bytes.extend_from_slice(&[2; 16]);
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn the_same_packet_is_read_behind_every_link_layer() {
    let expected = packet_of(LinkType::RawIp, UDP_OVER_IPV4);
    assert_eq!(
        expected.ports,
        Some(Ports {
            source: 40000,
            destination: 53
        })
    );
    assert_eq!(expected.payload, b"hello");
    let cooked = [&[0; 14], &[0x08, 0][..], UDP_OVER_IPV4].concat();
    let cooked_2 = [&[0x08, 0], &[0; 18][..], UDP_OVER_IPV4].concat();
    for (link, bytes) in [
        (LinkType::Ethernet, ethernet(&[0x08, 0], UDP_OVER_IPV4)),
        (
            LinkType::Ethernet,
            ethernet(&[0x81, 0, 0, 5, 0x08, 0], UDP_OVER_IPV4),
        ),
        (
            LinkType::Ethernet,
            ethernet(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 0x08, 0], UDP_OVER_IPV4),
        ),
        (
            LinkType::Ethernet,
            ethernet(&[0x91, 0, 0, 5, 0x81, 0, 0, 6, 0x08, 0], UDP_OVER_IPV4),
        ),
        (
            LinkType::Ethernet,
            ethernet(&[0x88, 0x64, 0x11, 0, 0, 1, 0, 35, 0, 0x21], UDP_OVER_IPV4),
        ),
        (
            LinkType::Ethernet,
            ethernet(&[0x88, 0x47, 0, 1, 0, 64, 0, 1, 1, 64], UDP_OVER_IPV4),
        ),
        (
            LinkType::Ethernet,
            ethernet(&[0, 41, 0xaa, 0xaa, 3, 0, 0, 0, 0x08, 0], UDP_OVER_IPV4),
        ),
        (LinkType::LinuxCooked, cooked),
        (LinkType::LinuxCooked2, cooked_2),
        (LinkType::RawIpv4, UDP_OVER_IPV4.to_vec()),
        (
            LinkType::Ppp,
            [&[0xff, 0x03, 0, 0x21], UDP_OVER_IPV4].concat(),
        ),
        (LinkType::Ppp, [&[0x21], UDP_OVER_IPV4].concat()),
        (LinkType::Loopback, [&[2, 0, 0, 0], UDP_OVER_IPV4].concat()),
        (LinkType::Loopback, [&[0, 0, 0, 2], UDP_OVER_IPV4].concat()),
    ] {
        assert_eq!(packet_of(link, &bytes), expected, "{link:?} {bytes:02x?}");
    }
}

#[test]
fn padding_of_a_short_frame_is_no_payload() {
    let frame = ethernet(&[0x08, 0], &[UDP_OVER_IPV4, &[0; 13]].concat());
    let packet = packet_of(LinkType::Ethernet, &frame);
    assert_eq!((packet.payload, packet.payload_len), (&b"hello"[..], 5));
}

#[test]
fn options_are_stepped_over() {
    let mut bytes = UDP_OVER_IPV4.to_vec();
    bytes[0] = 0x46;
    bytes[3] += 4;
    bytes.splice(20..20, [1, 1, 1, 0]);
    let packet = packet_of(LinkType::RawIp, &bytes);
    assert_eq!((packet.payload, packet.payload_len), (&b"hello"[..], 5));
}

#[test]
fn a_later_fragment_has_addresses_and_no_ports() {
    let mut bytes = UDP_OVER_IPV4.to_vec();
    bytes[6] = 0x20; // more fragments, offset 0
    let first = packet_of(LinkType::RawIp, &bytes);
    assert!(first.fragment && first.ports.is_some());
    bytes[7] = 0x01;
    let later = packet_of(LinkType::RawIp, &bytes);
    assert!(later.fragment && later.ports.is_none() && later.payload.is_empty());
}

#[test]
fn extension_headers_lead_to_the_transport() {
    let tcp = [
        0, 80, 0x9c, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x12, 0, 0, 0, 0, 0, 0,
    ];
    let hop_by_hop = [60, 0, 0, 0, 0, 0, 0, 0];
    let options = [44, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let fragment = [51, 0, 0, 1, 0, 0, 0, 0];
    let authentication = [6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let body = [&hop_by_hop[..], &options, &fragment, &authentication, &tcp].concat();
    let bytes = ipv6(0, &body);
    let packet = packet_of(LinkType::RawIp, &bytes);
    assert_eq!(packet.protocol, 6);
    assert_eq!(
        packet.ports,
        Some(Ports {
            source: 80,
            destination: 40000
        })
    );
    assert!(packet.tcp_flags.unwrap().accepts() && packet.fragment);
    assert_eq!(packet.payload_len, 0);
}

#[test]
fn the_payload_of_tcp_is_behind_its_options_and_numbered_after_the_syn() {
    let tcp = |flags: u8, offset: u8| {
        let mut body = vec![0x9c, 0x40, 0, 80, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        body.extend_from_slice(&[offset << 4, flags, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0]);
        body.extend_from_slice(b"hello");
        ipv6(6, &body)
    };
    let syn = tcp(0x02, 6);
    let packet = packet_of(LinkType::RawIp, &syn);
    assert_eq!((packet.sequence, packet.payload), (0, &b"hello"[..]));
    let data = tcp(0x18, 6);
    let packet = packet_of(LinkType::RawIp, &data);
    assert_eq!((packet.sequence, packet.payload), (u32::MAX, &b"hello"[..]));
    assert_eq!(packet.payload_len, 5);
    for offset in [0, 4, 15] {
        let broken = tcp(0x18, offset);
        let packet = packet_of(LinkType::RawIp, &broken);
        assert_eq!(
            (packet.payload, packet.payload_len),
            (&b""[..], 0),
            "{offset}"
        );
    }
}

#[test]
fn a_frame_of_64_kib_is_read_and_counted_whole() {
    let mut body = vec![
        0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0,
    ];
    body.resize(65_535, 7);
    let offloaded = ethernet(&[0x86, 0xdd], &ipv6(6, &body));
    let len = u32::try_from(offloaded.len()).unwrap();
    let frame = parse(LinkType::Ethernet, &offloaded[..200], len);
    assert_eq!(frame.len, len);
    let Content::Ip(packet) = frame.content else {
        panic!("{frame:?}");
    };
    assert_eq!(packet.payload_len, 65_515);
    assert_eq!(
        packet_of(LinkType::Ethernet, &offloaded).payload.len(),
        65_515
    );
}

#[test]
fn a_later_ipv6_fragment_names_its_transport_and_has_no_ports() {
    let bytes = ipv6(44, &[17, 0, 0, 8, 0, 0, 0, 0, 0, 53, 0, 53, 0, 0, 0, 0]);
    let packet = packet_of(LinkType::RawIp, &bytes);
    assert_eq!(
        (packet.protocol, packet.ports, packet.fragment),
        (17, None, true)
    );
}

#[test]
fn a_packet_that_breaks_off_keeps_its_addresses() {
    let packet = packet_of(LinkType::RawIp, &UDP_OVER_IPV4[..21]);
    assert_eq!(packet.source.to_string(), "192.168.0.1");
    assert_eq!(packet.ports, None);
}

#[test]
fn what_is_no_ip_is_told_from_what_is_broken() {
    let arp = ethernet(&[0x08, 0x06], &[0; 28]);
    assert_eq!(
        parse(LinkType::Ethernet, &arp, 42),
        Frame {
            len: 42,
            content: Content::Other
        }
    );
    let spanning_tree = ethernet(&[0, 38], &[0x42; 38]);
    assert_eq!(
        parse(LinkType::Ethernet, &spanning_tree, 52).content,
        Content::Other
    );
    for broken in [
        &[][..],
        &[0; 13],
        &ethernet(&[0x08, 0], &UDP_OVER_IPV4[..19]),
        &ethernet(&[0x81, 0], &[0; 3]),
    ] {
        assert_eq!(
            parse(LinkType::Ethernet, broken, 60).content,
            Content::Malformed,
            "{broken:02x?}"
        );
    }
    let mut short_header = UDP_OVER_IPV4.to_vec();
    short_header[0] = 0x44;
    assert_eq!(
        parse(LinkType::RawIp, &short_header, 33).content,
        Content::Malformed
    );
    let mut shorter_than_its_header = UDP_OVER_IPV4.to_vec();
    shorter_than_its_header[3] = 19;
    assert_eq!(
        parse(LinkType::RawIp, &shorter_than_its_header, 33).content,
        Content::Malformed
    );
    assert_eq!(
        parse(LinkType::RawIpv6, UDP_OVER_IPV4, 33).content,
        Content::Malformed
    );
}

#[test]
fn link_types_beyond_these_are_refused() {
    for dlt in [0, 1, 9, 12, 101, 108, 113, 228, 229, 276] {
        assert!(LinkType::from_dlt(dlt).is_some(), "{dlt}");
    }
    for dlt in [-1, 50, 104, 105, 127, 195] {
        assert_eq!(LinkType::from_dlt(dlt), None, "{dlt}");
    }
}

const LINKS: [LinkType; 8] = [
    LinkType::Ethernet,
    LinkType::LinuxCooked,
    LinkType::LinuxCooked2,
    LinkType::RawIp,
    LinkType::RawIpv4,
    LinkType::RawIpv6,
    LinkType::Ppp,
    LinkType::Loopback,
];

proptest! {
    #[test]
    fn no_bytes_panic(link in prop::sample::select(&LINKS[..]), bytes in prop::collection::vec(any::<u8>(), 0..200), len: u32) {
        prop_assert_eq!(parse(link, &bytes, len).len, len);
    }

    #[test]
    fn no_bytes_behind_a_true_beginning_panic(
        beginning in prop::sample::select(vec![vec![0x08, 0, 0x45], vec![0x86, 0xdd, 0x60], vec![0x81, 0], vec![0x88, 0x47], vec![0x88, 0x64]]),
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let bytes = ethernet(&beginning, &rest);
        let whole = parse(LinkType::Ethernet, &bytes, 0);
        for cut in 0..bytes.len() {
            // A shorter capture never says another address than the whole one.
            if let (Content::Ip(short), Content::Ip(whole)) = (parse(LinkType::Ethernet, &bytes[..cut], 0).content, whole.content) {
                prop_assert_eq!((short.source, short.destination), (whole.source, whole.destination));
            }
        }
    }
}

fn without_payload(packet: Packet<'_>) -> Packet<'static> {
    Packet {
        sequence: 0,
        payload: &[],
        ..packet
    }
}

proptest! {
    #[test]
    fn a_plain_packet_is_what_the_whole_reading_says(
        protocol in prop::sample::select(vec![6_u8, 17, 1, 132]),
        first in prop::sample::select(vec![0x45_u8, 0x45, 0x45, 0x46, 0x44, 0x65]),
        fragment in prop::sample::select(vec![0_u16, 0, 0, 0x4000, 0x2000, 1]),
        total_len in prop::sample::select(vec![0_u16, 19, 20, 24, 28, 33, 39, 40, 1500]),
        rest in prop::collection::vec(any::<u8>(), 8..60),
    ) {
        let mut ip = vec![first, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
        ip[2..4].copy_from_slice(&total_len.to_be_bytes());
        ip[6..8].copy_from_slice(&fragment.to_be_bytes());
        ip.extend(rest);
        for (link, bytes) in [(LinkType::Ethernet, ethernet(&[8, 0], &ip)), (LinkType::RawIp, ip)] {
            let captured = Captured { link, bytes: &bytes, len: u32::try_from(bytes.len()).unwrap() };
            if let Some(plain) = Plain::read(&captured) {
                prop_assert_eq!(plain.packet(), without_payload(packet_of(link, &bytes)));
            }
        }
    }

    #[test]
    fn a_packet_and_its_answer_have_the_same_ends_either_way(
        addresses: [[u8; 4]; 2], ports: [[u8; 2]; 2], tcp: bool,
    ) {
        let ends = |from: usize, to: usize| {
            let protocol = if tcp { 6 } else { 17 };
            let head = [0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0];
            let both = [addresses[from], addresses[to]].concat();
            let rest = [&ports[from][..], &ports[to], &[0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0]].concat();
            let bytes = [&head[..], &both, &rest].concat();
            let captured = Captured { link: LinkType::RawIp, bytes: &bytes, len: 40 };
            Plain::read(&captured).unwrap().ends
        };
        let (there, back) = (ends(0, 1), ends(1, 0));
        let (one, is_turned) = there.either_way();
        let (other, is_turned_back) = back.either_way();
        prop_assert_eq!(one, other);
        prop_assert_eq!(is_turned == is_turned_back, there == back);
        prop_assert_eq!(one == there, !is_turned || there == back);
    }
}
