//! Which acknowledgements are due, and when.
//!
//! A PC is told at once what it asked and what was committed, five times a second at most while it sends little by
//! little; a reminder of a mark that it seems not to know waits until
//! a second after the last acknowledgement. Each names at most [`MAX_MARKS`] journals; what does not fit goes into
//! the next. Pure.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    time::{Duration, Instant},
};

use labwatch_contract::ack::{Ack, MAX_MARKS, Mark};
use uuid::Uuid;

/// Reminders of one PC are at least this far apart.
const PAUSE: Duration = Duration::from_secs(1);
/// After this many events an acknowledgement does not wait: a quarter of what an agent sends ahead of its mark.
const MANY: u64 = 64;
/// Acknowledgements of few events are at least this far apart.
const BREATH: Duration = Duration::from_millis(200);
/// PCs that are waited for at most.
const MAX_PCS: usize = 2 * super::MAX_PCS;
/// Journals of one PC that wait to be named, and journals refused to it.
const MAX_JOURNALS: usize = 2 * super::JOURNALS_PER_PC;

#[derive(Debug)]
pub(super) struct Acks {
    store: Uuid,
    pcs: HashMap<IpAddr, Pc>,
    /// PCs by the moment at which they are due, `None`: at once.
    due: BTreeSet<(Option<Instant>, IpAddr)>,
}

#[derive(Debug, Default)]
struct Pc {
    journals: BTreeSet<Uuid>,
    refused: BTreeSet<Uuid>,
    sent: Option<Instant>,
    /// Events that became durable since.
    owed: u64,
    /// The entry in the queue of those that are due.
    due: Option<Option<Instant>>,
}

impl Acks {
    pub(super) fn new(store: Uuid) -> Self {
        Self {
            store,
            pcs: HashMap::new(),
            due: BTreeSet::new(),
        }
    }

    /// `journal` is to be named at once.
    pub(super) fn answer(&mut self, ip: IpAddr, journal: Uuid) {
        self.name(ip, journal);
        self.put_off(ip, None);
    }

    /// So many more events of `journal` are durable: told at once, but a stream of them in some few words.
    pub(super) fn progress(&mut self, ip: IpAddr, journal: Uuid, events: u64) {
        self.name(ip, journal);
        let Some(pc) = self.pc(ip) else {
            return;
        };
        pc.owed = pc.owed.saturating_add(events);
        let at = if pc.owed >= MANY {
            None
        } else {
            pc.sent.map(|sent| sent + BREATH)
        };
        self.put_off(ip, at);
    }

    /// The PC is to hear something at once, be it nothing but the name of the store.
    pub(super) fn answer_all(&mut self, ip: IpAddr) {
        self.put_off(ip, None);
    }

    /// `journal` is to be named when the last acknowledgement is a second old.
    pub(super) fn remind(&mut self, ip: IpAddr, journal: Uuid) {
        self.name(ip, journal);
        self.remind_all(ip);
    }

    /// What was polled did not go out: the PC is to hear all of it in a second, be it nothing but the name of the store.
    pub(super) fn unsent(&mut self, ip: IpAddr, ack: &Ack) {
        for mark in &ack.marks {
            self.name(ip, mark.journal);
        }
        self.remind_all(ip);
    }

    fn remind_all(&mut self, ip: IpAddr) {
        let after = self.pcs.get(&ip).and_then(|pc| pc.sent);
        self.put_off(ip, after.map(|sent| sent + PAUSE));
    }

    /// `journal` is refused to this PC until it continues it.
    pub(super) fn refuse(&mut self, ip: IpAddr, journal: Uuid) {
        if let Some(pc) = self.pc(ip) {
            pc.refused.insert(journal);
            while pc.refused.len() > MAX_MARKS {
                pc.refused.pop_first();
            }
        }
        self.remind(ip, journal);
    }

    /// `journal` was continued: nothing of it is refused any longer.
    pub(super) fn relent(&mut self, ip: IpAddr, journal: Uuid) {
        if let Some(pc) = self.pcs.get_mut(&ip) {
            pc.refused.remove(&journal);
        }
    }

    /// The next acknowledgement; `mark` knows what is durable.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        mark: impl Fn(IpAddr, Uuid) -> u64,
    ) -> Option<(IpAddr, Ack)> {
        let (at, ip) = *self.due.first()?;
        if at.is_some_and(|at| at > now) {
            return None;
        }
        self.due.pop_first();
        let pc = self.pcs.get_mut(&ip)?;
        pc.due = None;
        pc.sent = Some(now);
        pc.owed = 0;
        let mut marks = Vec::new();
        while let Some(journal) = pc.journals.pop_last() {
            let sequence = mark(ip, journal);
            marks.push(Mark { journal, sequence });
            if marks.len() == MAX_MARKS {
                break;
            }
        }
        let ack = Ack {
            recorder: self.store,
            marks,
            refused: pc.refused.iter().copied().collect(),
        };
        if !pc.journals.is_empty() {
            self.put_off(ip, None);
        }
        Some((ip, ack))
    }

    pub(super) fn timeout(&self, now: Instant) -> Option<Instant> {
        self.due.first().map(|(at, _)| at.unwrap_or(now))
    }

    fn name(&mut self, ip: IpAddr, journal: Uuid) {
        if let Some(pc) = self.pc(ip)
            && pc.journals.len() < MAX_JOURNALS
        {
            pc.journals.insert(journal);
        }
    }

    fn pc(&mut self, ip: IpAddr) -> Option<&mut Pc> {
        if !self.pcs.contains_key(&ip) && self.pcs.len() >= MAX_PCS {
            // Only PCs that nothing is refused to and that wait for nothing are forgotten.
            self.pcs
                .retain(|_, pc| pc.due.is_some() || !pc.refused.is_empty());
            if self.pcs.len() >= MAX_PCS {
                return None;
            }
        }
        Some(self.pcs.entry(ip).or_default())
    }

    /// Makes a PC due at `at`, or leaves it due earlier.
    fn put_off(&mut self, ip: IpAddr, at: Option<Instant>) {
        let Some(pc) = self.pc(ip) else {
            return;
        };
        match pc.due {
            Some(due) if due <= at => return,
            Some(due) => {
                pc.due = Some(at);
                self.due.remove(&(due, ip));
            }
            None => pc.due = Some(at),
        }
        self.due.insert((at, ip));
    }
}
