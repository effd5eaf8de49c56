//! The write-ahead log: frames are appended to a segment and brought to the disk before anything is acknowledged.
//!
//! ```text
//! <dir>/log/00000001.log, 00000002.log …    frames, see `frame`; a new segment at each start and past 64 MiB
//! ```
//!
//! A frame that could not be written whole is cut off again. A segment goes once everything in it is in the files
//! and on the disk.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use tracing::warn;

use super::{Failure, make_dir, start};
use crate::frame::{self, Frame};

/// A segment takes no frame beyond it.
pub(super) const SEGMENT: u64 = 64 * 1024 * 1024;
/// No frame is larger.
const MAX_FRAME: u64 = 256 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    path: PathBuf,
    file: File,
    number: u64,
    length: u64,
}

impl Log {
    /// Begins the segment behind all that are there.
    pub(super) fn begin(dir: &Path) -> anyhow::Result<Self> {
        let dir = dir.join("log");
        make_dir(&dir)?;
        let number = segments(&dir)?.last().map_or(0, |(number, _)| *number) + 1;
        let (path, file) = segment(&dir, number)?;
        Ok(Self {
            dir,
            path,
            file,
            number,
            length: 0,
        })
    }

    /// Appends a frame and brings it to the disk.
    pub(super) fn append(&mut self, frame: &[u8]) -> Result<(), Failure> {
        if let Err(error) = self.file.write_all_at(frame, self.length) {
            let cut = self.file.set_len(self.length);
            cut.map_err(|error| Failure::fatal(&self.path, error))?;
            return Err(Failure::retry(&self.path, &error));
        }
        let synced = self.file.sync_data();
        synced.map_err(|error| Failure::fatal(&self.path, error))?;
        self.length += u64::try_from(frame.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Whether the segment has taken enough.
    pub(super) fn is_full(&self) -> bool {
        self.length >= SEGMENT
    }

    /// Begins the next segment; gives the number of the one before.
    pub(super) fn turn(&mut self) -> Result<u64, Failure> {
        let begun = segment(&self.dir, self.number + 1);
        let (path, file) = begun.map_err(|error| Failure::Retry(format!("{error:#}")))?;
        let before = self.number;
        (self.path, self.file, self.number, self.length) = (path, file, before + 1, 0);
        Ok(before)
    }

    /// Removes the segments up to this number.
    pub(super) fn remove(&self, number: u64) -> anyhow::Result<()> {
        for (_, path) in segments(&self.dir)?
            .into_iter()
            .take_while(|(at, _)| *at <= number)
        {
            fs::remove_file(&path)
                .with_context(|| format!("{} cannot be removed", path.display()))?;
        }
        Ok(())
    }
}

/// Hands every sound frame to `apply`, oldest first.
pub(super) fn replay(
    dir: &Path,
    mut apply: impl FnMut(Frame) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let dir = dir.join("log");
    let listed = segments(&dir).map_err(Failure::Fatal)?;
    for (_, path) in listed {
        let file = File::open(&path).map_err(|error| Failure::fatal(&path, error))?;
        let mut file = BufReader::with_capacity(256 * 1024, file);
        loop {
            let read = read_frame(&mut file).map_err(|error| Failure::fatal(&path, error))?;
            match read {
                Some(frame) => apply(frame)?,
                None => break,
            }
        }
        let rest = io::copy(&mut file, &mut io::sink()).unwrap_or_default();
        if rest > 0 {
            warn!(
                "{}: a torn end was never acknowledged and is left out",
                path.display()
            );
        }
    }
    Ok(())
}

/// The next frame; `None` at the end and at a torn one.
fn read_frame(file: &mut BufReader<File>) -> io::Result<Option<Frame>> {
    let mut bytes = Vec::new();
    file.by_ref().take(12).read_to_end(&mut bytes)?;
    let Some(length) = bytes
        .first_chunk()
        .map(|length| u32::from_le_bytes(*length))
    else {
        return Ok(None);
    };
    file.by_ref()
        .take(u64::from(length).min(MAX_FRAME))
        .read_to_end(&mut bytes)?;
    Ok(frame::read(&bytes).map(|(frame, _)| frame))
}

fn segment(dir: &Path, number: u64) -> anyhow::Result<(PathBuf, File)> {
    let path = dir.join(format!("{number:08}.log"));
    let mut options = OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(&path);
    let file = made.with_context(|| format!("{} cannot be made", path.display()))?;
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.with_context(|| format!("{} cannot be brought to the disk", dir.display()))?;
    Ok((path, file))
}

/// Segments by number.
fn segments(dir: &Path) -> anyhow::Result<Vec<(u64, PathBuf)>> {
    let named = start::names(dir)?.into_iter();
    let mut segments: Vec<_> = named
        .filter_map(|(name, path)| Some((name.strip_suffix(".log")?.parse().ok()?, path)))
        .collect();
    segments.sort();
    Ok(segments)
}
