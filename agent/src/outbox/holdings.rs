//! The journals as the outbox holds them: what is safe, what is refused, what is lost, and whom to tell of it.
//!
//! Oldest first, the last is the one being written. A journal whose file is gone stays until the recorder has heard that
//! its rest will never come; of those only [`GONE`] are kept. Pure.

use labwatch_contract::{
    ack::{Ack, MAX_MARKS, Mark},
    status::JournalRange,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::held::Held;

/// Journals that are gone, unconfirmed, and still named to the recorder.
const GONE: usize = 32;

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

/// All journals of this PC that the recorder may want.
#[derive(Debug)]
pub(super) struct Holdings {
    journals: Vec<Held>,
    lost: Vec<(JournalRange, Loss)>,
    begin: bool,
    announce: bool,
}

impl Holdings {
    pub(super) fn new(past: &[JournalRange], confirmed: &Confirmed, journal: Uuid) -> Self {
        let is_here = |gone: &&JournalRange| past.iter().any(|held| held.journal == gone.journal);
        let gone = confirmed.gone.iter().filter(|gone| !is_here(gone));
        let mut journals: Vec<_> = gone.chain(past).copied().collect();
        journals.sort_by_key(|range| range.journal);
        journals.push(begun(journal));
        let held = |range: JournalRange| {
            let mark = confirmed.marks.iter().find(|m| m.journal == range.journal);
            let mut held = Held::new(range, mark.map_or(0, |mark| mark.sequence));
            held.refused = confirmed.refused.contains(&range.journal);
            held
        };
        Self {
            journals: journals.into_iter().map(held).collect(),
            lost: Vec::new(),
            begin: false,
            announce: false,
        }
    }

    /// What outlives the agent, once `recorder` has said it.
    pub(super) fn confirmed(&self, recorder: Option<Uuid>) -> Confirmed {
        let marks = self.journals.iter().filter(|held| held.mark > 0);
        let refused = self.journals.iter().filter(|held| held.refused);
        let gone = self.journals.iter().filter(|held| is_gone(held));
        Confirmed {
            recorder,
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

    /// For `status`: oldest first, at most 64: those that wait for the recorder, the oldest first to be named, then
    /// those that are safe, the newest first to be named; the present one always.
    pub(super) fn named(&self) -> Vec<JournalRange> {
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

    pub(super) fn backlog(&self) -> u64 {
        self.journals.iter().map(Held::backlog).sum()
    }

    /// Another journal is the present one now.
    pub(super) fn begin(&mut self, journal: Uuid) {
        self.journals.retain(|held| held.last > 0);
        self.journals.push(Held::new(begun(journal), 0));
        self.begin = false;
        self.announce = true;
    }

    pub(super) fn each(&mut self, change: impl FnMut(&mut Held)) {
        self.journals.iter_mut().for_each(change);
    }

    /// Takes marks and refusals; says whether any journal is farther than before.
    pub(super) fn take_ack(&mut self, ack: &Ack) -> bool {
        let progress = self.take_marks(&ack.marks);
        for journal in ack.refused.iter().take(MAX_MARKS) {
            self.refuse(*journal);
        }
        self.pass_over_damage();
        self.forget_gone();
        progress
    }

    /// From `sequence` to just before `next` (to the end, where there is none) nothing can be read back.
    pub(super) fn damage(&mut self, journal: Uuid, sequence: u64, next: Option<u64>) {
        if let Some(held) = self.find_mut(journal) {
            let to = next.map_or(held.last, |next| next.saturating_sub(1));
            held.damage(&(sequence..=to.max(sequence)));
        }
        self.pass_over_damage();
    }

    /// The journal's file is gone.
    pub(super) fn drop_journal(&mut self, journal: Uuid) {
        let Some(held) = self.find_mut(journal) else {
            return;
        };
        let unconfirmed = held.unconfirmed();
        held.empty();
        if let Some(range) = unconfirmed {
            self.lost.push((range, Loss::Full));
            self.announce = true;
        }
        self.forget_gone();
        let mut gone = self.journals.iter().filter(|held| is_gone(held));
        let oldest = gone.next().map(|held| held.journal);
        if gone.count() >= GONE {
            self.journals.retain(|held| Some(held.journal) != oldest);
        }
    }

    /// What somebody else has to do; `online` only where there is somebody to say it to.
    pub(super) fn poll_demand(&mut self, can_say: bool) -> Option<Demand> {
        if std::mem::take(&mut self.begin) {
            return Some(Demand::Begin);
        }
        if let Some((_, loss)) = self.lost.first().copied() {
            let of_it = self.lost.extract_if(.., |(_, other)| *other == loss);
            let ranges = of_it.map(|(range, _)| range).collect();
            return Some(Demand::Lost(ranges, loss));
        }
        (can_say && std::mem::take(&mut self.announce)).then_some(Demand::Announce)
    }

    /// What follows the mark is to be sent again; what will never come is to be said again, should that be awaited.
    pub(super) fn begin_at_mark(&mut self) {
        self.announce |= self.journals.iter().any(Held::has_hole);
        if let Some(front) = self.journals.iter_mut().find(|held| held.waits()) {
            front.rewind();
        }
    }

    /// Whether the recorder has something to answer to.
    pub(super) fn awaits_recorder(&self) -> bool {
        let front_waits = self.front().is_some_and(Held::in_flight);
        front_waits || self.journals.iter().any(Held::has_hole)
    }

    /// The oldest journal of which something waits.
    pub(super) fn front(&self) -> Option<&Held> {
        self.journals.iter().find(|held| held.waits())
    }

    pub(super) fn find(&self, journal: Uuid) -> Option<&Held> {
        self.journals.iter().find(|held| held.journal == journal)
    }

    pub(super) fn find_mut(&mut self, journal: Uuid) -> Option<&mut Held> {
        let held = self.journals.iter_mut();
        held.rev().find(|held| held.journal == journal)
    }

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

    fn forget_gone(&mut self) {
        self.journals
            .retain(|held| !is_gone(held) || !held.is_finished());
    }
}

/// A journal without an event.
fn begun(journal: Uuid) -> JournalRange {
    JournalRange {
        journal,
        first: 1,
        last: 0,
    }
}

fn is_gone(held: &Held) -> bool {
    held.last > 0 && held.first > held.last
}
