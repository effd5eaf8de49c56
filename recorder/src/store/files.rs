//! The files behind the log: lines are collected, written in large pieces, and brought to the disk in passes.
//!
//! Lines wait here only once they are durable in the log. Each is written at its own offset, so that writing it again
//! after a restart changes nothing. At most so many files are open as were allowed; which of them must still be
//! brought to the disk is known by name, not by descriptor.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::{Failure, SHARED, make_dir};
use crate::{
    filing::{FileName, Folder},
    frame::Piece,
    recent::Recent,
};

/// A file by its place.
pub(super) type Place = (Folder, FileName);

#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    open: Recent<Place, File>,
    waiting: HashMap<Place, Waiting>,
    bytes: usize,
    /// Written to since the last pass began.
    dirty: BTreeSet<Place>,
    /// To be brought to the disk by this pass.
    pass: BTreeSet<Place>,
    /// Folders in which names were made.
    renewed: BTreeSet<PathBuf>,
}

#[derive(Debug)]
struct Waiting {
    offset: u64,
    lines: Vec<u8>,
}

impl Files {
    pub(super) fn new(dir: &Path, open_files: usize) -> Self {
        Self {
            dir: dir.to_owned(),
            open: Recent::new(open_files),
            waiting: HashMap::new(),
            bytes: 0,
            dirty: BTreeSet::new(),
            pass: BTreeSet::new(),
            renewed: BTreeSet::from([dir.to_owned()]),
        }
    }

    /// Makes a file under the first name that is not taken.
    pub(super) fn create(
        &mut self,
        folder: Folder,
        mut name: FileName,
    ) -> Result<FileName, Failure> {
        let dir = self.dir.join(folder.to_string());
        if make_dir(&dir).map_err(|error| Failure::Retry(format!("{error:#}")))? {
            self.renewed.insert(self.dir.clone());
        }
        loop {
            let path = dir.join(name.to_string());
            let mut options = OpenOptions::new();
            let made = options
                .write(true)
                .create_new(true)
                .mode(SHARED)
                .open(&path);
            match made {
                Ok(file) => {
                    self.renewed.insert(dir);
                    self.open.insert((folder, name.clone()), file);
                    return Ok(name);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => name = name.next(),
                Err(error) => return Err(Failure::retry(&path, &error)),
            }
        }
    }

    /// Takes lines that are durable in the log.
    pub(super) fn add(&mut self, piece: Piece) {
        self.bytes += piece.lines.len();
        let place = (piece.folder, piece.name);
        match self.waiting.get_mut(&place) {
            Some(waiting) => waiting.lines.extend(piece.lines),
            None => {
                let Piece { offset, lines, .. } = piece;
                self.waiting.insert(place, Waiting { offset, lines });
            }
        }
    }

    /// Forgets what waits to be written: it will be added again.
    pub(super) fn drop_waiting(&mut self) {
        self.waiting.clear();
        self.bytes = 0;
    }

    /// Bytes that wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.bytes
    }

    /// Writes everything that waits. What could not be written waits on.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        let mut all = std::mem::take(&mut self.waiting);
        while let Some(place) = all.keys().next().cloned() {
            let Some(waiting) = all.get(&place) else {
                break;
            };
            if let Err(failure) = self.write(&place, waiting) {
                self.waiting = all;
                return Err(failure);
            }
            self.bytes = self.bytes.saturating_sub(waiting.lines.len());
            all.remove(&place);
        }
        // The room for as many places stays.
        self.waiting = all;
        Ok(())
    }

    fn write(&mut self, place: &Place, waiting: &Waiting) -> Result<(), Failure> {
        let path = self.path(place);
        let file = self
            .file(place)
            .map_err(|error| Failure::retry(&path, &error))?;
        let written = file.write_all_at(&waiting.lines, waiting.offset);
        written.map_err(|error| Failure::retry(&path, &error))?;
        self.dirty.insert(place.clone());
        Ok(())
    }

    /// Begins to bring everything that was written so far to the disk; adds to a pass that is under way.
    pub(super) fn begin_pass(&mut self) {
        self.pass.append(&mut self.dirty);
    }

    /// Brings some more files of the pass to the disk; says whether that was all.
    ///
    /// # Errors
    /// Always fatal: what the kernel then holds of the file is unknown.
    pub(super) fn sync_some(&mut self, count: usize) -> Result<bool, Failure> {
        for _ in 0..count {
            let Some(place) = self.pass.pop_first() else {
                break;
            };
            let path = self.path(&place);
            let synced = match self.file(&place) {
                Ok(file) => file.sync_all(),
                Err(error) => Err(error),
            };
            synced.map_err(|error| Failure::fatal(&path, error))?;
        }
        if !self.pass.is_empty() {
            return Ok(false);
        }
        while let Some(dir) = self.renewed.pop_first() {
            let synced = File::open(&dir).and_then(|folder| folder.sync_all());
            synced.map_err(|error| Failure::fatal(&dir, error))?;
        }
        Ok(true)
    }

    /// Cuts a file behind its last line, as the log knows it.
    pub(super) fn cut(&mut self, place: &Place, length: u64) -> Result<(), Failure> {
        let path = self.path(place);
        let file = self.file(place);
        let cut = file.and_then(|file| file.set_len(length));
        cut.map_err(|error| Failure::retry(&path, &error))
    }

    pub(super) fn path(&self, (folder, name): &Place) -> PathBuf {
        self.dir.join(folder.to_string()).join(name.to_string())
    }

    /// The open file of a place; made anew if somebody has taken it away.
    fn file(&mut self, place: &Place) -> io::Result<&mut File> {
        if self.open.get_mut(place).is_none() {
            let path = self.path(place);
            let mut options = OpenOptions::new();
            let options = options.write(true).mode(SHARED);
            let file = match options.open(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let dir = self.dir.join(place.0.to_string());
                    make_dir(&dir).map_err(io::Error::other)?;
                    self.renewed.insert(dir);
                    options.create(true).truncate(false).open(&path)
                }
                opened => opened,
            }?;
            self.open.insert(place.clone(), file);
        }
        let file = self.open.get_mut(place);
        file.ok_or_else(|| io::Error::other("an open file was forgotten"))
    }

    #[cfg(test)]
    pub(super) fn open_count(&mut self) -> usize {
        self.open.iter_mut().count()
    }
}
