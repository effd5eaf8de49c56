//! Each of the four programs is killed with -9 and started again: the others go on, and new events arrive.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test talks to the world, and fails by a panic"
)]

use std::net::{IpAddr, SocketAddr};

use labwatch_contract::event::Action;
use labwatch_tests::{
    lab::{Lab, Machine},
    program::{Program, eventually},
    record, skipped, traffic,
};

const NONE: &[&str] = &[];
const TOOLS: [&str; 3] = ["ip", "dnsmasq", "sysctl"];

/// The whole room, each part replaceable.
struct Room {
    lab: Lab,
    broker: Program,
    recorder: Program,
    notifier: Program,
    agent: Program,
    port: u16,
}

impl Room {
    fn open() -> Self {
        let lab = Lab::new();
        let broker = lab.start_broker();
        let recorder = lab.start_recorder(NONE);
        let notifier = lab.start_notifier(NONE);
        let agent = lab.start_agent(&lab.pcs[0], NONE);
        let room = Self {
            lab,
            broker,
            recorder,
            notifier,
            agent,
            port: 9000,
        };
        let _ = room
            .notifier
            .wait_for(&[&room.watched().ip.to_string(), "connected"]);
        room
    }

    fn watched(&self) -> &Machine {
        &self.lab.pcs[0]
    }

    /// A new conversation, which must come to the notifier and into the record.
    fn an_event_arrives(&mut self) {
        self.port += 1;
        let [one, two, _] = &self.lab.pcs;
        traffic::serve_pages(two, self.port);
        let skip = self.notifier.lines().len();
        traffic::fetch_page(one, SocketAddr::new(two.into(), self.port));
        let _ = self
            .notifier
            .wait_for_after(skip, &[&one.ip.to_string(), &format!("{}", self.port)]);
        let port = Some(self.port);
        eventually("the event is in the record", || {
            let events = record::events(&self.lab.records(), one.into(), &Action::IntranetAccess);
            let ends = events
                .into_iter()
                .filter_map(|event| event.occurrence.fields.destination);
            ends.into_iter()
                .find(|end| end.port == port && end.ip == IpAddr::from(two))
        });
    }

    fn all_others_run(&mut self) {
        for program in [
            &mut self.broker,
            &mut self.recorder,
            &mut self.notifier,
            &mut self.agent,
        ] {
            assert!(program.is_running());
        }
    }
}

#[test]
fn each_part_is_killed_and_started_again_and_new_events_arrive() {
    if skipped(&TOOLS).is_some() {
        return;
    }
    let mut room = Room::open();
    room.an_event_arrives();

    room.recorder.kill();
    room.recorder = room.lab.start_recorder(NONE);
    room.all_others_run();
    room.an_event_arrives();

    room.notifier.kill();
    room.notifier = room.lab.start_notifier(NONE);
    room.all_others_run();
    room.an_event_arrives();

    room.agent.kill();
    let address = room.watched().ip.to_string();
    let _ = room.notifier.wait_for(&[&address, "lost"]);
    room.agent = room.lab.start_agent(room.watched(), NONE);
    room.all_others_run();
    room.an_event_arrives();

    let skip = [&room.recorder, &room.notifier, &room.agent].map(|program| program.lines().len());
    room.broker.kill();
    room.broker = room.lab.start_broker();
    for (program, skip) in [&room.recorder, &room.notifier, &room.agent]
        .into_iter()
        .zip(skip)
    {
        let _ = program.wait_for_after(skip, &["connected to the broker"]);
    }
    room.all_others_run();
    room.an_event_arrives();
}

#[test]
fn each_part_ends_in_order_within_five_seconds() {
    if skipped(&TOOLS).is_some() {
        return;
    }
    let mut room = Room::open();
    room.an_event_arrives();
    let skip = room.notifier.lines().len();
    for program in [&mut room.agent, &mut room.recorder] {
        let (status, took) = program.terminate();
        assert!(
            status.success() && took.as_secs() < 5,
            "{status} after {took:?}"
        );
    }
    let address = room.watched().ip.to_string();
    let _ = room.notifier.wait_for_after(skip, &[&address, "stopped"]);
    for program in [&mut room.notifier, &mut room.broker] {
        let (status, took) = program.terminate();
        assert!(
            status.success() && took.as_secs() < 5,
            "{status} after {took:?}"
        );
    }
}
