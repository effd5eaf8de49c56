//! Links, addresses and routes as the kernel tells them: `NETLINK_ROUTE` (rtnetlink(7), `linux/rtnetlink.h`, `if_link.h`,
//! `if_addr.h`).
//!
//! Three lists can be asked for ([`LISTS`]), and notices come in the same form. Read is only what Labwatch has a use for; a
//! message that is too short, or of another kind, is [`News::Other`]. Names of links are the user's: any bytes but `/` and
//! blanks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::netlink::{self, Message, at, attributes, text, u16_at, u32_at};

/// `RTMGRP_LINK`, `_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV6_IFADDR`, `_IPV6_ROUTE`: what notices are wanted of.
pub const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/// The table of routes that everything uses unless told otherwise.
pub const MAIN_TABLE: u32 = 254;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
/// The lists: links, addresses, routes.
pub const LISTS: [u16; 3] = [RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE];

const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IFF_UP: u32 = 0x1;
const IFF_LOOPBACK: u32 = 0x8;
const IFF_LOWER_UP: u32 = 0x1_0000;
/// Lengths of `ifinfomsg`, `ifaddrmsg`, `rtmsg`, `rtnexthop`.
const LINK: usize = 16;
const ADDRESS: usize = 8;
const ROUTE: usize = 12;
const HOP: usize = 8;
const RTN_UNICAST: u8 = 1;
const RTM_F_CLONED: u32 = 0x200;
const TABLE_LOCAL: u32 = 255;

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A link is there, or is otherwise than it was.
    Link(Link),
    /// A link is gone.
    LinkGone(Link),
    /// A link, by its index, has this address, with its network.
    Address(u32, IpNet),
    /// These routes are there; several where one destination is shared out over several ways.
    Routes(Vec<Route>),
    /// Nothing of these.
    Other,
}

/// A network interface, up or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it; its name may change, this never does.
    pub index: u32,
    /// `eth0`.
    pub name: String,
    /// `ARPHRD_…`: what its frames look like (`linux/if_arp.h`).
    pub arp_type: u16,
    /// Switched on.
    pub is_up: bool,
    /// `lo` and its like.
    pub is_loopback: bool,
    /// A cable is in, a Wi-Fi joined; always where there is nothing to plug in.
    pub has_carrier: bool,
    /// Hardware address, where it has one of six bytes.
    pub mac: Option<[u8; 6]>,
    /// What made it: `veth`, `bridge`, `tun`, `wireguard`, `ppp`, `vlan` …; none for hardware.
    pub maker: Option<String>,
    /// Received plus sent bytes.
    pub bytes: Option<u64>,
}

/// A way to a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub network: IpNet,
    /// The next router; unspecified where the network is reached without one.
    pub gateway: IpAddr,
    /// Index of the link.
    pub link: u32,
    /// Which table it is in.
    pub table: u32,
    /// Of several to one network the lowest is taken.
    pub metric: u32,
}

/// Asks for one of [`LISTS`].
#[must_use]
pub fn list(kind: u16, sequence: u32) -> Vec<u8> {
    let length = match kind {
        RTM_GETLINK => LINK,
        RTM_GETADDR => ADDRESS,
        _ => ROUTE,
    };
    // The first byte is the family: none, so all.
    netlink::request(kind, netlink::DUMP, sequence, &vec![AF_UNSPEC; length])
}

/// Reads a message.
#[must_use]
pub fn read(message: &Message<'_>) -> News {
    let body = message.body;
    let news = match message.kind {
        RTM_NEWLINK => link(body).map(News::Link),
        // A bridge tells with the same number, but of another family, that a port is no longer its.
        RTM_DELLINK if body.first() == Some(&AF_UNSPEC) => link(body).map(News::LinkGone),
        RTM_NEWADDR => address(body).map(|(link, network)| News::Address(link, network)),
        RTM_NEWROUTE => routes(body).map(News::Routes),
        _ => None,
    };
    news.unwrap_or(News::Other)
}

