use std::time::Duration;

use labwatch_contract::alert::Severity;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::lab::{self, PC33, PC34};

mod courses;
mod exam;
mod scenarios;

/// What the rules say of an event that comes by its own PC's topic.
pub(crate) fn found(payload: &[u8]) -> Finding {
    judge_own(payload).unwrap().expect("a finding")
}

fn judge_own(payload: &[u8]) -> Result<Option<Finding>, Incomplete> {
    let event = Event::from_payload(payload).unwrap();
    let mut found = Rules::default().handle_event(event.host.ip, &event, event.occurrence.time)?;
    assert!(found.len() <= 1, "{found:?}");
    Ok(found.pop())
}

fn nothing(payload: &[u8]) -> bool {
    judge_own(payload) == Ok(None)
}

#[track_caller]
fn says(payload: &[u8], severity: Severity, rule: &str, message: &str) {
    let finding = found(payload);
    assert_eq!(finding.message, message);
    assert_eq!((finding.severity, finding.rule.id), (severity, rule));
}

#[test]
fn a_stick_is_a_warning_that_says_who_what_and_where() {
    says(
        &lab::device(PC33, "device-connected", "USB HARDDRIVE", &["storage"]),
        Severity::Warning,
        "usb-storage",
        "192.168.0.133 (pc-33): usb device connected: storage, QEMU USB HARDDRIVE, serial RIG0001, port 2-1",
    );
}

#[test]
fn storage_that_types_keys_is_critical_and_named_in_words() {
    says(
        &lab::device(PC33, "device-connected", "Ultra", &["keyboard", "storage"]),
        Severity::Critical,
        "usb-storage-keyboard",
        "192.168.0.133 (pc-33): usb device connected: storage and keyboard in one device, QEMU Ultra, \
         serial RIG0001, port 2-1",
    );
}

#[test]
fn events_that_will_never_come_are_technical() {
    says(
        &lab::event(
            PC33,
            "events-dropped",
            json!({"lab": {"reason": "the journal was full"}}),
        ),
        Severity::Technical,
        "events-dropped",
        "192.168.0.133 (pc-33): events of this PC were dropped before they were recorded: the journal was full",
    );
}

#[test]
fn every_kind_of_device_has_its_rule() {
    for (kinds, rule, severity) in [
        (&["storage"][..], "usb-storage", Severity::Warning),
        (&["phone"], "usb-phone", Severity::Warning),
        (&["network"], "usb-network", Severity::Warning),
        (&["network", "storage"], "usb-storage", Severity::Warning),
        (&["bluetooth"], "usb-bluetooth", Severity::Warning),
        (&["keyboard"], "usb-keyboard", Severity::Warning),
        (&["keyboard", "mouse"], "usb-keyboard", Severity::Warning),
        (&["mouse"], "usb-mouse", Severity::Info),
        (&["hub"], "usb-hub", Severity::Info),
        (&["audio"], "usb-other", Severity::Warning),
        (&["video"], "usb-other", Severity::Warning),
        (&["printer"], "usb-other", Severity::Warning),
        (&["teapot"], "usb-other", Severity::Warning),
        (&[], "usb-other", Severity::Warning),
    ] {
        let finding = found(&lab::device(PC33, "device-connected", "X", kinds));
        assert_eq!(
            (finding.rule.id, finding.severity),
            (rule, severity),
            "{kinds:?}"
        );
    }
}

#[test]
fn a_device_without_names_is_told_by_its_ids() {
    let payload = lab::device(PC33, "device-connected", "", &["other"]);
    let payload = lab::with(&payload, "/device/vendor/name", Value::Null);
    assert!(
        found(&payload)
            .message
            .contains(": other kind, 46f4:0001, serial")
    );
}

#[test]
fn a_device_that_goes_is_good_to_know() {
    says(
        &lab::device(PC33, "device-disconnected", "USB HARDDRIVE", &["storage"]),
        Severity::Info,
        "usb-disconnected",
        "192.168.0.133 (pc-33): usb device disconnected: storage, QEMU USB HARDDRIVE, serial RIG0001, port 2-1",
    );
}

