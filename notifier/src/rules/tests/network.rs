//! Interfaces, tunnels and routes, in virtual time.

use super::{rig::Lab, *};

#[test]
fn what_leads_around_the_cable_is_a_warning() {
    for (kind, rule, severity) in [
        ("tunnel", "interface-way-out", Severity::Warning),
        ("wifi", "interface-way-out", Severity::Warning),
        ("usb", "interface-way-out", Severity::Warning),
        ("ethernet", "interface-up", Severity::Info),
        ("bridge", "interface-up", Severity::Info),
    ] {
        let finding = found(&lab::interface(PC33, "interface-up", "tun0", kind));
        assert_eq!(
            (finding.rule.id, finding.severity),
            (rule, severity),
            "{kind}"
        );
    }
    let route = lab::interface(PC33, "route-changed", "wlan0", "wifi");
    let gone = found(&route);
    assert_eq!(
        (gone.rule.id, gone.severity),
        ("route-gone", Severity::Info)
    );
    let route = found(&lab::with_gateway(&route, "10.8.0.1"));
    assert_eq!(route.severity, Severity::Warning);
    for quiet in ["interface-down", "address-changed"] {
        let finding = found(&lab::interface(PC33, quiet, "eth0", "ethernet"));
        assert_eq!(finding.severity, Severity::Info, "{quiet}");
    }
}

#[test]
fn a_tunnel_is_told_with_its_addresses() {
    says(
        &lab::interface(PC33, "interface-up", "tun0", "tunnel"),
        Severity::Warning,
        "interface-way-out",
        "192.168.0.133 (pc-33): network interface up: tun0, tunnel or VPN, 10.8.0.2/24",
    );
}

#[test]
fn a_link_that_comes_and_goes_is_flapping_and_technical() {
    let mut lab = Lab::new();
    let rules: Vec<Vec<&str>> = ["up", "down", "up", "down", "up"]
        .into_iter()
        .map(|way| {
            let action = format!("interface-{way}");
            let link = lab::interface(PC33, &action, "eth0", "ethernet");
            lab.hear_all(3, PC33, "net/interface", &link)
        })
        .map(|found| found.iter().map(|one| one.rule.id).collect())
        .collect();
    assert_eq!(
        rules[..3],
        [["interface-up"], ["interface-down"], ["interface-up"]]
    );
    assert_eq!(rules[3], ["interface-down"]);
    assert_eq!(rules[4], ["interface-up", "link-flapping"]);
}

#[test]
fn a_vpn_that_is_toggled_until_it_flaps_is_still_told_as_a_way_out() {
    let mut lab = Lab::new();
    let mut told = Vec::new();
    for way in ["up", "down", "up", "down", "up", "down", "up"] {
        let action = format!("interface-{way}");
        let link = lab::interface(PC33, &action, "wg0", "tunnel");
        told = lab.hear_all(3, PC33, "net/interface", &link);
    }
    let told: Vec<_> = told
        .iter()
        .map(|one| (one.rule.id, one.rule.subject, one.severity))
        .collect();
    assert_eq!(
        told,
        [
            ("interface-way-out", "interface", Severity::Warning),
            ("link-flapping", "link", Severity::Technical),
        ]
    );
}

#[test]
fn an_interface_that_was_not_there_before_and_a_second_default_route_are_warnings() {
    let mut lab = Lab::new();
    lab.online(PC33);
    lab.hear(40, PC33, "net", &lab::report(PC33, PC34, 1, 1));
    let new = lab.hear(
        1,
        PC33,
        "net/interface",
        &lab::interface(PC33, "interface-up", "eth1", "ethernet"),
    );
    assert_eq!(new.unwrap().rule.id, "interface-new");
    let route = |name: &str, gateway: &str| {
        let payload = lab::interface(PC33, "route-changed", name, "ethernet");
        lab::with_gateway(&payload, gateway)
    };
    let first = lab
        .hear(1, PC33, "net/interface", &route("eth0", "192.168.0.1"))
        .unwrap();
    assert_eq!(
        (first.rule.id, first.severity),
        ("route-changed", Severity::Info)
    );
    assert_eq!(
        lab.hear(1, PC33, "net/interface", &route("eth0", "192.168.0.1")),
        None,
        "renewed"
    );
    assert_eq!(
        lab.hear(1, PC33, "net/interface", &route("eth0", "fe80::1")),
        None,
        "a router"
    );
    let second = lab
        .hear(1, PC33, "net/interface", &route("eth1", "10.0.0.1"))
        .unwrap();
    assert_eq!(
        (second.rule.id, second.severity),
        ("route-second", Severity::Warning)
    );
}

#[test]
fn a_renewed_lease_and_a_new_ipv6_address_of_the_same_card_are_nothing() {
    let renewed = lab::interface(PC33, "address-changed", "eth0", "ethernet");
    let addresses = json!(["192.168.0.133/24", "2001:db8::9c1e/64"]);
    let renewed = lab::with(&renewed, "/lab/interface/addresses", addresses);
    assert_eq!(Lab::new().hear(1, PC33, "net/interface", &renewed), None);
}

#[test]
fn a_second_default_route_ends_with_its_interface() {
    let mut lab = Lab::new();
    let route = |name: &str, gateway: &str| {
        let payload = lab::interface(PC33, "route-changed", name, "ethernet");
        lab::with_gateway(&payload, gateway)
    };
    lab.hear(1, PC33, "net/interface", &route("eth0", "192.168.0.1"));
    let second = lab
        .hear(1, PC33, "net/interface", &route("eth1", "10.0.0.1"))
        .unwrap();
    assert_eq!(second.rule.id, "route-second");
    let down = lab::interface(PC33, "interface-down", "eth1", "ethernet");
    let ended = lab.hear_all(1, PC33, "net/interface", &down);
    let rules: Vec<_> = ended.iter().map(|found| found.rule.id).collect();
    assert_eq!(rules, ["interface-down", "route-gone"]);
    assert_eq!(
        (ended[1].rule.subject, &ended[1].object),
        (second.rule.subject, &second.object)
    );
    let up = lab::interface(PC33, "interface-up", "eth1", "ethernet");
    lab.hear(61, PC33, "net/interface", &up);
    let again = lab.hear(61, PC33, "net/interface", &down);
    assert_eq!(again.unwrap().rule.id, "interface-down", "it ends once");
}
