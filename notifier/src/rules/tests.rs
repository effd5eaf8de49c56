use std::time::Duration;

use labwatch_contract::alert::Severity;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::lab::{self, PC33, PC34};

mod contacts;
mod courses;
mod exam;
mod grades;
mod identity;
mod network;
mod rig;
mod usb;

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
fn no_words_of_a_rule_say_what_somebody_meant() {
    let words = ids().chain(["denied name contacted"]);
    assert!(words.into_iter().all(|words| !words.contains("cheat")));
}

/// No rule without a scenario: each id stands in a test of this crate.
#[test]
fn every_rule_has_a_scenario() {
    let tests = [
        include_str!("tests.rs"),
        include_str!("tests/contacts.rs"),
        include_str!("tests/courses.rs"),
        include_str!("tests/exam.rs"),
        include_str!("tests/grades.rs"),
        include_str!("tests/identity.rs"),
        include_str!("tests/network.rs"),
        include_str!("tests/usb.rs"),
        include_str!("../silence/tests.rs"),
        include_str!("../silence/tests/presence.rs"),
    ]
    .concat();
    let untested: Vec<_> = ids()
        .filter(|id| !tests.contains(&format!("\"{id}\"")))
        .collect();
    assert_eq!(untested, [""; 0]);
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
