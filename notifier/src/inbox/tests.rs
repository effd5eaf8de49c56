use labwatch_contract::alert::Severity;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::lab::{self, PC33, PC34};

const AT: &str = "2026-11-22T09:40:00.000Z";

fn live() -> Seen {
    Seen {
        at: AT.parse().unwrap(),
        now: Duration::from_secs(1),
        retained: false,
    }
}

fn retained() -> Seen {
    Seen {
        retained: true,
        ..live()
    }
}

fn inbox() -> Inbox {
    Inbox::new(Root::default())
}

fn status_topic(ip: &str) -> String {
    format!("lab/{ip}/status")
}

#[test]
fn an_agent_that_comes_is_told_and_the_address_stands_before_the_word() {
    let mut inbox = inbox();
    let online = lab::status(PC33, "online", "started", 1);
    let finding = inbox.handle(&status_topic(PC33), &online, live()).remove(0);
    assert_eq!(
        finding.message,
        "192.168.0.133 connected (pc-33, agent 0.1.0)"
    );
    assert_eq!(finding.severity, Severity::Info);
    assert_eq!(inbox.handle(&status_topic(PC33), &online, live()), []);
}

#[test]
fn the_will_of_a_connection_that_was_followed_by_another_counts_for_nothing() {
    let mut inbox = inbox();
    inbox.handle(
        &status_topic(PC33),
        &lab::status(PC33, "online", "started", 1),
        live(),
    );
    let again = lab::status(PC33, "online", "reconnected", 2);
    assert_eq!(inbox.handle(&status_topic(PC33), &again, live()), []);
    let stale = lab::status(PC33, "offline", "stopped", 1);
    assert_eq!(inbox.handle(&status_topic(PC33), &stale, live()), []);
    let own = lab::status(PC33, "offline", "stopped", 2);
    assert!(!inbox.handle(&status_topic(PC33), &own, live()).is_empty());
}

#[test]
fn a_retained_status_shows_who_is_there_without_alarm_and_not_who_had_gone() {
    let mut inbox = inbox();
    let online = lab::status(PC33, "online", "started", 1);
    let degraded = lab::with(&online, "/lab/degraded", json!(["no-capture"]));
    let finding = inbox
        .handle(&status_topic(PC33), &degraded, retained())
        .remove(0);
    assert_eq!(finding.severity, Severity::Info);
    assert_eq!(
        finding.message,
        "192.168.0.133 connected since 09:12:04Z, does not see everything: no-capture (pc-33, agent 0.1.0)"
    );
    let gone = lab::status(PC34, "offline", "lost", 1);
    assert_eq!(inbox.handle(&status_topic(PC34), &gone, retained()), []);
}

#[test]
fn who_went_while_the_broker_was_out_of_reach_is_told_afterwards() {
    let mut inbox = inbox();
    let online = lab::status(PC33, "online", "started", 1);
    inbox.handle(&status_topic(PC33), &online, retained());
    let at = live().at;
    assert!(
        inbox
            .disconnected("it\nbroke", at)
            .unwrap()
            .message
            .ends_with("it\\u{a}broke")
    );
    assert_eq!(
        inbox.connected(at, live().now).unwrap().message,
        "broker in reach again"
    );
    assert_eq!(inbox.connected(at, live().now), None);
    let gone = lab::status(PC33, "offline", "stopped", 1);
    assert!(
        !inbox
            .handle(&status_topic(PC33), &gone, retained())
            .is_empty()
    );
}

#[test]
fn an_agent_that_does_not_see_everything_is_technical() {
    let online = lab::status(PC33, "online", "started", 1);
    let degraded = lab::with(&online, "/lab/degraded", json!(["no-capture", "\x1b[2J"]));
    let finding = inbox()
        .handle(&status_topic(PC33), &degraded, live())
        .remove(0);
    assert_eq!(finding.severity, Severity::Technical);
    assert!(
        finding
            .message
            .contains("does not see everything: no-capture, \\u{1b}[2J")
    );
}

