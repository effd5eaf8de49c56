//! One book for each journal and the address that it holds for: its marks, and what moves them.
//!
//! A book says which mark is taken and which is durable; those that moved are handed out once, for the log. An event
//! that continues a journal from another address takes its book along, and the address that it has left is told with
//! the mark. Bounded: [`JOURNALS_PER_PC`] of one address, the newest, as many whose names lie ahead of the clock, and
//! [`MAX_PCS`] addresses: for a further one that one goes whose newest journal is the oldest.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr},
};

use labwatch_contract::{chain::Digest, event::Place, status::JournalRange, time::Timestamp};
use uuid::Uuid;

use super::{JOURNALS_PER_PC, MAX_PCS, Refusal, Standing, first_ahead};

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

/// How far one journal has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Book {
    pub(super) taken: u64,
    pub(super) digest: Option<Digest>,
    durable: u64,
    /// Whether it stands among those that moved.
    moved: bool,
}

impl Book {
    /// Whether an event is proof that its sender wrote the one before it.
    pub(super) fn is_continued_by(&self, place: &Place) -> bool {
        self.taken.checked_add(1) == Some(place.sequence)
            && self.digest.is_none_or(|known| known == place.prev)
    }
}

/// The books of all PCs.
#[derive(Debug, Default)]
pub(super) struct Books {
    books: BTreeMap<(Uuid, IpAddr), Book>,
    pcs: HashMap<IpAddr, BTreeSet<Uuid>>,
    /// The newest journal of the addresses that have gone: what is no newer, and of no known address, may be theirs.
    gone: Uuid,
    /// Books that moved since this was last asked, with the addresses that they have left thereby.
    moved: BTreeMap<(Uuid, IpAddr), Vec<IpAddr>>,
}

impl Books {
    /// Takes up a durable mark, in place of an earlier one of its journal.
    pub(super) fn restore(&mut self, mark: &Standing) {
        for ip in &mark.left {
            self.release(mark.journal, *ip);
        }
        let book = Book {
            taken: mark.sequence,
            digest: mark.digest,
            durable: mark.sequence,
            moved: false,
        };
        // What is too much leaves with the next one that comes: only then is there a clock to judge by.
        self.pcs.entry(mark.ip).or_default().insert(mark.journal);
        self.books.insert((mark.journal, mark.ip), book);
    }

    /// The book of a journal under an address.
    pub(super) fn get(&self, ip: IpAddr, journal: Uuid) -> Option<&Book> {
        self.books.get(&(journal, ip))
    }

    /// The books of a journal, with the addresses that they hold for.
    pub(super) fn siblings(&self, journal: Uuid) -> impl Iterator<Item = (IpAddr, &Book)> {
        let first = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        self.books
            .range((journal, first)..)
            .take_while(move |((of, _), _)| *of == journal)
            .map(|((_, ip), book)| (*ip, book))
    }

    /// The addresses, and the journals of each.
    pub(super) fn pcs(&self) -> impl Iterator<Item = (IpAddr, &BTreeSet<Uuid>)> {
        self.pcs.iter().map(|(ip, journals)| (*ip, journals))
    }

    /// Up to where a journal is durable, under another address when this one has no book of it.
    pub(super) fn durable(&self, ip: IpAddr, journal: Uuid) -> u64 {
        self.get(ip, journal)
            .or_else(|| {
                self.siblings(journal)
                    .max_by_key(|(_, book)| book.taken)
                    .map(|(_, book)| book)
            })
            .map_or(0, |book| book.durable)
    }

    /// Moves the mark to an event that was judged to be the next.
    pub(super) fn take(
        &mut self,
        ip: IpAddr,
        place: &Place,
        digest: Digest,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let own = (place.journal, ip);
        let Some(book) = self.books.get_mut(&own) else {
            return self.take_first(ip, place, digest, now);
        };
        (book.taken, book.digest) = (place.sequence, Some(digest));
        if !std::mem::replace(&mut book.moved, true) {
            self.moved.entry(own).or_default();
        }
        Ok(())
    }

