//! What a program on a PC can send beside the agent, from the PC's own address.

use std::{
    fs,
    io::Write as _,
    net::Ipv4Addr,
    process::{Output, Stdio},
};

use super::{oracle, room::Room};
use crate::{
    lab::{Machine, SERVER},
    program::eventually,
};

/// Events that are sent again.
const REPEATED: usize = 40;
const TEN_MB: usize = 10_000_000;

/// Sends the last events of a seat's journal again, in order, by the topics that they came by.
pub(super) fn repeat(room: &mut Room, seat: usize) {
    let pc = room.seats[seat].pc.clone();
    let lines = eventually("the agent has seen something", || {
        let mut lines = room.newest_journal(seat).lines;
        lines.retain(|line| !leaf(line).is_empty());
        (lines.len() >= 10).then_some(lines)
    });
    let last = &lines[lines.len().saturating_sub(REPEATED)..];
    for part in last.chunk_by(|one, other| leaf(one) == leaf(other)) {
        let topic = format!("lab/{}/{}", pc.ip, leaf(&part[0]));
        let sent = publish(&pc, &topic, &["-l"], &part.join(&b'\n'));
        assert!(sent.status.success(), "{sent:?}");
    }
}

fn leaf(event: &[u8]) -> &'static str {
    let is = |action: &str| {
        let mark = format!("\"action\":\"{action}\"");
        event
            .windows(mark.len())
            .any(|part| part == mark.as_bytes())
    };
    match () {
        () if is("intranet-access") => "net/intranet",
        () if is("internet-access") => "net/internet",
        () => "",
    }
}

/// Sends what is no event, and 10 MB: from a PC, for itself, and from the server, for another.
pub(super) fn rubbish(room: &mut Room, seat: usize) {
    let (pc, server) = (room.seats[seat].pc.clone(), room.lab.server.clone());
    let head = format!(
        r#"{{"@timestamp":"2026-11-22T09:31:05.123Z","event":{{"action":"intranet-access","sequence":1}},"host":{{"ip":"{}"}}"#,
        pc.ip
    );
    let two_lines = format!("{head}\n}}");
    let kinds: [(&str, &[u8]); 6] = [
        ("net", b"rubbish"),
        ("net", b"\xff\xfe\x00"),
        ("net", b"{}"),
        (
            "net/intranet",
            br#"{"event":{"action":"intranet-access","sequence":-1}}"#,
        ),
        ("usb", two_lines.as_bytes()),
        ("status", b"[]"),
    ];
    let before = quarantined(room);
    for (leaf, payload) in kinds {
        for (from, ip) in [(&pc, pc.ip), (&server, Ipv4Addr::new(10, 97, 0, 1))] {
            let sent = publish(from, &format!("lab/{ip}/{leaf}"), &["-s"], payload);
            assert!(sent.status.success(), "{sent:?}");
        }
    }
    let large = vec![b'x'; TEN_MB];
    for (from, ip) in [(&pc, pc.ip), (&server, pc.ip)] {
        let sent = publish(from, &format!("lab/{ip}/net"), &["-s"], &large);
        assert!(!sent.status.success(), "10 MB are taken: {sent:?}");
    }
    // Some may be lost on the way to a recorder that is just coming back; nobody sends rubbish twice.
    eventually("rubbish is in the quarantine", || {
        (quarantined(room) > before).then_some(())
    });
    assert!(room.broker.is_running() && room.recorder.is_running());
}

/// Messages in the quarantine.
fn quarantined(room: &Room) -> usize {
    let files = oracle::list(&room.records().join("quarantine")).into_iter();
    let lines = files.map(|file| fs::read(file).unwrap().split(|byte| *byte == b'\n').count() - 1);
    lines.sum()
}

/// Publishes at QoS 1 what `how` makes of `input`: one message, or one a line.
fn publish(from: &Machine, topic: &str, how: &[&str], input: &[u8]) -> Output {
    let server = if from.ip == SERVER {
        Ipv4Addr::LOCALHOST
    } else {
        SERVER
    };
    let mut command = from.command("mosquitto_pub");
    command
        .args(["-h", &server.to_string(), "-q", "1", "-t", topic])
        .args(how);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = command.spawn().unwrap();
    // Who is thrown out reads no further.
    let _ = running.stdin.take().unwrap().write_all(input);
    running.wait_with_output().unwrap()
}
