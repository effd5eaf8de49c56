//! A PC, a broker and a recorder in virtual time: the real sealer, outbox and ledger, and models of what is between
//! and below them. A message waits in a queue that can be shuffled, a file is a list of lines of which so many were
//! synced; whoever is killed keeps only what was on the disk, and perhaps a little more.

mod count;
mod pc;
mod recorder;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use labwatch_agent::{
    outbox::{Confirmed, Outbox},
    sealer::Sealer,
};
use labwatch_contract::{ack::Ack, chain::Digest, event::Action, status::JournalRange};
use labwatch_recorder::ledger::{Gap, Ledger, Standing};
use uuid::Uuid;

use crate::steps::Step;

#[derive(Debug, Clone)]
enum Message {
    Event(Bytes),
    Online(Vec<JournalRange>),
}

/// One journal on the PC's disk.
#[derive(Debug, Default)]
struct File {
    lines: Vec<Bytes>,
    synced: usize,
    dropped: bool,
    damaged: BTreeSet<u64>,
}

pub(crate) struct World {
    now: Duration,
    start: Instant,
    ip: IpAddr,
    // The PC.
    files: BTreeMap<Uuid, File>,
    present: Uuid,
    names: u128,
    sealer: Sealer,
    outbox: Outbox,
    confirmed: Confirmed,
    connected: bool,
    // The broker.
    up: VecDeque<(IpAddr, Message)>,
    retained: BTreeMap<IpAddr, Message>,
    // The recorder: a log of lines and marks, on the disk up to `durable`.
    ledger: Ledger,
    log: Vec<Entry>,
    durable: usize,
    acks: VecDeque<(IpAddr, Ack)>,
}

/// What one message adds to the log, whole or not at all.
#[derive(Debug)]
struct Entry {
    lines: Vec<Line>,
    marks: Vec<Standing>,
}

#[derive(Debug)]
enum Line {
    Event(Uuid, u64, Digest),
    Gap(IpAddr, Gap),
}

const STORE: Uuid = Uuid::from_u128(0x5703e);

impl World {
    pub(crate) fn new() -> Self {
        let present = Uuid::from_u128(1);
        Self {
            now: Duration::from_secs(100),
            start: Instant::now(),
            ip: [10, 0, 0, 1].into(),
            files: BTreeMap::from([(present, File::default())]),
            present,
            names: 1,
            sealer: Sealer::new(present, Digest::ZERO),
            outbox: Outbox::new(&[], Confirmed::default(), present),
            confirmed: Confirmed::default(),
            connected: false,
            up: VecDeque::new(),
            retained: BTreeMap::new(),
            ledger: Ledger::new(STORE),
            log: Vec::new(),
            durable: 0,
            acks: VecDeque::new(),
        }
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Occur => self.occur(Action::EventsLost),
            Step::Send(messages) => self.send(messages),
            Step::Take(messages) => self.take(messages),
            Step::Commit => self.commit(),
            Step::Acknowledge => self.acknowledge(),
            Step::LoseAck => drop(self.acks.pop_front()),
            Step::Duplicate(at) => self.duplicate(at),
            Step::Reorder(at) => self.reorder(at),
            Step::LoseMessage(at) => {
                drop(index(at, self.up.len()).and_then(|at| self.up.remove(at)))
            }
            Step::Connect => self.connect(),
            Step::Disconnect => self.disconnect(),
            Step::BrokerForgets => self.broker_forgets(),
            Step::MoveAddress => self.move_address(),
            Step::BeginJournal => self.begin_journal(),
            Step::DropJournal => self.drop_journal(),
            Step::Damage(at) => self.damage(at),
            Step::Remember => self.confirmed = self.outbox.confirmed(),
            Step::KillAgent(kept) => self.kill_agent(kept),
            Step::SyncJournal => self
                .files
                .values_mut()
                .for_each(|file| file.synced = file.lines.len()),
            Step::KillRecorder(kept) => self.kill_recorder(kept),
            Step::Wait(ms) => self.wait(Duration::from_millis(ms.into())),
        }
        self.meet_demands();
    }

    fn duplicate(&mut self, at: u8) {
        if let Some(again) = index(at, self.up.len()).map(|at| self.up[at].clone()) {
            self.up.push_back(again);
        }
        self.acks.extend(self.acks.front().cloned());
    }

    fn reorder(&mut self, at: u8) {
        if let Some(at) = index(at, self.up.len()) {
            self.up.swap(0, at);
        }
        self.acks.rotate_left(usize::from(self.acks.len() > 1));
    }

    fn broker_forgets(&mut self) {
        self.disconnect();
        self.up.clear();
        self.acks.clear();
        self.retained.clear();
        self.ledger.handle_connected();
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.outbox.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.outbox.handle_timeout(self.now);
        }
        self.now = until;
    }

    /// No more faults: everything must come to rest with nothing unconfirmed.
    pub(crate) fn settle(&mut self) {
        self.connect();
        for _ in 0..200 {
            self.wait(Duration::from_millis(900));
            self.meet_demands();
            self.send(u8::MAX);
            self.take(u8::MAX);
            self.commit();
            self.acknowledge();
            if self.outbox.backlog() == 0
                && self.up.is_empty()
                && self.outbox.confirmed().gone.is_empty()
            {
                return;
            }
        }
        panic!(
            "{} events are never confirmed: {:?}",
            self.outbox.backlog(),
            self.outbox
        );
    }
}

fn index(at: u8, length: usize) -> Option<usize> {
    usize::from(at).checked_rem(length)
}