#[test]
fn what_is_there_at_the_start_raises_no_alarm_and_hubs_are_not_told() {
    let stick = found(&lab::device(PC33, "device-present", "Stick", &["storage"]));
    assert_eq!(stick.severity, Severity::Info);
    assert!(
        stick
            .message
            .contains("usb device there at the start: storage")
    );
    assert!(nothing(&lab::device(
        PC33,
        "device-present",
        "Hub",
        &["hub"]
    )));
    let mounted = found(&lab::volume(PC33, "volume-present", true));
    assert_eq!(mounted.severity, Severity::Info);
}

#[test]
fn a_mounted_volume_is_told_with_file_system_size_and_whether_it_can_be_written() {
    says(
        &lab::volume(PC33, "volume-mounted", true),
        Severity::Warning,
        "volume-mounted",
        "192.168.0.133 (pc-33): volume mounted: /dev/sdb1 at /media/student/STICK (vfat, 8.1 GB, label STICK, \
         writable, usb)",
    );
    assert!(
        found(&lab::volume(PC33, "volume-mounted", false))
            .message
            .contains("read-only")
    );
}

#[test]
fn an_unmounted_volume_is_good_to_know_and_a_pulled_one_a_warning() {
    let unmounted = found(&lab::volume(PC33, "volume-unmounted", true));
    assert_eq!(unmounted.severity, Severity::Info);
    let pulled = found(&lab::volume(PC33, "volume-removed", true));
    assert_eq!(pulled.severity, Severity::Warning);
    assert!(
        pulled
            .message
            .contains("volume pulled without unmount: /dev/sdb1")
    );
}

#[test]
fn a_volume_names_the_device_it_is_on() {
    let mut payload: Value =
        serde_json::from_slice(&lab::volume(PC33, "volume-mounted", true)).unwrap();
    payload["device"] =
        json!({"vendor": {"id": "46f4"}, "product": {"id": "0001", "name": "Stick"}});
    let finding = found(&serde_json::to_vec(&payload).unwrap());
    assert!(
        finding.message.ends_with(", on Stick"),
        "{}",
        finding.message
    );
}

#[test]
fn both_ends_of_a_conversation_name_both_ends() {
    says(
        &lab::contact(PC33, 80),
        Severity::Warning,
        "intranet-egress",
        "192.168.0.133 (pc-33): network accessed: opened tcp to 192.168.0.134 port 80 (http) by curl (user alice) \
         [program: polled]",
    );
    says(
        &lab::contact(PC34, 80),
        Severity::Warning,
        "intranet-ingress",
        "192.168.0.134 (pc-34): network accessed: was contacted by 192.168.0.133 with tcp port 80 (http), answered \
         by python3 (user bob) [program: polled]",
    );
}

#[test]
fn a_ping_by_nobody_known_is_told_without_ports() {
    let payload = lab::event(
        PC33,
        "intranet-access",
        json!({
            "source": {"ip": PC33}, "destination": {"ip": PC34, "domain": "pc-34.lab"},
            "network": {"transport": "icmp", "direction": "egress"},
            "lab": {"scope": "intranet", "attribution": "none"},
        }),
    );
    assert_eq!(
        found(&payload).message,
        "192.168.0.133 (pc-33): network accessed: opened icmp to 192.168.0.134 (pc-34.lab) by an unknown program"
    );
}

#[test]
fn a_direction_that_is_not_said_is_read_off_the_source() {
    let payload = lab::with(
        &lab::contact(PC34, 80),
        "/network/direction",
        json!("sideways"),
    );
    assert_eq!(found(&payload).rule.id, "intranet-ingress");
}

#[test]
fn a_scan_is_one_line_with_what_was_summed() {
    let peers: Vec<String> = (1..=9).map(|n| format!("192.168.0.{n}")).collect();
    let extra = json!({
        "event": {"start": "2026-11-22T09:31:05Z", "end": "2026-11-22T09:31:15Z"},
        "lab": {"scope": "intranet", "burst": {"count": 312, "peers": peers, "ports": [22, 80]}},
    });
    says(
        &lab::event(PC33, "conversation-burst", extra),
        Severity::Warning,
        "conversation-burst",
        "192.168.0.133 (pc-33): network accessed: had 312 more conversations within 10 s, peers 192.168.0.1, \
         192.168.0.2, 192.168.0.3, 192.168.0.4, 192.168.0.5 and 4 more, ports 22, 80: many for one program",
    );
}

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
fn what_could_not_be_seen_is_technical() {
    let lost = lab::event(PC33, "events-lost", json!({"lab": {"reason": "ENOBUFS"}}));
    says(
        &lost,
        Severity::Technical,
        "usb-events-lost",
        "192.168.0.133 (pc-33): usb notices lost: ENOBUFS; the PC looks again",
    );
    let gap = lab::interface(PC33, "capture-gap", "eth0", "ethernet");
    says(
        &gap,
        Severity::Technical,
        "capture-gap",
        "192.168.0.133 (pc-33): packets were not seen for a moment on eth0",
    );
}

