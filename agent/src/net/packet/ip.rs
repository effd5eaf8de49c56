//! IPv4 and IPv6 headers, extension headers, and of the transport what tells conversations apart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use labwatch_contract::scope::protocol;

use super::{Packet, Ports, TcpFlags};

/// So many extension headers are stepped over (RFC 8200 has no use for more than seven).
const MOST_EXTENSIONS: usize = 16;

const UDP_HEADER: usize = 8;
/// Without options.
const TCP_HEADER: usize = 20;

/// What of a packet stands behind its IP header.
#[derive(Default)]
struct Transport<'a> {
    ports: Option<Ports>,
    tcp_flags: Option<TcpFlags>,
    sequence: u32,
    icmp_type: Option<u8>,
    payload: &'a [u8],
    payload_len: u32,
}

/// Reads an IP packet that took `len` bytes of its frame; `None` when its fixed header is not there or contradicts itself.
#[inline]
pub(super) fn parse(bytes: &[u8], len: u32) -> Option<Packet<'_>> {
    match bytes.first()? >> 4 {
        4 => parse_v4(bytes, len),
        6 => parse_v6(bytes, len),
        _ => None,
    }
}

#[inline]
fn parse_v4(bytes: &[u8], len: u32) -> Option<Packet<'_>> {
    let header = bytes.first_chunk::<20>()?;
    let &[
        first,
        _,
        len_1,
        len_2,
        _,
        _,
        flags_1,
        flags_2,
        _,
        protocol,
        _,
        _,
        s1,
        s2,
        s3,
        s4,
        d1,
        d2,
        d3,
        d4,
    ] = header;
    let header_len = usize::from(first & 0x0f) * 4;
    let total_len = usize::from(u16::from_be_bytes([len_1, len_2]));
    if header_len < header.len() || (1..header_len).contains(&total_len) {
        return None;
    }
    let fragment = u16::from_be_bytes([flags_1, flags_2]) & 0x3fff;
    let is_first = fragment & 0x1fff == 0;
    let body = without_padding(bytes, total_len).get(header_len..);
    let body = body.filter(|_| is_first);
    let body_len = on_wire(total_len, len).saturating_sub(u32::from(first & 0x0f) * 4);
    let transport = body
        .map(|body| transport(protocol, body, body_len))
        .unwrap_or_default();
    Some(packet(
        (
            Ipv4Addr::new(s1, s2, s3, s4).into(),
            Ipv4Addr::new(d1, d2, d3, d4).into(),
        ),
        protocol,
        fragment != 0,
        transport,
    ))
}

fn parse_v6(bytes: &[u8], len: u32) -> Option<Packet<'_>> {
    let (header, _) = bytes.split_first_chunk::<40>()?;
    let [_, _, _, _, len_1, len_2, next, _, addresses @ ..] = header;
    let (source, destination) = addresses.split_first_chunk::<16>()?;
    let destination = destination.first_chunk::<16>()?;
    let payload_len = usize::from(u16::from_be_bytes([*len_1, *len_2]));
    let total_len = if payload_len == 0 {
        0
    } else {
        payload_len + header.len()
    };
    let packet_bytes = without_padding(bytes, total_len);
    let body = packet_bytes.get(header.len()..).unwrap_or_default();
    let (protocol, fragment, body) = behind_extensions(*next, body);
    let transport = body
        .map(|body| {
            let before = u32::try_from(packet_bytes.len() - body.len()).unwrap_or(u32::MAX);
            let body_len = on_wire(total_len, len).saturating_sub(before);
            transport(protocol, body, body_len)
        })
        .unwrap_or_default();
    Some(packet(
        (
            Ipv6Addr::from(*source).into(),
            Ipv6Addr::from(*destination).into(),
        ),
        protocol,
        fragment,
        transport,
    ))
}

#[inline]
fn packet(
    (source, destination): (IpAddr, IpAddr),
    protocol: u8,
    fragment: bool,
    transport: Transport<'_>,
) -> Packet<'_> {
    let Transport {
        ports,
        tcp_flags,
        sequence,
        icmp_type,
        payload,
        payload_len,
    } = transport;
    Packet {
        source,
        destination,
        protocol,
        ports,
        tcp_flags,
        sequence,
        icmp_type,
        fragment,
        payload,
        payload_len,
    }
}

