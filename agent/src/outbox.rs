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

use std::{collections::VecDeque, time::Duration};

use labwatch_contract::{
    ack::{Ack, MAX_MARKS, Mark},
    status::JournalRange,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::held::Held;
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
/// Journals that are gone, unconfirmed, and still named to the recorder.
const GONE: usize = 32;

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

/// What somebody else has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demand {
    /// Begin a new journal: the present one takes nothing more that the recorder would take.
    Begin,
    /// Journal an event that says what will never come.
    Lost(Vec<JournalRange>, Loss),
    /// Say `online` again, because the journals have changed.
    Announce,
}

/// Why events will never reach the recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The journals had reached their bound.
    Full,
    /// The journal cannot be read there.
    Damaged,
    /// The recorder refuses the rest of the journal, or somebody else has written in it.
    Refused,
}

impl Loss {
    /// As it stands in `lab.reason`.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Full => "the journals are full",
            Self::Damaged => "the journal is damaged",
            Self::Refused => "the recorder refuses the journal",
        }
    }
}

/// What recorders have said, to outlive the agent; without it everything is offered again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Confirmed {
    /// The store that said it last.
    pub recorder: Option<Uuid>,
    /// How far it is.
    pub marks: Vec<Mark>,
    /// What it refuses.
    pub refused: Vec<Uuid>,
    /// Journals that are gone, which it may not know yet.
    pub gone: Vec<JournalRange>,
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
    /// Oldest first; the last is the one being written.
    journals: Vec<Held>,
    fresh: VecDeque<Sealed>,
    line: Line,
    deadline: Option<Duration>,
    patience: Duration,
    /// Nobody answers: only the first event is sent in order.
    probing: bool,
    began: Duration,
    begin: bool,
    announce: bool,
    lost: Vec<(JournalRange, Loss)>,
}

impl Outbox {
    /// Goes on with the journals that earlier runs left, oldest first, and begins `journal`.
    #[must_use]
    pub fn new(past: &[JournalRange], confirmed: Confirmed, journal: Uuid) -> Self {
        let is_here = |gone: &&JournalRange| past.iter().any(|held| held.journal == gone.journal);
        let gone = confirmed.gone.iter().filter(|gone| !is_here(gone));
        let mut journals: Vec<_> = gone.chain(past).copied().collect();
        journals.sort_by_key(|range| range.journal);
        journals.push(JournalRange {
            journal,
            first: 1,
            last: 0,
        });
        let held = |range: JournalRange| {
            let mark = confirmed.marks.iter().find(|m| m.journal == range.journal);
            let mut held = Held::new(range, mark.map_or(0, |mark| mark.sequence));
            held.refused = confirmed.refused.contains(&range.journal);
            held
        };
        Self {
            store: confirmed.recorder,
            journals: journals.into_iter().map(held).collect(),
            fresh: VecDeque::new(),
            line: Line::Down,
            deadline: None,
            patience: PATIENCE,
            probing: false,
            began: Duration::ZERO,
            begin: false,
            announce: false,
            lost: Vec::new(),
        }
    }

    /// What recorders have said so far, of the journals that are still here.
    #[must_use]
    pub fn confirmed(&self) -> Confirmed {
        let marks = self.journals.iter().filter(|held| held.mark > 0);
        let refused = self.journals.iter().filter(|held| held.refused);
        let gone = self.journals.iter().filter(|held| is_gone(held));
        Confirmed {
            recorder: self.store,
            marks: marks
                .map(|held| Mark {
                    journal: held.journal,
                    sequence: held.mark,
                })
                .collect(),
            refused: refused.map(|held| held.journal).collect(),
            gone: gone.map(Held::range).collect(),
        }
    }

    /// The journals for `status`, oldest first, at most 64: those that wait for the recorder, the oldest first to be
    /// named, then those that are safe, the newest first to be named; the present one always.
    #[must_use]
    pub fn journals(&self) -> Vec<JournalRange> {
        let Some((present, earlier)) = self.journals.split_last() else {
            return Vec::new();
        };
        let waiting = earlier.iter().filter(|held| !held.is_finished());
        let finished = earlier.iter().rev().filter(|held| held.is_finished());
        let mut named: Vec<_> = waiting.chain(finished).map(Held::range).collect();
        named.truncate(MAX_MARKS - 1);
        named.sort_by_key(|range| range.journal);
        named.push(present.range());
        named
    }

