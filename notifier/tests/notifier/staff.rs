//! What staff does from a terminal, and what running and restarted notifiers make of it; the command channel.

use std::process::{Command, Output};

use labwatch_contract::alert::Alert;
use serde_json::json;

use crate::{
    lab::{self, PC33},
    rig::{Broker, Notifier, eventually},
};

const USB: &str = "lab/192.168.0.133/usb";

fn staff(broker: &Broker, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_labwatch-notifier"));
    let command = command.args(args).env("LABWATCH_BROKER", broker.url());
    command.output().unwrap()
}

fn listed(broker: &Broker) -> String {
    String::from_utf8(staff(broker, &["list"]).stdout).unwrap()
}

/// The open incidents' ids.
fn ids(broker: &Broker) -> Vec<String> {
    let listed = staff(broker, &["list", "--json"]);
    let text = String::from_utf8(listed.stdout).unwrap();
    let alerts = text.lines().map(serde_json::from_str::<Alert>);
    alerts.map(|alert| alert.unwrap().lab.id).collect()
}

fn stick(serial: &str) -> Vec<u8> {
    let stick = lab::device(PC33, "device-connected", "Stick", &["storage"]);
    lab::with(&stick, "/device/serial_number", json!(serial))
}

#[test]
fn an_incident_is_listed_acknowledged_and_its_acknowledgement_told_by_every_notifier() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let here = Notifier::start(&broker, &["--desktop", "off"]);
    let there = Notifier::start(&broker, &["--desktop", "off"]);
    assert_eq!(listed(&broker), "No incident is open.\n");
    broker.publish(USB, &stick("A1"));
    here.line("serial A1");
    there.line("serial A1");
    eventually("the incident on the board", || !ids(&broker).is_empty());
    let id = ids(&broker).remove(0);
    let acknowledged = staff(
        &broker,
        &[
            "ack",
            &id,
            "--by",
            "Kim",
            "--verdict",
            "false-alarm",
            "--note",
            "the room's own",
        ],
    );
    assert!(acknowledged.status.success(), "{acknowledged:?}");
    for notifier in [&here, &there] {
        notifier.line("acknowledged by Kim as false alarm (the room's own): 192.168.0.133 (pc-33): usb device");
    }
    assert!(
        listed(&broker).contains("false alarm by Kim"),
        "{}",
        listed(&broker)
    );
}

#[test]
fn what_cannot_be_acknowledged_is_said_and_exits_1_or_2() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let ack = |id, verdict| staff(&broker, &["ack", id, "--by", "Kim", "--verdict", verdict]);
    let unknown = ack("no-such-incident", "seen");
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
    assert_eq!(ack("a/b", "seen").status.code(), Some(2));
    assert_eq!(ack("x", "cheated").status.code(), Some(2));
}

#[test]
fn a_restarted_notifier_says_what_is_open_and_repeats_nothing() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let mut first = Notifier::start(&broker, &["--desktop", "off"]);
    broker.publish(USB, &stick("A1"));
    first.line("serial A1");
    eventually("the incident on the board", || !ids(&broker).is_empty());
    let id = ids(&broker).remove(0);
    first.running.signal("TERM");
    assert_eq!(first.running.end().code(), Some(0));

    let second = Notifier::start(&broker, &["--desktop", "off"]);
    second.line("incidents from before: 1 open, 1 of them not acknowledged");
    // The agent sends its event again, for the recorder; it is no news.
    broker.publish(USB, &stick("A1"));
    broker.publish(USB, &stick("B2"));
    second.line("serial B2");
    let gone = lab::with(&stick("A1"), "/event/action", json!("device-disconnected"));
    broker.publish(USB, &gone);
    assert!(second.line("serial A1").contains("usb device disconnected"));
    eventually("the end on the board, with what was counted before", || {
        let board = broker.retained(&format!("lab/alerts/{id}"));
        board.contains("resolved") && board.contains("\"count\":2")
    });
}

#[test]
fn a_muted_pc_is_not_shown_until_it_is_unmuted() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let notifier = Notifier::start(&broker, &["--desktop", "off"]);
    let muted = staff(&broker, &["mute", PC33, "--until", "1h", "--by", "Kim"]);
    assert!(muted.status.success(), "{muted:?}");
    eventually("the mute", || notifier.log().contains("is not shown until"));
    broker.publish(USB, &stick("A1"));
    eventually("the incident on the board", || ids(&broker).len() == 1);
    assert!(listed(&broker).contains("192.168.0.133 (by Kim)"));
    assert!(
        staff(&broker, &["mute", PC33, "--until", "0s"])
            .status
            .success()
    );
    broker.publish(USB, &stick("B2"));
    notifier.line("serial B2");
}

#[test]
fn the_command_gets_each_alert_as_json_and_one_that_hangs_holds_nobody_up() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("alerts");
    let line = format!("cat >> {}", file.display());
    let notifier = Notifier::start(&broker, &["--desktop", "off", "--exec", &line]);
    let hung = Notifier::start(&broker, &["--desktop", "off", "--exec", "sleep 60"]);
    broker.publish(USB, &stick("A1"));
    notifier.line("serial A1");
    hung.line("serial A1");
    broker.publish(USB, &stick("B2"));
    hung.line("serial B2");
    let written = || std::fs::read_to_string(&file).unwrap_or_default();
    eventually("both alerts at the command", || {
        written().contains("A1") && written().contains("B2")
    });
    for line in written().lines() {
        let _: Alert = serde_json::from_str(line).unwrap();
    }
}
