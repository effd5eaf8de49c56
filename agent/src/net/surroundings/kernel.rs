//! What the kernel's lists of links, addresses and routes say, put together into the interfaces that they describe.
//!
//! What an interface is follows from what made it (`IFLA_INFO_KIND`), from its frames (`ARPHRD_…`) and from its [`Card`]. A
//! link that is down is no interface but [`Idle`]. All lists are bounded; a PC has a handful of each.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::IpNet;
use labwatch_contract::event::interface::{self, InterfaceKind};

use super::{Interface, UsbCard};
use crate::net::rtnetlink::{Link, MAIN_TABLE, News, Route};

const MOST_LINKS: usize = 1024;
const MOST_ADDRESSES: usize = 4096;
const MOST_ROUTES: usize = 16_384;

/// Makers of links that lead somewhere else than the cable.
const TUNNELS: [&str; 20] = [
    "amneziawg",
    "erspan",
    "fou",
    "geneve",
    "gre",
    "gretap",
    "gtp",
    "ip6erspan",
    "ip6gre",
    "ip6gretap",
    "ip6tnl",
    "ipip",
    "ovpn",
    "ppp",
    "sit",
    "tun",
    "vti",
    "vti6",
    "vxlan",
    "wireguard",
];
/// `ARPHRD_ETHER`.
const ETHERNET: u16 = 1;
/// `ARPHRD_PPP`, `_TUNNEL`, `_TUNNEL6`, `_SIT`, `_IPGRE`, `_IP6GRE`, `_NONE`.
const TUNNEL_FRAMES: [u16; 7] = [512, 768, 769, 776, 778, 823, 65534];

/// The kernel's lists at one moment.
#[derive(Debug, Clone, Default)]
pub struct Lists {
    links: BTreeMap<u32, Link>,
    addresses: Vec<(u32, IpNet)>,
    routes: Vec<Route>,
}

/// What is known of an interface beside the lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Card {
    /// It is a wireless one.
    pub is_wifi: bool,
    /// No hardware stands behind it.
    pub is_virtual: bool,
    /// The Wi-Fi that it has joined.
    pub ssid: Option<String>,
    /// The driver of the hardware.
    pub driver: Option<String>,
    /// Its USB device.
    pub usb: Option<UsbCard>,
}

/// A link that is down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idle {
    /// The kernel's number.
    pub index: u32,
    /// Its name now.
    pub name: String,
    /// What its counters say: received plus sent bytes.
    pub bytes: Option<u64>,
    /// Its name when it was up last.
    pub up_as: Option<String>,
    /// It came while the agent watched, and was never up.
    pub is_new: bool,
}

impl Lists {
    /// Takes in a message of a list.
    pub fn take(&mut self, news: News) {
        match news {
            News::Link(link) if self.links.len() < MOST_LINKS => {
                self.links.insert(link.index, link);
            }
            News::Address(link, network) if self.addresses.len() < MOST_ADDRESSES => {
                self.addresses.push((link, network));
            }
            News::Routes(routes) if self.routes.len() < MOST_ROUTES => self.routes.extend(routes),
            _ => {}
        }
    }

    /// The interfaces that are up, loopback excepted, in the order of their names.
    #[must_use]
    pub fn interfaces(&self, card: impl Fn(&Link) -> Card) -> Vec<Interface> {
        let up = self.real().filter(|link| link.is_up);
        let mut interfaces: Vec<_> = up.map(|link| self.interface(link, card(link))).collect();
        interfaces.sort_by(|a, b| a.shown.name.cmp(&b.shown.name));
        interfaces
    }

    /// The links that are down.
    #[must_use]
    pub fn idle(&self) -> Vec<Idle> {
        let down = self.real().filter(|link| !link.is_up);
        down.map(|link| Idle {
            index: link.index,
            name: link.name.clone(),
            bytes: link.bytes,
            up_as: None,
            is_new: false,
        })
        .collect()
    }

    /// Networks reached without a gateway, by the main table; also single hosts.
    #[must_use]
    pub fn on_link(&self) -> Vec<IpNet> {
        let is_on_link = |route: &&Route| {
            let is_through_real = self.real().any(|link| link.index == route.link);
            let is_host =
                matches!(route.network, IpNet::V6(network) if network.prefix_len() == 128);
            route.table == MAIN_TABLE
                && route.gateway.is_unspecified()
                && is_through_real
                && !is_host
                && is_of_a_site(route.network)
        };
        let routes = self.routes.iter().filter(is_on_link);
        routes.map(|route| route.network.trunc()).collect()
    }

