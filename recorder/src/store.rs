//! The store: what is taken is first brought to the disk in one log, then acknowledged, then written to the files.
//!
//! ```text
//! <dir>/lock         held while a recorder runs
//!       marks        how far each journal is recorded; outlives the records
//!       key          the secret of the signature, 0600, made at the first start
//!       checkpoint   the last checkpoint
//!       log/         see `log`
//!       <ip>/, lab/, quarantine/    the records
//!
//! stage --place--> pieces --one frame, fdatasync--> durable --> files --pass of fsync--> marks --> old segment goes
//! ```
//!
//! Invariants: one recorder a directory; what was acknowledged is in the log or in files that were fsynced; every line has
//! its place in a file before it is in the log, so that replaying the log any number of times gives each line once; the
//! group may read records, log and checkpoint (0750, 0640), nobody but the owner the rest. What cannot be written (no room,
//! no right), at the start or later, is tried again and nothing is acknowledged meanwhile; what cannot be brought to the
//! disk ends the recorder (see `man 2 fsync`).

mod files;
mod log;
mod recovery;
mod start;
pub(crate) mod writer;

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{DirBuilder, File},
    io,
    net::IpAddr,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use labwatch_contract::{
    chain::Digest,
    checkpoint::{Checkpoint, Key, Summary, root},
    time::Timestamp,
    topic::{Root, Topic},
};
use uuid::Uuid;

use self::{files::Files, log::Log, recovery::Recovery, start::replace};
pub(crate) use self::{
    recovery::{Unwritten, unwritten},
    start::last_checkpoint,
};
use crate::{
    filing::{FileName, Filing, Folder, Placement},
    frame::{FrameWriter, Piece},
    heads::Heads,
    intake::Entry,
    ledger::{Ledger, Standing},
    marks::Marks,
    record::{Note, message_line, note_line},
};

/// Files open at once: enough for a large lab without reopening, well below the usual 1,024 descriptors.
pub(crate) const OPEN_FILES: usize = 512;
/// Mode of what the group may read: whoever is to see the evidence need not be its owner.
const SHARED: u32 = 0o640;
/// Mode of what is the recorder's own.
const SECRET: u32 = 0o600;
/// Heads of files in one line of the record.
const HEADS_A_LINE: usize = 256;
/// Names of files in one note of what was removed.
const NAMES_A_LINE: usize = 512;
/// Files brought to the disk in one go while there is other work.
const SYNCS: usize = 16;

/// Why something did not get into the store.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It may later: no room, no right. What was staged is kept.
    Retry(String),
    /// It never will: only a new start is sound.
    Fatal(anyhow::Error),
}

impl Failure {
    fn retry(path: &Path, error: &io::Error) -> Self {
        Self::Retry(format!("{} cannot be written: {error}", path.display()))
    }

    fn fatal(path: &Path, error: io::Error) -> Self {
        let said = format!("{} cannot be brought to the disk", path.display());
        Self::Fatal(anyhow::Error::new(error).context(said))
    }
}

impl From<Failure> for anyhow::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Retry(why) => Self::msg(why),
            Failure::Fatal(error) => error,
        }
    }
}

/// The files of one directory.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    root: Root,
    filing: Filing,
    files: Files,
    log: Log,
    marks: Marks,
    heads: Heads,
    key: Key,
    last: Option<Checkpoint>,
    staged: Staged,
    recovery: Recovery,
    /// Whether lines came since the last checkpoint.
    grew: bool,
    /// A checkpoint that is staged or recorded, and not in its own file yet.
    unsaved: Option<Vec<u8>>,
    /// The segment that goes when the pass is done.
    retiring: Option<u64>,
    /// Held until the end.
    _lock: File,
}

/// What the next commit brings.
#[derive(Debug, Default)]
struct Staged {
    entries: VecDeque<Entry>,
    pieces: Vec<Piece>,
    /// One for each journal and address.
    marks: BTreeMap<(Uuid, IpAddr), Standing>,
}

impl Store {
    /// Opens `dir`, making it if it is not there: takes the lock and reads how far its record has come. At most
    /// `open_files` files will be open at once. Checkpoints go out under `root`. A store that was there before is not
    /// written to: [`Store::recover`] does that, and must have done it before the first commit.
    ///
    /// # Errors
    /// When another recorder holds the directory, it cannot be read, or a new one cannot be written.
    pub(crate) fn open(dir: &Path, root: Root, open_files: usize) -> anyhow::Result<Self> {
        make_dir(dir)?;
        let lock = start::lock(dir)?;
        // Before the marks: without both a store is new.
        let key = start::key(dir)?;
        let mut store = Self {
            dir: dir.to_owned(),
            filing: Filing::default(),
            files: Files::new(dir, open_files),
            marks: start::marks(dir)?,
            heads: Heads::default(),
            key,
            last: last_checkpoint(dir)?,
            log: Log::open(dir)?,
            staged: Staged::default(),
            recovery: Recovery::Apply,
            grew: false,
            unsaved: None,
            retiring: None,
            root,
            _lock: lock,
        };
        store.recall()?;
        Ok(store)
    }