#[test]
fn the_internet_reports_and_unknown_actions_raise_nothing() {
    for action in ["traffic-report", "teleported"] {
        assert!(nothing(&lab::event(PC33, action, json!({}))), "{action}");
    }
    assert!(nothing(&lab::visit(PC33, "www.example.org", 443)));
    let burst = json!({"lab": {"scope": "internet", "burst": {"count": 60}}});
    assert!(nothing(&lab::event(PC33, "conversation-burst", burst)));
}

#[test]
fn an_event_without_the_fields_of_its_action_is_incomplete() {
    for action in [
        "device-connected",
        "volume-mounted",
        "intranet-access",
        "conversation-burst",
        "interface-up",
        "route-changed",
        "internet-access",
    ] {
        let judged = judge_own(&lab::event(PC33, action, json!({})));
        assert!(judged.is_err(), "{action}");
    }
}

#[test]
fn an_event_that_names_another_address_is_told_of_the_pc_whose_topic_it_came_by() {
    let event = Event::from_payload(&lab::contact(PC33, 80)).unwrap();
    let found = Rules::default().handle_event(PC34.parse().unwrap(), &event, event.occurrence.time);
    let finding = found.unwrap().remove(0);
    assert_eq!(finding.host.unwrap().ip.to_string(), PC34);
    assert!(
        finding
            .message
            .starts_with("192.168.0.134 (pc-33): network accessed")
    );
    let end = ", as it says under its earlier address 192.168.0.133";
    assert!(finding.message.ends_with(end), "{}", finding.message);
}

#[test]
fn two_sticks_in_one_port_are_two_objects_and_one_stick_is_one() {
    let stick = lab::device(PC33, "device-connected", "Stick", &["storage"]);
    let gone = lab::device(PC33, "device-disconnected", "Stick", &["storage"]);
    let other = lab::with(&stick, "/device/serial_number", json!("RIG0002"));
    assert_eq!(found(&stick).object, found(&gone).object);
    assert_ne!(found(&stick).object, found(&other).object);
}

proptest! {
    #[test]
    fn no_foreign_text_leaves_a_control_character(text in "\\PC{0,20}|[\\x00-\\x{9f}\\x{200b}-\\x{2069}]{0,300}") {
        let name = json!(text);
        for payload in hostile(&name) {
            let finding = found(&payload);
            let harmful = |text: &str| text.chars().any(char::is_control) || text.contains('\u{202e}');
            prop_assert!(!harmful(&finding.message), "{:?}", finding.message);
            prop_assert!(!harmful(&finding.object), "{:?}", finding.object);
            prop_assert!(finding.host.is_some_and(|host| !harmful(&host.name)));
        }
    }
}

/// Events with this text wherever an event can hold foreign text.
fn hostile(text: &Value) -> Vec<Vec<u8>> {
    let everywhere = json!({
        "host": {"name": text},
        "device": {
            "vendor": {"id": text, "name": text}, "product": {"id": text, "name": text},
            "serial_number": text, "type": [text],
        },
        "volume": {
            "device_name": text, "mount_name": text, "file_system_type": text, "bus_type": text, "label": text,
        },
        "source": {"ip": PC33, "domain": text}, "destination": {"ip": PC34, "domain": text},
        "network": {"transport": text, "direction": "egress", "protocol": text},
        "process": {"name": text, "executable": text, "user": {"name": text}},
        "lab": {
            "usb": {"port": text}, "interface": {"name": text, "kind": text}, "reason": text,
            "burst": {"count": 1}, "mount_options": text,
        },
    });
    let actions = [
        "device-connected",
        "device-disconnected",
        "volume-mounted",
        "events-lost",
        "intranet-access",
        "conversation-burst",
        "interface-up",
        "capture-gap",
    ];
    actions
        .map(|action| lab::event(PC33, action, everywhere.clone()))
        .into()
}
