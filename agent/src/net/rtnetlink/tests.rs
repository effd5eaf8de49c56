use labwatch_contract::event::interface::InterfaceKind;
use proptest::prelude::*;

use super::*;
use crate::net::{
    netlink::{attribute, messages, request},
    surroundings::kernel::{Card, Lists},
    wifi,
};

/// `ifinfomsg`: family, frames, index, flags, change.
fn link_body(family: u8, arp_type: u16, index: u32, flags: u32) -> Vec<u8> {
    let mut body = vec![family, 0];
    body.extend(arp_type.to_ne_bytes());
    body.extend(index.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.extend([0; 4]);
    body
}

/// As the kernel writes a link of this maker; laid out by `linux/if_link.h`, with attributes that are not read among them.
fn link_of(maker: &str, arp_type: u16) -> Vec<u8> {
    let about = attribute(1, format!("{maker}\0").as_bytes());
    let data = attribute(2, &[1, 2, 3, 4]);
    let mut counters = vec![0; 24 * 8];
    counters[16..24].copy_from_slice(&100_u64.to_ne_bytes());
    counters[24..32].copy_from_slice(&20_u64.to_ne_bytes());
    let mut body = link_body(AF_UNSPEC, arp_type, 7, IFF_UP | IFF_LOWER_UP);
    body.extend(attribute(3, b"out0\0"));
    body.extend(attribute(4, &1420_u32.to_ne_bytes()));
    body.extend(attribute(23, &counters));
    // With the flag for nested attributes, which newer kernels set.
    body.extend(attribute(18 | 0x8000, &[about, data].concat()));
    body
}

fn first(bytes: &[u8]) -> News {
    read(&messages(bytes).next().unwrap())
}

fn news(kind: u16, body: &[u8]) -> News {
    first(&request(kind, 0, 1, body))
}

#[test]
fn a_link_has_its_name_its_maker_and_its_counters() {
    let News::Link(link) = news(RTM_NEWLINK, &link_of("wireguard", 65534)) else {
        panic!("a link");
    };
    assert_eq!((link.index, link.name.as_str()), (7, "out0"));
    assert_eq!(link.maker.as_deref(), Some("wireguard"));
    assert_eq!((link.bytes, link.mac), (Some(120), None));
    assert!(link.is_up && link.has_carrier && !link.is_loopback);
}

/// What Linux 6.1 said of real ones (`scripts/test-net-vm --record`): the kernel here may know none of them.
#[test]
fn recorded_vpns_are_tunnels() {
    for (recorded, name, maker) in [
        (
            &include_bytes!("../../../fixtures/net/kernel/wg0-link.bin")[..],
            "wg0",
            "wireguard",
        ),
        (
            include_bytes!("../../../fixtures/net/kernel/ppp0-link.bin"),
            "ppp0",
            "ppp",
        ),
        (
            include_bytes!("../../../fixtures/net/kernel/vpn0-link.bin"),
            "vpn0",
            "tun",
        ),
    ] {
        let News::Link(link) = first(recorded) else {
            panic!("{name} is a link");
        };
        assert_eq!(
            (link.name.as_str(), link.maker.as_deref()),
            (name, Some(maker))
        );
        assert_eq!((link.is_loopback, link.mac), (false, None));
        let mut lists = Lists::default();
        lists.take(News::Link(Link {
            is_up: true,
            ..link
        }));
        let shown = lists.interfaces(|_| Card::default()).remove(0).shown;
        assert_eq!(
            (shown.kind, shown.driver.as_deref()),
            (InterfaceKind::Tunnel, Some(maker))
        );
    }
}

#[test]
fn a_recorded_wifi_says_what_it_has_joined() {
    let recorded = include_bytes!("../../../fixtures/net/kernel/wlan0-wifi.bin");
    let answer = messages(recorded).next().unwrap();
    assert_eq!(
        wifi::ssid(answer.kind, &answer).as_deref(),
        Some("Café Lab")
    );
    let News::Link(link) = first(include_bytes!(
        "../../../fixtures/net/kernel/wlan0-link.bin"
    )) else {
        panic!("a link");
    };
    assert_eq!(
        (link.name.as_str(), link.arp_type, link.maker),
        ("wlan0", 1, None)
    );
    assert!(link.mac.is_some());
}

#[test]
fn a_link_that_is_gone_is_told_from_a_port_that_left_its_bridge() {
    let mut body = link_body(AF_UNSPEC, 1, 7, 0);
    body.extend(attribute(3, b"eth1\0"));
    assert!(matches!(news(RTM_DELLINK, &body), News::LinkGone(link) if link.name == "eth1"));
    body[0] = 7;
    assert_eq!(news(RTM_DELLINK, &body), News::Other);
}

#[test]
fn an_address_is_this_ends_with_the_length_of_its_network() {
    let mut body = vec![AF_INET, 24, 0, 0, 7, 0, 0, 0];
    body.extend(attribute(1, &[10, 0, 0, 9]));
    body.extend(attribute(2, &[10, 0, 0, 1]));
    assert_eq!(
        news(RTM_NEWADDR, &body),
        News::Address(7, "10.0.0.1/24".parse().unwrap())
    );
    let mut body = vec![AF_INET6, 64, 0, 0, 7, 0, 0, 0];
    body.extend(attribute(1, &Ipv6Addr::LOCALHOST.octets()));
    assert_eq!(
        news(RTM_NEWADDR, &body),
        News::Address(7, "::1/64".parse().unwrap())
    );
}

fn route_body(family: u8, length: u8, table: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![family, length, 0, 0, table, 3, 0, RTN_UNICAST, 0, 0, 0, 0];
    body.extend(attributes.concat());
    body
}

#[test]
fn a_default_route_names_its_gateway_also_one_of_the_other_family() {
    let link = attribute(4, &7_u32.to_ne_bytes());
    let plain = route_body(
        AF_INET,
        0,
        254,
        &[attribute(5, &[10, 0, 0, 1]), link.clone()],
    );
    let expected = Route {
        network: "0.0.0.0/0".parse().unwrap(),
        gateway: "10.0.0.1".parse().unwrap(),
        link: 7,
        table: MAIN_TABLE,
        metric: 0,
    };
    assert_eq!(
        news(RTM_NEWROUTE, &plain),
        News::Routes(vec![expected.clone()])
    );
    let router: Ipv6Addr = "fe80::1".parse().unwrap();
    let via = attribute(18, &[&10_u16.to_ne_bytes()[..], &router.octets()].concat());
    let table = attribute(15, &51820_u32.to_ne_bytes());
    let other = route_body(AF_INET, 0, 252, &[via, link, table]);
    let expected = Route {
        gateway: router.into(),
        table: 51820,
        ..expected
    };
    assert_eq!(news(RTM_NEWROUTE, &other), News::Routes(vec![expected]));
}

#[test]
fn a_route_over_two_ways_is_two() {
    let hop = |link: u32, gateway: [u8; 4]| {
        let mut hop = vec![16, 0, 0, 0];
        hop.extend(link.to_ne_bytes());
        hop.extend(attribute(5, &gateway));
        hop
    };
    let ways = [hop(7, [10, 0, 0, 1]), hop(8, [10, 1, 0, 1])].concat();
    let body = route_body(AF_INET, 0, 254, &[attribute(9, &ways)]);
    let News::Routes(routes) = news(RTM_NEWROUTE, &body) else {
        panic!("routes");
    };
    let ways: Vec<_> = routes
        .iter()
        .map(|one| (one.link, one.gateway.to_string()))
        .collect();
    assert_eq!(ways, [(7, "10.0.0.1".into()), (8, "10.1.0.1".into())]);
}

#[test]
fn routes_to_this_pc_itself_and_to_nowhere_are_none() {
    let link = attribute(4, &7_u32.to_ne_bytes());
    assert_eq!(
        news(
            RTM_NEWROUTE,
            &route_body(AF_INET, 32, 255, std::slice::from_ref(&link))
        ),
        News::Other
    );
    let mut unreachable = route_body(AF_INET, 0, 254, &[link]);
    unreachable[7] = 7;
    assert_eq!(news(RTM_NEWROUTE, &unreachable), News::Other);
}

#[test]
fn a_list_is_asked_for_in_the_form_that_the_kernel_checks() {
    let lengths = LISTS.map(|kind| list(kind, 1).len());
    assert_eq!(lengths, [16 + 16, 16 + 8, 16 + 12]);
}

proptest! {
    #[test]
    fn no_datagram_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        messages(&bytes).for_each(|message| drop(read(&message)));
    }

    #[test]
    fn no_body_panics(kind in 16_u16..27, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = news(kind, &bytes);
    }

    #[test]
    fn no_cut_or_spoilt_message_panics(cut in 0..400_usize, place in 0..400_usize, byte: u8) {
        let mut bytes = request(RTM_NEWLINK, 0, 1, &link_of("tun", 65534));
        let place = place % bytes.len();
        bytes[place] = byte;
        bytes.truncate(cut);
        messages(&bytes).for_each(|message| drop(read(&message)));
    }
}
