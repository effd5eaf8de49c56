//! What happens at the recorder: messages, commits, acknowledgements, and that it is killed.

use std::net::IpAddr;

use bytes::Bytes;
use labwatch_contract::{chain::Digest, event::Head, status::JournalRange, time::Timestamp};
use labwatch_recorder::ledger::{Ledger, Standing, Verdict};

use super::{Entry, Line, Message, STORE, World};

impl World {
    pub(super) fn take(&mut self, messages: u8) {
        for _ in 0..messages {
            let Some((ip, message)) = self.up.pop_front() else {
                return;
            };
            match message {
                Message::Event(payload) => self.take_event(ip, &payload),
                Message::Online(journals) => self.take_online(ip, &journals),
            }
        }
    }

    fn take_event(&mut self, ip: IpAddr, payload: &Bytes) {
        let (place, digest) = (
            Head::from_payload(payload).unwrap().place,
            Digest::of(payload),
        );
        let lines = match self.ledger.handle_event(ip, &place, digest, received()) {
            Verdict::New => vec![Line::Event(place.journal, place.sequence, digest)],
            Verdict::Duplicate | Verdict::Ahead => vec![],
            Verdict::Refused(refusal) => panic!("{place:?}: {refusal}"),
        };
        self.write(lines);
    }

    fn take_online(&mut self, ip: IpAddr, journals: &[JournalRange]) {
        let gaps = self.ledger.handle_online(ip, journals, received());
        self.write(gaps.into_iter().map(|gap| Line::Gap(ip, gap)).collect());
    }

    fn write(&mut self, lines: Vec<Line>) {
        let marks = self.ledger.take_moved();
        self.log.push(Entry { lines, marks });
    }

    pub(super) fn commit(&mut self) {
        let marks: Vec<_> = marks(&self.log[self.durable..]).collect();
        self.durable = self.log.len();
        self.ledger.handle_committed(&marks);
    }

    pub(super) fn acknowledge(&mut self) {
        while let Some(ack) = self.ledger.poll_ack(self.start + self.now) {
            self.acks.push_back(ack);
        }
        while let Some((ip, ack)) = self.acks.pop_front() {
            if self.connected && ip == self.ip {
                self.outbox.handle_ack(&ack, self.now);
                self.meet_demands();
            }
        }
    }

    pub(super) fn kill_recorder(&mut self, kept: u8) {
        self.log.truncate(self.durable + usize::from(kept));
        self.durable = self.log.len();
        self.ledger = Ledger::restore(STORE, marks(&self.log));
        self.up.clear();
        self.acks.clear();
        // It connects: everybody is told the marks, and the retained words come.
        self.ledger.handle_connected();
        self.up.extend(self.retained.clone());
    }
}

/// Journals have names from long before.
fn received() -> Timestamp {
    "2026-11-22T09:31:05Z".parse().unwrap()
}

fn marks(log: &[Entry]) -> impl Iterator<Item = Standing> {
    log.iter().flat_map(|entry| entry.marks.iter().cloned())
}
