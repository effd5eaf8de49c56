//! Journals in memory, for as long as the disk takes nothing: short, few, gone when the recorder has them.

use bytes::Bytes;
use uuid::Uuid;

/// Bytes after which one ends.
const PART: u64 = 256 * 1024;

/// Oldest first; the last may be open.
#[derive(Debug, Default)]
pub(super) struct Memory {
    journals: Vec<Lines>,
    is_open: bool,
}

#[derive(Debug)]
struct Lines {
    journal: Uuid,
    lines: Vec<Bytes>,
    bytes: u64,
}

impl Memory {
    pub(super) fn begin(&mut self, journal: Uuid) {
        self.is_open = true;
        self.journals.push(Lines {
            journal,
            lines: Vec::new(),
            bytes: 0,
        });
    }

    pub(super) fn close(&mut self) {
        self.is_open = false;
    }

    pub(super) fn is_long(&self) -> bool {
        self.journals.last().is_some_and(|open| open.bytes >= PART)
    }

    pub(super) fn append(&mut self, payload: &Bytes) {
        if let Some(open) = self.journals.last_mut().filter(|_| self.is_open) {
            open.bytes += u64::try_from(payload.len()).unwrap_or(u64::MAX);
            open.lines.push(payload.clone());
        }
    }

    pub(super) fn read(&self, journal: Uuid, sequence: u64) -> Option<Bytes> {
        let lines = self
            .journals
            .iter()
            .find(|lines| lines.journal == journal)?;
        let at = usize::try_from(sequence.checked_sub(1)?).ok()?;
        lines.lines.get(at).cloned()
    }

    /// Closed journals that are finished, and the oldest beyond `bound` bytes.
    pub(super) fn surplus(&self, bound: u64, is_finished: impl Fn(Uuid) -> bool) -> Vec<Uuid> {
        let closed = self.journals.len() - usize::from(self.is_open);
        let mut bytes: u64 = self.journals.iter().map(|lines| lines.bytes).sum();
        let mut gone = Vec::new();
        for lines in self.journals.iter().take(closed) {
            if is_finished(lines.journal) || bytes > bound {
                bytes = bytes.saturating_sub(lines.bytes);
                gone.push(lines.journal);
            }
        }
        gone
    }

    pub(super) fn drop_journal(&mut self, journal: Uuid) {
        self.journals.retain(|lines| lines.journal != journal);
    }
}
