//! The binary against a real broker.

use std::{
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use labwatch_contract::alert::{Alert, AlertAction, Severity};
use serde_json::json;

use crate::{
    lab::{self, PC33, PC34},
    rig::{Broker, Notifier, Running, eventually, have},
};

#[test]
fn both_ends_of_a_conversation_are_one_incident_that_names_both() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let notifier = Notifier::start(&broker, &["--desktop", "off"]);
    broker.publish("lab/192.168.0.133/net/intranet", &lab::contact(PC33, 80));
    let egress = notifier.line("opened tcp to 192.168.0.134 port 80");
    assert!(
        egress.contains("WARNING    192.168.0.133 (pc-33): network accessed"),
        "{egress}"
    );
    broker.publish("lab/192.168.0.134/net/intranet", &lab::contact(PC34, 80));
    let ingress = notifier.line("192.168.0.133 (pc-33): network accessed: contacted");
    assert!(ingress.contains("192.168.0.134 (pc-34)"), "{ingress}");
}

#[test]
fn a_line_comes_as_plain_text_where_there_is_no_terminal() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let notifier = Notifier::start(&broker, &["--desktop", "off", "--bell"]);
    let stick = lab::device(PC33, "device-connected", "\x1b[31mred\x07", &["storage"]);
    broker.publish("lab/192.168.0.133/usb", &stick);
    let line = notifier.line("usb device connected: storage, QEMU \\u{1b}[31mred\\u{7}");
    assert!(!line.chars().any(char::is_control), "{line:?}");
    eventually("the bell", || notifier.log().contains('\x07'));
}

#[test]
fn json_is_one_alert_of_the_contract_a_line() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let notifier = Notifier::start(&broker, &["--desktop", "off", "--json"]);
    let stick = lab::device(PC33, "device-connected", "Stick", &["storage", "keyboard"]);
    broker.publish("lab/192.168.0.133/usb", &stick);
    let alert: Alert = serde_json::from_str(&notifier.line("usb")).unwrap();
    assert_eq!(
        (alert.event.action, alert.event.severity),
        (AlertAction::Opened, Severity::Critical)
    );
    assert_eq!(alert.host.unwrap().ip.to_string(), PC33);
}

#[test]
fn it_says_who_comes_and_who_goes_and_why() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let notifier = Notifier::start(&broker, &["--desktop", "off"]);
    let topic = "lab/192.168.0.133/status";
    broker.retain(topic, &lab::status(PC33, "online", "started", 1));
    notifier.line("INFO       192.168.0.133 connected (pc-33");
    broker.retain(topic, &lab::status(PC33, "online", "reconnected", 2));
    broker.retain(topic, &lab::status(PC33, "offline", "lost", 1));
    broker.retain(topic, &lab::status(PC33, "offline", "stopped", 2));
    notifier.line("WARNING    192.168.0.133 gone: its agent was stopped");
}

#[test]
fn what_is_invalid_is_counted_in_the_log_and_shown_nowhere() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let notifier = Notifier::start(&broker, &["--desktop", "off"]);
    broker.publish("lab/192.168.0.133/usb", b"\x1b[2Jboo");
    broker.publish("lab/not-an-address/usb", b"boo");
    let other = lab::status(PC33, "online", "started", 1);
    broker.publish("lab/192.168.0.134/status", &other);
    broker.publish(
        "lab/192.168.0.133/usb",
        &lab::device(PC33, "device-connected", "Stick", &["storage"]),
    );
    notifier.line("QEMU Stick");
    let log = notifier.log();
    assert!(
        log.contains("1 messages so far were no valid event"),
        "{log}"
    );
    assert!(!log.contains("boo") && !log.contains('\x1b'), "{log}");
}

#[test]
fn a_broker_that_is_killed_is_told_and_afterwards_events_come_again() {
    let Some(mut broker) = Broker::start() else {
        return;
    };
    let notifier = Notifier::start(&broker, &["--desktop", "off"]);
    broker.down();
    notifier.line("WARNING    broker out of reach");
    broker.up();
    notifier.line("INFO       broker in reach again");
    broker.retain(
        "lab/192.168.0.133/status",
        &lab::status(PC33, "online", "started", 1),
    );
    notifier.line("192.168.0.133 connected");
}

