//! A bounded table that forgets what was longest not heard of.
//!
//! Keys hold addresses and ports from the network, so they are hashed with keys drawn at random for each table, and the
//! bound caps what a collision could cost. Entries stand in a queue and are looked at in turn: one that was heard of since
//! it came into the queue goes to its end, any other goes. So neither a full table nor the passing of time costs a walk
//! over all entries: an insertion looks at [`MOST_LOOKED_AT`] at most, and each entry is looked at once in a time of
//! silence. A [`Slot`] leads to an entry without hashing, and nowhere once the entry has gone. Keys stand with their
//! entries alone; the hash table holds but their places, so that a search touches little memory.

use std::{
    collections::VecDeque,
    hash::{BuildHasher as _, Hash},
    hint::black_box,
    time::Duration,
};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// So many entries that were heard of lately are passed over before one of them has to go.
const MOST_LOOKED_AT: usize = 64;

/// At most `capacity` values, each with the moment it was last heard of.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    hash: RandomState,
    /// Of each entry, its index in `seats`.
    places: HashTable<u32>,
    seats: Vec<Seat<K, V>>,
    free: Vec<u32>,
    /// Every entry once, and entries that have gone meanwhile.
    queue: VecDeque<Turn>,
    capacity: usize,
}

/// A value and when it was last heard of, on the clock of [`super::Moment::uptime`].
#[derive(Debug)]
pub(super) struct Entry<V> {
    pub(super) value: V,
    pub(super) last: Duration,
}

/// The way to an entry. The default leads nowhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Slot {
    at: u32,
    /// Of the entries that have sat there; the first is 1.
    generation: u32,
}

#[derive(Debug)]
struct Seat<K, V> {
    generation: u32,
    taken: Option<(K, Entry<V>)>,
}

/// An entry's place in the queue; never earlier than the one before it.
#[derive(Debug, Clone, Copy)]
struct Turn {
    slot: Slot,
    since: Duration,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            hash: RandomState::default(),
            places: HashTable::new(),
            seats: Vec::new(),
            free: Vec::new(),
            queue: VecDeque::new(),
            capacity,
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let seat = self.seats.get(index(self.find(key)?))?;
        seat.taken.as_ref().map(|(_, entry)| &entry.value)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut Entry<V>> {
        self.at_mut(self.find(key)?)
    }

    pub(super) fn find(&self, key: &K) -> Option<Slot> {
        self.find_hashed(self.hash.hash_one(key), key)
    }

    /// The entry, unless it has gone.
    #[inline]
    pub(super) fn at(&self, slot: Slot) -> Option<(&K, &Entry<V>)> {
        let seat = self.seats.get(index(slot))?;
        let taken = seat
            .taken
            .as_ref()
            .filter(|_| seat.generation == slot.generation);
        taken.map(|(key, entry)| (key, entry))
    }

    /// The entry, unless it has gone.
    #[inline]
    pub(super) fn at_mut(&mut self, slot: Slot) -> Option<&mut Entry<V>> {
        let seat = self.seats.get_mut(index(slot))?;
        let taken = seat
            .taken
            .as_mut()
            .filter(|_| seat.generation == slot.generation);
        taken.map(|(_, entry)| entry)
    }

    /// Asks the memory for an entry, before it is needed: of several that are asked for in a row none waits for another.
    #[inline]
    pub(super) fn reach_for(&self, slot: Slot) {
        black_box(self.seats.get(index(slot)).map(|seat| seat.generation));
    }

    /// Puts a value in; in a full table another one goes.
    pub(super) fn insert(&mut self, key: K, value: V, now: Duration) -> Slot {
        let hash = self.hash.hash_one(&key);
        let entry = Entry { value, last: now };
        if let Some(slot) = self.find_hashed(hash, &key) {
            if let Some(known) = self.at_mut(slot) {
                *known = entry;
            }
            return slot;
        }
        if self.places.len() >= self.capacity {
            self.forget_one(|_| true);
        }
        let slot = self.take_seat((key, entry));
        let (seats, hasher) = (&self.seats, &self.hash);
        let hash_of = |&at: &u32| key_at(seats, at).map_or(0, |key| hasher.hash_one(key));
        self.places.insert_unique(hash, slot.at, hash_of);
        self.queue_up(slot, now);
        slot
    }

