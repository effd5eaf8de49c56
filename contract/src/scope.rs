//! Where a peer is, seen from a lab PC: the local networks, the internet, infrastructure.
//!
//! The networks are those that the PC is on, those an administrator names, and the private and link-local
//! ranges (RFC 1918, 6598, 3927, 4193, 4291). What a network needs to work (ARP, DHCP, DNS and NTP with the
//! configured servers, mDNS, LLMNR, SSDP, IGMP, ND, the broker) is infrastructure, whatever its address;
//! any other port of the same machine is not.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Where a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// A machine of the local networks.
    Intranet,
    /// Anywhere else.
    Internet,
    /// What a network needs to work.
    Infrastructure,
    /// A group.
    Multicast,
    /// Everybody on the network.
    Broadcast,
    /// This PC itself.
    Loopback,
    /// What another version says.
    #[serde(other)]
    Unknown,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Intranet => "intranet",
            Self::Internet => "internet",
            Self::Infrastructure => "infrastructure",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Loopback => "loopback",
            Self::Unknown => "unknown",
        })
    }
}

/// IANA's protocol numbers that matter here.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// IGMP.
    pub const IGMP: u8 = 2;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

/// What the PC knows of its networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    /// Networks the PC is on, by its addresses and on-link routes, and those an administrator named.
    pub local: Vec<IpNet>,
    /// DNS servers of the PC.
    pub dns_servers: Vec<IpAddr>,
    /// NTP servers of the PC.
    pub ntp_servers: Vec<IpAddr>,
    /// Where the broker listens.
    pub broker: Option<SocketAddr>,
}

/// What of a packet decides its scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact {
    /// The other end.
    pub peer: IpAddr,
    /// The other end's port; 0 without ports.
    pub peer_port: u16,
    /// This PC's port; 0 without ports.
    pub own_port: u16,
    /// IANA's protocol number; see [`protocol`].
    pub protocol: u8,
    /// The ICMP or ICMPv6 type, where it is one.
    pub icmp_type: Option<u8>,
}

impl Networks {
    /// The scope of a contact.
    #[must_use]
    pub fn scope(&self, contact: &Contact) -> Scope {
        let peer = contact.peer.to_canonical();
        if peer.is_loopback() {
            return Scope::Loopback;
        }
        if self.is_infrastructure(peer, contact) {
            return Scope::Infrastructure;
        }
        self.scope_of_address(peer)
    }

    /// The scope of an address alone, whatever the port.
    #[must_use]
    pub fn scope_of_address(&self, address: IpAddr) -> Scope {
        let address = address.to_canonical();
        if address.is_loopback() {
            Scope::Loopback
        } else if address.is_multicast() {
            Scope::Multicast
        } else if self.is_broadcast(address) {
            Scope::Broadcast
        } else if address.is_unspecified() {
            Scope::Infrastructure
        } else if is_private(address) || self.local.iter().any(|network| network.contains(&address))
        {
            Scope::Intranet
        } else {
            Scope::Internet
        }
    }

    fn is_broadcast(&self, address: IpAddr) -> bool {
        let of_network = |network: &IpNet| match network {
            IpNet::V4(network) => {
                network.prefix_len() < 31 && IpAddr::V4(network.broadcast()) == address
            }
            IpNet::V6(_) => false,
        };
        address == IpAddr::V4(Ipv4Addr::BROADCAST) || self.local.iter().any(of_network)
    }

    fn is_infrastructure(&self, peer: IpAddr, contact: &Contact) -> bool {
        let Contact {
            peer_port,
            own_port,
            protocol,
            ..
        } = *contact;
        let group = peer.is_multicast() || self.is_broadcast(peer);
        match protocol {
            protocol::IGMP => true,
            protocol::ICMP => is_icmp_upkeep(contact.icmp_type),
            protocol::ICMPV6 => group || is_icmpv6_upkeep(contact.icmp_type),
            protocol::TCP | protocol::UDP if self.is_served_by(peer, peer_port, protocol) => true,
            protocol::UDP => {
                let near = group || self.scope_of_address(peer) == Scope::Intranet;
                is_dhcp(own_port, peer_port) || is_discovery(group, near, own_port, peer_port)
            }
            _ => false,
        }
    }

    fn is_served_by(&self, peer: IpAddr, port: u16, protocol: u8) -> bool {
        match port {
            53 => self.dns_servers.contains(&peer),
            123 if protocol == protocol::UDP => self.ntp_servers.contains(&peer),
            _ => protocol == protocol::TCP && self.broker == Some(SocketAddr::new(peer, port)),
        }
    }
}

/// Destination unreachable, redirect, router advertisement and solicitation, time exceeded, parameter problem
/// (RFC 792, 1256): answers to other traffic, never a conversation of their own. Echo and the rest are.
fn is_icmp_upkeep(icmp_type: Option<u8>) -> bool {
    matches!(icmp_type, Some(3 | 5 | 9 | 10 | 11 | 12))
}

/// Errors, multicast listener and neighbour discovery (RFC 4443, 2710, 4861, 3810).
fn is_icmpv6_upkeep(icmp_type: Option<u8>) -> bool {
    matches!(icmp_type, Some(1..=4 | 130..=137 | 143))
}

