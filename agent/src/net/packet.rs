//! From the bytes of a captured frame to a value: who sends to whom, by which protocol, from which port to which.
//!
//! One checked pass over borrowed bytes, without allocation. Addresses are the outermost IP addresses: a tunnel's
//! ends, never what it carries. What sits between link layer and IP (VLAN tags, PPPoE, MPLS, LLC/SNAP) is stepped over.
//! Nothing panics, whatever the bytes: a frame without IP is [`Content::Other`], one that announces IP but has no
//! readable IP header is [`Content::Malformed`], and a packet that breaks off behind its addresses keeps them
//! and lacks ports.
//!
//! Sources: RFC 791, 8200, 4302, 9293, 768, 792, 4443; IEEE 802.1Q and 802.3; LINKTYPE_ values of tcpdump.org.

mod ends;
mod ip;
mod link;

use std::net::IpAddr;

pub use ends::{Ends, Plain};
pub use link::LinkType;

/// A frame as it was captured.
#[derive(Debug, Clone, Copy)]
pub struct Captured<'a> {
    /// What the bytes begin with.
    pub link: LinkType,
    /// As many as were captured.
    pub bytes: &'a [u8],
    /// Length on the wire in bytes, link layer included.
    pub len: u32,
}

/// A captured frame, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Length on the wire in bytes, link layer included; never the captured length.
    pub len: u32,
    /// What it carries.
    pub content: Content<'a>,
}

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// An IP packet.
    Ip(Packet<'a>),
    /// Something without IP addresses: ARP, spanning tree and the like.
    Other,
    /// IP by its announcement, but without a readable IP header.
    Malformed,
}

/// An IP packet. Copied around freely: it borrows the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Outermost source address.
    pub source: IpAddr,
    /// Outermost destination address.
    pub destination: IpAddr,
    /// IANA's number of the transport, behind any IPv6 extension headers.
    pub protocol: u8,
    /// Ports of TCP, UDP and SCTP, where they are there to be read.
    pub ports: Option<Ports>,
    /// Flags of TCP, where they are there to be read.
    pub tcp_flags: Option<TcpFlags>,
    /// TCP's sequence number of the first byte of `payload`; 0 for all else.
    pub sequence: u32,
    /// Type of ICMP or ICMPv6, where it is there to be read.
    pub icmp_type: Option<u8>,
    /// A fragment; one that is not the first has no ports.
    pub fragment: bool,
    /// What follows the header of UDP or TCP, as far as it was captured; empty for all else.
    pub payload: &'a [u8],
    /// How long what a program says was on the wire, bytes: behind the header of UDP, TCP and ICMP's echo request; 0 for all else.
    pub payload_len: u32,
}

/// Ports of both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Of the sender.
    pub source: u16,
    /// Of the receiver.
    pub destination: u16,
}

/// The flag byte of a TCP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;

    /// SYN without ACK: the sender opens.
    #[must_use]
    pub fn opens(self) -> bool {
        self.0 & (Self::SYN | Self::ACK) == Self::SYN
    }

    /// SYN, with or without ACK: the connection begins.
    #[must_use]
    pub fn is_handshake(self) -> bool {
        self.0 & Self::SYN != 0
    }

    /// SYN with ACK: the receiver has opened.
    #[must_use]
    pub fn accepts(self) -> bool {
        self.0 & (Self::SYN | Self::ACK) == Self::SYN | Self::ACK
    }
}

/// Reads the captured `bytes` of a frame that was `len` bytes long on the wire.
#[must_use]
#[inline]
pub fn parse(link: LinkType, bytes: &[u8], len: u32) -> Frame<'_> {
    let content = match link::network_layer(link, bytes) {
        link::Network::Ip(packet) => {
            let before = u32::try_from(bytes.len() - packet.len()).unwrap_or(u32::MAX);
            let len = len.saturating_sub(before);
            ip::parse(packet, len).map_or(Content::Malformed, Content::Ip)
        }
        link::Network::Other => Content::Other,
        link::Network::Broken => Content::Malformed,
    };
    Frame { len, content }
}

#[cfg(test)]
mod tests;