    /// Puts a value in, unless the table is full of those that may not go; then `None`, and the value is dropped.
    pub(super) fn insert_if_room(
        &mut self,
        key: K,
        value: V,
        now: Duration,
        may_go: impl Fn(&V) -> bool,
    ) -> Option<Slot> {
        let has_room = self.places.len() < self.capacity
            || self.find(&key).is_some()
            || self.forget_one(may_go);
        has_room.then(|| self.insert(key, value, now))
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some(slot) = self.find(key) {
            self.leave(slot);
        }
    }

    /// Forgets what was not heard of since `moment`, at the latest when as much time has passed once more. Returns how many
    /// entries it has looked at.
    pub(super) fn forget_before(&mut self, moment: Duration) -> usize {
        let mut looked_at = 0;
        while let Some(turn) = self.queue.pop_front_if(|turn| turn.since <= moment) {
            looked_at += 1;
            match self.at(turn.slot).map(|(_, entry)| entry.last) {
                Some(last) if last > moment => self.queue_up(turn.slot, last),
                Some(_) => self.leave(turn.slot),
                None => {}
            }
        }
        looked_at
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut Entry<V>)> {
        let taken = self.seats.iter_mut().filter_map(|seat| seat.taken.as_mut());
        taken.map(|(key, entry)| (&*key, entry))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &Entry<V>)> {
        let taken = self.seats.iter().filter_map(|seat| seat.taken.as_ref());
        taken.map(|(key, entry)| (key, entry))
    }

    /// The first in the queue that may go and was not heard of since it came there; else the last one looked at that may go.
    fn forget_one(&mut self, may_go: impl Fn(&V) -> bool) -> bool {
        let mut last_resort = None;
        for _ in 0..MOST_LOOKED_AT {
            let Some(turn) = self.next_present() else {
                break;
            };
            let Some((_, entry)) = self.at(turn.slot) else {
                continue;
            };
            let last = entry.last;
            if may_go(&entry.value) {
                if last <= turn.since {
                    self.leave(turn.slot);
                    return true;
                }
                last_resort = Some(turn.slot);
            }
            self.queue_up(turn.slot, last);
        }
        last_resort.inspect(|&slot| self.leave(slot)).is_some()
    }

    fn next_present(&mut self) -> Option<Turn> {
        loop {
            let turn = self.queue.pop_front()?;
            if self.at(turn.slot).is_some() {
                return Some(turn);
            }
        }
    }

    fn find_hashed(&self, hash: u64, key: &K) -> Option<Slot> {
        let is_its = |&at: &u32| key_at(&self.seats, at) == Some(key);
        let at = *self.places.find(hash, is_its)?;
        let generation = self.seats.get(usize::try_from(at).ok()?)?.generation;
        Some(Slot { at, generation })
    }

    fn take_seat(&mut self, taken: (K, Entry<V>)) -> Slot {
        let at = self.free.pop().unwrap_or_else(|| {
            self.seats.push(Seat {
                generation: 0,
                taken: None,
            });
            u32::try_from(self.seats.len() - 1).unwrap_or(u32::MAX)
        });
        let mut slot = Slot { at, generation: 0 };
        if let Some(seat) = self.seats.get_mut(index(slot)) {
            seat.generation = seat.generation.wrapping_add(1).max(1);
            seat.taken = Some(taken);
            slot.generation = seat.generation;
        }
        slot
    }

    fn leave(&mut self, slot: Slot) {
        let Some(seat) = self.seats.get_mut(index(slot)) else {
            return;
        };
        if let Some((key, _)) = seat.taken.take() {
            let hash = self.hash.hash_one(&key);
            let place = self.places.find_entry(hash, |&at| at == slot.at);
            place.ok().map(hashbrown::hash_table::OccupiedEntry::remove);
            self.free.push(slot.at);
        }
    }

