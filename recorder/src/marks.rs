//! The durable marks of a store as its file holds them: they outlive the retention of the records.
//!
//! ```text
//! <dir>/marks    {"recorder":"<store id>"}          and then one line a journal:
//!                {"journal":…,"ip":…,"sequence":…,"digest":…}
//! ```
//!
//! Of one address the newest journals stay, as many as the ledger remembers, and as many with names from ahead of the
//! clock; of more addresses than it remembers those with the newest journals. Pure.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
};

use labwatch_contract::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    ledger::{JOURNALS_PER_PC, MAX_PCS, Standing, first_ahead},
    record::json_line,
};

/// The marks of one store.
#[derive(Debug)]
pub(crate) struct Marks {
    store: Uuid,
    standings: BTreeMap<(Uuid, IpAddr), Standing>,
}

#[derive(Serialize, Deserialize)]
struct Title {
    recorder: Uuid,
}

impl Marks {
    /// None yet.
    pub(crate) fn new(store: Uuid) -> Self {
        Self {
            store,
            standings: BTreeMap::new(),
        }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// The number of the first line that is none of ours: marks must not be guessed.
    pub(crate) fn from_text(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate();
        let said = |(at, error): (usize, serde_json::Error)| format!("line {}: {error}", at + 1);
        let (_, first) = lines.next().ok_or("the file is empty")?;
        let title: Title = serde_json::from_str(first).map_err(|error| said((0, error)))?;
        let mut marks = Self::new(title.recorder);
        for (at, line) in lines {
            let standing = serde_json::from_str(line).map_err(|error| said((at, error)))?;
            marks.apply([standing]);
        }
        Ok(marks)
    }

    /// The whole file.
    pub(crate) fn write(&mut self, now: Timestamp) -> Vec<u8> {
        self.prune(now);
        let mut text = json_line(&Title {
            recorder: self.store,
        });
        for standing in self.standings.values() {
            text.extend(json_line(standing));
        }
        text
    }

    /// These are durable now.
    pub(crate) fn apply(&mut self, standings: impl IntoIterator<Item = Standing>) {
        for mut standing in standings {
            for ip in standing.left.drain(..) {
                self.standings.remove(&(standing.journal, ip));
            }
            self.standings
                .insert((standing.journal, standing.ip), standing);
        }
    }

    /// The store's id.
    pub(crate) fn store(&self) -> Uuid {
        self.store
    }

    /// All marks.
    pub(crate) fn standings(&self) -> impl Iterator<Item = Standing> {
        self.standings.values().cloned()
    }

    /// Forgets what the ledger has forgotten.
    fn prune(&mut self, now: Timestamp) {
        let ahead = first_ahead(now);
        let mut of_pc: HashMap<(IpAddr, bool), usize> = HashMap::new();
        let newest_first = self.standings.keys().rev().copied();
        let old: Vec<_> = newest_first
            .filter(|(journal, ip)| {
                let count = of_pc.entry((*ip, *journal >= ahead)).or_default();
                *count += 1;
                *count > JOURNALS_PER_PC
            })
            .collect();
        for key in old {
            self.standings.remove(&key);
        }
        // By the newest journal that is not ahead of the clock; who has none such goes first.
        let mut pcs = Vec::new();
        let mut seen = HashSet::new();
        let keys = || self.standings.keys().rev();
        let (later, sooner) = (
            keys().filter(|key| key.0 >= ahead),
            keys().filter(|key| key.0 < ahead),
        );
        pcs.extend(
            sooner
                .chain(later)
                .map(|key| key.1)
                .filter(|ip| seen.insert(*ip)),
        );
        let gone: HashSet<_> = pcs.into_iter().skip(MAX_PCS).collect();
        self.standings.retain(|(_, ip), _| !gone.contains(ip));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T09:31:05Z".parse().unwrap()
    }

    fn standing(journal: u128, ip: [u8; 4]) -> Standing {
        Standing {
            journal: Uuid::from_u128(journal),
            ip: ip.into(),
            sequence: 7,
            digest: None,
            left: Vec::new(),
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_an_address_that_was_left_is_void() {
        let mut marks = Marks::new(Uuid::from_u128(9));
        marks.apply([standing(1, [10, 0, 0, 1])]);
        let left = vec![[10, 0, 0, 1].into()];
        marks.apply([Standing {
            left,
            ..standing(1, [10, 0, 0, 2])
        }]);
        let text = String::from_utf8(marks.write(now())).unwrap();
        let read = Marks::from_text(&text).unwrap();
        assert_eq!(read.store(), Uuid::from_u128(9));
        assert_eq!(
            read.standings().collect::<Vec<_>>(),
            [standing(1, [10, 0, 0, 2])]
        );
    }

    #[test]
    fn only_the_newest_journals_of_an_address_stay() {
        let mut marks = Marks::new(Uuid::nil());
        marks.apply((1..=200).map(|journal| standing(journal, [10, 0, 0, 1])));
        marks.write(now());
        assert_eq!(marks.standings.len(), JOURNALS_PER_PC);
        assert!(
            marks
                .standings
                .contains_key(&(Uuid::from_u128(200), [10, 0, 0, 1].into()))
        );
    }

    #[test]
    fn names_from_ahead_of_the_clock_push_out_no_others() {
        let mut marks = Marks::new(Uuid::nil());
        let ahead = u128::MAX - 300;
        marks.apply((1..=100).map(|journal| standing(journal, [10, 0, 0, 1])));
        marks.apply((ahead..ahead + 200).map(|journal| standing(journal, [10, 0, 0, 1])));
        marks.write(now());
        let of_the_clock = marks.standings.keys().filter(|key| key.0.as_u128() < ahead);
        assert_eq!(of_the_clock.count(), 100);
        assert_eq!(marks.standings.len(), 100 + JOURNALS_PER_PC);
    }

    #[test]
    fn of_too_many_addresses_those_with_the_newest_journals_stay() {
        let mut marks = Marks::new(Uuid::nil());
        let ip = |number: u32| number.to_be_bytes();
        let ahead = standing(u128::MAX, ip(0));
        let most = u32::try_from(MAX_PCS).unwrap();
        marks.apply([ahead]);
        marks.apply((1..=most + 5).map(|number| standing(number.into(), ip(number))));
        marks.write(now());
        assert_eq!(marks.standings.len(), MAX_PCS);
        assert!(
            marks
                .standings
                .keys()
                .all(|(journal, _)| (6..=u128::from(most) + 5).contains(&journal.as_u128()))
        );
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_the_line() {
        assert!(Marks::from_text("").is_err());
        let mut marks = Marks::new(Uuid::nil());
        marks.apply([standing(1, [10, 0, 0, 1])]);
        let text = String::from_utf8(marks.write(now())).unwrap();
        assert!(
            Marks::from_text(&text[..text.len() - 5]).is_err_and(|error| error.contains("line 2"))
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = Marks::from_text(&text);
        }
    }
}
