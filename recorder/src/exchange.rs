//! What the service and the writer's thread say to each other, and how the one waits for the other.
//!
//! ```text
//! service --put--> [ lines, marks ] --take--> writer
//!         <--news-- [ committed marks, checkpoints, trouble ] <--tell--
//! ```
//!
//! Not a channel for each line: the writer is woken once, and takes all that came while it was at the disk. Bounded
//! by [`ROOM`] bytes; the service waits for room before it reads on.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{intake::Entry, ledger::Standing};

/// Bytes of lines that may wait for the writer.
const ROOM: usize = 4 * 1024 * 1024;

/// Lines and the marks that are true once they are on the disk.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The lines, in order.
    pub(crate) entries: Vec<Entry>,
    /// The marks.
    pub(crate) marks: Vec<Standing>,
}

/// What the writer tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// These marks are durable.
    Committed(Vec<Standing>),
    /// A checkpoint was recorded; this is its payload.
    Checkpoint(Vec<u8>),
    /// The disk takes nothing, and why; nothing should be taken until it does.
    Trouble(String),
    /// It takes again.
    Relief,
}

/// The table between the two.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    table: Mutex<Table>,
    filled: Condvar,
    /// There is room, or news.
    called: Notify,
}

#[derive(Debug, Default)]
struct Table {
    batch: Batch,
    bytes: usize,
    news: Vec<News>,
    /// The writer sleeps until something comes.
    sleeps: bool,
    /// Since when the writer is at what it took; none while it waits for more.
    busy: Option<Instant>,
    /// Nothing more will come.
    closed: bool,
    /// The writer has ended.
    ended: bool,
}

impl Exchange {
    /// Hands a batch over; the given one is empty then.
    pub(crate) fn put(&self, batch: &mut Batch) {
        let mut table = self.table();
        table.bytes += batch
            .entries
            .iter()
            .map(|entry| entry.line.len())
            .sum::<usize>();
        table.batch.entries.append(&mut batch.entries);
        table.batch.marks.append(&mut batch.marks);
        if table.sleeps {
            self.filled.notify_one();
        }
    }

    /// Whether more may be put.
    pub(crate) fn has_room(&self) -> bool {
        self.table().bytes < ROOM
    }

    /// For how long the writer has been at what it took last.
    pub(crate) fn busy(&self, now: Instant) -> Duration {
        let busy = self.table().busy;
        busy.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Everything that the writer has told since, and whether it has ended.
    pub(crate) fn news(&self) -> (Vec<News>, bool) {
        let mut table = self.table();
        (std::mem::take(&mut table.news), table.ended)
    }

    /// Waits for room or news.
    pub(crate) async fn called(&self) {
        self.called.notified().await;
    }

    /// Nothing more will be put.
    pub(crate) fn close(&self) {
        self.table().closed = true;
        self.filled.notify_one();
    }

    /// Takes what is there, waiting for it until `end`; says whether nothing more will come.
    pub(crate) fn take(&self, end: Instant) -> (Batch, bool) {
        let mut table = self.table();
        table.busy = None;
        while table.batch.entries.is_empty() && table.batch.marks.is_empty() && !table.closed {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            table.sleeps = true;
            let woken = self.filled.wait_timeout(table, left);
            table = woken.unwrap_or_else(PoisonError::into_inner).0;
            table.sleeps = false;
        }
        table.bytes = 0;
        table.busy = Some(Instant::now());
        let batch = std::mem::take(&mut table.batch);
        let closed = table.closed;
        drop(table);
        self.called.notify_one();
        (batch, closed)
    }

    /// Waits until `end`, or until nothing more will come.
    pub(crate) fn gather(&self, end: Instant) {
        let mut table = self.table();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || table.closed {
                return;
            }
            let woken = self.filled.wait_timeout(table, left);
            table = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Tells the service something.
    pub(crate) fn tell(&self, news: News) {
        self.table().news.push(news);
        self.called.notify_one();
    }

    /// The writer has ended.
    fn end(&self) {
        self.table().ended = true;
        self.called.notify_one();
    }

    /// Tells the service that the writer has ended, however it does: when this goes.
    pub(crate) fn end_when_dropped(&self) -> impl Drop {
        Ending(self)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Ending<'a>(&'a Exchange);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_writer_that_panics_has_ended_and_the_service_hears_it() {
        let exchange = Exchange::default();
        let panicked = thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let _ending = exchange.end_when_dropped();
                panic!("as a test");
            });
            writer.join().is_err()
        });
        assert!(panicked && exchange.news().1);
    }

    #[test]
    fn a_writer_is_busy_from_what_it_took_until_it_asks_for_more() {
        let exchange = Exchange::default();
        let now = Instant::now();
        assert_eq!(exchange.busy(now), Duration::ZERO);
        exchange.take(now);
        let later = Instant::now() + Duration::from_secs(11);
        assert!(exchange.busy(later) >= Duration::from_secs(11));
    }
}
