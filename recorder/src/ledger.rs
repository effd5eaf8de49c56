//! How far the record of each journal has come: decides on every event, and says what is safe.
//!
//! ```text
//! event  --handle_event-->  New | Duplicate | Ahead | Refused      moves the mark that is taken
//! online --handle_online--> gaps                                   moves it too; an answer is due
//!          take_moved --> (the log, fsync) --> handle_committed    moves the mark that is durable
//!          poll_ack   --> acknowledgements, of durable marks only
//! ```
//!
//! A mark is raised by one event at a time, by mark + 1 whose `prev` fits; only an agent's own word that events
//! are gone raises it further, and that is a gap. Marks are kept by journal and hold for the address that raised
//! them last: an event that continues the chain takes the journal along to another address, since only who wrote
//! the event before can know its digest; any other word from there changes nothing of it, so that no PC can
//! complete, skip or refuse what another one says. Bounded: of one address the newest journals are remembered, older
//! ones are never taken again. The age of a journal is that of its name, which anybody on the PC may choose: one from
//! ahead of the clock pushes out none that is not. Pure; `now` is an argument.

mod acks;
mod books;
mod standing;
mod verdict;

use std::{net::IpAddr, time::Instant};

use labwatch_contract::{
    ack::{Ack, MAX_MARKS},
    chain::Digest,
    event::Place,
    status::JournalRange,
    time::Timestamp,
};
use uuid::Uuid;

use self::{acks::Acks, books::Books, verdict::judge};
pub use self::{
    books::Gap,
    standing::Standing,
    verdict::{Refusal, Verdict},
};

/// Journals that are remembered of one address: more than an agent ever names.
pub const JOURNALS_PER_PC: usize = 128;
/// Addresses whose journals are remembered; for a further one that one is forgotten whose newest journal is the oldest.
pub const MAX_PCS: usize = 16 * 1024;
/// A journal whose name says that it is begun later than so many milliseconds from now has a name from ahead of the
/// clock: an honest PC's clock may go so far before.
const AHEAD_MS: i64 = 60_000;

/// All marks of one store.
#[derive(Debug)]
pub struct Ledger {
    books: Books,
    acks: Acks,
}

impl Ledger {
    /// The ledger of a new store, which starts at nothing.
    #[must_use]
    pub fn new(store: Uuid) -> Self {
        Self {
            books: Books::default(),
            acks: Acks::new(store),
        }
    }

    /// The ledger of a store whose durable marks are `marks`, later ones of a journal in place of earlier ones.
    #[must_use]
    pub fn restore(store: Uuid, marks: impl IntoIterator<Item = Standing>) -> Self {
        let mut ledger = Self::new(store);
        for mark in marks {
            ledger.books.restore(&mark);
        }
        ledger
    }

    /// Decides on an event that came by a topic of `ip` at `now`; `digest` is that of its payload.
    pub fn handle_event(
        &mut self,
        ip: IpAddr,
        place: &Place,
        digest: Digest,
        now: Timestamp,
    ) -> Verdict {
        let verdict = judge(&self.books, ip, place, digest, now);
        match verdict {
            Verdict::New => match self.books.take(ip, place, digest, now) {
                Ok(()) => self.acks.relent(ip, place.journal),
                Err(refusal) => {
                    self.acks.refuse(ip, place.journal);
                    return Verdict::Refused(refusal);
                }
            },
            Verdict::Duplicate | Verdict::Ahead => self.acks.remind(ip, place.journal),
            Verdict::Refused(_) => self.acks.refuse(ip, place.journal),
        }
        verdict
    }

    /// Takes an agent's word on which events it still has, and gives the holes that are to be noted. Its answer
    /// is due at once, for journals that moved just now when they are committed. An agent names no more journals than
    /// one acknowledgement does; what is beyond that is not looked at.
    pub fn handle_online(
        &mut self,
        ip: IpAddr,
        journals: &[JournalRange],
        now: Timestamp,
    ) -> Vec<Gap> {
        let mut gaps = Vec::new();
        for range in journals.iter().take(MAX_MARKS) {
            match self.books.skip(ip, range, now) {
                Ok(Some(gap)) => gaps.push(gap),
                Ok(None) => self.acks.answer(ip, range.journal),
                Err(_) => self.acks.refuse(ip, range.journal),
            }
        }
        self.acks.answer_all(ip);
        gaps
    }

    /// The PC says that it was `from` before: what was taken of its journals there holds here. Only of a journal that it
    /// had here already; of any other, the first event that continues what was taken there is the proof.
    pub fn handle_return(&mut self, ip: IpAddr, from: IpAddr, journals: &[JournalRange]) {
        self.books.carry_over(ip, from, journals);
    }

    /// The marks that moved since this was last asked. They go into the log behind the lines that moved them.
    pub fn take_moved(&mut self) -> Vec<Standing> {
        self.books.take_moved()
    }

    /// `marks`, as [`Ledger::take_moved`] gave them, and all lines before them are on the disk.
    pub fn handle_committed(&mut self, marks: &[Standing]) {
        for mark in marks {
            if let Some((ip, events)) = self.books.settle(mark) {
                self.acks.progress(ip, mark.journal, events);
            }
        }
    }

    /// The recorder has connected to the broker: every PC that it knows is told its marks.
    pub fn handle_connected(&mut self) {
        for (ip, journals) in self.books.pcs() {
            self.acks.answer_all(ip);
            for journal in journals.iter().rev().take(MAX_MARKS) {
                self.acks.answer(ip, *journal);
            }
        }
    }

    /// The next acknowledgement that is due, and the PC that it goes to.
    pub fn poll_ack(&mut self, now: Instant) -> Option<(IpAddr, Ack)> {
        self.acks
            .poll(now, |ip, journal| self.books.durable(ip, journal))
    }

    /// An acknowledgement could not go out: what it names is due again, a second after it.
    pub fn handle_unsent(&mut self, ip: IpAddr, ack: &Ack) {
        self.acks.unsent(ip, ack);
    }

    /// When [`Ledger::poll_ack`] is to be asked again, if nothing else happens; a moment that has passed: at once.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.acks.timeout(now)
    }

    /// What follows on the mark of a journal, where its owner knows better.
    pub(crate) fn set_digest(&mut self, ip: IpAddr, journal: Uuid, digest: Digest) {
        self.books.set_digest(ip, journal, digest);
    }
}

/// The first name of a journal that lies ahead of the clock: names are UUIDs of version 7, which begin with 48 bits of
/// milliseconds (RFC 9562, 5.7). Anything else is read as if it were one.
pub(crate) fn first_ahead(now: Timestamp) -> Uuid {
    const LAST: u128 = 0xffff_ffff_ffff;
    let ms = now.unix_ms().saturating_add(AHEAD_MS);
    Uuid::from_u128(u128::try_from(ms).unwrap_or_default().min(LAST) << 80)
}

#[cfg(test)]
mod tests;