    fn real(&self) -> impl Iterator<Item = &Link> {
        self.links.values().filter(|link| !link.is_loopback)
    }

    fn interface(&self, link: &Link, card: Card) -> Interface {
        let own = self
            .addresses
            .iter()
            .filter(|(index, _)| *index == link.index);
        let mut addresses: Vec<IpNet> = own.map(|(_, network)| *network).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let gateway = |is_ipv4| self.gateway(link.index, is_ipv4);
        let (first, second) = match (gateway(true), gateway(false)) {
            (None, ipv6) => (ipv6, None),
            both => both,
        };
        Interface {
            index: link.index,
            mac: link.mac.map(mac_text),
            shown: interface::Interface {
                name: link.name.clone(),
                kind: kind(link, &card),
                driver: link.maker.clone().or(card.driver),
                ssid: card.ssid,
                no_carrier: !link.has_carrier,
                addresses,
                gateway: first,
                ipv6_gateway: second,
            },
            usb: card.usb,
        }
    }

    /// The way to the internet over a link: of the main table before those that only some traffic uses (`wg-quick` has such a
    /// one); of the narrower before the wider, as the kernel takes them (a VPN puts two halves before the default route).
    fn gateway(&self, link: u32, is_ipv4: bool) -> Option<IpAddr> {
        let leads_out = |route: &&Route| {
            let is_of_family = route.network.addr().is_ipv4() == is_ipv4;
            route.link == link && is_of_family && is_to_internet(route.network)
        };
        let routes = self.routes.iter().filter(leads_out);
        let best = routes.min_by_key(|route| {
            let is_special = route.table != MAIN_TABLE;
            (
                is_special,
                Reverse(route.network.prefix_len()),
                route.metric,
            )
        });
        best.map(|route| route.gateway)
    }
}

/// No site's own network is as large as those by which a VPN takes the internet, `0.0.0.0/1` say.
fn is_of_a_site(network: IpNet) -> bool {
    let is_small = match network {
        IpNet::V4(network) => network.prefix_len() >= 8,
        IpNet::V6(network) => network.prefix_len() >= 32,
    };
    is_small && !network.addr().is_multicast()
}

fn is_to_internet(network: IpNet) -> bool {
    const GLOBAL: Ipv6Addr = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0);
    let is_public = match network {
        IpNet::V4(network) => !network.addr().is_multicast(),
        IpNet::V6(network) => {
            network.prefix_len() == 0 || network.contains(&GLOBAL) || is_global(network.addr())
        }
    };
    is_public && !is_of_a_site(network)
}

/// Within `2000::/3`.
fn is_global(ip: Ipv6Addr) -> bool {
    ip.octets().first().is_some_and(|first| first >> 5 == 1)
}

