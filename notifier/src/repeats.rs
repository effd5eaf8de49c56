//! Repeats: events that an agent sends again because nobody has confirmed them, and that were judged already.
//!
//! ```text
//! topic's address, head, payload --> runs of the journal: 1..=1200, 1240..=1302 --> new | repeat
//! ```
//! A run is a row of events of one journal without a hole, each of which carries the digest of the one before. An
//! event that continues a run is new, whatever else was said under its number: only who wrote the event before
//! knows its digest, so nobody can use up numbers that the agent has not reached. Within a run a repeat is what
//! happened before the run was last continued; beside that, whatever has the very bytes of one of the last 256
//! events of its PC. So a doubtful event is told once too often rather than not at all.
//!
//! Kept by address, so that no PC speaks for another; a PC that moves takes its journals along. Bounded: 4,096 PCs,
//! 8 journals each, 4 runs each; those quiet longest go. [`Repeats::seen`] is what the next notifier goes on from.

use std::{collections::HashMap, net::IpAddr};

use labwatch_contract::{
    alert::SeenRun,
    chain::Digest,
    event::{Head, Place},
    time::Timestamp,
};
use uuid::Uuid;

const MAX_PCS: usize = 4096;
const MAX_JOURNALS: usize = 8;
const MAX_RUNS: usize = 4;
/// Payloads of a PC that are known by their bytes.
const RECENT: usize = 256;
/// Most runs that are handed to the next notifier; they must fit into one message.
const MAX_SEEN: usize = 1000;

/// Which events of which PC were judged.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    pcs: HashMap<IpAddr, Pc>,
}

#[derive(Debug, Default)]
struct Pc {
    /// The one heard last is the last.
    journals: Vec<Journal>,
    /// Digests by number, as far as they have not made room.
    recent: Vec<[u8; 8]>,
}

#[derive(Debug)]
struct Journal {
    id: Uuid,
    /// The one continued last is the last.
    runs: Vec<Run>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    first: u64,
    last: u64,
    /// What its first event says of the one before.
    prev: Option<[u8; 8]>,
    /// Of its last event.
    digest: [u8; 8],
    /// When that came to us.
    heard: Timestamp,
}

impl Repeats {
    /// Whether an event that came at `at` by the topic of `address` was judged before; from now on it was.
    pub(crate) fn handle(
        &mut self,
        address: IpAddr,
        head: &Head,
        payload: &[u8],
        at: Timestamp,
    ) -> bool {
        if self.pcs.len() >= MAX_PCS && !self.pcs.contains_key(&address) {
            return false;
        }
        let digest = Digest::of(payload).short();
        let pc = self.pcs.entry(address).or_default();
        let same_bytes = pc.recall(head.place.sequence, digest);
        let journal = pc.journal(head.place.journal);
        let in_a_run = journal.take(&head.place, digest, head.time, at);
        same_bytes || in_a_run
    }

    /// A PC goes on under another address, with the journals that it has.
    pub(crate) fn moved(&mut self, from: IpAddr, to: IpAddr) {
        if let Some(pc) = self.pcs.remove(&from) {
            self.pcs.insert(to, pc);
        }
    }

    /// The last run of each PC's journal, for the next notifier.
    pub(crate) fn seen(&self) -> Vec<SeenRun> {
        let all = self.pcs.iter().filter_map(|(address, pc)| {
            let journal = pc.journals.last()?;
            let run = journal.runs.last()?;
            Some(SeenRun {
                ip: *address,
                journal: journal.id,
                first: run.first,
                last: run.last,
                digest: format!("{:016x}", u64::from_be_bytes(run.digest)),
            })
        });
        let mut all: Vec<_> = all.collect();
        all.sort_unstable_by_key(|run| run.ip);
        all.truncate(MAX_SEEN);
        all
    }

    /// What the notifier before had judged by `watched`. A run without a readable digest counts for nothing.
    pub(crate) fn adopt(&mut self, seen: &[SeenRun], watched: Timestamp) {
        for one in seen.iter().take(MAX_SEEN) {
            let Ok(digest) = u64::from_str_radix(&one.digest, 16) else {
                continue;
            };
            let run = Run {
                first: one.first,
                last: one.last,
                prev: None,
                digest: digest.to_be_bytes(),
                heard: watched,
            };
            if self.pcs.len() < MAX_PCS || self.pcs.contains_key(&one.ip) {
                let pc = self.pcs.entry(one.ip.to_canonical()).or_default();
                pc.journal(one.journal).adopt(run);
            }
        }
    }
}

impl Pc {
    /// Whether these very bytes came a moment ago.
    fn recall(&mut self, sequence: u64, digest: [u8; 8]) -> bool {
        if self.recent.is_empty() {
            self.recent = vec![[0; 8]; RECENT];
        }
        let count = u64::try_from(RECENT).unwrap_or(1);
        let place = usize::try_from(sequence % count).unwrap_or_default();
        let Some(known) = self.recent.get_mut(place) else {
            return false;
        };
        std::mem::replace(known, digest) == digest
    }

    fn journal(&mut self, id: Uuid) -> &mut Journal {
        let known = self.journals.iter().position(|one| one.id == id);
        let journal = match known {
            Some(place) => self.journals.remove(place),
            None => Journal {
                id,
                runs: Vec::new(),
            },
        };
        make_room(&mut self.journals, MAX_JOURNALS);
        self.journals.push_mut(journal)
    }
}

impl Journal {
    /// Whether the event lies within a run; else it continues one or begins another.
    fn take(&mut self, place: &Place, digest: [u8; 8], time: Timestamp, at: Timestamp) -> bool {
        let prev = place.prev.short();
        if let Some(index) = self.runs.iter().position(|run| run.ends_before(place)) {
            let run = self.runs.remove(index);
            let run = Run {
                last: place.sequence,
                digest,
                heard: at,
                ..run
            };
            self.runs.push(run);
            self.join();
            return false;
        }
        if self.runs.iter().any(|run| run.holds(place, digest, time)) {
            return true;
        }
        make_room(&mut self.runs, MAX_RUNS);
        self.runs.push(Run {
            first: place.sequence,
            last: place.sequence,
            prev: Some(prev),
            digest,
            heard: at,
        });
        false
    }

    /// A run of the notifier before; what came since goes on from it.
    fn adopt(&mut self, run: Run) {
        if self.runs.len() < MAX_RUNS {
            self.runs.push(run);
            self.join();
        }
    }

    /// Where the last run has reached the beginning of another, they are one.
    fn join(&mut self) {
        let Some(run) = self.runs.pop() else {
            return;
        };
        let goes_on = |other: &Run| {
            run.last.checked_add(1) == Some(other.first) && other.prev == Some(run.digest)
        };
        let next = self.runs.iter().position(goes_on);
        let next = next.map(|index| self.runs.remove(index));
        self.runs.push(match next {
            Some(next) => Run {
                first: run.first,
                prev: run.prev,
                ..next
            },
            None => run,
        });
    }
}

impl Run {
    fn ends_before(&self, place: &Place) -> bool {
        self.last.checked_add(1) == Some(place.sequence) && place.prev.short() == self.digest
    }

    fn holds(&self, place: &Place, digest: [u8; 8], time: Timestamp) -> bool {
        let number = place.sequence;
        number == self.last && digest == self.digest
            || (self.first..self.last).contains(&number) && time <= self.heard
    }
}

/// What was heard longest ago is the first and makes room.
fn make_room<T>(all: &mut Vec<T>, most: usize) {
    if all.len() >= most {
        all.remove(0);
    }
}

#[cfg(test)]
mod tests;
