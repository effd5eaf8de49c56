//! The journals on the PC's disk: each event stands in one before it is published.
//!
//! ```text
//! <state-dir>/            0700
//!   lock                  held while an agent runs
//!   confirmed.json        0600, how far the recorder was (losing it costs messages, no event)
//!   journal/              0700
//!     <UUID v7>.jsonl     0600, one payload a line, byte for byte as published
//! ```
//!
//! A journal begins with each start and when the one before has reached its part of the bounds; names sort in
//! the order of their begin, whatever the clock does, so the newest file with an event tells where the chain goes on. A
//! line is complete when its line feed is there; a torn last line is what a power cut left, and is cut at the next start.
//! When the disk takes nothing (it is full), a journal in memory takes its place, bounded, until there is room.

mod memory;
mod past;
mod reader;

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use labwatch_contract::{
    chain::Digest, event::Head, status::JournalRange, time::Timestamp, topic::Leaf,
};
use tracing::warn;
use uuid::Uuid;

pub use self::reader::ReadError;
use self::{memory::Memory, reader::Reader};
use crate::{
    outbox::Confirmed,
    retention::{Bounds, Shelf, surplus},
};

/// Bounds of what is kept in memory while the disk takes nothing.
const IN_MEMORY: u64 = 4 * 1024 * 1024;

/// The journals of this PC, one of them being written.
#[derive(Debug)]
pub struct Journal {
    state_dir: PathBuf,
    dir: PathBuf,
    bounds: Bounds,
    /// Closed journals on the disk, oldest first.
    closed: Vec<Closed>,
    open: Option<Open>,
    memory: Memory,
    newest: Uuid,
    reader: Option<Reader>,
    _lock: File,
}

#[derive(Debug, Clone, Copy)]
struct Closed {
    journal: Uuid,
    bytes: u64,
    written: Timestamp,
    first: u64,
}

#[derive(Debug)]
struct Open {
    journal: Uuid,
    file: Arc<File>,
    length: u64,
    began: Timestamp,
    written: Timestamp,
}

/// What earlier runs left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// Digest of the last event; zeros when there is none.
    pub prev: Digest,
    /// Journals with at least one event, oldest first.
    pub journals: Vec<JournalRange>,
    /// What recorders had said of them.
    pub confirmed: Confirmed,
}

impl Journal {
    /// Opens the directory, alone, and reads what earlier runs left.
    ///
    /// # Errors
    /// When the directory cannot be made or read, or another agent holds it.
    pub fn open(state_dir: &Path, bounds: Bounds) -> anyhow::Result<(Self, Past)> {
        let dir = state_dir.join("journal");
        let make = || DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        make().with_context(|| format!("{} cannot be made", dir.display()))?;
        let lock = lock(&state_dir.join("lock"))?;
        let mut journal = Self {
            state_dir: state_dir.to_owned(),
            dir,
            bounds,
            closed: Vec::new(),
            open: None,
            memory: Memory::default(),
            newest: Uuid::nil(),
            reader: None,
            _lock: lock,
        };
        let past = journal.read_past();
        let past = past.with_context(|| format!("{} cannot be read", journal.dir.display()))?;
        Ok((journal, past))
    }

    /// A name for the next journal: sorts after all others, should the clock have gone back too.
    pub fn next_name(&mut self) -> Uuid {
        self.newest = after(self.newest, Uuid::now_v7());
        self.newest
    }

    /// Whether events go to the disk.
    #[must_use]
    pub fn is_on_disk(&self) -> bool {
        self.open.is_some()
    }

