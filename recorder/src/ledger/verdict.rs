//! What becomes of an event: compares its number and the digest that it names with the mark of its journal.
//!
//! Decides, and moves no mark. Where a journal has marks under other addresses alone, nothing is taken but what
//! continues one of them: that is the proof that its sender wrote what came before.

use std::net::IpAddr;

use labwatch_contract::{chain::Digest, event::Place, time::Timestamp};

use super::{
    JOURNALS_PER_PC, MAX_PCS,
    books::{Book, Books},
};

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
    #[error(
        "the journal is older than the {JOURNALS_PER_PC} of a PC, or the {MAX_PCS} PCs, that are remembered"
    )]
    Forgotten,
}

/// Decides on an event that came by a topic of `ip` at `now`; `digest` is that of its payload.
pub(super) fn judge(
    books: &Books,
    ip: IpAddr,
    place: &Place,
    digest: Digest,
    now: Timestamp,
) -> Verdict {
    if let Some(book) = books.get(ip, place.journal) {
        return compare(book, place, digest);
    }
    let others = || books.siblings(place.journal).map(|(_, book)| book);
    if others().any(|book| book.is_continued_by(place)) {
        return Verdict::New;
    }
    match others().max_by_key(|book| book.taken) {
        Some(book) if place.sequence <= book.taken => Verdict::Duplicate,
        Some(book) if place.sequence == book.taken.saturating_add(1) => {
            Verdict::Refused(Refusal::Chain)
        }
        None if books.is_forgotten(ip, place.journal, now) => Verdict::Refused(Refusal::Forgotten),
        None if place.sequence == 1 => Verdict::New,
        Some(_) | None => Verdict::Ahead,
    }
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