/// DHCP and DHCPv6 (RFC 2131, 8415), by the ports of both ends.
fn is_dhcp(own: u16, peer: u16) -> bool {
    matches!((own, peer), (68, 67) | (67, 68) | (546, 547) | (547, 546))
}

/// mDNS, SSDP, LLMNR (RFC 6762, UPnP 2.0, RFC 4795): queries to the group, and answers between the service ports of
/// machines that are near; nobody on the internet is asked like that.
fn is_discovery(group: bool, near: bool, own: u16, peer: u16) -> bool {
    match (own, peer) {
        (5353, 5353) => near,
        (_, 5353 | 1900 | 5355) => group,
        _ => false,
    }
}

/// RFC 1918 and 6598, link-local (RFC 3927, 4291), unique local (RFC 4193).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            ip.is_private() || ip.is_link_local() || (first == 100 && second & 0xc0 == 64)
        }
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks() -> Networks {
        Networks {
            local: vec![
                "192.168.0.0/24".parse().unwrap(),
                "2001:db8:1::/64".parse().unwrap(),
            ],
            dns_servers: vec!["192.168.0.1".parse().unwrap(), "9.9.9.9".parse().unwrap()],
            ntp_servers: vec!["192.168.0.1".parse().unwrap()],
            broker: Some("192.168.0.2:1883".parse().unwrap()),
        }
    }

    fn contact(peer: &str, protocol: u8, own_port: u16, peer_port: u16) -> Contact {
        Contact {
            peer: peer.parse().unwrap(),
            peer_port,
            own_port,
            protocol,
            icmp_type: None,
        }
    }

    #[test]
    fn each_kind_of_contact_has_its_scope() {
        use Scope::*;
        use protocol::*;
        for (peer, number, own, port, scope) in [
            ("192.168.0.7", TCP, 40000, 80, Intranet),
            ("10.99.0.1", TCP, 40000, 22, Intranet),
            ("2001:db8:1::7", TCP, 40000, 80, Intranet),
            ("fe80::7", UDP, 40000, 4000, Intranet),
            ("::ffff:192.168.0.7", TCP, 40000, 80, Intranet),
            ("203.0.113.5", TCP, 40000, 443, Internet),
            ("2001:db8:2::7", UDP, 40000, 443, Internet),
            ("192.168.0.1", UDP, 40000, 53, Infrastructure),
            ("192.168.0.1", TCP, 40000, 53, Infrastructure),
            ("9.9.9.9", UDP, 40000, 53, Infrastructure),
            ("9.9.9.9", TCP, 40000, 443, Internet),
            ("192.168.0.1", UDP, 123, 123, Infrastructure),
            ("192.168.0.1", TCP, 40000, 80, Intranet),
            ("192.168.0.7", UDP, 40000, 53, Intranet),
            ("192.168.0.2", TCP, 40000, 1883, Infrastructure),
            ("192.168.0.2", UDP, 40000, 1883, Intranet),
            ("192.168.0.7", TCP, 40000, 1883, Intranet),
            ("255.255.255.255", UDP, 68, 67, Infrastructure),
            ("192.168.0.255", UDP, 40000, 9999, Broadcast),
            ("224.0.0.251", UDP, 5353, 5353, Infrastructure),
            ("192.168.0.7", UDP, 5353, 5353, Infrastructure),
            ("203.0.113.5", UDP, 5353, 5353, Internet),
            ("192.168.0.7", UDP, 40000, 5353, Intranet),
            ("239.255.255.250", UDP, 40000, 1900, Infrastructure),
            ("224.0.0.252", UDP, 40000, 5355, Infrastructure),
            ("239.1.2.3", UDP, 40000, 5000, Multicast),
            ("224.0.0.22", IGMP, 0, 0, Infrastructure),
            ("127.0.0.1", TCP, 40000, 1883, Loopback),
        ] {
            assert_eq!(
                networks().scope(&contact(peer, number, own, port)),
                scope,
                "{peer} {number} {port}"
            );
        }
    }

    #[test]
    fn a_ping_is_a_contact_and_an_unreachable_notice_is_not() {
        let icmp = |peer: &str, protocol, icmp_type| Contact {
            icmp_type: Some(icmp_type),
            ..contact(peer, protocol, 0, 0)
        };
        assert_eq!(
            networks().scope(&icmp("192.168.0.7", protocol::ICMP, 8)),
            Scope::Intranet
        );
        assert_eq!(
            networks().scope(&icmp("192.168.0.7", protocol::ICMP, 3)),
            Scope::Infrastructure
        );
        assert_eq!(
            networks().scope(&icmp("fe80::1", protocol::ICMPV6, 136)),
            Scope::Infrastructure
        );
        assert_eq!(
            networks().scope(&icmp("fe80::1", protocol::ICMPV6, 128)),
            Scope::Intranet
        );
    }

    proptest! {
        #[test]
        fn no_address_panics(peer: IpAddr, own_port: u16, peer_port: u16, protocol: u8, icmp_type: Option<u8>) {
            let contact = Contact { peer, peer_port, own_port, protocol, icmp_type };
            prop_assert_ne!(networks().scope(&contact), Scope::Unknown);
        }
    }
}
