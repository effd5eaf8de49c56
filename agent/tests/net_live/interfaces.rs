//! Interfaces that come, go and change, real ones of this kernel.

use std::{process::Command, time::Duration};

use labwatch_contract::event::{
    Action,
    interface::InterfaceKind::{Bridge, Tunnel, Virtual},
};

use crate::{
    cable::{Cable, bash, ip, skipped},
    watcher::{Watcher, about, end, reason, watched},
};

#[test]
fn an_interface_that_comes_late_is_watched_and_one_that_goes_is_told() {
    let Some(cable) = Cable::new("late") else {
        return;
    };
    assert!(ip(&format!("-n {} link del lab0", cable.pc)));
    let watcher = Watcher::start(&cable.pc, Duration::from_secs(600));
    cable.plug();
    watcher.wait_for_interface();
    bash(&cable.pc, "echo hello >/dev/udp/10.77.0.2/9999");
    let told = watcher.wait_for("intranet-access", |event| {
        event.action == Action::IntranetAccess
    });
    assert_eq!(end(&told.fields.destination), "10.77.0.2:9999");
    assert!(ip(&format!("-n {} link set lab0 down", cable.pc)));
    watcher.wait_for("interface-down", |event| {
        event.action == Action::InterfaceDown
    });
    assert!(ip(&format!("-n {} link set lab0 up", cable.pc)));
    watcher.wait_for_interface();
    bash(&cable.pc, "echo hello >/dev/udp/10.77.0.2/9998");
    let told = watcher.wait_for("intranet-access", |event| {
        event.action == Action::IntranetAccess
    });
    assert_eq!(end(&told.fields.destination), "10.77.0.2:9998");
    assert!(ip(&format!("-n {} link del lab0", cable.pc)));
    watcher.wait_for("interface-down", |event| {
        event.action == Action::InterfaceDown
    });
    let last = watcher.stop();
    let report = last
        .iter()
        .find(|event| event.action == Action::TrafficReport)
        .unwrap();
    let interfaces = report.fields.lab.interfaces.as_ref().unwrap();
    assert!(
        interfaces
            .iter()
            .any(|one| one.name == "lab0" && one.bytes > 0),
        "{interfaces:?}"
    );
}

