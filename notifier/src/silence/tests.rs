use labwatch_contract::{alert::Severity, status::Status};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::lab::{self, PC33, PC34};

mod doubts;
mod presence;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn at(now: Duration) -> Timestamp {
    let start: Timestamp = "2026-11-22T09:40:00.000Z".parse().unwrap();
    Timestamp::from_unix_ms(start.unix_ms() + i64::try_from(now.as_millis()).unwrap()).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A PC as the network shows it.
#[derive(Clone)]
struct Machine {
    ip: String,
    beats: bool,
    answers: bool,
}

/// A lab in virtual time: heartbeats every 2 s, each PC with a phase of its own, and answers to probes.
struct Room {
    silence: Silence,
    now: Duration,
    machines: Vec<Machine>,
    told: Vec<(Duration, Finding)>,
}

impl Room {
    fn of(ips: &[&str]) -> Self {
        let mut room = Self {
            silence: Silence::default(),
            now: seconds(1.0),
            machines: Vec::new(),
            told: Vec::new(),
        };
        room.silence.connected(room.now);
        for ip in ips {
            room.machines.push(Machine {
                ip: (*ip).into(),
                beats: true,
                answers: true,
            });
            room.status(ip, "online", "started", 1);
        }
        room.pass(10.0);
        assert!(
            room.take()
                .iter()
                .all(|(_, text)| text.contains("connected"))
        );
        room
    }

    fn seen(&self, retained: bool) -> Seen {
        Seen {
            at: at(self.now),
            now: self.now,
            retained,
        }
    }

    fn status(&mut self, ip: &str, action: &str, reason: &str, connection: u128) {
        let payload = lab::status(ip, action, reason, connection);
        self.say(ip, &payload, false);
    }

    fn say(&mut self, address: &str, payload: &[u8], retained: bool) {
        let status: Status = serde_json::from_slice(payload).unwrap();
        let finding = self
            .silence
            .status(ip(address), &status, self.seen(retained));
        self.told.extend(finding.map(|finding| (self.now, finding)));
    }

    fn set(&mut self, index: usize, beats: bool, answers: bool) {
        self.machines[index].beats = beats;
        self.machines[index].answers = answers;
    }

    /// Lets time pass in steps of 100 ms.
    fn pass(&mut self, time: f64) {
        let end = self.now + seconds(time);
        while self.now < end {
            self.now += Duration::from_millis(100);
            for (phase, machine) in (0_u128..).zip(self.machines.clone()) {
                if machine.beats && (self.now.as_millis() + phase * 700).is_multiple_of(2000) {
                    let seen = self.seen(false);
                    let finding = self.silence.sign_of_life(ip(&machine.ip), seen);
                    self.told.extend(finding.map(|finding| (self.now, finding)));
                }
            }
            let step = self.silence.handle_timeout(self.now, at(self.now));
            self.told
                .extend(step.findings.into_iter().map(|finding| (self.now, finding)));
            for probe in step.probes {
                if self
                    .machines
                    .iter()
                    .any(|one| ip(&one.ip) == probe && one.answers)
                {
                    self.silence.answered(probe);
                }
            }
        }
    }

    /// What was told since last asked, and when.
    fn take(&mut self) -> Vec<(Duration, String)> {
        std::mem::take(&mut self.told)
            .into_iter()
            .map(|(when, finding)| (when, finding.message))
            .collect()
    }

