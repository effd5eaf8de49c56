//! Which journals have to go: those too old, then, until there is room again, the oldest that are safe at the
//! recorder, then the oldest that are not.
//!
//! Age alone takes only what is safe: a PC whose clock was wrong for a while must not lose evidence by it. The
//! journal being written never goes; it ends at a sixteenth of either bound, so that whole journals can. Pure.

use std::time::Duration;

use labwatch_contract::time::Timestamp;
use uuid::Uuid;

/// Most journals that are kept; each costs a file and an entry in memory.
const MOST: usize = 1024;
/// Parts of the bounds in which journals end.
const PARTS: u32 = 16;

/// The bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of all journals.
    pub size: u64,
    /// How long a journal is kept after its last event.
    pub age: Duration,
}

impl Bounds {
    /// Bytes after which a journal ends.
    #[must_use]
    pub fn part_size(&self) -> u64 {
        self.size / u64::from(PARTS)
    }

    /// Time after which a journal ends.
    #[must_use]
    pub fn part_age(&self) -> Duration {
        self.age / PARTS
    }
}

/// A journal as its keeper sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shelf {
    /// The journal.
    pub journal: Uuid,
    /// Its bytes.
    pub bytes: u64,
    /// When its last event was written, by the wall clock.
    pub written: Timestamp,
    /// Whether the recorder wants nothing more of it.
    pub finished: bool,
}

/// The journals that have to go so that `bounds` hold, of `shelves` (oldest first, without the present one), beside
/// which room for one part is left to the present journal.
#[must_use]
pub fn surplus(shelves: &[Shelf], bounds: &Bounds, now: Timestamp) -> Vec<Uuid> {
    let too_old = |shelf: &Shelf| shelf.finished && now.since(shelf.written) > bounds.age;
    let (old, kept): (Vec<&Shelf>, Vec<_>) = shelves.iter().partition(|shelf| too_old(shelf));
    let mut bytes = kept.iter().map(|shelf| shelf.bytes).sum::<u64>();
    bytes = bytes.saturating_add(bounds.part_size());
    let mut count = kept.len();
    let (finished, waiting): (Vec<&Shelf>, Vec<_>) =
        kept.into_iter().partition(|shelf| shelf.finished);
    let by_need = finished
        .into_iter()
        .chain(waiting)
        .take_while(|shelf: &&Shelf| {
            let too_much = bytes > bounds.size || count >= MOST;
            bytes = bytes.saturating_sub(shelf.bytes);
            count = count.saturating_sub(1);
            too_much
        });
    let gone = old.into_iter().chain(by_need);
    gone.map(|shelf| shelf.journal).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn now() -> Timestamp {
        "2026-11-22T09:31:05Z".parse().unwrap()
    }

    fn shelf(journal: u128, bytes: u64, days: u32, finished: bool) -> Shelf {
        Shelf {
            journal: Uuid::from_u128(journal),
            bytes,
            written: now().earlier(DAY * days),
            finished,
        }
    }

    fn gone(shelves: &[Shelf], size: u64) -> Vec<u128> {
        let bounds = Bounds {
            size,
            age: 30 * DAY,
        };
        let gone = surplus(shelves, &bounds, now());
        gone.into_iter().map(|journal| journal.as_u128()).collect()
    }

    #[test]
    fn the_oldest_safe_journals_go_before_any_that_are_not() {
        let shelves = [
            shelf(1, 400, 9, false),
            shelf(2, 400, 8, true),
            shelf(3, 400, 7, true),
            shelf(4, 400, 6, false),
        ];
        assert_eq!(gone(&shelves, 1600 * 16 / 15), [0; 0]);
        assert_eq!(gone(&shelves, 1600), [2]);
        assert_eq!(gone(&shelves, 900), [2, 3]);
        assert_eq!(gone(&shelves, 800), [2, 3, 1]);
    }

    #[test]
    fn age_takes_only_what_is_safe() {
        let shelves = [
            shelf(1, 1, 40, false),
            shelf(2, 1, 40, true),
            shelf(3, 1, 29, true),
        ];
        assert_eq!(gone(&shelves, 1 << 20), [2]);
    }

    #[test]
    fn there_are_never_more_than_a_thousand_and_some_files() {
        let shelves: Vec<_> = (0..2000).map(|number| shelf(number, 1, 1, false)).collect();
        assert_eq!(gone(&shelves, 1 << 20).len(), 2000 - MOST + 1);
    }

    proptest! {
        #[test]
        fn what_stays_is_within_the_bounds(
            sizes in prop::collection::vec((0_u64..5000, 0_u32..60, any::<bool>()), 0..40), size in 0_u64..50_000,
        ) {
            let shelves: Vec<_> = (0..).zip(&sizes).map(|(name, (bytes, days, finished))| shelf(name, *bytes, *days, *finished)).collect();
            let gone = gone(&shelves, size);
            let stays = |shelf: &&Shelf| !gone.contains(&shelf.journal.as_u128());
            let bytes: u64 = shelves.iter().filter(stays).map(|shelf| shelf.bytes).sum();
            prop_assert!(bytes + size / 16 <= size || shelves.iter().filter(stays).count() == 0);
            let safe_stays = shelves.iter().filter(stays).any(|shelf| shelf.finished);
            let waiting_went = shelves.iter().any(|shelf| !shelf.finished && !stays(&shelf));
            prop_assert!(!(safe_stays && waiting_went));
        }
    }
}
