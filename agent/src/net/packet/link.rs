//! Link layers: where in a frame the IP packet begins.

/// The link layers that can be read, by libpcap's DLT_ and LINKTYPE_ values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkType {
    /// Ethernet, with any VLAN tags.
    Ethernet,
    /// Linux cooked, version 1 (`any` device, old).
    LinuxCooked,
    /// Linux cooked, version 2.
    LinuxCooked2,
    /// IP without a link layer: tun, WireGuard.
    RawIp,
    /// The same, IPv4 alone.
    RawIpv4,
    /// The same, IPv6 alone.
    RawIpv6,
    /// PPP, with or without HDLC's address and control bytes.
    Ppp,
    /// BSD loopback: an address family in four bytes, in either byte order.
    Loopback,
}

impl LinkType {
    /// By libpcap's number; `None` for one that cannot be read.
    #[must_use]
    pub fn from_dlt(dlt: i32) -> Option<Self> {
        match dlt {
            1 => Some(Self::Ethernet),
            113 => Some(Self::LinuxCooked),
            276 => Some(Self::LinuxCooked2),
            12 | 14 | 101 => Some(Self::RawIp),
            228 => Some(Self::RawIpv4),
            229 => Some(Self::RawIpv6),
            9 => Some(Self::Ppp),
            0 | 108 => Some(Self::Loopback),
            _ => None,
        }
    }
}

/// What a link layer says of the bytes behind it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Network<'a> {
    /// An IP packet begins here.
    Ip(&'a [u8]),
    /// Something else.
    Other,
    /// The frame ends before it says what it carries, or what it announces is not there.
    Broken,
}

mod ether_type {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const IPV6: u16 = 0x86dd;
    pub(super) const VLAN: u16 = 0x8100;
    pub(super) const PROVIDER_VLAN: u16 = 0x88a8;
    pub(super) const OLD_QINQ: u16 = 0x9100;
    pub(super) const PPPOE_SESSION: u16 = 0x8864;
    pub(super) const MPLS: u16 = 0x8847;
    pub(super) const MPLS_UPSTREAM: u16 = 0x8848;
    /// Up to here it is the length of an 802.3 frame.
    pub(super) const LONGEST_LENGTH: u16 = 1500;
}

/// So many tags or labels are stepped over; more are no traffic of a lab PC.
const DEEPEST: usize = 16;

/// Address and control byte of HDLC in front of PPP (RFC 1662).
const HDLC: [u8; 2] = [0xff, 0x03];
const LLC_SNAP_ETHERNET: [u8; 6] = [0xaa, 0xaa, 0x03, 0, 0, 0];

#[inline]
pub(super) fn network_layer(link: LinkType, bytes: &[u8]) -> Network<'_> {
    let found = match link {
        LinkType::Ethernet => be16(bytes, 12).and_then(|kind| Some((kind, bytes.get(14..)?))),
        LinkType::LinuxCooked => be16(bytes, 14).and_then(|kind| Some((kind, bytes.get(16..)?))),
        LinkType::LinuxCooked2 => be16(bytes, 0).and_then(|kind| Some((kind, bytes.get(20..)?))),
        LinkType::RawIp => return by_version(bytes, &[4, 6]),
        LinkType::RawIpv4 => return by_version(bytes, &[4]),
        LinkType::RawIpv6 => return by_version(bytes, &[6]),
        LinkType::Ppp => return by_ppp_protocol(bytes.strip_prefix(&HDLC).unwrap_or(bytes)),
        LinkType::Loopback => return by_family(bytes),
    };
    found.map_or(Network::Broken, |(kind, rest)| by_ether_type(kind, rest))
}

#[inline]
fn by_ether_type(mut kind: u16, mut bytes: &[u8]) -> Network<'_> {
    for _ in 0..DEEPEST {
        let next = match kind {
            ether_type::IPV4 | ether_type::IPV6 => return Network::Ip(bytes),
            ether_type::VLAN | ether_type::PROVIDER_VLAN | ether_type::OLD_QINQ => {
                be16(bytes, 2).and_then(|kind| Some((kind, bytes.get(4..)?)))
            }
            // RFC 2516: six bytes, then PPP.
            ether_type::PPPOE_SESSION => {
                return by_ppp_protocol(bytes.get(6..).unwrap_or_default());
            }
            ether_type::MPLS | ether_type::MPLS_UPSTREAM => return behind_labels(bytes),
            0..=ether_type::LONGEST_LENGTH if bytes.starts_with(&LLC_SNAP_ETHERNET) => {
                be16(bytes, 6).and_then(|kind| Some((kind, bytes.get(8..)?)))
            }
            _ => return Network::Other,
        };
        match next {
            Some(next) => (kind, bytes) = next,
            None => return Network::Broken,
        }
    }
    Network::Other
}

fn by_version<'a>(bytes: &'a [u8], versions: &[u8]) -> Network<'a> {
    match bytes.first() {
        Some(first) if versions.contains(&(first >> 4)) => Network::Ip(bytes),
        _ => Network::Broken,
    }
}

/// `AF_INET`, and `AF_INET6` of Linux, NetBSD, FreeBSD and macOS; small numbers, so either byte order is plain.
fn by_family(bytes: &[u8]) -> Network<'_> {
    let Some((family, rest)) = bytes.split_first_chunk::<4>() else {
        return Network::Broken;
    };
    match family {
        [family, 0, 0, 0] | [0, 0, 0, family] => match family {
            2 | 10 | 24 | 28 | 30 => Network::Ip(rest),
            _ => Network::Other,
        },
        _ => Network::Other,
    }
}

/// RFC 1661; only in real PPP, not over Ethernet, the first byte of the number may be left out.
fn by_ppp_protocol(bytes: &[u8]) -> Network<'_> {
    match bytes {
        [0x00, 0x21 | 0x57, rest @ ..] | [0x21 | 0x57, rest @ ..] => Network::Ip(rest),
        [] | [_] => Network::Broken,
        _ => Network::Other,
    }
}

/// RFC 3032: labels of four bytes up to the one with the bottom bit; what follows is told by its first four bits.
fn behind_labels(mut bytes: &[u8]) -> Network<'_> {
    for _ in 0..DEEPEST {
        let Some(([_, _, bottom, _], rest)) = bytes.split_first_chunk::<4>() else {
            return Network::Broken;
        };
        bytes = rest;
        if bottom & 1 == 1 {
            return match by_version(bytes, &[4, 6]) {
                Network::Broken if !bytes.is_empty() => Network::Other,
                found => found,
            };
        }
    }
    Network::Other
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk::<2>()
        .copied()
        .map(u16::from_be_bytes)
}
