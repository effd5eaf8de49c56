use super::*;

fn interface(index: u32, addresses: &[&str], gateway: Option<&str>) -> Interface {
    Interface {
        index,
        mac: None,
        usb: None,
        shown: interface::Interface {
            name: format!("eth{index}"),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            gateway: gateway.map(|text| text.parse().unwrap()),
            ..Default::default()
        },
    }
}

fn surroundings(interfaces: Vec<Interface>) -> Surroundings {
    Surroundings {
        interfaces,
        ..Surroundings::default()
    }
}

fn actions(old: &Surroundings, new: &Surroundings) -> Vec<String> {
    let changes = old.changes(new, Timestamp::from_unix_ms(0).unwrap());
    changes
        .iter()
        .map(|one| {
            format!(
                "{} {}",
                one.action,
                one.fields.lab.interface.as_ref().unwrap().name
            )
        })
        .collect()
}

#[test]
fn every_change_is_reported_once() {
    let old = surroundings(vec![
        interface(1, &["10.0.0.2/8"], None),
        interface(2, &[], None),
    ]);
    let new = surroundings(vec![
        interface(1, &["10.0.0.3/8"], Some("10.0.0.1")),
        interface(3, &["192.168.0.2/24"], None),
    ]);
    let expected = [
        "interface-down eth2",
        "address-changed eth1",
        "route-changed eth1",
        "interface-up eth3",
    ];
    assert_eq!(actions(&old, &new), expected);
    assert_eq!(actions(&new, &new), [""; 0]);
}

#[test]
fn an_interface_replaced_under_its_name_went_and_came() {
    let mut other = interface(2, &[], None);
    other.shown.name = "eth1".into();
    let old = surroundings(vec![interface(1, &[], None)]);
    assert_eq!(
        actions(&old, &surroundings(vec![other])),
        ["interface-down eth1", "interface-up eth1"]
    );
}

fn reasons(old: &Surroundings, new: &Surroundings) -> Vec<String> {
    let changes = old.changes(new, Timestamp::from_unix_ms(0).unwrap());
    let told = |one: &Occurrence| {
        let reason = one.fields.lab.reason.as_deref().unwrap_or_default();
        let name = &one.fields.lab.interface.as_ref().unwrap().name;
        format!("{} {name}: {reason}", one.action)
    };
    changes.iter().map(told).collect()
}

fn named(index: u32, name: &str) -> Interface {
    let mut one = interface(index, &[], None);
    one.shown.name = name.into();
    one
}

fn idle(index: u32, name: &str) -> Idle {
    Idle {
        index,
        name: name.into(),
        bytes: None,
        up_as: None,
        is_new: false,
    }
}

#[test]
fn another_name_is_the_same_interface_also_where_it_was_off_meanwhile() {
    let eth = surroundings(vec![named(1, "eth0")]);
    let evil = surroundings(vec![named(1, "evil0")]);
    let told = [
        "interface-down eth0: renamed to evil0",
        "interface-up evil0: renamed from eth0",
    ];
    assert_eq!(reasons(&eth, &evil), told);

    let mut off = surroundings(vec![]);
    off.idle = vec![idle(1, "eth0")];
    off.remember(&eth);
    assert_eq!(reasons(&eth, &off), ["interface-down eth0: switched off"]);
    let mut still_off = surroundings(vec![]);
    still_off.idle = vec![idle(1, "evil0")];
    still_off.remember(&off);
    let told = "interface-up evil0: switched on, renamed from eth0";
    assert_eq!(reasons(&still_off, &evil), [told]);
    assert_eq!(reasons(&off, &eth), ["interface-up eth0: switched on"]);
    assert_eq!(
        reasons(&surroundings(vec![]), &eth),
        ["interface-up eth0: new"]
    );
    assert_eq!(
        reasons(&eth, &surroundings(vec![])),
        ["interface-down eth0: gone"]
    );
}

#[test]
fn what_is_made_first_and_switched_on_later_is_new_all_the_same() {
    let eth = surroundings(vec![named(1, "eth0")]);
    let mut made = surroundings(vec![named(1, "eth0")]);
    made.idle = vec![idle(2, "tun0")];
    made.remember(&eth);
    let both = surroundings(vec![named(1, "eth0"), named(2, "tun0")]);
    assert_eq!(reasons(&made, &both), ["interface-up tun0: new"]);
    let mut at_start = surroundings(vec![]);
    at_start.idle = vec![idle(2, "tun0")];
    at_start.remember(&Surroundings::default());
    let tun = surroundings(vec![named(2, "tun0")]);
    assert_eq!(reasons(&at_start, &tun), ["interface-up tun0: switched on"]);
}

#[test]
fn a_pulled_cable_and_another_wifi_are_told() {
    let with = |no_carrier, ssid: Option<&str>| {
        let mut one = interface(1, &[], None);
        one.shown.no_carrier = no_carrier;
        one.shown.ssid = ssid.map(str::to_owned);
        surroundings(vec![one])
    };
    let (plugged, pulled) = (with(false, None), with(true, None));
    assert_eq!(
        reasons(&plugged, &pulled),
        [format!("interface-down eth1: {NO_CARRIER}")]
    );
    assert_eq!(
        reasons(&pulled, &plugged),
        ["interface-up eth1: carrier is there"]
    );
    let (lab, phone) = (with(false, Some("Lab")), with(false, Some("Phone")));
    let told = [
        "interface-down eth1: left the Wi-Fi Lab",
        "interface-up eth1: joined the Wi-Fi Phone",
    ];
    assert_eq!(reasons(&lab, &phone), told);
    assert_eq!(
        reasons(&pulled, &phone),
        ["interface-up eth1: carrier is there; joined the Wi-Fi Phone"]
    );
}

#[test]
fn a_default_route_of_either_family_is_told() {
    let old = surroundings(vec![interface(1, &[], Some("10.0.0.1"))]);
    let mut with_ipv6 = interface(1, &[], Some("10.0.0.1"));
    with_ipv6.shown.ipv6_gateway = Some("fe80::1".parse().unwrap());
    assert_eq!(
        actions(&old, &surroundings(vec![with_ipv6])),
        ["route-changed eth1"]
    );
}

#[test]
fn a_usb_card_is_told_with_its_port_and_ids() {
    let mut card = interface(1, &[], None);
    card.usb = Some(UsbCard {
        port: "1-2".into(),
        vendor_id: "0525".into(),
        product_id: "a4a2".into(),
    });
    let fields = occurrence(
        Action::InterfaceUp,
        &card,
        Timestamp::from_unix_ms(0).unwrap(),
    )
    .fields;
    assert_eq!(fields.lab.usb.unwrap().port, "1-2");
    assert_eq!(fields.device.unwrap().vendor.id, "0525");
}

#[test]
fn local_networks_are_those_of_the_addresses_the_routes_and_the_administrator() {
    let here = Surroundings {
        on_link: vec!["172.16.0.0/12".parse().unwrap()],
        ..surroundings(vec![interface(1, &["203.0.113.7/24"], None)])
    };
    let local = here
        .networks(&["198.51.100.9/25".parse().unwrap()], None)
        .local;
    let local: Vec<String> = local.iter().map(ToString::to_string).collect();
    assert_eq!(
        local,
        ["172.16.0.0/12", "198.51.100.0/25", "203.0.113.0/24"]
    );
}