    fn queue_up(&mut self, slot: Slot, since: Duration) {
        if self.queue.len() >= 2 * self.capacity {
            let mut queue = std::mem::take(&mut self.queue);
            queue.retain(|turn| self.at(turn.slot).is_some());
            self.queue = queue;
        }
        let since = self
            .queue
            .back()
            .map_or(since, |back| back.since.max(since));
        self.queue.push_back(Turn { slot, since });
    }
}

fn key_at<K, V>(seats: &[Seat<K, V>], at: u32) -> Option<&K> {
    let seat = seats.get(usize::try_from(at).ok()?)?;
    seat.taken.as_ref().map(|(key, _)| key)
}

fn index(slot: Slot) -> usize {
    usize::try_from(slot.at).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_flood_within_one_tick_stays_bounded() {
        let mut recent = Recent::new(100);
        for key in 0..10_000 {
            recent.insert(key, (), Duration::ZERO);
            assert!(recent.len() <= 100 && recent.queue.len() <= 200 && recent.seats.len() <= 100);
        }
        assert!(recent.get(&9_999).is_some());
    }

    #[test]
    fn what_was_heard_last_survives() {
        let mut recent = Recent::new(100);
        for key in 0..150_u64 {
            recent.insert(key, key, SECOND * u32::try_from(key).unwrap());
        }
        for key in 50..150 {
            assert_eq!(recent.get(&key), Some(&key));
        }
        assert_eq!(recent.get(&49), None);
    }

    #[test]
    fn what_is_heard_of_again_and_again_survives_a_flood() {
        let mut recent = Recent::new(100);
        recent.insert(0, (), Duration::ZERO);
        for key in 1..10_000_u32 {
            recent.insert(key, (), SECOND * key);
            recent.get_mut(&0).unwrap().last = SECOND * key;
        }
        assert!(recent.get(&0).is_some());
    }

    #[test]
    fn a_slot_leads_to_its_entry_alone() {
        let mut recent = Recent::new(1);
        assert!(recent.at(Slot::default()).is_none());
        let first = recent.insert('a', 1, SECOND);
        assert!(recent.at(Slot::default()).is_none());
        assert_eq!(recent.insert('a', 2, SECOND), first);
        assert_eq!(recent.at_mut(first).unwrap().value, 2);
        let second = recent.insert('b', 3, SECOND);
        assert!(recent.at(first).is_none() && recent.at(second).is_some());
        recent.remove(&'b');
        assert!(recent.at(second).is_none());
    }

    #[test]
    fn those_that_may_not_go_stay() {
        let mut recent = Recent::new(2);
        recent.insert(1, true, SECOND);
        recent.insert(2, false, SECOND);
        assert!(
            recent
                .insert_if_room(3, false, SECOND, |may| *may)
                .is_some()
        );
        assert!(
            recent
                .insert_if_room(4, false, SECOND, |may| *may)
                .is_none()
        );
        assert!(
            recent
                .insert_if_room(3, false, SECOND, |may| *may)
                .is_some()
        );
        assert!(recent.get(&1).is_none() && recent.get(&2).is_some());
    }

    #[test]
    fn time_costs_one_look_at_each_entry_however_many_are_idle() {
        let idle = 10_000;
        let mut recent = Recent::new(2 * idle);
        for key in 0..idle {
            recent.insert(key, (), Duration::ZERO);
        }
        let busy = recent.insert(idle, (), Duration::ZERO);
        let looked_at: Vec<usize> = (0..=180)
            .map(|second| {
                let now = SECOND * second;
                if let Some(entry) = recent.at_mut(busy) {
                    entry.last = now;
                }
                now.checked_sub(60 * SECOND)
                    .map_or(0, |moment| recent.forget_before(moment))
            })
            .collect();
        assert_eq!(looked_at[..60], [0; 60]);
        assert_eq!(looked_at[60], idle + 1);
        assert_eq!(looked_at[61..].iter().sum::<usize>(), 2);
        assert_eq!(recent.len(), 1);
    }

    #[test]
    fn entries_that_come_and_go_leave_no_queue_behind() {
        let mut recent = Recent::new(10);
        for key in 0..1000 {
            recent.insert(key, (), SECOND);
            recent.remove(&key);
        }
        assert!(recent.is_empty() && recent.queue.len() <= 20);
    }
}
