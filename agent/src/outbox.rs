//! What leaves the PC, and when: every event until the recorder says that it is safe.
//!
//! ```text
//! sealed, journalled --> handle_event --+--> Fresh: published at once, once
//!                                       `--> Stored: in its journal's turn, read back from there
//! ack --------> handle_ack              `--> mark: safe, done with
//! connection -> handle_connected, handle_disconnected; time -> handle_timeout
//! ```
//!
//! One journal at a time is sent in order, the oldest that is not wholly safe, at most [`WINDOW`] events ahead of its
//! mark; the events themselves stay in the journal, so that a backlog costs no memory. A fresh event that is
//! the next in order counts as sent; any other fresh one is sent again when its turn comes. Sending goes back to
//! the mark on each connection, when the recorder repeats a mark, and after 5 s without progress. While nobody
//! answers only the first event is repeated, ever more rarely.
//!
//! The last acknowledgement is the truth, even where it takes back an earlier one: a recorder that lost its disk
//! gets again what is still here. A wrong or late one costs messages that the recorder drops, never an event.
//! Pure; `now` is the time since the agent's start.

mod held;
mod holdings;

use std::{collections::VecDeque, time::Duration};

use labwatch_contract::{
    ack::{Ack, Mark},
    status::JournalRange,
};
use uuid::Uuid;

pub use self::holdings::{Confirmed, Demand, Loss};
use self::{held::Held, holdings::Holdings};
use crate::sealer::Sealed;

/// Events sent in order ahead of the recorder's mark.
pub const WINDOW: u64 = 256;
/// Fresh events that wait for room in the session, where one more is sent in its turn only, or for a connection, where
/// the newest stay: who watches is to hear of them before the backlog.
const FRESH: usize = 64;
/// After `online` the recorder is given so long to say how far it is, before sending in order begins.
const ANSWER: Duration = Duration::from_secs(1);
/// Without progress for so long, sending begins again at the mark; and again after twice the time, and so on.
const PATIENCE: Duration = Duration::from_secs(5);
const MOST_PATIENCE: Duration = Duration::from_secs(60);
/// Repeated marks that come sooner after the last beginning are echoes of it.
const ECHO: Duration = Duration::from_secs(1);

/// A message to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transmit {
    /// For the first time, at once.
    Fresh(Sealed),
    /// To be read from its journal; see [`Outbox::handle_damage`] when it cannot be.
    Stored {
        /// The journal.
        journal: Uuid,
        /// The event's number.
        sequence: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// No connection.
    Down,
    /// Only fresh events go out until then, or until the recorder answers.
    Asking(Duration),
    /// Everything goes out.
    Up,
}

/// Decides what is sent; see the module.
#[derive(Debug)]
pub struct Outbox {
    store: Option<Uuid>,
    holdings: Holdings,
    fresh: VecDeque<Sealed>,
    line: Line,
    deadline: Option<Duration>,
    patience: Duration,
    /// Nobody answers: only the first event is sent in order.
    probing: bool,
    began: Duration,
}

impl Outbox {
    /// Goes on with the journals that earlier runs left, oldest first, and begins `journal`.
    #[must_use]
    pub fn new(past: &[JournalRange], confirmed: Confirmed, journal: Uuid) -> Self {
        Self {
            store: confirmed.recorder,
            holdings: Holdings::new(past, &confirmed, journal),
            fresh: VecDeque::new(),
            line: Line::Down,
            deadline: None,
            patience: PATIENCE,
            probing: false,
            began: Duration::ZERO,
        }
    }

    /// What recorders have said so far, of the journals that are still here.
    #[must_use]
    pub fn confirmed(&self) -> Confirmed {
        self.holdings.confirmed(self.store)
    }

    /// The journals for `status`: oldest first, at most 64, those that wait for the recorder before those that are safe.
    #[must_use]
    pub fn journals(&self) -> Vec<JournalRange> {
        self.holdings.named()
    }

