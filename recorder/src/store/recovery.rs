//! The start: what the log of an earlier run holds goes to the files, is signed, and then the log goes.
//!
//! ```text
//! open --recall--> marks, last checkpoint --> the ledger knows where it was, whatever the disk takes
//! recover: Apply (torn lines cut, files as the log has them) --> Sign --> Done --> the first commit
//! ```
//!
//! Every step may fail for want of room or of a right, and be called again: each line has its place, so doing it twice
//! changes nothing.

use std::{collections::BTreeMap, path::Path};

use labwatch_contract::time::Timestamp;

use super::{Failure, Store, log, start, writer};
use crate::filing::Folder;

/// How far the start has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recovery {
    /// What the log of earlier runs holds is to be brought to the files.
    Apply,
    /// It is there; it is to be signed and brought to the disk, and the log goes.
    Sign,
    /// Nothing is left to be done.
    Done,
}

impl Store {
    /// Does what the end of an earlier run has left to do: cuts torn last lines, brings to the files what the log
    /// holds, signs it, and then needs that log no longer. Nothing once that is done.
    ///
    /// # Errors
    /// [`Failure::Retry`]: call it again before anything is committed.
    pub(crate) fn recover(&mut self, now: Timestamp) -> Result<(), Failure> {
        if self.recovery == Recovery::Apply {
            let cut = start::cut_torn_lines(&self.dir);
            let newest = cut.map_err(|error| Failure::Retry(format!("{error:#}")))?;
            self.apply_log()?;
            for (folder, name) in newest {
                self.filing.found(folder, name);
            }
            self.recovery = Recovery::Sign;
        }
        if self.recovery == Recovery::Sign {
            // Before the log goes: what it held is signed from now on.
            if self.wants_checkpoint(true) {
                self.checkpoint(now)?;
            }
            self.settle_all(now)?;
            self.recovery = Recovery::Done;
        }
        Ok(())
    }

    /// Whether the start is over.
    pub(crate) fn is_recovered(&self) -> bool {
        self.recovery == Recovery::Done
    }

    /// Reads from the log of earlier runs how far the record has come.
    pub(super) fn recall(&mut self) -> Result<(), Failure> {
        let key = self.key.public();
        let (marks, last) = (&mut self.marks, &mut self.last);
        log::replay(&self.dir, |frame| {
            let lab = frame.pieces.iter();
            for piece in lab.filter(|piece| piece.folder == Folder::Lab) {
                start::find_checkpoint(&piece.lines, Some(&key), last);
            }
            marks.apply(frame.marks);
            Ok(())
        })
    }

    /// Brings to the files what the log of earlier runs holds. Each line has its place: done again, nothing changes.
    fn apply_log(&mut self) -> Result<(), Failure> {
        let mut ends = BTreeMap::new();
        let files = &mut self.files;
        files.drop_waiting();
        log::replay(&self.dir, |frame| {
            for piece in frame.pieces {
                let end = piece.offset + u64::try_from(piece.lines.len()).unwrap_or(u64::MAX);
                ends.insert((piece.folder, piece.name.clone()), end);
                files.add(piece);
            }
            if files.waiting() > writer::FLUSH_BYTES {
                files.flush()?;
            }
            Ok(())
        })?;
        files.flush()?;
        for (place, end) in &ends {
            files.cut(place, *end)?;
            let head = start::head(&self.dir, &format!("{}/{}", place.0, place.1), *end);
            self.heads.found(head.map_err(Failure::Fatal)?);
            self.grew = true;
        }
        Ok(())
    }
}

/// What the log of a directory holds and its files perhaps not yet.
#[derive(Debug, Default)]
pub(crate) struct Unwritten {
    /// By file, from which offset and to which.
    pub(crate) ends: BTreeMap<String, (u64, u64)>,
    /// The number of the last checkpoint in it.
    pub(crate) checkpoint: u64,
}

/// Reads the log of a directory; changes nothing.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn unwritten(dir: &Path) -> anyhow::Result<Unwritten> {
    let key = start::last_checkpoint(dir)?.map(|last| last.key);
    let (mut ends, mut last) = (BTreeMap::new(), None);
    log::replay(dir, |frame| {
        for piece in frame.pieces {
            if piece.folder == Folder::Lab {
                start::find_checkpoint(&piece.lines, key.as_deref(), &mut last);
            }
            let end = piece.offset + u64::try_from(piece.lines.len()).unwrap_or(u64::MAX);
            let file = format!("{}/{}", piece.folder, piece.name);
            ends.entry(file).or_insert((piece.offset, end)).1 = end;
        }
        Ok(())
    })?;
    let checkpoint = last.map_or(0, |last| last.lab.number);
    Ok(Unwritten { ends, checkpoint })
}
