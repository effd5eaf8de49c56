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
//! ones are never taken again. Pure; `now` is an argument.

mod acks;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use labwatch_contract::{
    ack::{Ack, MAX_MARKS},
    chain::Digest,
    event::Place,
    status::JournalRange,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::acks::Acks;

/// Journals that are remembered of one address: more than an agent ever names.
pub const JOURNALS_PER_PC: usize = 128;
/// Addresses whose journals are remembered; what further ones say is refused.
pub const MAX_PCS: usize = 16 * 1024;

/// The mark of one journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The journal.
    pub journal: Uuid,
    /// The address that raised the mark last.
    pub ip: IpAddr,
    /// Up to here everything is recorded or named as missing.
    pub sequence: u64,
    /// Digest of the event of that number; none when it is missing itself, so that whatever follows it fits.
    pub digest: Option<Digest>,
    /// Addresses that the journal has left with this mark: what stood for them is void.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<IpAddr>,
}

impl Standing {
    /// Takes the place of what stood there earlier; where the journal has moved, of what it has left too.
    pub(crate) fn supersede(mut self, earlier: &mut BTreeMap<(Uuid, IpAddr), Self>) {
        let own = earlier.remove(&(self.journal, self.ip));
        let old = self.left.iter();
        let old: Vec<_> = old
            .filter_map(|ip| earlier.remove(&(self.journal, *ip)))
            .chain(own)
            .collect();
        self.left.extend(old.into_iter().flat_map(|mark| mark.left));
        earlier.insert((self.journal, self.ip), self);
    }
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The next one: to be recorded. The mark that is taken has moved.
    New,
    /// Recorded before: dropped.
    Duplicate,
    /// Those before it are still to come: left alone, the agent sends it again.
    Ahead,
    /// Does not continue what was recorded: quarantine, the mark stays.
    Refused(Refusal),
}

/// Why an event does not continue its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `lab.prev` is not the digest of the event before.
    #[error("lab.prev is not the digest of the event before it")]
    Chain,
    /// Another event was recorded under this number.
    #[error("another event was recorded under this number")]
    SecondOfItsNumber,
    /// The journal is older than those that are remembered.
    #[error("the journal is older than the {JOURNALS_PER_PC} that are remembered of a PC")]
    Forgotten,
    /// No more addresses can be remembered.
    #[error("more than {MAX_PCS} PCs")]
    TooManyPcs,
}

/// Events that an agent no longer has, both ends included; named once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The journal.
    pub journal: Uuid,
    /// The first missing number.
    pub from: u64,
    /// The last missing number.
    pub to: u64,
}

#[derive(Debug, Clone, Copy)]
struct Book {
    taken: u64,
    digest: Option<Digest>,
    durable: u64,
    /// Whether it stands among those that moved.
    moved: bool,
}

/// All marks of one store.
#[derive(Debug)]
pub struct Ledger {
    books: BTreeMap<(Uuid, IpAddr), Book>,
    pcs: HashMap<IpAddr, BTreeSet<Uuid>>,
    /// Books that moved since this was last asked, with the addresses that they have left thereby.
    moved: BTreeMap<(Uuid, IpAddr), Vec<IpAddr>>,
    acks: Acks,
}

impl Ledger {
    /// The ledger of a new store, which starts at nothing.
    #[must_use]
    pub fn new(store: Uuid) -> Self {
        Self {
            books: BTreeMap::new(),
            pcs: HashMap::new(),
            moved: BTreeMap::new(),
            acks: Acks::new(store),
        }
    }

    /// The ledger of a store whose durable marks are `marks`, later ones of a journal in place of earlier ones.
    #[must_use]
    pub fn restore(store: Uuid, marks: impl IntoIterator<Item = Standing>) -> Self {
        let mut ledger = Self::new(store);
        for mark in marks {
            for ip in &mark.left {
                ledger.release(mark.journal, *ip);
            }
            let book = Book {
                taken: mark.sequence,
                digest: mark.digest,
                durable: mark.sequence,
                moved: false,
            };
            if ledger.admit(mark.ip, mark.journal).is_ok() {
                ledger.books.insert((mark.journal, mark.ip), book);
            }
        }
        ledger
    }

