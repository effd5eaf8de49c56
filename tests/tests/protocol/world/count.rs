//! What came of it: the journals against the record.

use std::{collections::BTreeMap, net::IpAddr};

use labwatch_contract::chain::Digest;
use uuid::Uuid;

use super::{Line, World};

impl World {
    /// What the record says of each journal, line by line. The recorder takes no address's word against another's: what
    /// was called missing from one is not, when it is told of from another.
    fn told(&self) -> BTreeMap<Uuid, Vec<(u64, Option<Digest>)>> {
        let mut told: BTreeMap<Uuid, Vec<(u64, Option<Digest>)>> = BTreeMap::new();
        let mut missing: BTreeMap<(Uuid, u64), IpAddr> = BTreeMap::new();
        for line in self.log.iter().flat_map(|entry| &entry.lines) {
            match line {
                Line::Event(journal, sequence, digest) => {
                    let told = told.entry(*journal).or_default();
                    let was_missing = missing.contains_key(&(*journal, *sequence));
                    let place = told.iter_mut().find(|(number, _)| number == sequence);
                    match place.filter(|_| was_missing) {
                        Some(place) => place.1 = Some(*digest),
                        None => told.push((*sequence, Some(*digest))),
                    }
                }
                Line::Gap(ip, gap) => {
                    let told = told.entry(gap.journal).or_default();
                    for number in gap.from..=gap.to {
                        let before = missing.insert((gap.journal, number), *ip);
                        if before.is_some_and(|before| before != *ip) {
                            told.retain(|(other, _)| *other != number);
                        }
                        told.push((number, None));
                    }
                }
            }
        }
        told
    }

    /// The events of a journal stand in the record in their order, whatever is called missing between them.
    fn check_order(&self) {
        let mut last: BTreeMap<Uuid, u64> = BTreeMap::new();
        for line in self.log.iter().flat_map(|entry| &entry.lines) {
            if let Line::Event(journal, sequence, _) = line {
                let before = last.insert(*journal, *sequence).unwrap_or_default();
                assert!(before < *sequence, "{sequence} of {journal} after {before}");
            }
        }
    }

    /// Compares the journals with the record.
    pub(crate) fn count(&self) {
        self.check_order();
        let told = self.told();
        for (journal, file) in &self.files {
            let told = told.get(journal).map_or(&[][..], Vec::as_slice);
            let numbers: Vec<_> = told.iter().map(|(number, _)| *number).collect();
            let expected: Vec<_> = (1..).take(told.len()).collect();
            assert_eq!(numbers, expected, "each number of {journal} once, in order");
            assert!(
                told.len() >= file.lines.len() || file.dropped,
                "{journal} is not whole"
            );
            for ((number, digest), line) in told.iter().zip(&file.lines) {
                match digest {
                    Some(digest) => {
                        assert_eq!(*digest, Digest::of(line), "event {number} of {journal}")
                    }
                    None => assert!(
                        file.dropped || file.damaged.contains(number),
                        "event {number} of {journal} was there"
                    ),
                }
            }
        }
    }
}
