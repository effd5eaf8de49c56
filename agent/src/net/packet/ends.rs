//! The ends of a plain packet, in two words: most packets are like one before them, and nothing else has to be read.
//!
//! Plain is IPv4 without options and fragments that carries UDP, or TCP that does not open. Any other packet has none and is read
//! by [`super::parse`], which for a plain one says the same.

use std::net::Ipv4Addr;

use labwatch_contract::scope::protocol;

use super::{Captured, LinkType, Packet, Ports, TcpFlags};

const ETHERNET_IPV4: [u8; 2] = [0x08, 0x00];
/// Version 4, a header of 20 bytes.
const PLAIN: u8 = 0x45;
const UDP_LENGTH: u16 = 20 + 8;
const TCP_LENGTH: u16 = 20 + 20;
/// Of the length of TCP's header and of its flags, from the beginning of IP's header.
const TCP_OFFSET: usize = 20 + 12;
const TCP_FLAGS: usize = 20 + 13;

/// A plain packet, without what it carries.
#[derive(Debug, Clone, Copy)]
pub struct Plain {
    /// Who sends to whom.
    pub ends: Ends,
    /// Bytes behind the header of UDP or TCP, on the wire.
    pub payload_len: u32,
    /// Of TCP.
    flags: Option<TcpFlags>,
}

/// Who sends to whom, in the order of the packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ends {
    /// Source, then destination.
    addresses: u64,
    /// Protocol, source port, destination port.
    ports: u64,
}

impl Plain {
    /// Reads a captured frame; `None` for any other packet.
    #[must_use]
    #[inline]
    pub fn read(captured: &Captured<'_>) -> Option<Self> {
        let bytes = captured.bytes;
        let ip = match captured.link {
            LinkType::Ethernet if bytes.get(12..14)? == ETHERNET_IPV4 => bytes.get(14..)?,
            LinkType::RawIp | LinkType::RawIpv4 => bytes,
            _ => return None,
        };
        let (head, rest) = ip.split_first_chunk::<12>()?;
        let (addresses, rest) = rest.split_first_chunk::<8>()?;
        let ports = rest.first_chunk::<4>()?;
        let &[
            PLAIN,
            _,
            len_1,
            len_2,
            _,
            _,
            fragment_1,
            fragment_2,
            _,
            protocol,
            ..,
        ] = head
        else {
            return None;
        };
        let (shortest, header_len, flags) = match protocol {
            protocol::UDP => (UDP_LENGTH, 8, None),
            protocol::TCP => {
                let flags = TcpFlags(*ip.get(TCP_FLAGS)?);
                (
                    TCP_LENGTH,
                    u32::from(ip.get(TCP_OFFSET)? >> 4) * 4,
                    Some(flags),
                )
            }
            _ => return None,
        };
        let opens = flags.is_some_and(TcpFlags::opens);
        let len = u16::from_be_bytes([len_1, len_2]);
        let is_fragment = u16::from_be_bytes([fragment_1, fragment_2]) & 0x3fff != 0;
        // A length of 0 is that of a frame the card will still cut.
        let is_short = len != 0 && len < shortest || ip.len() < usize::from(shortest);
        let is_odd = flags.is_some() && header_len < 20;
        let on_wire = match len {
            0 => captured
                .len
                .saturating_sub(u32::try_from(bytes.len() - ip.len()).ok()?),
            _ => len.into(),
        };
        (!is_fragment && !is_short && !opens && !is_odd).then(|| Self {
            payload_len: on_wire.saturating_sub(20 + header_len),
            ends: Ends {
                addresses: u64::from_be_bytes(*addresses),
                ports: u64::from(protocol) << 32 | u64::from(u32::from_be_bytes(*ports)),
            },
            flags,
        })
    }

    /// The same as [`super::parse`] reads, without what it carries.
    #[must_use]
    pub fn packet(&self) -> Packet<'static> {
        let [s1, s2, s3, s4, d1, d2, d3, d4] = self.ends.addresses.to_be_bytes();
        Packet {
            source: Ipv4Addr::new(s1, s2, s3, s4).into(),
            destination: Ipv4Addr::new(d1, d2, d3, d4).into(),
            protocol: if self.ends.is_udp() {
                protocol::UDP
            } else {
                protocol::TCP
            },
            ports: Some(Ports {
                source: self.ends.source_port(),
                destination: self.ends.destination_port(),
            }),
            tcp_flags: self.flags,
            sequence: 0,
            icmp_type: None,
            fragment: false,
            payload: &[],
            payload_len: self.payload_len,
        }
    }
}

impl Ends {
    /// Of a packet of UDP.
    #[must_use]
    pub fn is_udp(&self) -> bool {
        self.ports >> 32 == u64::from(protocol::UDP)
    }

    /// The same whoever of the two sends, and whether the packet goes the other way round.
    #[must_use]
    #[inline]
    pub fn either_way(self) -> (Self, bool) {
        let (protocol, ports) = (self.ports >> 32, self.ports & u64::from(u32::MAX));
        let back = Self {
            addresses: self.addresses.rotate_left(32),
            ports: protocol << 32 | ports >> 16 | ports << 16 & 0xffff_0000,
        };
        if back < self {
            (back, true)
        } else {
            (self, false)
        }
    }

    /// Of the sender.
    #[must_use]
    pub fn source_port(&self) -> u16 {
        let [.., high, low, _, _] = self.ports.to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    /// Of the receiver.
    #[must_use]
    pub fn destination_port(&self) -> u16 {
        let [.., high, low] = self.ports.to_be_bytes();
        u16::from_be_bytes([high, low])
    }
}