    /// The last checkpoint, as it was published.
    pub(crate) fn last_checkpoint(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self.last.as_ref()?).ok()
    }

    /// The ledger of what the store holds.
    pub(crate) fn ledger(&self) -> Ledger {
        Ledger::restore(self.marks.store(), self.marks.standings())
    }

    /// The public half of the key, 64 hex digits.
    pub(crate) fn public_key(&self) -> String {
        self.key.public()
    }

    /// Bytes of lines in the quarantine.
    ///
    /// # Errors
    /// When the quarantine cannot be read.
    pub(crate) fn quarantined(&self) -> anyhow::Result<u64> {
        start::size(&self.dir.join(Folder::Quarantine.to_string()))
    }

    /// Takes lines, those of one folder in their order, and the marks that are true once they are in place.
    pub(crate) fn stage(&mut self, mut entries: Vec<Entry>, marks: Vec<Standing>) {
        self.grew |= !entries.is_empty();
        // One folder's lines together, so that they go into its file in one piece.
        entries.sort_by_key(|entry| entry.folder);
        self.staged.entries.extend(entries);
        for mark in marks {
            mark.supersede(&mut self.staged.marks);
        }
    }

    /// Brings everything staged to the disk; gives the marks that are durable now.
    ///
    /// # Errors
    /// [`Failure::Retry`]: nothing is lost, call it again.
    pub(crate) fn commit(&mut self) -> Result<Vec<Standing>, Failure> {
        self.place()?;
        if self.staged.pieces.is_empty() && self.staged.marks.is_empty() {
            return Ok(Vec::new());
        }
        let mut frame = FrameWriter::default();
        for piece in &self.staged.pieces {
            frame.lines(piece);
        }
        frame.marks(self.staged.marks.values());
        self.log.append(&frame.finish())?;
        for piece in self.staged.pieces.drain(..) {
            self.heads.add(piece.folder, &piece.name, &piece.lines);
            self.files.add(piece);
        }
        let marks: Vec<_> = std::mem::take(&mut self.staged.marks)
            .into_values()
            .collect();
        self.marks.apply(marks.iter().cloned());
        Ok(marks)
    }

    /// Bytes that are durable in the log but not in the files.
    pub(crate) fn waiting(&self) -> usize {
        self.files.waiting()
    }

    /// Writes what waits to the files.
    ///
    /// # Errors
    /// [`Failure::Retry`]: what could not be written waits on.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.files.flush()
    }

    /// A little of what is to be done behind the log: old segments and the files that they stand for.
    ///
    /// # Errors
    /// When something cannot be brought to the disk.
    pub(crate) fn settle(&mut self, now: Timestamp) -> Result<(), Failure> {
        if self.log.is_full() && self.retiring.is_none() {
            self.files.flush()?;
            self.retiring = Some(self.log.turn());
            self.files.begin_pass();
        }
        if let Some(number) = self.retiring
            && self.files.sync_some(SYNCS)?
        {
            self.retire(number, now)?;
        }
        Ok(())
    }

    /// Whether lines have come that no checkpoint covers, and whether the log is about to turn.
    pub(crate) fn wants_checkpoint(&self, minute_passed: bool) -> bool {
        let turns = self.log.is_full() && self.retiring.is_none();
        self.unsaved.is_some() || (self.grew && (minute_passed || turns))
    }

    /// Signs what the record holds now, and records that; gives the payload to publish.
    ///
    /// # Errors
    /// [`Failure::Retry`]: call it again; it goes on with the checkpoint that it has begun.
    pub(crate) fn checkpoint(&mut self, now: Timestamp) -> Result<Vec<u8>, Failure> {
        // What is staged gets its place and is signed too; a checkpoint that was begun is brought to its end.
        self.commit()?;
        let payload = match self.unsaved.take() {
            Some(payload) => payload,
            None => self.sign(now),
        };
        self.unsaved = Some(payload.clone());
        self.commit()?;
        replace(&self.dir, "checkpoint", SHARED, &payload)?;
        self.unsaved = None;
        Ok(payload)
    }

    /// Makes a checkpoint of all lines that have a place, and stages it.
    fn sign(&mut self, now: Timestamp) -> Vec<u8> {
        let heads = self.heads.take();
        let prev = self
            .last
            .as_ref()
            .map_or(Digest::ZERO, |last| last.lab.root);
        let summary = Summary {
            recorder: self.marks.store(),
            number: self.last.as_ref().map_or(0, |last| last.lab.number) + 1,
            files: u64::try_from(heads.len()).unwrap_or(u64::MAX),
            prev,
            root: root(prev, &heads),
        };
        let checkpoint = self.key.sign(now, summary);
        let payload = serde_json::to_vec(&checkpoint).unwrap_or_default();
        let notes = heads.chunks(HEADS_A_LINE).map(|heads| {
            let heads = heads.to_vec();
            note_line(now, &Note::Heads { heads })
        });
        let topic = self.root.text(&Topic::Checkpoint);
        let lines = notes.chain([message_line(now, &topic, &payload)]);
        let entries = lines.map(|line| Entry::new(Folder::Lab, now, line));
        self.staged.entries.extend(entries);
        self.last = Some(checkpoint);
        self.grew = false;
        payload
    }

    /// Removes files whose lines were all received more than `age` before `now`, and stages notes of it; says
    /// whether there were any.
    ///
    /// # Errors
    /// [`Failure::Retry`] when the directory cannot be read, a note cannot be written or a file not removed.
    pub(crate) fn expire(&mut self, age: Duration, now: Timestamp) -> Result<bool, Failure> {
        let before = now.earlier(age);
        let unlisted = |error| Failure::Retry(format!("{error:#}"));
        let files = start::older(&self.dir, before).map_err(unlisted)?;
        for files in files.chunks(NAMES_A_LINE) {
            let note = Note::Retention {
                before,
                files: files.to_vec(),
            };
            let entry = Entry::new(Folder::Lab, now, note_line(now, &note));
            self.stage(vec![entry], Vec::new());
        }
        if files.is_empty() {
            return Ok(false);
        }
        // First the word, then the deed; and what the log still holds of a file would bring it back.
        self.commit()?;
        self.settle_all(now)?;
        start::remove(&self.dir, &files).map_err(unlisted)?;
        Ok(true)
    }

    /// Everything into the files and on the disk; the log is empty then.
    ///
    /// # Errors
    /// When it cannot be: the log keeps it for the next start.
    pub(crate) fn close(mut self, now: Timestamp) -> anyhow::Result<()> {
        self.recover(now)?;
        self.commit()?;
        if self.wants_checkpoint(true) {
            self.checkpoint(now)?;
        }
        Ok(self.settle_all(now)?)
    }

    fn settle_all(&mut self, now: Timestamp) -> Result<(), Failure> {
        self.files.flush()?;
        self.files.begin_pass();
        while !self.files.sync_some(usize::MAX)? {}
        let before = self.log.turn();
        self.retire(before, now)
    }

    /// Everything in the segments up to this number is in the files and on the disk.
    fn retire(&mut self, number: u64, now: Timestamp) -> Result<(), Failure> {
        replace(&self.dir, "marks", SECRET, &self.marks.write(now))?;
        self.log.remove(number).map_err(Failure::Fatal)?;
        self.retiring = None;
        Ok(())
    }

    /// Gives every staged line its place.
    fn place(&mut self) -> Result<(), Failure> {
        while let Some(entry) = self.staged.entries.front() {
            let (folder, time) = (entry.folder, entry.received);
            let size = u64::try_from(entry.line.len()).unwrap_or(u64::MAX);
            let (name, offset) = match self.filing.place(folder, size, time) {
                Placement::Current(name, offset) => (name, offset),
                Placement::Begin(name) => {
                    let name = self.files.create(folder, name)?;
                    self.filing.begun(folder, name.clone(), size, time);
                    (name, 0)
                }
            };
            let Some(entry) = self.staged.entries.pop_front() else {
                break;
            };
            self.put(folder, name, offset, entry.line);
        }
        Ok(())
    }

    fn put(&mut self, folder: Folder, name: FileName, offset: u64, line: Vec<u8>) {
        match self.staged.pieces.last_mut() {
            Some(piece) if piece.folder == folder && piece.name == name => piece.lines.extend(line),
            _ => self.staged.pieces.push(Piece {
                folder,
                name,
                offset,
                lines: line,
            }),
        }
    }
}

/// Makes a directory that its owner may write to and its group read, its parents too; says whether it was not there.
fn make_dir(dir: &Path) -> anyhow::Result<bool> {
    if dir.is_dir() {
        return Ok(false);
    }
    let made = DirBuilder::new().recursive(true).mode(0o750).create(dir);
    made.with_context(|| format!("{} cannot be made", dir.display()))?;
    Ok(true)
}

#[cfg(test)]
mod tests;