/// How long a packet was, by its own word or, where it has none yet, by the frame's.
fn on_wire(total_len: usize, len: u32) -> u32 {
    match u32::try_from(total_len) {
        Ok(total_len @ 1..) => total_len,
        _ => len,
    }
}

/// Cuts what a short Ethernet frame is filled up with. A length of 0 is that of a frame the card will still cut.
fn without_padding(bytes: &[u8], total_len: usize) -> &[u8] {
    match total_len {
        0 => bytes,
        _ => bytes.get(..total_len).unwrap_or(bytes),
    }
}

/// The transport, whether it is a fragment, and what follows the extension headers; `None` where that cannot be read.
fn behind_extensions(mut protocol: u8, mut body: &[u8]) -> (u8, bool, Option<&[u8]>) {
    let mut fragment = false;
    for _ in 0..MOST_EXTENSIONS {
        let extension_len = match (protocol, body) {
            (0 | 43 | 60 | 135 | 139 | 140, [_, len, ..]) => (usize::from(*len) + 1) * 8,
            (51, [_, len, ..]) => (usize::from(*len) + 2) * 4,
            (44, [next, _, high, low, ..]) => {
                fragment = true;
                if u16::from_be_bytes([*high, *low]) & 0xfff8 != 0 {
                    return (*next, fragment, None);
                }
                8
            }
            _ => return (protocol, fragment, Some(body)),
        };
        let (Some(&next), Some(rest)) = (body.first(), body.get(extension_len..)) else {
            return (protocol, fragment, None);
        };
        (protocol, body) = (next, rest);
    }
    (protocol, fragment, None)
}

#[inline]
fn transport(protocol: u8, body: &[u8], len: u32) -> Transport<'_> {
    match protocol {
        protocol::TCP => Transport {
            payload_len: header_len(body).map_or(0, |header| len.saturating_sub(header)),
            ..tcp(body)
        },
        protocol::UDP => Transport {
            ports: ports(body),
            payload: body.get(UDP_HEADER..).unwrap_or_default(),
            payload_len: len.saturating_sub(8),
            ..Transport::default()
        },
        protocol::SCTP => Transport {
            ports: ports(body),
            ..Transport::default()
        },
        protocol::ICMP | protocol::ICMPV6 => Transport {
            icmp_type: body.first().copied(),
            payload_len: match (protocol, body.first()) {
                (protocol::ICMP, Some(8)) | (protocol::ICMPV6, Some(128)) => len.saturating_sub(8),
                _ => 0,
            },
            ..Transport::default()
        },
        _ => Transport::default(),
    }
}

/// Of a TCP header, where it says a possible one.
#[inline]
fn header_len(tcp: &[u8]) -> Option<u32> {
    let len = u32::from(tcp.get(12)? >> 4) * 4;
    (len >= 20).then_some(len)
}

/// A SYN takes a sequence number of its own, before any payload.
#[inline]
fn tcp(body: &[u8]) -> Transport<'_> {
    let Some(
        &[
            s1,
            s2,
            d1,
            d2,
            n1,
            n2,
            n3,
            n4,
            _,
            _,
            _,
            _,
            offset,
            flags,
            ..,
        ],
    ) = body.first_chunk::<TCP_HEADER>()
    else {
        return Transport {
            ports: ports(body),
            tcp_flags: body.get(13).copied().map(TcpFlags),
            ..Transport::default()
        };
    };
    let header_len = usize::from(offset >> 4) * 4;
    let payload = match header_len {
        TCP_HEADER.. => body.get(header_len..).unwrap_or_default(),
        _ => &[],
    };
    let syn = u32::from(flags & TcpFlags::SYN != 0);
    Transport {
        ports: Some(Ports {
            source: u16::from_be_bytes([s1, s2]),
            destination: u16::from_be_bytes([d1, d2]),
        }),
        tcp_flags: Some(TcpFlags(flags)),
        sequence: u32::from_be_bytes([n1, n2, n3, n4]).wrapping_add(syn),
        payload,
        ..Transport::default()
    }
}

#[inline]
fn ports(body: &[u8]) -> Option<Ports> {
    let &[s1, s2, d1, d2] = body.first_chunk::<4>()?;
    Some(Ports {
        source: u16::from_be_bytes([s1, s2]),
        destination: u16::from_be_bytes([d1, d2]),
    })
}
