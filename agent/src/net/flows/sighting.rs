//! A packet as this PC sees it: which end is the peer, and whether it was sent or received.
//!
//! The peer is the end that is not ours. Where neither end is (multicast and broadcast of others, frames forwarded by a bridge)
//! it is the sender, or the receiver where the sender has no address yet (DHCP, duplicate address detection), and the
//! bytes count as received. Only a packet to or from this PC belongs to a conversation.

use std::net::IpAddr;

use labwatch_contract::scope::{Contact, protocol};

use crate::net::packet::{Packet, Ports, TcpFlags};

/// A packet as this PC sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sighting {
    /// Our end; for a packet of others its receiver.
    pub(super) own: IpAddr,
    /// The end its bytes are counted for.
    pub(super) peer: IpAddr,
    /// From this PC.
    pub(super) sent: bool,
    /// One end is this PC, the other is not.
    pub(super) ours: bool,
    /// IANA's number of the transport.
    pub(super) protocol: u8,
    /// Our port and the peer's.
    pub(super) ports: Option<(u16, u16)>,
    /// TCP's flags.
    pub(super) tcp_flags: Option<TcpFlags>,
    /// TCP's sequence number, of a packet that opens.
    pub(super) sequence: u32,
    /// ICMP's type.
    pub(super) icmp_type: Option<u8>,
}

impl Sighting {
    #[inline]
    pub(super) fn new(packet: &Packet<'_>, own: &[IpAddr]) -> Self {
        let Packet {
            source,
            destination,
            ..
        } = *packet;
        let (from_us, to_us) = (own.contains(&source), own.contains(&destination));
        let peer_is_destination = from_us || !to_us && source.is_unspecified();
        let ports = packet.ports.map(
            |Ports {
                 source,
                 destination,
             }| {
                if peer_is_destination {
                    (source, destination)
                } else {
                    (destination, source)
                }
            },
        );
        let (own, peer) = if peer_is_destination {
            (source, destination)
        } else {
            (destination, source)
        };
        Self {
            own,
            peer,
            sent: from_us,
            ours: from_us != to_us,
            protocol: packet.protocol,
            ports,
            tcp_flags: packet.tcp_flags,
            sequence: packet.sequence,
            icmp_type: packet.icmp_type,
        }
    }

    /// Transports with ports cannot be told apart without them (a later fragment); nor is an end without an address one.
    #[inline]
    pub(super) fn is_of_conversation(&self) -> bool {
        let has_ports = matches!(
            self.protocol,
            protocol::TCP | protocol::UDP | protocol::SCTP
        );
        self.ours && (!has_ports || self.ports.is_some()) && !self.peer.is_unspecified()
    }

    /// What decides its scope. A packet of others to a group has the group's.
    pub(super) fn contact(&self) -> Contact {
        let to_group = !self.ours && !self.sent && is_group(self.own);
        let (own_port, peer_port) = self.ports.unwrap_or_default();
        let (own_port, peer_port) = if to_group {
            (peer_port, own_port)
        } else {
            (own_port, peer_port)
        };
        Contact {
            peer: if to_group { self.own } else { self.peer },
            peer_port,
            own_port,
            protocol: self.protocol,
            icmp_type: self.icmp_type,
        }
    }
}

fn is_group(ip: IpAddr) -> bool {
    ip.is_multicast() || ip == IpAddr::V4(std::net::Ipv4Addr::BROADCAST)
}
