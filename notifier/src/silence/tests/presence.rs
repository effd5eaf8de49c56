//! What agents say of themselves.

use super::*;

const MOVED: &str = "192.168.0.77";

#[test]
fn a_connection_that_is_back_within_three_seconds_is_not_mentioned_but_a_new_agent_is() {
    let mut room = Room::of(&[PC33]);
    room.status(PC33, "offline", "lost", 1);
    room.pass(3.0);
    room.status(PC33, "online", "reconnected", 2);
    room.pass(30.0);
    assert_eq!(room.take(), []);
    room.status(PC33, "offline", "lost", 2);
    room.pass(1.0);
    room.status(PC33, "online", "started", 3);
    room.pass(30.0);
    let told = room.take();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].1, "192.168.0.133 connected (pc-33, agent 0.1.0)");
}

#[test]
fn what_an_agent_says_itself_is_told_at_once_and_once() {
    for (reason, severity, words) in [
        ("stopped", Severity::Warning, "gone: its agent was stopped"),
        ("shutdown", Severity::Info, "gone: it was shut down"),
        ("eaten", Severity::Warning, "gone: it did not say why"),
    ] {
        let mut room = Room::of(&[PC33]);
        room.set(0, false, false);
        room.status(PC33, "offline", reason, 1);
        room.status(PC33, "offline", reason, 1);
        let (_, finding) = room.told.first().unwrap();
        assert_eq!(
            finding.message,
            format!("{PC33} {words} (pc-33, agent 0.1.0)")
        );
        assert_eq!(finding.severity, severity);
        room.pass(30.0);
        assert_eq!(room.take().len(), 1);
    }
}

#[test]
fn a_pc_that_moves_to_another_address_is_one_line_and_its_old_will_is_none() {
    let mut room = Room::of(&[PC33]);
    room.set(0, false, false);
    room.pass(2.0);
    let moved = lab::status(MOVED, "online", "address-changed", 2);
    let moved = lab::with(&moved, "/lab/connection", json!(uuid::Uuid::from_u128(2)));
    let mut value: serde_json::Value = serde_json::from_slice(&moved).unwrap();
    value["lab"]["previous_ip"] = json!(PC33);
    value["host"]["id"] = json!(lab::id(PC33));
    room.say(MOVED, &serde_json::to_vec(&value).unwrap(), false);
    room.machines.push(Machine {
        ip: MOVED.into(),
        beats: true,
        answers: true,
    });
    room.pass(6.0);
    room.status(PC33, "offline", "lost", 1);
    room.pass(30.0);
    let told = room.take();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].1.contains("formerly 192.168.0.133"));
}

#[test]
fn nobody_can_silence_a_neighbour_by_claiming_its_address() {
    let mut room = Room::of(&[PC33, PC34]);
    let claim = lab::status(PC34, "online", "address-changed", 2);
    let mut value: serde_json::Value = serde_json::from_slice(&claim).unwrap();
    value["lab"]["previous_ip"] = json!(PC33);
    value["host"]["id"] = json!("another machine");
    room.say(PC34, &serde_json::to_vec(&value).unwrap(), false);
    room.take();
    room.set(0, false, true);
    room.status(PC33, "offline", "lost", 1);
    room.tells(Severity::Warning, "agent-killed", PC33);
}

#[test]
fn who_went_while_nobody_watched_is_told_afterwards_and_who_went_before_is_not() {
    let mut silence = Silence::default();
    let seen = Seen {
        at: at(Duration::ZERO),
        now: Duration::ZERO,
        retained: true,
    };
    for (address, action, reason) in [
        (PC33, "offline", "stopped"),
        (PC34, "offline", "shutdown"),
        ("192.168.0.135", "offline", "lost"),
    ] {
        let status: Status =
            serde_json::from_slice(&lab::status(address, action, reason, 1)).unwrap();
        assert_eq!(silence.status(ip(address), &status, seen), None);
    }
    // All three statuses were written at 09:12:04.
    let told = silence.gone_since("2026-11-22T09:30:00Z".parse().unwrap());
    assert_eq!(told.len(), 1);
    assert!(
        told[0]
            .message
            .contains("192.168.0.135 gone: its connection was lost while no notifier watched")
    );
    assert!(
        silence
            .gone_since("2026-11-22T09:00:00Z".parse().unwrap())
            .is_empty()
    );
}
