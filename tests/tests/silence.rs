//! Each kind of silence on real packets: an agent is stopped, killed, frozen, its cable pulled, its address
//! changed, the broker killed; the notifier tells them apart, and a flap of 3 s is not mentioned.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test talks to the world, and fails by a panic"
)]

use std::{
    net::Ipv4Addr,
    thread::sleep,
    time::{Duration, Instant},
};

use labwatch_tests::{
    lab::{Lab, Machine},
    program::Program,
    skipped,
};
use nix::sys::signal::Signal;

const NONE: &[&str] = &[];
const TOOLS: [&str; 3] = ["ip", "dnsmasq", "sysctl"];
/// A silence is told within 8 s; a busy machine that runs tests gets half as much again.
const TOLD_WITHIN: Duration = Duration::from_secs(12);
/// What could be said of a PC that is not there.
const WORDS: [&str; 5] = ["gone", "silent", "connected", "heard again", "out of reach"];

/// A lab with one agent that has been heard for a while.
struct Room {
    lab: Lab,
    broker: Program,
    notifier: Program,
    agent: Program,
}

impl Room {
    fn open() -> Option<Self> {
        if skipped(&TOOLS).is_some() {
            return None;
        }
        let lab = Lab::new();
        let broker = lab.start_broker();
        let notifier = lab.start_notifier(NONE);
        let agent = lab.start_agent(&lab.pcs[0], NONE);
        let room = Self {
            lab,
            broker,
            notifier,
            agent,
        };
        let _ = room.notifier.wait_for(&[&room.address(), "connected"]);
        sleep(Duration::from_secs(3));
        Some(room)
    }

    fn pc(&self) -> &Machine {
        &self.lab.pcs[0]
    }

    fn address(&self) -> String {
        self.pc().ip.to_string()
    }

    /// Does something to the lab; the line that is told of it must hold all of `parts`.
    fn tells(&mut self, what: &str, deed: impl FnOnce(&mut Self), parts: &[&str]) {
        let skip = self.notifier.lines().len();
        let began = Instant::now();
        deed(self);
        let line = self.notifier.wait_for_after(skip, parts);
        let after = line.at.saturating_duration_since(began);
        println!("{what}: told after {after:.1?}: {}", line.text);
        assert!(after < TOLD_WITHIN, "{what}: {after:?}: {}", line.text);
    }

    /// Nothing is said of silence for as long as it takes to be sure.
    fn says_nothing(&self, what: &str, skip: usize) {
        sleep(Duration::from_secs(12));
        let lines = self.notifier.lines();
        let said: Vec<_> = lines[skip..]
            .iter()
            .map(|line| line.text.as_str())
            .filter(|text| WORDS.iter().any(|word| text.contains(word)))
            .collect();
        println!("{what}: {} lines of silence", said.len());
        assert!(said.is_empty(), "{what}: {said:#?}");
    }
}

#[test]
fn an_agent_that_is_stopped_or_killed_is_told_as_such() {
    let Some(mut room) = Room::open() else {
        return;
    };
    let address = room.address();
    room.tells(
        "SIGTERM",
        |room| room.agent.signal(Signal::SIGTERM),
        &[&address, "gone: its agent was stopped"],
    );
    room.agent = room.lab.start_agent(room.pc(), NONE);
    sleep(Duration::from_secs(3));
    room.tells(
        "kill -9",
        |room| room.agent.kill(),
        &[&address, "the PC answers: its agent was killed"],
    );
}

#[test]
fn an_agent_that_is_frozen_is_told_and_when_it_moves_again() {
    let Some(mut room) = Room::open() else {
        return;
    };
    let address = room.address();
    room.tells(
        "SIGSTOP",
        |room| room.agent.signal(Signal::SIGSTOP),
        &[&address, "its agent is frozen"],
    );
    room.tells(
        "SIGCONT",
        |room| room.agent.signal(Signal::SIGCONT),
        &["INFO", &address, "again"],
    );
}

#[test]
fn a_pulled_cable_is_technical_and_a_flap_is_not_mentioned() {
    let Some(mut room) = Room::open() else {
        return;
    };
    let address = room.address();
    let skip = room.notifier.lines().len();
    room.lab.plug(room.pc(), false);
    sleep(Duration::from_secs(3));
    room.lab.plug(room.pc(), true);
    room.says_nothing("a flap of 3 s", skip);
    room.tells(
        "link down",
        |room| room.lab.plug(room.pc(), false),
        &["TECHNICAL", &address, "does not answer (cable"],
    );
    room.tells(
        "link up",
        |room| room.lab.plug(room.pc(), true),
        &["INFO", &address, "again"],
    );
}

#[test]
fn a_changed_address_is_no_silence() {
    let Some(mut room) = Room::open() else {
        return;
    };
    let (old, new) = (room.address(), Ipv4Addr::new(10, 77, 0, 77));
    let skip = room.notifier.lines().len();
    room.tells(
        "address changed",
        |room| room.lab.readdress(room.pc(), new),
        &[&new.to_string(), &format!("formerly {old}")],
    );
    sleep(Duration::from_secs(10));
    let lines = room.notifier.lines();
    let gone = |line: &&labwatch_tests::program::Line| line.text.contains("gone");
    assert_eq!(lines[skip..].iter().filter(gone).count(), 0);
}

#[test]
fn a_broker_that_is_killed_is_told_as_such_and_no_pc_is_blamed() {
    let Some(mut room) = Room::open() else {
        return;
    };
    let skip = room.notifier.lines().len();
    room.tells(
        "broker killed",
        |room| room.broker.kill(),
        &["WARNING", "broker out of reach"],
    );
    sleep(Duration::from_secs(3));
    room.tells(
        "broker back",
        |room| room.broker = room.lab.start_broker(),
        &["INFO", "broker in reach again"],
    );
    sleep(Duration::from_secs(14));
    let address = room.address();
    let blamed = |line: &&labwatch_tests::program::Line| {
        line.text.contains(&address) && (line.text.contains("gone") || line.text.contains("silent"))
    };
    let lines = room.notifier.lines();
    let blamed: Vec<_> = lines[skip..].iter().filter(blamed).collect();
    assert!(blamed.is_empty(), "{blamed:#?}");
}

#[test]
fn three_pcs_that_fall_silent_together_are_one_alert() {
    let Some(mut room) = Room::open() else {
        return;
    };
    let others = [1, 2].map(|pc| room.lab.start_agent(&room.lab.pcs[pc], NONE));
    sleep(Duration::from_secs(3));
    let pull = |room: &mut Room, plugged| {
        for pc in &room.lab.pcs {
            room.lab.plug(pc, plugged);
        }
    };
    room.tells(
        "three cables",
        |room| pull(room, false),
        &["TECHNICAL", "3 PCs gone at once"],
    );
    room.tells(
        "three cables back",
        |room| pull(room, true),
        &["INFO", "all 3 PCs are back"],
    );
    let lines = room.notifier.lines();
    let single = |line: &&labwatch_tests::program::Line| line.text.contains(" gone: ");
    assert_eq!(lines.iter().filter(single).count(), 0);
    drop(others);
}