    /// Begins a new journal on the disk.
    ///
    /// # Errors
    /// When its file cannot be made; the one before goes on then, if there is one.
    pub fn begin(&mut self, journal: Uuid, now: Timestamp) -> io::Result<()> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path(journal))?;
        File::open(&self.dir)?.sync_all()?;
        self.close();
        self.memory.close();
        self.open = Some(Open {
            journal,
            file: Arc::new(file),
            length: 0,
            began: now,
            written: now,
        });
        Ok(())
    }

    /// Begins a new journal in memory, for as long as the disk takes nothing.
    pub fn begin_in_memory(&mut self, journal: Uuid) {
        self.close();
        self.memory.begin(journal);
    }

    /// Whether the present journal has reached its part of the bounds.
    #[must_use]
    pub fn is_long(&self, now: Timestamp) -> bool {
        match &self.open {
            Some(open) => {
                let aged = now.since(open.began) > self.bounds.part_age();
                open.length >= self.bounds.part_size() || (aged && open.length > 0)
            }
            None => self.memory.is_long(),
        }
    }

    /// Appends a payload as one line to the present journal.
    ///
    /// # Errors
    /// When it cannot be written whole; the journal is closed then, without a part of the line.
    pub fn append(&mut self, payload: &Bytes, now: Timestamp) -> io::Result<()> {
        let Some(open) = self.open.as_mut() else {
            self.memory.append(payload);
            return Ok(());
        };
        let line = [payload, &b"\n"[..]].concat();
        match (&*open.file).write_all(&line) {
            Ok(()) => {
                open.length += u64::try_from(line.len()).unwrap_or(u64::MAX);
                open.written = now;
                Ok(())
            }
            Err(error) => {
                // Cutting only frees room; should it fail too, the next start cuts.
                let _ = open.file.set_len(open.length);
                Err(error)
            }
        }
    }

    /// Reads an event back: its topic and its payload.
    ///
    /// # Errors
    /// [`ReadError`] when it is not there, or the disk cannot be read.
    pub fn read(&mut self, journal: Uuid, sequence: u64) -> Result<(Leaf, Bytes), ReadError> {
        let (payload, head) = match self.memory.read(journal, sequence) {
            Some(payload) => {
                let head = Head::from_payload(&payload);
                (payload, head.map_err(io::Error::other)?)
            }
            None => {
                let (payload, head) = self.reader(journal)?.read(sequence)?;
                (payload.into(), head)
            }
        };
        // An action that this version does not know has no topic of its own; the recorder takes it by any.
        Ok((head.leaf().unwrap_or(Leaf::Usb), payload))
    }

    /// The journals that have to go so that the bounds hold; [`Self::drop_journal`] them.
    pub fn surplus(&self, now: Timestamp, is_finished: impl Fn(Uuid) -> bool) -> Vec<Uuid> {
        let shelf = |closed: &Closed| Shelf {
            journal: closed.journal,
            bytes: closed.bytes,
            written: closed.written,
            finished: is_finished(closed.journal),
        };
        let shelves: Vec<_> = self.closed.iter().map(shelf).collect();
        let mut gone = surplus(&shelves, &self.bounds, now);
        gone.extend(self.memory.surplus(IN_MEMORY, is_finished));
        gone
    }

    /// Takes a journal away for good.
    ///
    /// # Errors
    /// When its file cannot be removed; it is gone for this agent all the same.
    pub fn drop_journal(&mut self, journal: Uuid) -> io::Result<()> {
        self.reader.take_if(|reader| reader.journal() == journal);
        self.memory.drop_journal(journal);
        let at = self
            .closed
            .iter()
            .position(|closed| closed.journal == journal);
        match at {
            Some(at) => {
                self.closed.remove(at);
                fs::remove_file(self.path(journal))
            }
            None => Ok(()),
        }
    }

    /// The file being written, to be synced by whoever may wait for the disk.
    #[must_use]
    pub fn file(&self) -> Option<Arc<File>> {
        self.open.as_ref().map(|open| open.file.clone())
    }

    /// Remembers what recorders have said.
    ///
    /// # Errors
    /// The disk's. What was remembered before stays.
    pub fn remember(&self, confirmed: &Confirmed) -> io::Result<()> {
        let new = self.state_dir.join("confirmed.new");
        let open = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&new);
        open?.write_all(&serde_json::to_vec(confirmed)?)?;
        fs::rename(new, self.state_dir.join("confirmed.json"))
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        if open.length == 0 {
            let _ = fs::remove_file(self.path(open.journal));
            return;
        }
        self.closed.push(Closed {
            journal: open.journal,
            bytes: open.length,
            written: open.written,
            first: 1,
        });
    }

    fn reader(&mut self, journal: Uuid) -> io::Result<&mut Reader> {
        let reader = match self
            .reader
            .take()
            .filter(|reader| reader.journal() == journal)
        {
            Some(reader) => reader,
            None => {
                let closed = self.closed.iter().find(|closed| closed.journal == journal);
                let first = closed.map_or(1, |closed| closed.first);
                Reader::open(&self.path(journal), journal, first)?
            }
        };
        Ok(self.reader.insert(reader))
    }

    fn path(&self, journal: Uuid) -> PathBuf {
        self.dir.join(format!("{journal}.jsonl"))
    }

    fn read_past(&mut self) -> io::Result<Past> {
        let mut past = Past {
            prev: Digest::ZERO,
            journals: Vec::new(),
            confirmed: self.read_confirmed(),
        };
        let entries = fs::read_dir(&self.dir)?;
        let mut names: Vec<Uuid> = entries
            .filter_map(|entry| journal_name(&entry.ok()?.path()))
            .collect();
        names.sort_unstable();
        for journal in names {
            self.newest = journal;
            let path = self.path(journal);
            let about = fs::metadata(&path)?;
            if about.len() == 0 {
                fs::remove_file(path)?;
                continue;
            }
            let Some(left) = past::read(&path, journal)? else {
                warn!("{} holds no event and is left alone", path.display());
                continue;
            };
            past.prev = left.digest;
            past.journals.push(left.range);
            self.closed.push(Closed {
                journal,
                bytes: about.len(),
                written: timestamp(about.modified()?),
                first: left.range.first,
            });
        }
        Ok(past)
    }

    fn read_confirmed(&self) -> Confirmed {
        let path = self.state_dir.join("confirmed.json");
        let Ok(bytes) = fs::read(&path) else {
            return Confirmed::default();
        };
        serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            warn!("{}: {error}; all is offered again", path.display());
            Confirmed::default()
        })
    }
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let open = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path);
    let file = open.with_context(|| format!("{} cannot be opened", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("another agent holds {}", path.display()),
        Err(TryLockError::Error(error)) => {
            Err(error).context("the state directory cannot be locked")
        }
    }
}

fn journal_name(path: &Path) -> Option<Uuid> {
    let name = path.file_name()?.to_str()?.strip_suffix(".jsonl")?;
    name.parse().ok()
}

fn timestamp(time: SystemTime) -> Timestamp {
    chrono::DateTime::<chrono::Utc>::from(time).into()
}

/// `fresh`, or, if that does not sort after `newest`, the same a millisecond after `newest`.
fn after(newest: Uuid, fresh: Uuid) -> Uuid {
    /// RFC 9562, 5.7: the milliseconds stand above the lower 80 bits.
    const BELOW: u32 = 80;
    if fresh > newest {
        return fresh;
    }
    let random = fresh.as_u128() & ((1 << BELOW) - 1);
    let next = (newest.as_u128() >> BELOW).saturating_add(1);
    Uuid::from_u128(next << BELOW | random)
}

#[cfg(test)]
mod tests;
