//! How far the record of each journal has come: decides what becomes of an event.
//!
//! ```text
//! sequence <= mark                  Duplicate   dropped
//! sequence == mark + 1, prev fits   New         recorded, mark + 1
//! sequence == mark + 1, prev wrong  Refused     quarantine, mark unmoved
//! sequence >  mark + 1              Gap         recorded behind a note, mark = sequence
//! journal not seen before           New if its first event, else Late: recorded behind a note
//! ```
//!
//! The ledger begins empty at each start, so of a journal that it meets in the middle it cannot say whether the
//! events before were recorded by an earlier run: that is `Late`, never a claimed `Gap`. Marks are kept by
//! journal, not by address, and for a bounded number of journals. Pure.

use labwatch_contract::{chain::Digest, event::Place};
use uuid::Uuid;

use crate::recent::Recent;

/// Journals whose mark is remembered.
const MAX_JOURNALS: usize = 16 * 1024;

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The next one: recorded.
    New,
    /// Recorded; the events from 1 up to this number were not seen in this run.
    Late {
        /// The number before the event's.
        to: u64,
    },
    /// Recorded; the events between were never received.
    Gap {
        /// The first missing number.
        from: u64,
        /// The last missing number.
        to: u64,
    },
    /// Recorded before: dropped.
    Duplicate,
    /// Does not continue what was recorded: quarantine.
    Refused(Refusal),
}

/// Why an event does not continue its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// `lab.prev` is not the digest of the event before.
    #[error("lab.prev is not the digest of the event before it")]
    Chain,
    /// Another event was recorded under this number.
    #[error("another event was recorded under this number")]
    SecondOfItsNumber,
}

/// One mark a journal.
#[derive(Debug)]
pub(crate) struct Ledger {
    marks: Recent<Uuid, Mark>,
}

/// The last event recorded of a journal.
#[derive(Debug, Clone, Copy)]
struct Mark {
    sequence: u64,
    digest: Digest,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            marks: Recent::new(MAX_JOURNALS),
        }
    }
}

impl Ledger {
    /// Decides on an event by its place and the digest of its payload, and moves the mark if it is recorded.
    pub(crate) fn take(&mut self, place: &Place, digest: Digest) -> Verdict {
        let mark = self.marks.get_mut(&place.journal);
        let verdict = judge(mark.as_deref().copied(), place, digest);
        if let Verdict::Duplicate | Verdict::Refused(_) = verdict {
            return verdict;
        }
        let next = Mark {
            sequence: place.sequence,
            digest,
        };
        match mark {
            Some(mark) => *mark = next,
            None => {
                self.marks.insert(place.journal, next);
            }
        }
        verdict
    }
}