    /// Exactly one thing is told within 8 s of now.
    #[track_caller]
    fn tells(&mut self, severity: Severity, rule: &str, text: &str) {
        let began = self.now;
        self.pass(60.0);
        let told = std::mem::take(&mut self.told);
        let [(when, finding)] = &told[..] else {
            panic!("{told:#?}");
        };
        assert!(finding.message.contains(text), "{}", finding.message);
        assert_eq!((finding.severity, finding.rule.id), (severity, rule));
        assert!(*when <= began + seconds(8.0), "{:?}", *when - began);
    }
}

#[test]
fn an_agent_whose_connection_was_closed_on_a_pc_that_answers_was_killed() {
    let mut room = Room::of(&[PC33]);
    room.set(0, false, true);
    room.status(PC33, "offline", "lost", 1);
    room.tells(
        Severity::Warning,
        "agent-killed",
        "but the PC answers: its agent was killed",
    );
}

#[test]
fn a_closed_connection_on_a_pc_that_does_not_answer_is_not_a_pulled_cable() {
    let mut room = Room::of(&[PC33]);
    room.set(0, false, false);
    room.status(PC33, "offline", "lost", 1);
    room.tells(
        Severity::Warning,
        "agent-killed",
        "the connection was closed and the PC does not answer",
    );
}

#[test]
fn an_agent_that_is_connected_without_heartbeats_on_a_pc_that_answers_is_frozen() {
    for phase in 0..20 {
        let mut room = Room::of(&[PC33]);
        room.pass(f64::from(phase) / 10.0);
        room.set(0, false, true);
        room.tells(Severity::Warning, "agent-frozen", "its agent is frozen");
    }
}

#[test]
fn a_pc_without_heartbeat_and_answer_is_out_of_reach_which_is_technical() {
    for phase in 0..20 {
        let mut room = Room::of(&[PC33]);
        room.pass(f64::from(phase) / 10.0);
        room.set(0, false, false);
        room.tells(
            Severity::Technical,
            "agent-unreachable",
            "cable, Wi-Fi, power or network",
        );
    }
}

#[test]
fn what_the_broker_says_when_its_patience_ends_is_no_second_alert() {
    for answers in [true, false] {
        let mut room = Room::of(&[PC33]);
        room.set(0, false, answers);
        room.pass(7.5);
        room.status(PC33, "offline", "lost", 1);
        room.pass(30.0);
        assert_eq!(room.take().len(), 1);
    }
}

#[test]
fn a_pc_that_is_heard_again_is_told_with_how_long_it_was_silent() {
    let mut room = Room::of(&[PC33]);
    room.set(0, false, true);
    room.pass(20.0);
    room.take();
    room.set(0, true, true);
    room.pass(5.0);
    let told = room.take();
    assert_eq!(told.len(), 1);
    assert!(told[0].1.contains("heard again after 2"), "{told:?}");
    room.set(0, false, false);
    room.pass(20.0);
    room.take();
    room.status(PC33, "online", "reconnected", 2);
    assert!(room.take()[0].1.contains("connected again after 2"));
}

fn many() -> Vec<String> {
    (1..=30).map(|pc| format!("10.0.0.{pc}")).collect()
}

/// Each PC is a machine of its own.
fn lab_of(ips: &[String]) -> Room {
    let mut room = Room::of(&[]);
    for (number, ip) in (0..).zip(ips) {
        let status = lab::status(ip, "online", "started", 1);
        let status = lab::with(&status, "/host/id", json!(format!("machine {number}")));
        room.say(ip, &status, false);
        room.machines.push(Machine {
            ip: ip.clone(),
            beats: true,
            answers: true,
        });
    }
    room.pass(10.0);
    room.take();
    room
}

#[test]
fn a_row_that_goes_at_once_is_one_alert_and_one_when_it_is_back() {
    let mut room = lab_of(&many());
    for pc in 0..6 {
        room.set(pc, false, false);
    }
    room.tells(
        Severity::Technical,
        "agents-silent",
        "6 PCs gone at once: no PC of them answers",
    );
    for pc in 0..6 {
        room.set(pc, true, true);
    }
    room.pass(5.0);
    let told = room.take();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].1.starts_with("all 6 PCs are back"));
}

#[test]
fn of_a_row_that_comes_back_those_who_do_not_are_told() {
    let mut room = lab_of(&many());
    for pc in 0..6 {
        room.set(pc, false, false);
    }
    room.pass(20.0);
    room.take();
    for pc in 0..4 {
        room.set(pc, true, true);
    }
    room.pass(30.0);
    let told = room.take();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].1, "2 of 6 PCs are still gone: 10.0.0.5, 10.0.0.6");
}

#[test]
fn a_broker_that_hangs_is_one_alert_about_all() {
    let mut room = lab_of(&many());
    for pc in 0..30 {
        room.set(pc, false, true);
    }
    room.tells(
        Severity::Technical,
        "agents-silent",
        "no heartbeat comes, but the PCs answer: the broker hangs",
    );
}

#[test]
fn two_silences_at_one_time_are_two_alerts() {
    let mut room = lab_of(&many());
    room.set(0, false, false);
    room.set(1, false, true);
    room.pass(20.0);
    assert_eq!(room.take().len(), 2);
}

#[test]
fn without_the_broker_nobody_is_judged_and_who_does_not_come_back_is_told_after_it() {
    let mut room = lab_of(&many());
    room.silence.disconnected();
    for pc in 0..30 {
        room.set(pc, false, true);
    }
    room.pass(60.0);
    assert_eq!(room.take(), []);
    room.silence.connected(room.now);
    room.pass(4.0);
    for pc in 1..30 {
        room.set(pc, true, true);
    }
    room.pass(20.0);
    let told = room.take();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0]
            .1
            .contains("10.0.0.1 gone: it has not come back since the broker did; the PC answers")
    );
}

#[test]
fn an_expected_pc_that_never_comes_is_told_once() {
    let mut room = Room::of(&[PC33]);
    room.silence.expect(&[ip(PC33), ip(PC34)].into(), room.now);
    room.pass(29.0);
    assert_eq!(room.take(), []);
    room.pass(60.0);
    let told = room.take();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0]
            .1
            .contains("192.168.0.134 expected, but never seen; the PC does not answer")
    );
    room.status(PC34, "online", "started", 1);
    assert!(room.take()[0].1.contains("192.168.0.134 connected"));
}

#[test]
fn a_pause_of_our_own_blames_nobody() {
    let mut room = lab_of(&many());
    room.now += seconds(60.0);
    room.pass(20.0);
    assert_eq!(room.take(), []);
}

proptest! {
    #[test]
    fn whatever_happens_each_pc_has_one_verdict_at_a_time(
        deeds in prop::collection::vec((0_u8..5, any::<bool>(), 0_u8..80), 0..40)
    ) {
        let mut room = Room::of(&[PC33]);
        let mut gone = false;
        for (connection, (deed, flag, tenths)) in (2..).zip(deeds) {
            match deed {
                0 => room.set(0, flag, !flag),
                1 => room.status(PC33, "offline", "lost", connection - 1),
                2 => room.status(PC33, "online", "reconnected", connection),
                3 => room.silence.disconnected(),
                _ => room.silence.connected(room.now),
            }
            room.pass(f64::from(tenths) / 10.0);
            for (_, text) in room.take() {
                let goes = text.contains("gone") || text.contains("silent:");
                prop_assert!(!(goes && gone), "gone twice: {text}");
                gone = goes;
            }
        }
    }
}
