//! What staff does from a terminal, and what running and restarted notifiers make of it; the command channel.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    process::{Command, Output},
    thread,
    time::Duration,
};

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

/// A broker that accepts one client at once, and answers its SUBSCRIBE after `wait` with these retained messages.
fn slow_broker(wait: Duration, retained: Vec<(&'static str, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut buffer = [0; 1024];
        let _connect = client.read(&mut buffer).unwrap();
        client.write_all(&[0x20, 2, 0, 0]).unwrap();
        let _subscribe = client.read(&mut buffer).unwrap();
        let [high, low] = [buffer[2], buffer[3]];
        thread::sleep(wait);
        client.write_all(&[0x90, 3, high, low, 0]).unwrap();
        for (topic, payload) in retained {
            let length = 2 + topic.len() + payload.len();
            let length = [length % 128 + 128, length / 128].map(|byte| u8::try_from(byte).unwrap());
            let topic_length = u16::try_from(topic.len()).unwrap().to_be_bytes();
            let publish = [
                &[0x31][..],
                &length,
                &topic_length,
                topic.as_bytes(),
                &payload,
            ];
            client.write_all(&publish.concat()).unwrap();
        }
        while client.read(&mut buffer).is_ok_and(|read| read > 0) {}
    });
    url
}

#[test]
fn a_broker_that_is_slow_is_waited_for_and_nothing_at_all_is_no_good_news() {
    let alert = |id: &str| {
        let at = "2026-11-22T09:40:00Z";
        let alert = json!({
            "@timestamp": at, "event": {"action": "opened", "severity": "warning"},
            "rule": {"id": "usb-storage", "name": "USB storage connected"}, "message": "a stick",
            "lab": {"id": id, "object": "x", "count": 1, "first": at, "last": at},
        });
        serde_json::to_vec(&alert).unwrap()
    };
    let list = |url: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_labwatch-notifier"));
        command.args(["list", "--broker", url]).output().unwrap()
    };
    let retained = vec![
        ("lab/alerts/watching", alert("watching")),
        ("lab/alerts/one", alert("one")),
    ];
    let told = list(&slow_broker(Duration::from_millis(1500), retained));
    assert!(told.status.success(), "{told:?}");
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("a stick"), "{told}");
    let told = list(&slow_broker(Duration::ZERO, Vec::new()));
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(told.contains("sent nothing of a notifier"), "{told}");
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