#[test]
fn journals_that_change_are_no_news() {
    let mut inbox = inbox();
    inbox.handle(
        &status_topic(PC33),
        &lab::status(PC33, "online", "started", 1),
        live(),
    );
    let changed = lab::status(PC33, "online", "journals-changed", 1);
    assert_eq!(inbox.handle(&status_topic(PC33), &changed, live()), []);
    assert_eq!(inbox.refused, 0);
}

#[test]
fn what_is_no_valid_message_is_counted_and_not_shown() {
    let stick = lab::device(PC33, "device-connected", "Stick", &["storage"]);
    let cases: Vec<(&str, Vec<u8>, Seen)> = vec![
        ("lab/../usb", stick.clone(), live()),
        ("other/192.168.0.133/usb", stick.clone(), live()),
        ("lab/192.168.0.133/net/intranet", stick.clone(), live()),
        ("lab/192.168.0.133/usb", stick.clone(), retained()),
        ("lab/192.168.0.133/usb", b"{}".to_vec(), live()),
        ("lab/192.168.0.133/usb", b"\xff\xfe".to_vec(), live()),
        ("lab/192.168.0.133/usb", Vec::new(), live()),
        (
            "lab/192.168.0.133/usb",
            lab::with(&stick, "/event/sequence", json!(0)),
            live(),
        ),
        (
            "lab/192.168.0.133/usb",
            lab::event(PC33, "device-connected", json!({})),
            live(),
        ),
        (
            "lab/192.168.0.133/status",
            lab::status(PC34, "online", "started", 1),
            live(),
        ),
        ("lab/192.168.0.133/status", b"online".to_vec(), live()),
    ];
    let mut inbox = inbox();
    for (number, (topic, payload, seen)) in (1..).zip(cases) {
        assert_eq!(inbox.handle(topic, &payload, seen), [], "{topic}");
        assert_eq!(inbox.refused, number, "{topic}");
    }
}

#[test]
fn topics_that_no_rule_asks_for_are_not_judged() {
    let mut inbox = inbox();
    for topic in [
        "lab/192.168.0.133/ack",
        "lab/policy",
        "lab/alerts/x",
        "lab/checkpoint",
    ] {
        assert_eq!(inbox.handle(topic, b"whatever", live()), []);
    }
    assert_eq!(inbox.handle(&status_topic(PC33), b"", live()), []);
    assert_eq!(inbox.refused, 0);
}

#[test]
fn a_probe_of_our_own_is_no_contact_and_that_of_somebody_else_is() {
    let mut inbox = inbox();
    let ping = lab::contact(PC33, PROBE_PORT);
    let topic = "lab/192.168.0.133/net/intranet";
    assert!(!inbox.handle(topic, &ping, live()).is_empty());
    inbox.silence.asked_from(PC33.parse().unwrap());
    assert_eq!(inbox.handle(topic, &ping, live()), []);
    let page = lab::contact(PC33, 80);
    assert!(!inbox.handle(topic, &page, live()).is_empty());
}

#[test]
fn refusals_are_said_once_and_then_at_most_once_a_minute() {
    let mut inbox = inbox();
    let second = Duration::from_secs;
    assert_eq!(inbox.refusals_to_say(second(0)), None);
    inbox.handle("x", b"", live());
    assert_eq!(inbox.refusals_to_say(second(1)), Some(1));
    inbox.handle("x", b"", live());
    assert_eq!(inbox.refusals_to_say(second(2)), None);
    assert_eq!(inbox.refusals_to_say(second(61)), Some(2));
    assert_eq!(inbox.refusals_to_say(second(200)), None);
}

proptest! {
    #[test]
    fn no_message_panics(topic in "(lab/192\\.168\\.0\\.133/(usb|status|health|net|net/intranet|net/internet|net/interface))|\\PC{0,40}", payload: Vec<u8>) {
        inbox().handle(&topic, &payload, live());
    }

    #[test]
    fn no_json_panics(pointer in prop::sample::select(vec!["/device", "/lab/usb", "/lab", "/event", "/host"]), number: i64) {
        let stick = lab::device(PC33, "device-connected", "Stick", &["storage"]);
        for value in [Value::Null, json!(number), json!([number]), json!({}), json!("x")] {
            inbox().handle("lab/192.168.0.133/usb", &lab::with(&stick, pointer, value), live());
        }
    }
}