    /// Events that are not known to be safe at the recorder and can still be sent.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.holdings.backlog()
    }

    /// Whether the recorder wants nothing more of the journal; true of one that is not here.
    #[must_use]
    pub fn is_finished(&self, journal: Uuid) -> bool {
        self.holdings.find(journal).is_none_or(Held::is_finished)
    }

    /// Another journal has been begun; it is the present one now.
    pub fn handle_begun(&mut self, journal: Uuid) {
        self.holdings.begin(journal);
    }

    /// An event stands in the present journal.
    pub fn handle_event(&mut self, event: Sealed) {
        let place = event.place;
        if let Some(held) = self.holdings.find_mut(place.journal) {
            held.last = held.last.max(place.sequence);
        }
        if self.fresh.len() == FRESH {
            if self.line != Line::Down {
                return;
            }
            self.fresh.pop_front();
        }
        self.fresh.push_back(event);
    }

    /// There is a connection, and `online` was said on it.
    pub fn handle_connected(&mut self, now: Duration) {
        self.holdings.each(Held::rewind);
        self.line = Line::Asking(now + ANSWER);
        self.deadline = None;
        self.patience = PATIENCE;
        self.probing = false;
        self.began = now;
    }

    /// The connection is gone, and whatever was on its way.
    pub fn handle_disconnected(&mut self) {
        self.line = Line::Down;
        self.deadline = None;
    }

    /// The recorder says how far it is.
    pub fn handle_ack(&mut self, ack: &Ack, now: Duration) {
        let other_store = self.store.is_some_and(|store| store != ack.recorder);
        self.store = Some(ack.recorder);
        if other_store {
            self.holdings.each(Held::forget);
        }
        if self.line != Line::Down {
            self.line = Line::Up;
        }
        let answered = std::mem::take(&mut self.probing);
        let front = |holdings: &Holdings| holdings.front().map(|held| (held.journal, held.mark));
        let before = front(&self.holdings);
        let progress = self.holdings.take_ack(ack);
        let after = front(&self.holdings);
        let repeated = before.is_some_and(|(journal, mark)| {
            let again = Mark {
                journal,
                sequence: mark,
            };
            !progress && after == before && ack.marks.contains(&again)
        });
        if after != before || answered {
            self.deadline = None;
            self.patience = PATIENCE;
        }
        if repeated && now >= self.began + ECHO {
            self.begin_at_mark(now);
        }
        self.watch(now);
    }

    /// The event could not be read back; `next` is the first after it that can be, `None` when none can.
    pub fn handle_damage(&mut self, journal: Uuid, sequence: u64, next: Option<u64>) {
        self.holdings.damage(journal, sequence, next);
    }

    /// The disk cannot be read for the moment: nothing is sent in order until the time-out.
    pub fn handle_unreadable(&mut self, journal: Uuid, sequence: u64, now: Duration) {
        let held = self.holdings.find_mut(journal);
        if let Some(held) = held.filter(|held| held.was_sent(sequence)) {
            held.rewind();
        }
        self.line = Line::Asking(now + PATIENCE);
        self.deadline = None;
    }

    /// The journal's file is gone. What of it was not safe is lost, and the recorder is told.
    pub fn handle_dropped(&mut self, journal: Uuid) {
        self.holdings.drop_journal(journal);
    }

    /// A moment that [`Self::poll_timeout`] gave has come.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        if let Line::Asking(_) = self.line {
            self.line = Line::Up;
            return self.watch(now);
        }
        // The first time the whole window goes again: perhaps only messages were lost. Then one event will do.
        self.probing = self.patience > PATIENCE;
        self.patience = (self.patience * 2).min(MOST_PATIENCE);
        self.begin_at_mark(now);
        self.watch(now);
    }

    /// When [`Self::handle_timeout`] is to be called; `None` while there is nothing to wait for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        match self.line {
            Line::Down => None,
            Line::Asking(until) => Some(until),
            Line::Up => self.deadline,
        }
    }

    /// Whether [`Self::poll_transmit`] has something.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.has_news() || self.next_in_order().is_some()
    }

    /// The next message to be published.
    pub fn poll_transmit(&mut self, now: Duration) -> Option<Transmit> {
        while self.has_news()
            && let Some(event) = self.fresh.pop_front()
        {
            if self.goes_out(&event) {
                self.watch(now);
                return Some(Transmit::Fresh(event));
            }
        }
        let (journal, sequence) = self.next_in_order()?;
        self.holdings.find_mut(journal)?.sent(sequence);
        self.watch(now);
        Some(Transmit::Stored { journal, sequence })
    }

    /// What somebody else has to do.
    pub fn poll_demand(&mut self) -> Option<Demand> {
        self.holdings.poll_demand(self.line != Line::Down)
    }

    fn has_news(&self) -> bool {
        self.line != Line::Down && !self.fresh.is_empty()
    }

    /// Whether a fresh event is still to be sent; notes it as sent if it is the next in order.
    fn goes_out(&mut self, event: &Sealed) -> bool {
        let sequence = event.place.sequence;
        let Some(held) = self.holdings.find_mut(event.place.journal) else {
            return false;
        };
        if held.next(WINDOW) == Some(sequence) {
            held.sent(sequence);
            return true;
        }
        !held.refused && !held.was_sent(sequence)
    }

    fn next_in_order(&self) -> Option<(Uuid, u64)> {
        if self.line != Line::Up {
            return None;
        }
        let front = self.holdings.front()?;
        let window = if self.probing { 1 } else { WINDOW };
        Some((front.journal, front.next(window)?))
    }

    /// Sends again what follows the mark; and says again what will never come, should that be what is waited for.
    fn begin_at_mark(&mut self, now: Duration) {
        self.holdings.begin_at_mark();
        self.began = now;
        self.deadline = None;
    }

    /// Sets the time at which it has taken too long, or none when nothing is awaited.
    fn watch(&mut self, now: Duration) {
        let awaited = self.holdings.awaits_recorder();
        self.deadline = awaited.then(|| self.deadline.unwrap_or(now + self.patience));
    }
}

#[cfg(test)]
mod tests;
