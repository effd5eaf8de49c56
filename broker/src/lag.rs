//! How far each staff subscriber lags behind what was published.
//!
//! rumqttd's router keeps a ring and silently skips what a slow subscriber did not fetch in time. So the front books,
//! per staff subscription, the bytes that were published since it began and those that it has taken, be they for it or
//! not; while one of them lags by more than its share of the ring, publishers are made to wait. A message is known by
//! its number: what was published before a subscription began is not its debt.

use std::collections::BTreeMap;

/// A subscription in the book.
pub(crate) type ReaderId = u64;

#[derive(Debug)]
struct Reader {
    /// Bytes it may lag.
    limit: u64,
    /// Number of the first message that counts.
    first: u64,
    published: u64,
    taken: u64,
}

impl Reader {
    fn lags(&self) -> bool {
        self.published.saturating_sub(self.taken) >= self.limit
    }
}

/// The lag of every staff subscription.
#[derive(Debug, Default)]
pub(crate) struct LagBook {
    readers: BTreeMap<ReaderId, Reader>,
    last_id: ReaderId,
    last_number: u64,
}

impl LagBook {
    /// Begins to book a subscription that may lag by `limit` bytes.
    pub(crate) fn open(&mut self, limit: u64) -> ReaderId {
        self.last_id += 1;
        let reader = Reader {
            limit,
            first: self.last_number + 1,
            published: 0,
            taken: 0,
        };
        self.readers.insert(self.last_id, reader);
        self.last_id
    }

    /// Ends it, and its debt with it.
    pub(crate) fn close(&mut self, id: ReaderId) {
        self.readers.remove(&id);
    }

    /// Books a message; its number.
    pub(crate) fn publish(&mut self, size: u64) -> u64 {
        self.last_number += 1;
        for reader in self.readers.values_mut() {
            reader.published += size;
        }
        self.last_number
    }

    /// Books what a subscription has taken; whether that made room.
    pub(crate) fn take(&mut self, id: ReaderId, number: u64, size: u64) -> bool {
        let Some(reader) = self.readers.get_mut(&id) else {
            return false;
        };
        let lagged = reader.lags();
        if number >= reader.first {
            reader.taken += size;
        }
        lagged && !reader.lags()
    }

    /// Whether nobody lags too far, so that more may be published.
    pub(crate) fn has_room(&self) -> bool {
        !self.readers.values().any(Reader::lags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_wait_for_the_slowest_reader() {
        let mut book = LagBook::default();
        let slow = book.open(100);
        let quick = book.open(200);
        let first = book.publish(60);
        assert!(book.has_room());
        book.publish(60);
        assert!(!book.has_room());
        assert!(!book.take(quick, first, 60));
        assert!(book.take(slow, first, 60));
        assert!(book.has_room());
    }

    #[test]
    fn what_came_before_a_subscription_is_not_its_debt() {
        let mut book = LagBook::default();
        let before = book.publish(60);
        let reader = book.open(100);
        let after = book.publish(100);
        assert!(!book.take(reader, before, 60));
        assert!(!book.has_room());
        assert!(book.take(reader, after, 100));
    }

    #[test]
    fn a_reader_that_has_gone_holds_nobody_up() {
        let mut book = LagBook::default();
        let reader = book.open(1);
        book.publish(60);
        assert!(!book.has_room());
        book.close(reader);
        assert!(book.has_room());
        assert!(!book.take(reader, 1, 60));
    }
}