    /// Opens the book of a journal under a new address.
    fn take_first(
        &mut self,
        ip: IpAddr,
        place: &Place,
        digest: Digest,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let from = self
            .siblings(place.journal)
            .find(|(_, book)| book.is_continued_by(place))
            .map(|(from, book)| (from, book.durable));
        self.admit(ip, place.journal, now)?;
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
    pub(super) fn skip(
        &mut self,
        ip: IpAddr,
        range: &JournalRange,
        now: Timestamp,
    ) -> Result<Option<Gap>, Refusal> {
        let own = (range.journal, ip);
        let other = || {
            self.siblings(range.journal)
                .map(|(_, book)| book.taken)
                .max()
        };
        let known = self.books.get(&own).copied();
        let mark = known.map(|book| book.taken).or_else(other);
        if mark.is_none() && self.is_forgotten(ip, range.journal, now) {
            return Err(Refusal::Forgotten);
        }
        let (mark, before) = (mark.unwrap_or(0), range.first.saturating_sub(1));
        if before <= mark || range.last < before {
            return Ok(None);
        }
        if known.is_none() {
            self.admit(ip, range.journal, now)?;
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

    /// What was taken of these journals under `from` holds under `ip`, where each has a book already.
    pub(super) fn carry_over(&mut self, ip: IpAddr, from: IpAddr, journals: &[JournalRange]) {
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

    /// What follows on the mark of a journal.
    pub(super) fn set_digest(&mut self, ip: IpAddr, journal: Uuid, digest: Digest) {
        if let Some(book) = self.books.get_mut(&(journal, ip)) {
            book.digest = Some(digest);
        }
    }

    /// The marks that moved since this was last asked.
    pub(super) fn take_moved(&mut self) -> Vec<Standing> {
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

    /// A mark is on the disk: the address that its journal has meanwhile, and how many more of its events are durable.
    pub(super) fn settle(&mut self, mark: &Standing) -> Option<(IpAddr, u64)> {
        let (ip, book) = self.durable_of(mark)?;
        let events = mark.sequence.saturating_sub(book.durable);
        book.durable = book.durable.max(mark.sequence);
        Some((ip, events))
    }

    /// The books of a mark's journal, under the address that it has meanwhile.
    fn durable_of(&mut self, mark: &Standing) -> Option<(IpAddr, &mut Book)> {
        let own = (mark.journal, mark.ip);
        let key = if self.books.contains_key(&own) {
            own
        } else {
            // It went to another address since; what it took along is as durable there.
            let moved = self
                .siblings(mark.journal)
                .find(|(_, book)| book.taken > mark.sequence);
            (mark.journal, moved?.0)
        };
        self.books.get_mut(&key).map(|book| (key.1, book))
    }

    /// Whether a journal that is not remembered is older than the many of its kind that are.
    pub(super) fn is_forgotten(&self, ip: IpAddr, journal: Uuid, now: Timestamp) -> bool {
        let Some(pc) = self.pcs.get(&ip) else {
            return journal <= self.gone;
        };
        let mut newest_first = fellows(pc, journal, now).rev();
        let oldest = newest_first.nth(JOURNALS_PER_PC - 1);
        oldest.is_some_and(|oldest| journal < *oldest)
    }

    /// Makes room for an address whose first journal is `journal`.
    fn admit_pc(&mut self, journal: Uuid, now: Timestamp) -> Result<(), Refusal> {
        while self.pcs.len() >= MAX_PCS {
            let ahead = first_ahead(now);
            let newest = |pc: &BTreeSet<Uuid>| pc.range(..ahead).next_back().copied();
            let ages = self.pcs.iter().map(|(ip, pc)| (newest(pc), *ip));
            let Some((newest, oldest)) = ages.min() else {
                break;
            };
            self.gone = self.gone.max(newest.unwrap_or_default());
            if journal <= self.gone {
                return Err(Refusal::Forgotten);
            }
            for journal in self.pcs.remove(&oldest).unwrap_or_default() {
                self.forget(oldest, journal);
            }
        }
        Ok(())
    }

    fn forget(&mut self, ip: IpAddr, journal: Uuid) {
        if let Some(pc) = self.pcs.get_mut(&ip) {
            pc.remove(&journal);
        }
        self.books.remove(&(journal, ip));
        self.moved.remove(&(journal, ip));
    }

    /// Makes room for a journal of `ip`.
    fn admit(&mut self, ip: IpAddr, journal: Uuid, now: Timestamp) -> Result<(), Refusal> {
        if self.is_forgotten(ip, journal, now) {
            return Err(Refusal::Forgotten);
        }
        if !self.pcs.contains_key(&ip) {
            self.admit_pc(journal, now)?;
        }
        let pc = self.pcs.entry(ip).or_default();
        pc.insert(journal);
        let newest_first = fellows(pc, journal, now).rev();
        let old: Vec<_> = newest_first.skip(JOURNALS_PER_PC).copied().collect();
        for journal in old {
            self.forget(ip, journal);
        }
        Ok(())
    }

    /// Takes a journal from an address; gives all that it has left since the last commit, this one included.
    fn release(&mut self, journal: Uuid, ip: IpAddr) -> Vec<IpAddr> {
        if let Some(pc) = self.pcs.get_mut(&ip) {
            pc.remove(&journal);
            if pc.is_empty() {
                self.pcs.remove(&ip);
            }
        }
        self.books.remove(&(journal, ip));
        let mut left = self.moved.remove(&(journal, ip)).unwrap_or_default();
        left.push(ip);
        left
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.books.len()
    }
}

/// The journals of a PC that `journal` may push out: a name from ahead of the clock only others of its kind.
fn fellows(
    pc: &BTreeSet<Uuid>,
    journal: Uuid,
    now: Timestamp,
) -> impl DoubleEndedIterator<Item = &Uuid> {
    let ahead = first_ahead(now);
    if journal < ahead {
        pc.range(..ahead)
    } else {
        pc.range(ahead..)
    }
}
