use std::time::Duration;

use labwatch_contract::{alert::Verdict, topic::Root};
use serde_json::{Value, json};

use super::*;
mod exam;

use crate::{
    inbox::Inbox,
    incidents::Incidents,
    lab::{self, PC33, PC34},
    silence::Seen,
};

/// Topic, whether retained, payload.
type Message = (String, bool, Vec<u8>);

fn message(ip: &str, leaf: &str, payload: Vec<u8>) -> Message {
    (format!("lab/{ip}/{leaf}"), false, payload)
}

fn usb(payload: Vec<u8>) -> Message {
    message(PC33, "usb", payload)
}

/// An exam's half hour.
fn half_an_hour() -> Vec<Message> {
    let stick = |action| lab::device(PC33, action, "USB HARDDRIVE", &["storage"]);
    let status = |ip, action, reason, connection| {
        message(ip, "status", lab::status(ip, action, reason, connection))
    };
    let interface = |action, name, kind| {
        message(
            PC33,
            "net/interface",
            lab::interface(PC33, action, name, kind),
        )
    };
    let (topic, _, there) = status(PC34, "online", "started", 1);
    let mut messages = vec![
        (topic, true, there),
        status(PC33, "online", "started", 2),
        usb(lab::device(
            PC33,
            "device-present",
            "Keyboard",
            &["keyboard"],
        )),
        usb(stick("device-connected")),
        usb(lab::volume(PC33, "volume-mounted", true)),
        usb(lab::volume(PC33, "volume-removed", true)),
        usb(stick("device-disconnected")),
        usb(stick("device-connected")),
        message(PC33, "net/intranet", lab::contact(PC33, 80)),
        message(PC34, "net/intranet", lab::contact(PC34, 80)),
        interface("interface-up", "tun0", "tunnel"),
        interface("capture-gap", "eth0", "ethernet"),
    ];
    messages.extend(hostile());
    messages.extend([
        status(PC33, "offline", "lost", 2),
        status(PC34, "offline", "stopped", 1),
    ]);
    messages
}

/// Names that want to be more than names, a late event, and what is no event.
fn hostile() -> [Message; 6] {
    let stick = lab::device(PC33, "device-connected", "USB HARDDRIVE", &["storage"]);
    let named = |serial: &str| lab::with(&stick, "/device/serial_number", json!(serial));
    let screen = lab::device(
        PC33,
        "device-connected",
        "\x1b[2J\x1b]0;owned\x07<b>Stick</b>\r\n09:31:05Z  INFO  all is well",
        &["storage", "keyboard"],
    );
    let mounted = lab::volume(PC33, "volume-mounted", true);
    let turned = json!("a\u{202e}gpj.exe\u{200b}");
    let coloured = lab::with(
        &lab::contact(PC34, 22),
        "/host/name",
        json!("pc\x1b[31m-34"),
    );
    [
        usb(lab::with(
            &named("LATE"),
            "/@timestamp",
            json!("2026-11-21T17:00:00Z"),
        )),
        usb(screen),
        usb(lab::with(&mounted, "/volume/label", turned)),
        usb(named(&"A".repeat(4000))),
        message(PC34, "net/intranet", coloured),
        usb(b"\x1b[2Jno event".to_vec()),
    ]
}

/// The alerts of a half hour in which something happens every minute and a half.
fn alerts() -> Vec<Alert> {
    let at = "2026-11-22T09:31:06.000Z".parse().unwrap();
    let mut inbox = Inbox::new(Root::default());
    let mut incidents = Incidents::default();
    let mut now = Duration::ZERO;
    assert_eq!(inbox.connected(at, now), None);
    let mut told = Vec::new();
    for (number, (topic, retained, payload)) in (1..).zip(half_an_hour()) {
        now += Duration::from_secs(90);
        let payload = lab::numbered(&payload, number);
        let findings = inbox.handle(&topic, &payload, Seen { at, now, retained });
        for finding in findings {
            let notices = incidents.handle(finding, now);
            for critical in notices
                .iter()
                .filter(|one| one.severity == Severity::Critical)
            {
                incidents.handle_ack(&critical.id, Verdict::Seen);
            }
            told.extend(notices);
        }
    }
    // What has gone without a word is told after a while.
    inbox.silence.paused(now);
    for _ in 0..40 {
        now += Duration::from_millis(500);
        for finding in inbox.silence.handle_timeout(now, at).findings {
            told.extend(incidents.handle(finding, now));
        }
    }
    told.into_iter()
        .map(|notice| notice.into_alert(at))
        .collect()
}

fn lines(style: Style) -> Vec<String> {
    alerts().iter().map(|alert| style.line(alert)).collect()
}

#[test]
fn the_console_shows_half_an_hour_as_the_golden_file_has_it() {
    let expected: Vec<&str> = include_str!("../../fixtures/console.txt").lines().collect();
    let shown = lines(Style::Plain);
    assert!(
        shown == expected,
        "the console shows:\n{}",
        shown.join("\n")
    );
}

#[test]
fn no_line_holds_a_control_character_and_no_alert_is_cut() {
    for line in lines(Style::Plain) {
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    let long = lines(Style::Plain)
        .into_iter()
        .find(|line| line.contains("AAAA"))
        .unwrap();
    assert!(
        long.ends_with("…, port 2-1"),
        "a foreign text is cut, the line goes on: {long}"
    );
}

#[test]
fn colour_is_around_the_severity_alone() {
    for (plain, coloured) in lines(Style::Plain).into_iter().zip(lines(Style::Coloured)) {
        let (before, rest) = coloured.split_once('\x1b').unwrap();
        let (code, rest) = rest.split_once('m').unwrap();
        let (severity, after) = rest.split_once("\x1b[0m").unwrap();
        assert!(matches!(code, "[1;31" | "[33" | "[2" | "[35"), "{code:?}");
        assert_eq!(format!("{before}{severity}{after}"), plain);
    }
}

#[test]
fn json_is_one_alert_of_the_contract_a_line() {
    for (alert, line) in alerts().into_iter().zip(lines(Style::Json)) {
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Alert>(&line).unwrap(), alert);
    }
    let first: Value = serde_json::from_str(&lines(Style::Json)[12]).unwrap();
    let expected = json!({
        "@timestamp": "2026-11-22T09:31:06.000Z",
        "event": {"action": "opened", "severity": "warning"},
        "rule": {"id": "usb-storage", "name": "USB storage connected"},
        "message": "192.168.0.133 (pc-33): usb device connected: storage, QEMU USB HARDDRIVE, serial LATE, port 2-1",
        "host": {"ip": "192.168.0.133", "name": "pc-33"},
        "lab": {
            "id": first["lab"]["id"],
            "object": "port 2-1 device 46f4:0001 serial LATE",
            "count": 1,
            "first": "2026-11-21T17:00:00.000Z",
            "last": "2026-11-21T17:00:00.000Z",
        },
    });
    assert_eq!(first, expected);
}

#[test]
fn the_bell_rings_for_what_is_a_warning_or_graver() {
    let ringing = [
        Severity::Technical,
        Severity::Info,
        Severity::Warning,
        Severity::Critical,
    ]
    .map(rings);
    assert_eq!(ringing, [false, false, true, true]);
}