#[test]
fn without_the_privilege_to_capture_the_rest_goes_on_and_says_so() {
    const INNER: &str = "LABWATCH_TEST_WITHOUT_PRIVILEGE";
    if std::env::var_os(INNER).is_none() {
        let test = "interfaces::without_the_privilege_to_capture_the_rest_goes_on_and_says_so";
        let inner = Command::new("setpriv")
            .args(["--inh-caps=-net_raw", "--bounding-set=-net_raw", "--"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .env(INNER, "1")
            .output();
        match inner {
            Ok(inner) => {
                let said = String::from_utf8_lossy(&inner.stdout);
                assert!(
                    inner.status.success() && said.contains("1 passed"),
                    "{said}"
                );
            }
            Err(error) => skipped(&format!("no setpriv (util-linux) here: {error}")),
        }
        return;
    }
    let Some(cable) = Cable::new("raw") else {
        return;
    };
    let watcher = Watcher::start(&cable.pc, Duration::from_secs(600));
    watcher.wait_for_interface();
    assert_eq!(watcher.health.degraded.words(), ["no-capture"]);
    assert!(ip(&format!("-n {} link del lab0", cable.pc)));
    watcher.wait_for("interface-down", |event| {
        event.action == Action::InterfaceDown
    });
    watcher.stop();
}

#[test]
fn each_kind_of_interface_that_this_kernel_can_make_is_told_in_words() {
    let Some((cable, watcher)) = watched("kinds") else {
        return;
    };
    let pc = &cable.pc;
    for (make, driver, kind) in [
        ("link add new0 type dummy", "dummy", Virtual),
        ("link add new0 type veth peer name new1", "veth", Virtual),
        ("link add new0 type bridge", "bridge", Bridge),
        (
            "link add link lab0 name new0 type vlan id 7",
            "vlan",
            Virtual,
        ),
        (
            "link add link lab0 name new0 type macvlan",
            "macvlan",
            Virtual,
        ),
        (
            "link add new0 type vxlan id 7 dstport 4789 remote 10.77.0.2",
            "vxlan",
            Tunnel,
        ),
        ("tuntap add new0 mode tun", "tun", Tunnel),
        ("tuntap add new0 mode tap", "tun", Tunnel),
        ("link add new0 type wireguard", "wireguard", Tunnel),
        (
            "link add new0 type sit remote 10.77.0.2 local 10.77.0.1",
            "sit",
            Tunnel,
        ),
    ] {
        if !ip(&format!("-n {pc} {make}")) {
            skipped(&format!("{driver}: this kernel or ip does not know it"));
            continue;
        }
        assert!(ip(&format!("-n {pc} link set new0 up")));
        let up = about(&watcher, Action::InterfaceUp, "new0");
        let told = up.fields.lab.interface.as_ref().unwrap();
        assert_eq!((told.kind, told.driver.as_deref()), (kind, Some(driver)));
        assert!(ip(&format!("-n {pc} link del new0")));
        let down = about(&watcher, Action::InterfaceDown, "new0");
        assert_eq!((reason(&up), reason(&down)), ("new", "gone"));
    }
    watcher.stop();
}

#[test]
fn another_name_is_told_and_its_traffic_still_counted() {
    let Some((cable, watcher)) = watched("rename") else {
        return;
    };
    let pc = &cable.pc;
    let renames_up = ip(&format!("-n {pc} link set lab0 name evil0"));
    if !renames_up {
        // Before Linux 6.2 only what is off takes another name.
        assert!(ip(&format!("-n {pc} link set lab0 down")));
        assert!(ip(&format!("-n {pc} link set lab0 name evil0")));
        assert!(ip(&format!("-n {pc} link set evil0 up")));
    }
    about(&watcher, Action::InterfaceDown, "lab0");
    let up = about(&watcher, Action::InterfaceUp, "evil0");
    assert!(reason(&up).contains("renamed from lab0"), "{up:?}");
    bash(pc, "echo hello >/dev/udp/10.77.0.2/9997");
    let told = watcher.wait_for("intranet-access", |event| {
        event.action == Action::IntranetAccess
    });
    assert_eq!(end(&told.fields.destination), "10.77.0.2:9997");
    let reports = watcher.stop();
    let reports = reports
        .iter()
        .filter(|event| event.action == Action::TrafficReport);
    let mut interfaces = reports.flat_map(|report| report.fields.lab.interfaces.iter().flatten());
    assert!(interfaces.any(|one| one.name == "evil0" && Some(one.bytes) == one.counter_bytes));
}

#[test]
fn addresses_routes_and_a_pulled_cable_are_told() {
    let Some((cable, watcher)) = watched("routes") else {
        return;
    };
    let (pc, other) = (&cable.pc, &cable.other);
    assert!(ip(&format!("-n {pc} addr add 10.77.0.3/24 dev lab0")));
    let changed = about(&watcher, Action::AddressChanged, "lab0");
    assert_eq!(changed.fields.lab.interface.unwrap().addresses.len(), 3);
    assert!(ip(&format!("-n {pc} route replace default via 10.77.0.9")));
    let changed = about(&watcher, Action::RouteChanged, "lab0")
        .fields
        .lab
        .interface
        .unwrap();
    assert_eq!(changed.gateway, "10.77.0.9".parse().ok());
    assert!(ip(&format!("-n {pc} route add 0.0.0.0/1 via 10.77.0.8")));
    let changed = about(&watcher, Action::RouteChanged, "lab0")
        .fields
        .lab
        .interface
        .unwrap();
    assert_eq!(changed.gateway, "10.77.0.8".parse().ok());
    assert!(ip(&format!("-n {other} link set lab0 down")));
    let pulled = about(&watcher, Action::InterfaceDown, "lab0");
    assert!(reason(&pulled).starts_with("no carrier"));
    assert!(pulled.fields.lab.interface.is_some());
    assert!(ip(&format!("-n {other} link set lab0 up")));
    assert_eq!(
        reason(&about(&watcher, Action::InterfaceUp, "lab0")),
        "carrier is there"
    );
    watcher.stop();
}

#[test]
fn a_tunnel_that_came_and_went_at_once_is_told_with_what_went_over_it() {
    let Some((cable, watcher)) = watched("flash") else {
        return;
    };
    let hold = watcher.stand_still(&cable);
    bash(
        &cable.pc,
        "ip link add flash0 type veth peer name flash1; ip link set flash1 up; ip link set flash0 up
         ip addr add 10.99.0.1/24 dev flash0; ip neigh add 10.99.0.2 lladdr 02:00:00:00:00:02 dev flash0
         echo hello >/dev/udp/10.99.0.2/9; sleep 0.1; ip link del flash0",
    );
    drop(hold);
    assert_eq!(
        reason(&about(&watcher, Action::InterfaceUp, "flash0")),
        "came and went at once"
    );
    about(&watcher, Action::InterfaceDown, "flash0");
    let gap = about(&watcher, Action::CaptureGap, "flash0");
    assert!(
        reason(&gap).ends_with("bytes went over it unseen"),
        "{gap:?}"
    );
    watcher.stop();
}