fn kind(link: &Link, card: &Card) -> InterfaceKind {
    let is_made = |makers: &[&str]| {
        link.maker
            .as_deref()
            .is_some_and(|maker| makers.contains(&maker))
    };
    if card.is_wifi {
        InterfaceKind::Wifi
    } else if is_made(&TUNNELS) {
        InterfaceKind::Tunnel
    } else if is_made(&["bridge"]) {
        InterfaceKind::Bridge
    } else if card.usb.is_some() {
        InterfaceKind::Usb
    } else if TUNNEL_FRAMES.contains(&link.arp_type) {
        InterfaceKind::Tunnel
    } else if link.maker.is_some() || card.is_virtual {
        InterfaceKind::Virtual
    } else if link.arp_type == ETHERNET {
        InterfaceKind::Ethernet
    } else {
        InterfaceKind::Other
    }
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, maker: Option<&str>, arp_type: u16) -> Link {
        Link {
            index,
            name: format!("if{index}"),
            arp_type,
            is_up: true,
            has_carrier: true,
            maker: maker.map(str::to_owned),
            ..Link::default()
        }
    }

    fn route(network: &str, gateway: &str, link: u32) -> Route {
        Route {
            network: network.parse().unwrap(),
            gateway: gateway.parse().unwrap(),
            link,
            table: MAIN_TABLE,
            metric: 0,
        }
    }

    fn lists(links: Vec<Link>, routes: Vec<Route>) -> Lists {
        let mut lists = Lists::default();
        links
            .into_iter()
            .for_each(|link| lists.take(News::Link(link)));
        lists.take(News::Routes(routes));
        lists
    }

    fn shown(lists: &Lists) -> Vec<interface::Interface> {
        let interfaces = lists.interfaces(|_| Card::default());
        interfaces.into_iter().map(|one| one.shown).collect()
    }

    #[test]
    fn what_made_an_interface_is_said_in_words() {
        let kind_of = |maker, arp_type, card| kind(&link(1, maker, arp_type), &card);
        let plain = Card::default;
        for (maker, frames, expected) in [
            (Some("tun"), 65534, InterfaceKind::Tunnel),
            (Some("tun"), 1, InterfaceKind::Tunnel),
            (Some("wireguard"), 65534, InterfaceKind::Tunnel),
            (Some("ppp"), 512, InterfaceKind::Tunnel),
            (None, 776, InterfaceKind::Tunnel),
            (Some("bridge"), 1, InterfaceKind::Bridge),
            (Some("veth"), 1, InterfaceKind::Virtual),
            (Some("vlan"), 1, InterfaceKind::Virtual),
            (None, 1, InterfaceKind::Ethernet),
            (None, 280, InterfaceKind::Other),
        ] {
            assert_eq!(
                kind_of(maker, frames, plain()),
                expected,
                "{maker:?} {frames}"
            );
        }
        let wifi = Card {
            is_wifi: true,
            usb: Some(UsbCard::default()),
            ..plain()
        };
        assert_eq!(kind_of(None, 1, wifi), InterfaceKind::Wifi);
        let modem = Card {
            usb: Some(UsbCard::default()),
            ..plain()
        };
        assert_eq!(kind_of(None, 65534, modem), InterfaceKind::Usb);
    }

    #[test]
    fn a_vpn_that_takes_the_internet_by_halves_or_by_a_table_of_its_own_is_a_way_out() {
        let own_table = Route {
            table: 51820,
            ..route("0.0.0.0/0", "0.0.0.0", 3)
        };
        let lists = lists(
            vec![
                link(1, None, 1),
                link(2, Some("tun"), 65534),
                link(3, Some("wireguard"), 65534),
            ],
            vec![
                route("0.0.0.0/0", "192.168.0.1", 1),
                route("::/0", "fe80::1", 1),
                route("0.0.0.0/1", "10.8.0.1", 2),
                own_table,
                route("224.0.0.0/4", "0.0.0.0", 1),
                route("fc00::/7", "fe80::2", 2),
            ],
        );
        let found = shown(&lists);
        let gateways: Vec<_> = found
            .iter()
            .map(|one| one.gateway.unwrap().to_string())
            .collect();
        assert_eq!(gateways, ["192.168.0.1", "10.8.0.1", "0.0.0.0"]);
        assert_eq!(found[0].ipv6_gateway.unwrap().to_string(), "fe80::1");
        assert_eq!(found[1].ipv6_gateway, None);
    }

    #[test]
    fn networks_on_link_are_those_of_a_site_in_the_main_table() {
        let lists = lists(
            vec![
                link(1, None, 1),
                Link {
                    is_loopback: true,
                    ..link(2, None, 772)
                },
            ],
            vec![
                route("192.168.0.0/16", "0.0.0.0", 1),
                route("2001:db8::/64", "::", 1),
                route("10.0.0.0/8", "192.168.0.9", 1),
                route("128.0.0.0/1", "0.0.0.0", 1),
                route("2001:db8::7/128", "::", 1),
                route("127.0.0.0/8", "0.0.0.0", 2),
                Route {
                    table: 7,
                    ..route("172.16.0.0/12", "0.0.0.0", 1)
                },
            ],
        );
        let on_link: Vec<_> = lists.on_link().iter().map(ToString::to_string).collect();
        assert_eq!(on_link, ["192.168.0.0/16", "2001:db8::/64"]);
    }

    #[test]
    fn an_interface_has_its_addresses_and_says_when_no_cable_is_in() {
        let mut lists = lists(
            vec![Link {
                has_carrier: false,
                mac: Some([0x2c, 0x6e, 0x85, 0, 0xb6, 0x3a]),
                ..link(1, None, 1)
            }],
            vec![],
        );
        lists.take(News::Address(1, "10.0.0.2/8".parse().unwrap()));
        lists.take(News::Address(2, "10.0.0.3/8".parse().unwrap()));
        lists.take(News::Link(Link {
            is_up: false,
            ..link(2, None, 1)
        }));
        let found = lists.interfaces(|_| Card::default());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].mac.as_deref(), Some("2c-6e-85-00-b6-3a"));
        assert_eq!(found[0].shown.addresses.len(), 1);
        assert!(found[0].shown.no_carrier);
        assert_eq!(
            lists.idle(),
            [Idle {
                index: 2,
                name: "if2".into(),
                bytes: None,
                up_as: None,
                is_new: false
            }]
        );
    }
}