    /// Events that are not known to be safe at the recorder and can still be sent.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.journals.iter().map(Held::backlog).sum()
    }

    /// Whether the recorder wants nothing more of the journal; true of one that is not here.
    #[must_use]
    pub fn is_finished(&self, journal: Uuid) -> bool {
        self.find(journal).is_none_or(Held::is_finished)
    }

    /// Another journal has been begun; it is the present one now.
    pub fn handle_begun(&mut self, journal: Uuid) {
        self.journals.retain(|held| held.last > 0);
        self.journals.push(Held::new(
            JournalRange {
                journal,
                first: 1,
                last: 0,
            },
            0,
        ));
        self.begin = false;
        self.announce = true;
    }

    /// An event stands in the present journal.
    pub fn handle_event(&mut self, event: Sealed) {
        let place = event.place;
        if let Some(held) = self.find_mut(place.journal) {
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
        self.journals.iter_mut().for_each(Held::rewind);
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
            self.journals.iter_mut().for_each(Held::forget);
        }
        if self.line != Line::Down {
            self.line = Line::Up;
        }
        let answered = std::mem::take(&mut self.probing);
        let before = self.front().map(|held| (held.journal, held.mark));
        let progress = self.take_marks(&ack.marks);
        self.take_refusals(&ack.refused);
        self.pass_over_damage();
        self.journals
            .retain(|held| !is_gone(held) || !held.is_finished());
        let after = self.front().map(|held| (held.journal, held.mark));
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
        if let Some(held) = self.find_mut(journal) {
            let to = next.map_or(held.last, |next| next.saturating_sub(1));
            held.damage(&(sequence..=to.max(sequence)));
        }
        self.pass_over_damage();
    }

    /// The disk cannot be read for the moment: nothing is sent in order until the time-out.
    pub fn handle_unreadable(&mut self, journal: Uuid, sequence: u64, now: Duration) {
        if let Some(held) = self
            .find_mut(journal)
            .filter(|held| held.was_sent(sequence))
        {
            held.rewind();
        }
        self.line = Line::Asking(now + PATIENCE);
        self.deadline = None;
    }

    /// The journal's file is gone. What of it was not safe is lost, and the recorder is told.
    pub fn handle_dropped(&mut self, journal: Uuid) {
        let Some(held) = self.find_mut(journal) else {
            return;
        };
        let unconfirmed = held.unconfirmed();
        held.empty();
        if let Some(range) = unconfirmed {
            self.lost.push((range, Loss::Full));
            self.announce = true;
        }
        self.journals
            .retain(|held| !is_gone(held) || !held.is_finished());
        let gone = self.journals.iter().filter(|held| is_gone(held)).count();
        if let Some(oldest) = self
            .journals
            .iter()
            .position(is_gone)
            .filter(|_| gone > GONE)
        {
            self.journals.remove(oldest);
        }
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
        self.find_mut(journal)?.sent(sequence);
        self.watch(now);
        Some(Transmit::Stored { journal, sequence })
    }

    /// What somebody else has to do.
    pub fn poll_demand(&mut self) -> Option<Demand> {
        if std::mem::take(&mut self.begin) {
            return Some(Demand::Begin);
        }
        if let Some((_, loss)) = self.lost.first().copied() {
            let of_it = self.lost.extract_if(.., |(_, other)| *other == loss);
            let ranges = of_it.map(|(range, _)| range).collect();
            return Some(Demand::Lost(ranges, loss));
        }
        let can_say = self.line != Line::Down;
        (can_say && std::mem::take(&mut self.announce)).then_some(Demand::Announce)
    }

    /// Whether any journal is farther than before.
    fn take_marks(&mut self, marks: &[Mark]) -> bool {
        let mut progress = false;
        let present = self.journals.last().map(|held| held.journal);
        for mark in marks.iter().take(MAX_MARKS) {
            let Some(held) = self.find_mut(mark.journal) else {
                continue;
            };
            // Of an earlier journal the end may have been lost to a power cut; of the present one nothing can be.
            let foreign = present == Some(mark.journal) && mark.sequence > held.last;
            progress |= held.confirm(mark.sequence);
            if foreign {
                self.refuse(mark.journal);
            }
        }
        progress
    }

    fn take_refusals(&mut self, refused: &[Uuid]) {
        for journal in refused.iter().take(MAX_MARKS) {
            self.refuse(*journal);
        }
    }

    fn refuse(&mut self, journal: Uuid) {
        let present = self.journals.last().map(|held| held.journal);
        let Some(held) = self.find_mut(journal).filter(|held| !held.refused) else {
            return;
        };
        let unconfirmed = held.unconfirmed();
        held.refused = true;
        self.lost
            .extend(unconfirmed.map(|range| (range, Loss::Refused)));
        self.begin |= present == Some(journal);
    }

    fn pass_over_damage(&mut self) {
        let passed = self.journals.iter_mut().filter_map(Held::pass_over);
        let lost: Vec<_> = passed.map(|range| (range, Loss::Damaged)).collect();
        self.announce |= !lost.is_empty();
        self.lost.extend(lost);
    }

    fn has_news(&self) -> bool {
        self.line != Line::Down && !self.fresh.is_empty()
    }

    /// Whether a fresh event is still to be sent; notes it as sent if it is the next in order.
    fn goes_out(&mut self, event: &Sealed) -> bool {
        let sequence = event.place.sequence;
        let Some(held) = self.find_mut(event.place.journal) else {
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
        let front = self.front()?;
        let window = if self.probing { 1 } else { WINDOW };
        Some((front.journal, front.next(window)?))
    }

    /// Sends again what follows the mark; and says again what will never come, should that be what is waited for.
    fn begin_at_mark(&mut self, now: Duration) {
        self.announce |= self.journals.iter().any(Held::has_hole);
        if let Some(front) = self.journals.iter_mut().find(|held| held.waits()) {
            front.rewind();
        }
        self.began = now;
        self.deadline = None;
    }

    /// Sets the time at which it has taken too long, or none when nothing is awaited.
    fn watch(&mut self, now: Duration) {
        let front_waits = self.front().is_some_and(Held::in_flight);
        let awaited = front_waits || self.journals.iter().any(Held::has_hole);
        self.deadline = awaited.then(|| self.deadline.unwrap_or(now + self.patience));
    }

    fn front(&self) -> Option<&Held> {
        self.journals.iter().find(|held| held.waits())
    }

    fn find(&self, journal: Uuid) -> Option<&Held> {
        self.journals.iter().find(|held| held.journal == journal)
    }

    fn find_mut(&mut self, journal: Uuid) -> Option<&mut Held> {
        let held = self.journals.iter_mut();
        held.rev().find(|held| held.journal == journal)
    }
}

fn is_gone(held: &Held) -> bool {
    held.last > 0 && held.first > held.last
}

#[cfg(test)]
mod tests;