fn link(body: &[u8]) -> Option<Link> {
    const IFLA_ADDRESS: u16 = 1;
    const IFLA_IFNAME: u16 = 3;
    const IFLA_LINKINFO: u16 = 18;
    const IFLA_STATS64: u16 = 23;
    const IFLA_INFO_KIND: u16 = 1;
    let flags = u32_at(body, 8)?;
    let mut link = Link {
        index: u32_at(body, 4).filter(|index| *index != 0)?,
        arp_type: u16_at(body, 2)?,
        is_up: flags & IFF_UP != 0,
        is_loopback: flags & IFF_LOOPBACK != 0,
        has_carrier: flags & IFF_LOWER_UP != 0,
        ..Link::default()
    };
    for (kind, value) in attributes(body.get(LINK..)?) {
        match kind {
            IFLA_ADDRESS => {
                link.mac = value.try_into().ok().filter(|mac| *mac != [0; 6]);
            }
            IFLA_IFNAME => link.name = text(value),
            IFLA_LINKINFO => {
                let mut about = attributes(value);
                let kind = about.find(|(kind, _)| *kind == IFLA_INFO_KIND);
                link.maker = kind.map(|(_, name)| text(name));
            }
            // `rtnl_link_stats64`: packets received and sent, then bytes received and sent.
            IFLA_STATS64 => {
                let number = |from| at(value, from).map(u64::from_ne_bytes);
                link.bytes = number(16).zip(number(24)).map(|(a, b)| a.wrapping_add(b));
            }
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

fn address(body: &[u8]) -> Option<(u32, IpNet)> {
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    let (family, length) = (*body.first()?, *body.get(1)?);
    let mut own = None;
    for (kind, value) in attributes(body.get(ADDRESS..)?) {
        // At a line with two ends the first is the other end's.
        match kind {
            IFA_LOCAL => own = ip(family, value),
            IFA_ADDRESS => own = own.or(ip(family, value)),
            _ => {}
        }
    }
    Some((u32_at(body, 4)?, IpNet::new(own?, length).ok()?))
}

fn routes(body: &[u8]) -> Option<Vec<Route>> {
    const RTA_DST: u16 = 1;
    const RTA_OIF: u16 = 4;
    const RTA_GATEWAY: u16 = 5;
    const RTA_PRIORITY: u16 = 6;
    const RTA_MULTIPATH: u16 = 9;
    const RTA_TABLE: u16 = 15;
    const RTA_VIA: u16 = 18;
    let (family, length, kind) = (*body.first()?, *body.get(1)?, *body.get(7)?);
    let is_cloned = u32_at(body, 8)? & RTM_F_CLONED != 0;
    let nowhere = unspecified(family).filter(|_| kind == RTN_UNICAST && !is_cloned)?;
    let mut route = Route {
        network: IpNet::new(nowhere, length).ok()?,
        gateway: nowhere,
        link: 0,
        table: u32::from(*body.get(4)?),
        metric: 0,
    };
    let mut ways: &[u8] = &[];
    for (kind, value) in attributes(body.get(ROUTE..)?) {
        match kind {
            RTA_DST => route.network = IpNet::new(ip(family, value)?, length).ok()?,
            RTA_OIF => route.link = u32_at(value, 0)?,
            RTA_GATEWAY => route.gateway = ip(family, value)?,
            RTA_VIA => route.gateway = via(value)?,
            RTA_PRIORITY => route.metric = u32_at(value, 0)?,
            RTA_TABLE => route.table = u32_at(value, 0)?,
            RTA_MULTIPATH => ways = value,
            _ => {}
        }
    }
    if route.table == TABLE_LOCAL {
        return None;
    }
    if ways.is_empty() {
        return (route.link != 0).then(|| vec![route]);
    }
    let hops = hops(ways).map(|(link, about)| {
        let mut route = Route {
            link,
            ..route.clone()
        };
        for (kind, value) in attributes(about) {
            let gateway = match kind {
                RTA_GATEWAY => ip(family, value),
                RTA_VIA => via(value),
                _ => None,
            };
            route.gateway = gateway.unwrap_or(route.gateway);
        }
        route
    });
    Some(hops.collect())
}

/// The ways of a route with several: each link, and the attributes of the way.
fn hops(ways: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = ways;
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let about = rest.get(HOP..length)?;
        let link = u32_at(rest, 4)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((link, about))
    })
}

/// A router of another family than the route: `rtvia`.
fn via(value: &[u8]) -> Option<IpAddr> {
    let family = u8::try_from(u16_at(value, 0)?).ok()?;
    ip(family, value.get(2..)?)
}

fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => at::<4>(value, 0).map(|octets| Ipv4Addr::from(octets).into()),
        AF_INET6 => at::<16>(value, 0).map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

fn unspecified(family: u8) -> Option<IpAddr> {
    ip(family, &[0; 16])
}

#[cfg(test)]
mod tests;
