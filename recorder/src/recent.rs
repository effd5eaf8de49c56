//! A map that forgets what was not used for longest, to within an eighth of its size.
//!
//! Whoever may speak to the recorder may also make it remember: addresses, journals, topics. Each such memory
//! is one of these, with a bound, so that no flood of new names grows it. Pure; use is counted, not timed.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

/// At most `bound` values, those used last.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    bound: usize,
    uses: u64,
    values: HashMap<K, (u64, V)>,
    by_use: BTreeMap<u64, K>,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    /// Holds at most `bound` values, at least one.
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            bound: bound.max(1),
            uses: 0,
            values: HashMap::new(),
            by_use: BTreeMap::new(),
        }
    }

    /// The value of `key`, which is thereby used.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (used, value) = self.values.get_mut(key)?;
        // What was used among the last eighth keeps its place: few keys in turn cost no reordering.
        let bound = u64::try_from(self.bound).unwrap_or(u64::MAX);
        if self.uses - *used < bound / 8 {
            return Some(value);
        }
        self.uses += 1;
        if let Some(key) = self.by_use.remove(used) {
            self.by_use.insert(self.uses, key);
        }
        *used = self.uses;
        Some(value)
    }

    /// Puts a value in the place of `key`'s; gives back what had to leave for it.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let old = self.remove(&key);
        old.or(self.insert_entry(key, value).map(|(_, value)| value))
    }

    /// Puts in a value whose key is not there; gives back what had to leave for it.
    pub(crate) fn insert_entry(&mut self, key: K, value: V) -> Option<(K, V)> {
        self.uses += 1;
        self.by_use.insert(self.uses, key.clone());
        self.values.insert(key, (self.uses, value));
        if self.values.len() <= self.bound {
            return None;
        }
        let (_, oldest) = self.by_use.pop_first()?;
        let (_, value) = self.values.remove(&oldest)?;
        Some((oldest, value))
    }

    /// Forgets `key`.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (used, value) = self.values.remove(key)?;
        self.by_use.remove(&used);
        Some(value)
    }

    /// Everything, none of it used thereby.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.values.iter_mut().map(|(key, (_, value))| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_value_unused_for_longest_leaves_first() {
        let mut recent = Recent::new(2);
        assert_eq!(recent.insert('a', 1), None);
        assert_eq!(recent.insert('b', 2), None);
        assert_eq!(recent.get_mut(&'a'), Some(&mut 1));
        assert_eq!(recent.insert('c', 3), Some(2));
        assert_eq!(recent.get_mut(&'b'), None);
        assert_eq!(recent.get_mut(&'a'), Some(&mut 1));
    }

    #[test]
    fn a_value_in_place_of_another_gives_the_other_back() {
        let mut recent = Recent::new(2);
        recent.insert('a', 1);
        recent.insert('b', 2);
        assert_eq!(recent.insert('a', 3), Some(1));
        assert_eq!(recent.remove(&'a'), Some(3));
        assert_eq!(recent.remove(&'a'), None);
    }

    proptest! {
        #[test]
        fn it_never_grows_past_its_bound(bound in 1_usize..5, keys: Vec<u8>) {
            let mut recent = Recent::new(bound);
            for key in keys {
                recent.insert(key, ());
                prop_assert!(recent.get_mut(&key).is_some());
                prop_assert!(recent.iter_mut().count() <= bound);
                prop_assert_eq!(recent.by_use.len(), recent.values.len());
            }
        }
    }
}