    /// Decides on an event that came by a topic of `ip`; `digest` is that of its payload.
    pub fn handle_event(&mut self, ip: IpAddr, place: &Place, digest: Digest) -> Verdict {
        let verdict = self.judge(ip, place, digest);
        match verdict {
            Verdict::New => match self.take(ip, place, digest) {
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
    /// is due at once, for journals that moved just now when they are committed.
    pub fn handle_online(&mut self, ip: IpAddr, journals: &[JournalRange]) -> Vec<Gap> {
        let mut gaps = Vec::new();
        for range in journals {
            match self.skip(ip, range) {
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
        for JournalRange { journal, .. } in journals {
            let (own, other) = ((*journal, ip), (*journal, from));
            let (Some(here), Some(there)) = (self.books.get(&own), self.books.get(&other).copied())
            else {
                continue;
            };
            if from != ip && there.taken > here.taken {
                let left = self.release(*journal, from);
                self.books.insert(
                    own,
                    Book {
                        moved: true,
                        ..there
                    },
                );
                self.moved.entry(own).or_default().extend(left);
            }
        }
    }

    /// The marks that moved since this was last asked. They go into the log behind the lines that moved them.
    pub fn take_moved(&mut self) -> Vec<Standing> {
        let moved = std::mem::take(&mut self.moved);
        let standing = |((journal, ip), left)| {
            let book = self.books.get_mut(&(journal, ip))?;
            book.moved = false;
            Some(Standing {
                journal,
                ip,
                sequence: book.taken,
                digest: book.digest,
                left,
            })
        };
        moved.into_iter().filter_map(standing).collect()
    }

    /// `marks`, as [`Ledger::take_moved`] gave them, and all lines before them are on the disk.
    pub fn handle_committed(&mut self, marks: &[Standing]) {
        for mark in marks {
            if let Some((ip, book)) = self.durable_of(mark) {
                let events = mark.sequence.saturating_sub(book.durable);
                book.durable = book.durable.max(mark.sequence);
                self.acks.progress(ip, mark.journal, events);
            }
        }
    }

    /// The recorder has connected to the broker: every PC that it knows is told its marks.
    pub fn handle_connected(&mut self) {
        for (ip, journals) in &self.pcs {
            self.acks.answer_all(*ip);
            for journal in journals.iter().rev().take(MAX_MARKS) {
                self.acks.answer(*ip, *journal);
            }
        }
    }

    /// The next acknowledgement that is due, and the PC that it goes to.
    pub fn poll_ack(&mut self, now: Instant) -> Option<(IpAddr, Ack)> {
        let books = &self.books;
        self.acks.poll(now, |ip, journal| {
            books
                .get(&(journal, ip))
                .or_else(|| {
                    siblings(books, journal)
                        .max_by_key(|(_, book)| book.taken)
                        .map(|(_, book)| book)
                })
                .map_or(0, |book| book.durable)
        })
    }

    /// An acknowledgement could not go out: what it names is due again, a second after it.
    pub fn handle_unsent(&mut self, ip: IpAddr, ack: &Ack) {
        for mark in &ack.marks {
            self.acks.remind(ip, mark.journal);
        }
    }

    /// When [`Ledger::poll_ack`] is to be asked again, if nothing else happens; a moment that has passed: at once.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.acks.timeout(now)
    }

    /// The books of a mark's journal, under the address that it has meanwhile.
    fn durable_of(&mut self, mark: &Standing) -> Option<(IpAddr, &mut Book)> {
        let own = (mark.journal, mark.ip);
        let key = if self.books.contains_key(&own) {
            own
        } else {
            // It went to another address since; what it took along is as durable there.
            let moved =
                siblings(&self.books, mark.journal).find(|(_, book)| book.taken > mark.sequence);
            (mark.journal, moved?.0)
        };
        self.books.get_mut(&key).map(|book| (key.1, book))
    }

    fn judge(&self, ip: IpAddr, place: &Place, digest: Digest) -> Verdict {
        if let Some(book) = self.books.get(&(place.journal, ip)) {
            return compare(book, place, digest);
        }
        let others = || siblings(&self.books, place.journal).map(|(_, book)| book);
        if others().any(|book| continues(book, place)) {
            return Verdict::New;
        }
        match others().max_by_key(|book| book.taken) {
            Some(book) if place.sequence <= book.taken => Verdict::Duplicate,
            Some(book) if place.sequence == book.taken.saturating_add(1) => {
                Verdict::Refused(Refusal::Chain)
            }
            None if self.is_forgotten(ip, place.journal) => Verdict::Refused(Refusal::Forgotten),
            None if place.sequence == 1 => Verdict::New,
            Some(_) | None => Verdict::Ahead,
        }
    }

    /// Moves the mark to an event that was judged to be the next.
    fn take(&mut self, ip: IpAddr, place: &Place, digest: Digest) -> Result<(), Refusal> {
        let own = (place.journal, ip);
        let Some(book) = self.books.get_mut(&own) else {
            return self.take_first(ip, place, digest);
        };
        (book.taken, book.digest) = (place.sequence, Some(digest));
        if !std::mem::replace(&mut book.moved, true) {
            self.moved.entry(own).or_default();
        }
        Ok(())
    }

    /// Opens the book of a journal under a new address.
    fn take_first(&mut self, ip: IpAddr, place: &Place, digest: Digest) -> Result<(), Refusal> {
        let from = siblings(&self.books, place.journal)
            .find(|(_, book)| continues(book, place))
            .map(|(from, book)| (from, book.durable));
        self.admit(ip, place.journal)?;
        let (durable, left) = match from {
            Some((from, durable)) => (durable, self.release(place.journal, from)),
            None => (0, Vec::new()),
        };
        let book = Book {
            taken: place.sequence,
            digest: Some(digest),
            durable,
            moved: true,
        };
        self.books.insert((place.journal, ip), book);
        self.moved
            .entry((place.journal, ip))
            .or_default()
            .extend(left);
        Ok(())
    }

    /// Raises the mark to just before `range`, if what is before it is missing.
    fn skip(&mut self, ip: IpAddr, range: &JournalRange) -> Result<Option<Gap>, Refusal> {
        let own = (range.journal, ip);
        let other = || {
            siblings(&self.books, range.journal)
                .map(|(_, book)| book.taken)
                .max()
        };
        let known = self.books.get(&own).copied();
        let mark = known.map(|book| book.taken).or_else(other);
        if mark.is_none() && self.is_forgotten(ip, range.journal) {
            return Err(Refusal::Forgotten);
        }
        let (mark, before) = (mark.unwrap_or(0), range.first.saturating_sub(1));
        if before <= mark || range.last < before {
            return Ok(None);
        }
        if known.is_none() {
            self.admit(ip, range.journal)?;
        }
        let book = Book {
            taken: before,
            digest: None,
            durable: known.map_or(0, |book| book.durable),
            moved: true,
        };
        self.books.insert(own, book);
        self.moved.entry(own).or_default();
        Ok(Some(Gap {
            journal: range.journal,
            from: mark + 1,
            to: before,
        }))
    }

    /// What follows on the mark of a journal, where its owner knows better.
    pub(crate) fn set_digest(&mut self, ip: IpAddr, journal: Uuid, digest: Digest) {
        if let Some(book) = self.books.get_mut(&(journal, ip)) {
            book.digest = Some(digest);
        }
    }

    /// Whether a journal that is not remembered is older than the many that are.
    fn is_forgotten(&self, ip: IpAddr, journal: Uuid) -> bool {
        let full = self.pcs.get(&ip).filter(|pc| pc.len() >= JOURNALS_PER_PC);
        full.and_then(|pc| pc.first())
            .is_some_and(|oldest| journal < *oldest)
    }

    /// Makes room for a journal of `ip`.
    fn admit(&mut self, ip: IpAddr, journal: Uuid) -> Result<(), Refusal> {
        if !self.pcs.contains_key(&ip) && self.pcs.len() >= MAX_PCS {
            return Err(Refusal::TooManyPcs);
        }
        if self.is_forgotten(ip, journal) {
            return Err(Refusal::Forgotten);
        }
        let pc = self.pcs.entry(ip).or_default();
        pc.insert(journal);
        let oldest = if pc.len() > JOURNALS_PER_PC {
            pc.pop_first()
        } else {
            None
        };
        if let Some(oldest) = oldest {
            self.books.remove(&(oldest, ip));
            self.moved.remove(&(oldest, ip));
        }
        Ok(())
    }

    /// Takes a journal from an address; gives all that it has left since the last commit, this one included.
    fn release(&mut self, journal: Uuid, ip: IpAddr) -> Vec<IpAddr> {
        if let Some(pc) = self.pcs.get_mut(&ip) {
            pc.remove(&journal);
        }
        self.books.remove(&(journal, ip));
        let mut left = self.moved.remove(&(journal, ip)).unwrap_or_default();
        left.push(ip);
        left
    }
}

/// The books of a journal, with the addresses that they hold for.
fn siblings(
    books: &BTreeMap<(Uuid, IpAddr), Book>,
    journal: Uuid,
) -> impl Iterator<Item = (IpAddr, &Book)> {
    let first = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    books
        .range((journal, first)..)
        .take_while(move |((of, _), _)| *of == journal)
        .map(|((_, ip), book)| (*ip, book))
}

/// Whether an event is proof that its sender wrote the one before it.
fn continues(book: &Book, place: &Place) -> bool {
    book.taken.checked_add(1) == Some(place.sequence)
        && book.digest.is_none_or(|known| known == place.prev)
}

fn compare(book: &Book, place: &Place, digest: Digest) -> Verdict {
    let next = book.taken.checked_add(1);
    if place.sequence == book.taken && book.digest.is_some_and(|known| known != digest) {
        Verdict::Refused(Refusal::SecondOfItsNumber)
    } else if place.sequence <= book.taken {
        Verdict::Duplicate
    } else if next != Some(place.sequence) {
        Verdict::Ahead
    } else if book.digest.is_none_or(|known| known == place.prev) {
        Verdict::New
    } else {
        Verdict::Refused(Refusal::Chain)
    }
}

#[cfg(test)]
mod tests;