fn judge(mark: Option<Mark>, place: &Place, digest: Digest) -> Verdict {
    let before = place.sequence.saturating_sub(1);
    match mark {
        None if before == 0 => Verdict::New,
        None => Verdict::Late { to: before },
        Some(mark) if place.sequence < mark.sequence => Verdict::Duplicate,
        Some(mark) if place.sequence == mark.sequence && digest == mark.digest => {
            Verdict::Duplicate
        }
        Some(mark) if place.sequence == mark.sequence => {
            Verdict::Refused(Refusal::SecondOfItsNumber)
        }
        Some(mark) if before > mark.sequence => Verdict::Gap {
            from: mark.sequence + 1,
            to: before,
        },
        Some(mark) if place.prev == mark.digest => Verdict::New,
        Some(_) => Verdict::Refused(Refusal::Chain),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The payload that stands for an event, and its digest.
    fn digest(sequence: u64) -> Digest {
        Digest::of(&sequence.to_be_bytes())
    }

    fn place(journal: u128, sequence: u64) -> Place {
        let prev = match sequence {
            1 => Digest::ZERO,
            later => digest(later - 1),
        };
        Place {
            journal: Uuid::from_u128(journal),
            sequence,
            prev,
        }
    }

    fn take(ledger: &mut Ledger, journal: u128, sequence: u64) -> Verdict {
        ledger.take(&place(journal, sequence), digest(sequence))
    }

    #[test]
    fn events_in_order_are_new_and_their_copies_are_dropped() {
        let mut ledger = Ledger::default();
        for sequence in 1..=3 {
            assert_eq!(take(&mut ledger, 1, sequence), Verdict::New);
        }
        for sequence in 1..=3 {
            assert_eq!(take(&mut ledger, 1, sequence), Verdict::Duplicate);
        }
        assert_eq!(take(&mut ledger, 1, 4), Verdict::New);
    }

    #[test]
    fn journals_do_not_disturb_each_other() {
        let mut ledger = Ledger::default();
        assert_eq!(take(&mut ledger, 1, 1), Verdict::New);
        assert_eq!(take(&mut ledger, 2, 1), Verdict::New);
        assert_eq!(take(&mut ledger, 1, 2), Verdict::New);
    }

    #[test]
    fn a_jump_in_the_numbers_is_a_gap_that_names_what_is_missing() {
        let mut ledger = Ledger::default();
        take(&mut ledger, 1, 1);
        assert_eq!(take(&mut ledger, 1, 5), Verdict::Gap { from: 2, to: 4 });
        assert_eq!(take(&mut ledger, 1, 6), Verdict::New);
    }

    #[test]
    fn a_journal_met_in_the_middle_is_late_not_a_gap() {
        let mut ledger = Ledger::default();
        assert_eq!(take(&mut ledger, 1, 42), Verdict::Late { to: 41 });
        assert_eq!(take(&mut ledger, 1, 43), Verdict::New);
    }

    #[test]
    fn an_event_that_does_not_continue_the_chain_is_refused_and_the_mark_stays() {
        let mut ledger = Ledger::default();
        take(&mut ledger, 1, 1);
        let forged = Place {
            prev: Digest::of(b"something else"),
            ..place(1, 2)
        };
        assert_eq!(
            ledger.take(&forged, digest(2)),
            Verdict::Refused(Refusal::Chain)
        );
        assert_eq!(take(&mut ledger, 1, 2), Verdict::New);
    }

    #[test]
    fn a_second_event_of_one_number_is_refused() {
        let mut ledger = Ledger::default();
        take(&mut ledger, 1, 1);
        let verdict = ledger.take(&place(1, 1), Digest::of(b"something else"));
        assert_eq!(verdict, Verdict::Refused(Refusal::SecondOfItsNumber));
    }

    #[test]
    fn the_largest_numbers_are_taken() {
        let mut ledger = Ledger::default();
        take(&mut ledger, 1, u64::MAX);
        assert_eq!(take(&mut ledger, 1, u64::MAX), Verdict::Duplicate);
        assert_eq!(take(&mut ledger, 1, 1), Verdict::Duplicate);
    }

    proptest! {
        /// Whatever comes in whatever order: numbers are recorded at most once, rising, and each one between
        /// the first and the last is either recorded or named by a gap.
        #[test]
        fn every_number_is_recorded_or_named(sequences in prop::collection::vec(1_u64..30, 1..60)) {
            let mut ledger = Ledger::default();
            let mut accounted = Vec::new();
            for sequence in sequences {
                match take(&mut ledger, 1, sequence) {
                    Verdict::New => accounted.push(sequence),
                    Verdict::Late { to } => accounted.extend(1..=to + 1),
                    Verdict::Gap { from, to } => {
                        prop_assert!(from <= to);
                        accounted.extend(from..=to + 1);
                    }
                    Verdict::Duplicate => prop_assert!(accounted.contains(&sequence)),
                    Verdict::Refused(refusal) => prop_assert!(false, "{}", refusal),
                }
            }
            let expected: Vec<u64> = (1..).take(accounted.len()).collect();
            prop_assert_eq!(accounted, expected);
        }
    }
}