#[test]
fn a_storm_of_300_pcs_gives_a_bounded_number_of_lines() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let notifier = Notifier::start(&broker, &["--desktop", "off"]);
    let start = Instant::now();
    let pcs: Vec<String> = (0..300)
        .map(|pc| format!("10.1.{}.{}", pc / 200, pc % 200 + 1))
        .collect();
    for together in pcs.chunks(50) {
        thread::scope(|scope| {
            for ip in together {
                let events: Vec<_> = (0..100).map(|port| lab::contact(ip, 1000 + port)).collect();
                let topic = format!("lab/{ip}/net/intranet");
                let broker = &broker;
                scope.spawn(move || broker.publish_all(&topic, &events));
            }
        });
    }
    let evil = lab::device(PC33, "device-connected", "Ultra", &["storage", "keyboard"]);
    broker.publish("lab/192.168.0.133/usb", &evil);
    let published = start.elapsed();
    let mut lines = 1;
    let mut summaries = 0;
    while let Some(line) = notifier.any_line() {
        lines += 1;
        summaries += usize::from(line.contains("more alerts wait"));
        if line.contains("storage and keyboard in one device") {
            break;
        }
    }
    let passed = start.elapsed();
    let most = 100.0 + passed.as_secs_f64() * 31.0 + 10.0;
    eprintln!(
        "30,001 events in {published:?}: {lines} lines in {passed:?}, {summaries} of them summaries"
    );
    assert!(f64::from(lines) < most, "{lines} lines in {passed:?}");
    assert!(summaries > 0, "no summary");
}

#[test]
fn sigterm_ends_it_in_order() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let mut notifier = Notifier::start(&broker, &["--desktop", "off"]);
    notifier.running.signal("TERM");
    assert_eq!(notifier.running.end().code(), Some(0));
}

#[test]
fn without_a_broker_it_waits_and_ends_when_told() {
    let mut notifier =
        Notifier::spawn(Notifier::command("mqtt://127.0.0.1:1").args(["--desktop", "off"]));
    eventually("a line in the log", || {
        notifier.log().contains("no connection to the broker")
    });
    notifier.running.signal("TERM");
    assert_eq!(notifier.running.end().code(), Some(0));
}

#[test]
fn a_closed_stdout_ends_it_where_nothing_else_can_tell() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let mut command = Notifier::command(&broker.url());
    let mut running = Running::start(
        command
            .args(["--desktop", "off"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    );
    drop(running.0.stdout.take());
    broker.retain(
        "lab/192.168.0.133/status",
        &lab::status(PC33, "online", "started", 1),
    );
    assert_eq!(running.end().code(), Some(1));
}

#[test]
fn wrong_settings_are_all_told_and_nothing_starts() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_labwatch-notifier"));
    let output = command
        .args(["--check", "--root", "a/b", "--desktop", "maybe"])
        .env("LABWATCH_BROKER", "ftp://x")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    for flag in ["--broker", "--root", "--desktop"] {
        assert!(told.contains(flag), "{told}");
    }
}

#[test]
fn settings_in_order_are_checked_without_a_broker() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_labwatch-notifier"));
    let status = command
        .arg("--check")
        .env("LABWATCH_JSON", "true")
        .env("LABWATCH_DESKTOP", "off")
        .stdout(Stdio::null())
        .status();
    assert_eq!(status.unwrap().code(), Some(0));
}

#[test]
fn an_event_of_another_version_is_neither_an_error_nor_a_line() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let notifier = Notifier::start(&broker, &["--desktop", "off"]);
    broker.publish(
        "lab/192.168.0.133/usb",
        &lab::event(PC33, "teleported", json!({})),
    );
    broker.publish(
        "lab/192.168.0.133/usb",
        &lab::device(PC33, "device-connected", "Stick", &["storage"]),
    );
    notifier.line("QEMU Stick");
    assert!(
        !notifier.log().contains("no valid event"),
        "{}",
        notifier.log()
    );
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let Some(broker) = Broker::start() else {
        return;
    };
    if !have(&["script"]) {
        return;
    }
    // Another incident each time: the second notifier remembers the first one's.
    for (wish, severity, port) in [("", "\x1b[33mWARNING", 80), ("1", "  WARNING", 81)] {
        // script(1) gives the command a terminal and copies what that shows.
        let line = format!("{} --desktop off", env!("CARGO_BIN_EXE_labwatch-notifier"));
        let mut command = Command::new("script");
        command
            .args(["-qec", &line, "/dev/null"])
            .env("LABWATCH_BROKER", broker.url())
            .env("LABWATCH_LOG", "error")
            .env("TERM", "xterm")
            .env("NO_COLOR", wish);
        let notifier = Notifier::watching(&broker, command);
        broker.publish("lab/192.168.0.133/net/intranet", &lab::contact(PC33, port));
        notifier.line(severity);
        notifier.running.signal("TERM");
    }
}
