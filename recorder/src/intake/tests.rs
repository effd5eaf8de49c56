use labwatch_contract::{
    checkpoint::{Key, Summary},
    status::Reason,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::{presence::tests::status, quarantine::CAP};

const USB: &str = "lab/192.168.0.133/usb";

fn intake() -> Intake {
    Intake::new(
        Root::default(),
        Ledger::new(Uuid::nil()),
        key().public(),
        Quarantine::new(0),
    )
}

fn key() -> Key {
    Key::new(&[7; 32])
}

fn take(intake: &mut Intake, letter: Letter<'_>) -> Vec<Entry> {
    let mut entries = Vec::new();
    intake.take(letter, true, &mut entries);
    entries
}

fn letter<'a>(topic: &'a str, payload: &'a [u8]) -> Letter<'a> {
    Letter {
        topic,
        payload,
        retained: false,
        received: "2026-11-22T09:31:05.140Z".parse().unwrap(),
        stamp: "2026-11-22T09:31:05.140Z",
    }
}

/// An event's payload as another program might write it, with fields that this version does not know.
fn event(sequence: u64, prev: Digest) -> Vec<u8> {
    let payload = json!({
        "@timestamp": "2026-11-22T09:31:05.123Z",
        "event": {"action": "device-connected", "sequence": sequence},
        "host": {"ip": "192.168.0.133", "name": "pc-33"},
        "lab": {"journal": "00000000-0000-0000-0000-000000000007", "prev": prev, "uptime_ms": 1},
        "unknown": {"x": [1.50, null]},
    });
    serde_json::to_vec(&payload).unwrap()
}

fn parse(entry: &Entry) -> Value {
    serde_json::from_slice(&entry.line).unwrap()
}

/// Takes a message that must be refused; gives the reason.
fn refused(topic: &str, payload: &[u8]) -> String {
    let mut intake = intake();
    let entries = take(&mut intake, letter(topic, payload));
    assert_eq!(entries.len(), 1, "{topic:.80}");
    assert_eq!(entries[0].folder, Folder::Quarantine, "{topic:.80}");
    assert_eq!(intake.tally().refused, 1);
    parse(&entries[0])["reason"].as_str().unwrap().to_owned()
}

#[test]
fn an_event_is_recorded_byte_for_byte_in_its_pcs_folder() {
    let payload = [b" ", event(1, Digest::ZERO).as_slice(), b"\t "].concat();
    let entries = take(&mut intake(), letter(USB, &payload));
    let [entry] = entries.as_slice() else {
        panic!("{entries:?}")
    };
    assert_eq!(entry.folder.to_string(), "192.168.0.133");
    let head =
        r#"{"received":"2026-11-22T09:31:05.140Z","topic":"lab/192.168.0.133/usb","payload":"#;
    assert_eq!(entry.line, [head.as_bytes(), &payload, b"}\n"].concat());
}

#[test]
fn a_duplicate_is_dropped_and_counted() {
    let mut intake = intake();
    let payload = event(1, Digest::ZERO);
    assert_eq!(take(&mut intake, letter(USB, &payload)).len(), 1);
    assert_eq!(take(&mut intake, letter(USB, &payload)).len(), 0);
    let tally = intake.tally();
    assert_eq!((tally.events, tally.duplicates), (1, 1));
}

#[test]
fn a_later_event_is_left_alone_and_an_agents_word_makes_the_gap_note() {
    let mut intake = intake();
    take(&mut intake, letter(USB, &event(1, Digest::ZERO)));
    assert_eq!(take(&mut intake, letter(USB, &event(5, Digest::ZERO))), []);
    let mut online = status("192.168.0.133", 1, Reason::Started);
    online.lab.journals[0].first = 5;
    online.lab.journals[0].last = 5;
    let online = serde_json::to_vec(&online).unwrap();
    let entries = take(&mut intake, letter("lab/192.168.0.133/status", &online));
    let note = &parse(&entries[1])["note"];
    assert_eq!(note["action"], "gap");
    assert_eq!((&note["from"], &note["to"]), (&json!(2), &json!(4)));
    let entries = take(&mut intake, letter(USB, &event(5, Digest::ZERO)));
    assert_eq!(parse(&entries[0])["payload"]["event"]["sequence"], 5);
    assert_eq!(intake.tally().gaps, 1);
}

#[test]
fn an_event_that_comes_late_has_a_note_before_it() {
    let late = Letter {
        received: "2026-11-22T10:31:05.140Z".parse().unwrap(),
        ..letter(USB, b"")
    };
    let payload = event(1, Digest::ZERO);
    let entries = take(
        &mut intake(),
        Letter {
            payload: &payload,
            ..late
        },
    );
    assert_eq!(entries.len(), 2);
    assert_eq!(parse(&entries[0])["note"]["action"], "late");
}

#[test]
fn while_the_disk_takes_nothing_events_are_left_alone() {
    let mut intake = intake();
    let mut entries = Vec::new();
    intake.take(letter(USB, &event(1, Digest::ZERO)), false, &mut entries);
    assert_eq!(entries, []);
    assert_eq!(
        take(&mut intake, letter(USB, &event(1, Digest::ZERO))).len(),
        1
    );
}

#[test]
fn while_the_disk_takes_nothing_only_so_many_bytes_wait_for_it_and_the_rest_is_counted() {
    let mut intake = intake();
    let (topic, refused) = ("lab/192.168.0.133/status", "x".repeat(4000));
    let mut entries = Vec::new();
    for connection in 0..3000 {
        let mut online = status("192.168.0.133", connection, Reason::Started);
        online.host.name = "n".repeat(2000);
        online.lab.degraded = vec!["d".repeat(2000)];
        let online = serde_json::to_vec(&online).unwrap();
        intake.take(letter(topic, &online), false, &mut entries);
        intake.take(letter("lab/x/usb", refused.as_bytes()), false, &mut entries);
        let paper = format!("[{connection}]");
        intake.take(letter("lab/policy", paper.as_bytes()), false, &mut entries);
    }
    let bytes: usize = entries.iter().map(|entry| entry.line.len()).sum();
    assert!((1_000_000..5_000_000).contains(&bytes), "{bytes}");
    assert!(intake.tally().untaken > 5000);
    // What it takes again is taken again.
    let online = status("192.168.0.133", 9999, Reason::Started);
    let online = serde_json::to_vec(&online).unwrap();
    assert_eq!(take(&mut intake, letter(topic, &online)).len(), 1);
}

#[test]
fn the_recorders_own_checkpoint_is_known_and_anybody_elses_goes_to_quarantine() {
    let summary = Summary {
        recorder: Uuid::nil(),
        number: 1,
        files: 0,
        prev: Digest::ZERO,
        root: Digest::ZERO,
    };
    let signed = |key: Key| {
        serde_json::to_vec(&key.sign(letter(USB, b"").received, summary.clone())).unwrap()
    };
    assert_eq!(
        take(&mut intake(), letter("lab/checkpoint", &signed(key()))),
        []
    );
    assert!(refused("lab/checkpoint", &signed(Key::new(&[8; 32]))).contains("another key"));
    refused("lab/checkpoint", b"{}");
}

#[test]
fn a_broken_chain_goes_to_quarantine_and_the_true_event_is_still_taken() {
    let mut intake = intake();
    let first = event(1, Digest::ZERO);
    take(&mut intake, letter(USB, &first));
    let forged = take(&mut intake, letter(USB, &event(2, Digest::of(b"forged"))));
    assert_eq!(forged[0].folder, Folder::Quarantine);
    let reason = parse(&forged[0])["reason"].to_string();
    assert!(reason.contains("lab.prev"), "{reason}");
    let next = take(&mut intake, letter(USB, &event(2, Digest::of(&first))));
    assert_eq!(next[0].folder.to_string(), "192.168.0.133");
    assert_eq!(next.len(), 1);
}

#[test]
fn hostile_topics_go_to_quarantine() {
    let payload = event(1, Digest::ZERO);
    let long = format!("lab/{}/usb", "1".repeat(65_000));
    for topic in [
        "lab/../net",
        "lab/1.2.3/usb",
        "lab//usb",
        "lab/192.168.0.133/../../etc/passwd",
        "lab/192.168.0.133\0/usb",
        "lab/\"},\"note\":{\"/usb",
        "lab/::ffff:192.168.0.133/usb",
        "other/192.168.0.133/usb",
        "",
        long.as_str(),
    ] {
        refused(topic, &payload);
    }
}

#[test]
fn what_is_no_event_of_its_topic_goes_to_quarantine() {
    let good = event(1, Digest::ZERO);
    assert!(refused("lab/192.168.0.133/net", &good).contains("device-connected"));
    assert!(refused(USB, b"").contains("no event"));
    assert!(refused(USB, b"[]").contains("no event"));
    assert!(refused(USB, &[&good[..], b"\n"].concat()).contains("single line"));
    let text = String::from_utf8(good).unwrap();
    assert!(
        refused(
            USB,
            text.replace(r#""sequence":1"#, r#""sequence":0"#)
                .as_bytes()
        )
        .contains("sequence")
    );
}

#[test]
fn bytes_that_are_no_text_never_reach_a_record() {
    let good = String::from_utf8(event(1, Digest::ZERO)).unwrap();
    let (head, tail) = good.split_once("null").unwrap();
    let bad = [head.as_bytes(), b"\"\xff\xfe\"", tail.as_bytes()].concat();
    assert!(refused(USB, &bad).contains("UTF-8"));
    assert!(refused("lab/policy", b"\"\xff\"").contains("utf-8"));
}

#[test]
fn coming_and_going_is_noted_once() {
    let mut intake = intake();
    let topic = "lab/192.168.0.133/status";
    let online = serde_json::to_vec(&status("192.168.0.133", 1, Reason::Started)).unwrap();
    let entries = take(&mut intake, letter(topic, &online));
    let note = &parse(&entries[0])["note"];
    assert_eq!(entries[0].folder.to_string(), "192.168.0.133");
    assert_eq!(note["action"], "online");
    assert_eq!(note["reason"], "started");
    assert_eq!(note["version"], "0.1.0");
    assert_eq!(note["connection"], "00000000-0000-0000-0000-000000000001");
    assert_eq!(note["journals"][0]["first"], 1);
    assert_eq!(note.get("retained"), None);
    let again = Letter {
        retained: true,
        ..letter(topic, &online)
    };
    assert_eq!(take(&mut intake, again), []);
    let offline = serde_json::to_vec(&status("192.168.0.133", 1, Reason::Lost)).unwrap();
    let entries = take(&mut intake, letter(topic, &offline));
    assert_eq!(parse(&entries[0])["note"]["action"], "offline");
    assert_eq!(take(&mut intake, letter(topic, b"")), []);
}

#[test]
fn a_status_of_another_pc_or_none_goes_to_quarantine() {
    let other = serde_json::to_vec(&status("192.168.0.134", 1, Reason::Started)).unwrap();
    assert!(refused("lab/192.168.0.133/status", &other).contains("host.ip"));
    refused("lab/192.168.0.133/status", b"{}");
}

#[test]
fn papers_of_the_lab_are_kept_but_not_what_the_broker_repeats() {
    let mut intake = intake();
    let policy = br#"{"window":null}"#;
    let entries = take(&mut intake, letter("lab/policy", policy));
    assert_eq!(entries[0].folder, Folder::Lab);
    assert_eq!(parse(&entries[0])["topic"], "lab/policy");
    let retained = |payload| Letter {
        retained: true,
        ..letter("lab/policy", payload)
    };
    assert_eq!(take(&mut intake, retained(policy)), []);
    assert_eq!(take(&mut intake, retained(br#"{"window":1}"#)).len(), 1);
    let entries = take(&mut intake, letter("lab/alerts/a-1", b""));
    assert_eq!(parse(&entries[0])["payload"], Value::Null);
    refused("lab/alerts/a-1", b"{");
    refused("lab/alerts/a-1", b"{\n}");
}

#[test]
fn health_and_acks_are_not_recorded() {
    let mut intake = intake();
    assert_eq!(
        take(&mut intake, letter("lab/192.168.0.133/health", b"{}")),
        []
    );
    assert_eq!(
        take(&mut intake, letter("lab/192.168.0.133/ack", b"{}")),
        []
    );
    assert_eq!(intake.tally(), Tally::default());
}

#[test]
fn what_a_full_quarantine_does_not_keep_is_counted() {
    let mut intake = Intake {
        quarantine: Quarantine::new(CAP),
        ..intake()
    };
    assert_eq!(take(&mut intake, letter("lab/x/usb", b"{}")), []);
    let tally = intake.tally();
    assert_eq!((tally.refused, tally.overflow), (1, 1));
}

proptest! {
    #[test]
    fn whatever_comes_each_line_is_one_object_of_json(topic in "(lab/)?(192.168.0.133/|policy|alerts/a)?(usb|net|status)?\\PC{0,8}", payload: Vec<u8>) {
        for entry in take(&mut intake(), letter(&topic, &payload)) {
            prop_assert!(parse(&entry).is_object());
            prop_assert_eq!(entry.line.iter().filter(|byte| **byte == b'\n').count(), 1);
        }
    }

    #[test]
    fn a_mangled_event_is_never_recorded_as_text_that_is_no_json(at in 0_usize..200, byte: u8) {
        let mut payload = event(1, Digest::ZERO);
        let at = at % payload.len();
        payload[at] = byte;
        for entry in take(&mut intake(), letter(USB, &payload)) {
            prop_assert!(parse(&entry).is_object());
        }
    }
}
