//! IPv4 and IPv6 headers, extension headers, and of the transport what tells conversations apart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use labwatch_contract::scope::protocol;

use super::{Packet, Ports, TcpFlags};

/// So many extension headers are stepped over (RFC 8200 has no use for more than seven).
const MOST_EXTENSIONS: usize = 16;

const UDP_HEADER: usize = 8;
/// Without options.
const TCP_HEADER: usize = 20;

/// Reads an IP packet; `None` when its fixed header is not there or contradicts itself.
pub(super) fn parse(bytes: &[u8]) -> Option<Packet<'_>> {
    match bytes.first()? >> 4 {
        4 => parse_v4(bytes),
        6 => parse_v6(bytes),
        _ => None,
    }
}

fn parse_v4(bytes: &[u8]) -> Option<Packet<'_>> {
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
    let packet = Packet {
        source: IpAddr::V4(Ipv4Addr::new(s1, s2, s3, s4)),
        destination: IpAddr::V4(Ipv4Addr::new(d1, d2, d3, d4)),
        protocol,
        ports: None,
        tcp_flags: None,
        sequence: 0,
        icmp_type: None,
        fragment: fragment != 0,
        payload: &[],
    };
    let is_first = fragment & 0x1fff == 0;
    let body = without_padding(bytes, total_len).get(header_len..);
    Some(match body {
        Some(body) if is_first => with_transport(packet, body),
        _ => packet,
    })
}

fn parse_v6(bytes: &[u8]) -> Option<Packet<'_>> {
    let (header, _) = bytes.split_first_chunk::<40>()?;
    let [_, _, _, _, len_1, len_2, next, _, addresses @ ..] = header;
    let (source, destination) = addresses.split_first_chunk::<16>()?;
    let packet = Packet {
        source: IpAddr::V6(Ipv6Addr::from(*source)),
        destination: IpAddr::V6(Ipv6Addr::from(*destination.first_chunk::<16>()?)),
        protocol: *next,
        ports: None,
        tcp_flags: None,
        sequence: 0,
        icmp_type: None,
        fragment: false,
        payload: &[],
    };
    let payload_len = usize::from(u16::from_be_bytes([*len_1, *len_2]));
    let total_len = if payload_len == 0 {
        0
    } else {
        payload_len + header.len()
    };
    let body = without_padding(bytes, total_len).get(header.len()..);
    Some(behind_extensions(packet, body.unwrap_or_default()))
}

/// Cuts what a short Ethernet frame is filled up with. A length of 0 is that of a frame the card will still cut.
fn without_padding(bytes: &[u8], total_len: usize) -> &[u8] {
    match total_len {
        0 => bytes,
        _ => bytes.get(..total_len).unwrap_or(bytes),
    }
}

fn behind_extensions<'a>(mut packet: Packet<'a>, mut body: &'a [u8]) -> Packet<'a> {
    for _ in 0..MOST_EXTENSIONS {
        let extension_len = match (packet.protocol, body) {
            (0 | 43 | 60 | 135 | 139 | 140, [_, len, ..]) => (usize::from(*len) + 1) * 8,
            (51, [_, len, ..]) => (usize::from(*len) + 2) * 4,
            (44, [_, _, high, low, ..]) => {
                packet.fragment = true;
                if u16::from_be_bytes([*high, *low]) & 0xfff8 != 0 {
                    packet.protocol = body.first().copied().unwrap_or(packet.protocol);
                    return packet;
                }
                8
            }
            _ => return with_transport(packet, body),
        };
        let (Some(&next), Some(rest)) = (body.first(), body.get(extension_len..)) else {
            return packet;
        };
        packet.protocol = next;
        body = rest;
    }
    packet
}

fn with_transport<'a>(packet: Packet<'a>, body: &'a [u8]) -> Packet<'a> {
    match packet.protocol {
        protocol::TCP => with_tcp(packet, body),
        protocol::UDP => Packet {
            ports: ports(body),
            payload: body.get(UDP_HEADER..).unwrap_or_default(),
            ..packet
        },
        protocol::SCTP => Packet {
            ports: ports(body),
            ..packet
        },
        protocol::ICMP | protocol::ICMPV6 => Packet {
            icmp_type: body.first().copied(),
            ..packet
        },
        _ => packet,
    }
}

/// A SYN takes a sequence number of its own, before any payload.
fn with_tcp<'a>(packet: Packet<'a>, body: &'a [u8]) -> Packet<'a> {
    let packet = Packet {
        ports: ports(body),
        tcp_flags: body.get(13).copied().map(TcpFlags),
        ..packet
    };
    let Some(&[_, _, _, _, s1, s2, s3, s4, _, _, _, _, offset, flags, ..]) =
        body.first_chunk::<TCP_HEADER>()
    else {
        return packet;
    };
    let header_len = usize::from(offset >> 4) * 4;
    let payload = match header_len {
        TCP_HEADER.. => body.get(header_len..).unwrap_or_default(),
        _ => &[],
    };
    let syn = u32::from(flags & TcpFlags::SYN != 0);
    Packet {
        sequence: u32::from_be_bytes([s1, s2, s3, s4]).wrapping_add(syn),
        payload,
        ..packet
    }
}

fn ports(body: &[u8]) -> Option<Ports> {
    let &[s1, s2, d1, d2] = body.first_chunk::<4>()?;
    Some(Ports {
        source: u16::from_be_bytes([s1, s2]),
        destination: u16::from_be_bytes([d1, d2]),
    })
}
