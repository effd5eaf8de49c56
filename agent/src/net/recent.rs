//! A bounded map that forgets what was longest not heard of.
//!
//! Addresses and ports in its keys come from the network, so it hashes with keys drawn at random for each table; the bound
//! caps what a collision could cost. When it is full, the older half goes at once, which keeps the cost of an insertion constant
//! on average.

use std::{hash::Hash, time::Duration};

use foldhash::HashMap;

/// At most `capacity` values, each with the moment it was last heard of.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    entries: HashMap<K, Entry<V>>,
    capacity: usize,
}

/// A value and when it was last heard of, on the clock of [`super::Moment::uptime`].
#[derive(Debug)]
pub(super) struct Entry<V> {
    pub(super) value: V,
    pub(super) last: Duration,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: HashMap::default(),
            capacity,
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut Entry<V>> {
        self.entries.get_mut(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V, now: Duration) {
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&key) {
            self.forget_older_half();
        }
        self.entries.insert(key, Entry { value, last: now });
    }

    pub(super) fn remove(&mut self, key: &K) {
        self.entries.remove(key);
    }

    pub(super) fn forget_before(&mut self, moment: Duration) {
        self.entries.retain(|_, entry| entry.last > moment);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut Entry<V>)> {
        self.entries.iter_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &Entry<V>)> {
        self.entries.iter()
    }

    /// By rank and not by time: of a flood within one tick half stays.
    fn forget_older_half(&mut self) {
        let mut ages: Vec<Duration> = self.entries.values().map(|entry| entry.last).collect();
        let keep = ages.len() / 2;
        let (_, &mut oldest_kept, _) = ages.select_nth_unstable(keep);
        let mut kept_of_oldest = 0;
        self.entries.retain(|_, entry| {
            kept_of_oldest += usize::from(entry.last == oldest_kept);
            entry.last > oldest_kept || entry.last == oldest_kept && kept_of_oldest <= keep / 2
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_within_one_tick_stays_bounded() {
        let mut recent = Recent::new(100);
        for key in 0..10_000 {
            recent.insert(key, (), Duration::ZERO);
            assert!(recent.entries.len() <= 100);
        }
        assert!(recent.get(&9_999).is_some());
    }

    #[test]
    fn what_was_heard_last_survives() {
        let mut recent = Recent::new(100);
        for key in 0..150_u64 {
            recent.insert(key, key, Duration::from_secs(key));
        }
        for key in 101..150 {
            assert_eq!(recent.get(&key), Some(&key));
        }
        assert_eq!(recent.get(&0), None);
    }
}
