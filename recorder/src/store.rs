//! The files of the record: lines are appended here and brought to the disk.
//!
//! ```text
//! service --bounded queue--> [writer thread: Store] --> <dir>/<ip>/<time>.jsonl
//! ```
//!
//! Invariants: one recorder a directory (`lock`); a file is appended to only by the run that began it, so a line
//! once written is never changed; directories are 0700 and files 0600; at most [`OPEN_FILES`] are open, and none
//! is closed before its lines are on the disk. Whenever the service says so (twice a second) every file with new
//! lines and every folder with new names is fsynced. A write or fsync that fails ends the recorder: what the
//! kernel then holds of the file is unknown (see `man 2 fsync`), and only a new start with new files is sound.

mod start;

use std::{
    collections::BTreeSet,
    fs::{DirBuilder, File, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use labwatch_contract::time::Timestamp;
use tokio::sync::mpsc;

use crate::{
    filing::{FileName, Filing, Folder, Placement},
    intake::Entry,
    recent::Recent,
};

/// Files open at once: enough for a large lab without reopening, well below the usual 1,024 descriptors.
pub(crate) const OPEN_FILES: usize = 512;
/// Lines that are written together.
const BATCH: usize = 256;

/// What the service tells the writer.
#[derive(Debug)]
pub(crate) enum Order {
    /// Append this line.
    Write(Entry),
    /// Bring everything to the disk.
    Sync,
}

/// The files of one directory.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    filing: Filing,
    open: Recent<Folder, OpenFile>,
    /// Folders in which names were made since the last sync.
    renewed: BTreeSet<PathBuf>,
    /// Held until the end.
    _lock: File,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    path: PathBuf,
    unsynced: bool,
}

/// Does what the queue says until its senders are gone, then brings everything to the disk.
///
/// # Errors
/// When a file cannot be written or brought to the disk: nothing more must be written then.
pub(crate) fn write_queue(
    mut store: Store,
    mut queue: mpsc::Receiver<Order>,
) -> anyhow::Result<()> {
    let mut orders = Vec::with_capacity(BATCH);
    while queue.blocking_recv_many(&mut orders, BATCH) > 0 {
        let mut entries = Vec::with_capacity(BATCH);
        let mut sync = false;
        for order in orders.drain(..) {
            match order {
                Order::Write(entry) => entries.push(entry),
                Order::Sync => sync = true,
            }
        }
        store.write(entries)?;
        if sync {
            store.sync()?;
        }
    }
    store.sync()
}

impl Store {
    /// Opens `dir`, making it if it is not there: takes the lock and cuts torn last lines. At most `open_files`
    /// files will be open at once.
    ///
    /// # Errors
    /// When another recorder holds the directory, or it cannot be read and written.
    pub(crate) fn open(dir: &Path, open_files: usize) -> anyhow::Result<Self> {
        make_dir(dir)?;
        let lock = start::lock(dir)?;
        start::cut_torn_lines(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            filing: Filing::default(),
            open: Recent::new(open_files),
            renewed: BTreeSet::from([dir.to_owned()]),
            _lock: lock,
        })
    }

    /// Bytes of lines in the quarantine.
    ///
    /// # Errors
    /// When the quarantine cannot be read.
    pub(crate) fn quarantined(&self) -> anyhow::Result<u64> {
        start::size(&self.dir.join(Folder::Quarantine.to_string()))
    }

    /// Appends lines; those of one folder stay in order.
    ///
    /// # Errors
    /// When one of them cannot be written.
    pub(crate) fn write(&mut self, mut entries: Vec<Entry>) -> anyhow::Result<()> {
        // One folder's lines together, so that each file is written to once and reopened at most once.
        entries.sort_by_key(|entry| entry.folder);
        let mut pending: Option<(Folder, Vec<u8>)> = None;
        for entry in entries {
            let size = u64::try_from(entry.line.len()).context("a line of impossible length")?;
            let place = self.filing.place(entry.folder, size, entry.received);
            match (&mut pending, place) {
                (Some((folder, lines)), Placement::Current(_)) if *folder == entry.folder => {
                    lines.extend(entry.line);
                }
                (pending, place) => {
                    self.append(pending.take())?;
                    self.turn_to(place, &entry, size)?;
                    *pending = Some((entry.folder, entry.line));
                }
            }
        }
        self.append(pending)
    }

    /// Brings every file and folder with something new to the disk.
    ///
    /// # Errors
    /// When one of them cannot be: its lines may be gone.
    pub(crate) fn sync(&mut self) -> anyhow::Result<()> {
        for file in self.open.values_mut() {
            file.sync()?;
        }
        while let Some(dir) = self.renewed.pop_first() {
            let synced = File::open(&dir).and_then(|folder| folder.sync_all());
            synced.with_context(|| format!("{} cannot be brought to the disk", dir.display()))?;
        }
        Ok(())
    }

    fn append(&mut self, pending: Option<(Folder, Vec<u8>)>) -> anyhow::Result<()> {
        let Some((folder, lines)) = pending else {
            return Ok(());
        };
        let Some(open) = self.open.get_mut(&folder) else {
            bail!("{folder} has no open file");
        };
        open.unsynced = true;
        let written = open.file.write_all(&lines);
        written.with_context(|| format!("{} cannot be written", open.path.display()))
    }

    /// Makes the file of an entry the open one of its folder.
    fn turn_to(&mut self, place: Placement, entry: &Entry, size: u64) -> anyhow::Result<()> {
        let folder = entry.folder;
        let name = match place {
            Placement::Current(_) if self.open.get_mut(&folder).is_some() => return Ok(()),
            Placement::Current(name) => name,
            Placement::Begin(name) => return self.begin(folder, name, size, entry.received),
        };
        let path = self.dir.join(folder.to_string()).join(name.to_string());
        match OpenOptions::new().append(true).open(&path) {
            Ok(file) => self.keep_open(folder, path, file),
            // Somebody took it away; what is left to do is to begin another.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.begin(folder, FileName::at(entry.received), size, entry.received)
            }
            Err(error) => {
                Err(error).with_context(|| format!("{} cannot be opened", path.display()))
            }
        }
    }

    /// Begins a file under the first name that is not taken.
    fn begin(
        &mut self,
        folder: Folder,
        mut name: FileName,
        size: u64,
        time: Timestamp,
    ) -> anyhow::Result<()> {
        let dir = self.dir.join(folder.to_string());
        if make_dir(&dir)? {
            self.renewed.insert(self.dir.clone());
        }
        let (path, file) = loop {
            let path = dir.join(name.to_string());
            let mut options = OpenOptions::new();
            match options
                .append(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
            {
                Ok(file) => break (path, file),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => name = name.next(),
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("{} cannot be made", path.display()));
                }
            }
        };
        self.renewed.insert(dir);
        self.filing.begun(folder, name, size, time);
        self.keep_open(folder, path, file)
    }

    fn keep_open(&mut self, folder: Folder, path: PathBuf, file: File) -> anyhow::Result<()> {
        let open = OpenFile {
            file,
            path,
            unsynced: false,
        };
        match self.open.insert(folder, open) {
            Some(mut closed) => closed.sync(),
            None => Ok(()),
        }
    }
}

impl OpenFile {
    fn sync(&mut self) -> anyhow::Result<()> {
        if self.unsynced {
            let synced = self.file.sync_data();
            synced.with_context(|| {
                format!("{} cannot be brought to the disk", self.path.display())
            })?;
            self.unsynced = false;
        }
        Ok(())
    }
}

/// Makes a directory that only its owner may enter, its parents too; says whether it was not there.
fn make_dir(dir: &Path) -> anyhow::Result<bool> {
    if dir.is_dir() {
        return Ok(false);
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("{} cannot be made", dir.display()))?;
    Ok(true)
}

#[cfg(test)]
mod tests;
