//! One journal as the outbox sees it: which numbers it holds, how far they were sent, how far they are safe.

use std::ops::RangeInclusive;

use labwatch_contract::status::JournalRange;
use uuid::Uuid;

/// The numbers of one journal.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) journal: Uuid,
    /// The first number that is still to be had; more than `last` when none is.
    pub(super) first: u64,
    /// The last number given.
    pub(super) last: u64,
    /// The recorder's mark, never more than `last`.
    pub(super) mark: u64,
    /// Everything up to here was sent in order since the last rewind.
    sent: u64,
    /// The recorder takes nothing more of it.
    pub(super) refused: bool,
    /// Numbers that cannot be read back; passed over once everything before them is safe.
    damaged: Option<(u64, u64)>,
}

impl Held {
    pub(super) fn new(range: JournalRange, mark: u64) -> Self {
        let mark = mark.min(range.last);
        Self {
            journal: range.journal,
            first: range.first,
            last: range.last,
            mark,
            sent: mark,
            refused: false,
            damaged: None,
        }
    }

    pub(super) fn range(&self) -> JournalRange {
        JournalRange {
            journal: self.journal,
            first: self.first,
            last: self.last,
        }
    }

    /// Nothing of it waits for the recorder.
    pub(super) fn is_finished(&self) -> bool {
        self.refused || self.mark >= self.last
    }

    /// Some of it can be sent and is not known to be safe.
    pub(super) fn waits(&self) -> bool {
        !self.is_finished() && self.first <= self.last
    }

    /// The recorder has to learn that numbers before `first` will never come.
    pub(super) fn has_hole(&self) -> bool {
        !self.is_finished() && self.first > self.mark + 1
    }

    /// Sent, but not known to be safe.
    pub(super) fn in_flight(&self) -> bool {
        !self.is_finished() && self.sent > self.base()
    }

    /// Events that are not known to be safe and can still be sent.
    pub(super) fn backlog(&self) -> u64 {
        if self.refused {
            0
        } else {
            self.last.saturating_sub(self.base())
        }
    }

    /// What will never reach the recorder if the journal goes now.
    pub(super) fn unconfirmed(&self) -> Option<JournalRange> {
        (self.backlog() > 0).then(|| JournalRange {
            first: self.base() + 1,
            ..self.range()
        })
    }

    /// The number to be sent next in order, at most `window` ahead of what is safe.
    pub(super) fn next(&self, window: u64) -> Option<u64> {
        let next = self.sent.max(self.base()) + 1;
        let end = self.damaged.map_or(self.last, |(from, _)| from - 1);
        let allowed = !self.is_finished() && next <= end.min(self.base().saturating_add(window));
        allowed.then_some(next)
    }

    /// Notes that the number was sent.
    pub(super) fn sent(&mut self, sequence: u64) {
        self.sent = self.sent.max(sequence);
    }

    /// Whether the number was sent since the last rewind.
    pub(super) fn was_sent(&self, sequence: u64) -> bool {
        sequence <= self.sent
    }

    /// Starts again after the mark.
    pub(super) fn rewind(&mut self) {
        self.sent = self.mark;
    }

    /// Takes the recorder's word for how far it is, forward or back; whether it is farther than before.
    pub(super) fn confirm(&mut self, sequence: u64) -> bool {
        let (before, mark) = (self.mark, sequence.min(self.last));
        self.mark = mark;
        self.sent = if mark < before {
            mark
        } else {
            self.sent.max(mark)
        };
        mark > before
    }

    /// Forgets what any recorder has said.
    pub(super) fn forget(&mut self) {
        self.mark = 0;
        self.sent = 0;
        self.refused = false;
    }

    /// Nothing of it can be sent any more.
    pub(super) fn empty(&mut self) {
        self.first = self.last + 1;
        self.damaged = None;
    }

    /// These numbers cannot be read back.
    pub(super) fn damage(&mut self, numbers: &RangeInclusive<u64>) {
        self.damaged = Some((*numbers.start(), *numbers.end()));
        self.sent = self.sent.min(numbers.start().saturating_sub(1));
    }

    /// Passes over a damaged place when everything before it is safe; what is lost by it.
    pub(super) fn pass_over(&mut self) -> Option<JournalRange> {
        let (from, to) = self.damaged.filter(|(from, _)| self.mark + 1 >= *from)?;
        self.damaged = None;
        if self.refused || to <= self.mark {
            return None;
        }
        let first = from.max(self.mark + 1);
        self.first = self.first.max(to + 1);
        Some(JournalRange {
            journal: self.journal,
            first,
            last: to,
        })
    }

    /// The number before the first that is wanted.
    fn base(&self) -> u64 {
        self.mark.max(self.first.saturating_sub(1))
    }
}
