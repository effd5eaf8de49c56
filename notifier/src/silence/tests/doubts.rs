//! Silences that are hard to tell: answers that come and go, heartbeats without the agent, blips.

use super::*;

#[test]
fn a_pc_that_answers_now_and_then_is_told_ten_seconds_after_its_last_heartbeat() {
    for phase in 0..20 {
        let mut room = Room::of(&[PC33]);
        room.pass(f64::from(phase) / 10.0);
        let began = room.now;
        for step in 0..30 {
            room.set(0, false, step % 3 == 0);
            room.pass(1.0);
        }
        let told = room.take();
        assert_eq!(told.len(), 1, "{told:?}");
        let after = told[0].0 - began;
        // Not sooner: a cable that is out for 3 s looks the same for 9 s.
        assert!(after <= seconds(10.5), "{after:?}");
    }
}

#[test]
fn heartbeats_that_go_on_without_the_agents_connection_hide_nothing() {
    for (frozen_for, phase) in [(0.0, 0), (7.5, 0), (7.5, 7)] {
        let mut room = Room::of(&[PC33]);
        room.pass(f64::from(phase) / 10.0);
        room.pass(frozen_for);
        room.status(PC33, "offline", "lost", 1);
        room.tells(
            Severity::Warning,
            "agent-killed",
            "but the PC answers: its agent was killed",
        );
        room.status(PC33, "online", "started", 2);
        room.pass(30.0);
        let told = room.take();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].1.contains("connected after"), "{told:?}");
    }
}

#[test]
fn heartbeats_that_begin_after_a_silent_connection_was_closed_hide_nothing() {
    let mut room = Room::of(&[PC33]);
    room.set(0, false, true);
    room.pass(4.5);
    room.status(PC33, "offline", "lost", 1);
    room.set(0, true, true);
    room.tells(
        Severity::Warning,
        "agent-killed",
        "but the PC answers: its agent was killed",
    );
}

#[test]
fn a_connection_that_comes_back_after_a_blip_is_not_mentioned_whatever_comes_first() {
    for silent in [0.5, 4.5] {
        for online_after in [0.0, 0.3, 1.0] {
            let mut room = Room::of(&[PC33]);
            room.set(0, false, false);
            room.pass(silent);
            room.status(PC33, "offline", "lost", 1);
            room.set(0, true, true);
            let seen = room.seen(false);
            room.silence.sign_of_life(ip(PC33), seen);
            room.pass(online_after);
            room.status(PC33, "online", "reconnected", 2);
            room.pass(30.0);
            assert_eq!(room.take(), [], "{silent} {online_after}");
        }
    }
}

#[test]
fn a_flap_of_three_seconds_is_not_mentioned() {
    for phase in 0..20 {
        let mut room = Room::of(&[PC33]);
        room.pass(f64::from(phase) / 10.0);
        room.set(0, false, false);
        room.pass(3.0);
        room.set(0, false, true);
        // What TCP had queued comes with its next try.
        room.pass(1.5);
        room.set(0, true, true);
        room.pass(30.0);
        assert_eq!(room.take(), []);
    }
}
