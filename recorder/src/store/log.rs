//! The write-ahead log: frames are appended to a segment and brought to the disk before anything is acknowledged.
//!
//! ```text
//! <dir>/log/00000001.log, 00000002.log …    frames, see `frame`; a new segment at each start and past 64 MiB
//! ```
//!
//! A segment begins with its first frame, so that a log can be opened where nothing can be written. A frame that could
//! not be written whole is cut off again. A segment goes once everything in it is in the files and on the disk. What is
//! torn at its end was never acknowledged; damage before that was, and is an error that changes nothing.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use tracing::warn;

use super::{Failure, SHARED, make_dir, start};
use crate::frame::{self, Frame};

/// A segment takes no frame beyond it.
pub(super) const SEGMENT: u64 = 64 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    /// Of the last segment that was begun, by this run or an earlier one.
    number: u64,
    segment: Option<Segment>,
}

/// The segment that takes frames.
#[derive(Debug)]
struct Segment {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Log {
    /// Opens the log behind all segments that are there; changes nothing.
    pub(super) fn open(dir: &Path) -> anyhow::Result<Self> {
        let dir = dir.join("log");
        let number = segments(&dir)?.last().map_or(0, |(number, _)| *number);
        Ok(Self {
            dir,
            number,
            segment: None,
        })
    }

    /// Appends a frame and brings it to the disk.
    pub(super) fn append(&mut self, frame: &[u8]) -> Result<(), Failure> {
        let segment = match &mut self.segment {
            Some(segment) => segment,
            none => {
                let begun = Segment::begin(&self.dir, self.number + 1)?;
                self.number += 1;
                none.insert(begun)
            }
        };
        segment.append(frame)
    }

    /// Whether the segment has taken enough.
    pub(super) fn is_full(&self) -> bool {
        let segment = self.segment.as_ref();
        segment.is_some_and(|segment| segment.length >= SEGMENT)
    }

    /// The next frame begins another segment; gives the number of the last one before.
    pub(super) fn turn(&mut self) -> u64 {
        self.segment = None;
        self.number
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

impl Segment {
    fn begin(dir: &Path, number: u64) -> Result<Self, Failure> {
        make_dir(dir).map_err(|error| Failure::Retry(format!("{error:#}")))?;
        let path = dir.join(format!("{number:08}.log"));
        let mut options = OpenOptions::new();
        let made = options
            .write(true)
            .create_new(true)
            .mode(SHARED)
            .open(&path);
        let file = made.map_err(|error| Failure::retry(&path, &error))?;
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(|error| Failure::fatal(dir, error))?;
        Ok(Self {
            path,
            file,
            length: 0,
        })
    }

    fn append(&mut self, frame: &[u8]) -> Result<(), Failure> {
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
}

/// Hands every frame to `apply`, oldest first.
///
/// # Errors
/// Those of `apply`; fatal when a segment cannot be read or is damaged before its end.
pub(super) fn replay(
    dir: &Path,
    mut apply: impl FnMut(Frame) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let dir = dir.join("log");
    let listed = segments(&dir).map_err(Failure::Fatal)?;
    for (_, path) in listed {
        let file = File::open(&path).map_err(|error| Failure::fatal(&path, error))?;
        let mut file = BufReader::with_capacity(256 * 1024, file);
        let fatal = |error| Failure::fatal(&path, error);
        let rest = loop {
            match read_frame(&mut file).map_err(fatal)? {
                Ok(frame) => apply(frame)?,
                Err(bytes) => break bytes,
            }
        };
        check_rest(&path, rest, file).map_err(Failure::Fatal)?;
    }
    Ok(())
}

/// What no frame was read from is the torn end of a segment, or the error.
fn check_rest(path: &Path, mut rest: Vec<u8>, mut file: BufReader<File>) -> anyhow::Result<()> {
    if rest.is_empty() {
        return Ok(());
    }
    file.read_to_end(&mut rest)?;
    let path = path.display();
    if frame::is_anywhere(&rest) {
        bail!(
            "{path} is damaged {} bytes before its end, and what follows is sound: lines that were acknowledged are \
             in it. Nothing was changed. Put a good copy in its place; or move it away, to go on with what the files hold",
            rest.len()
        );
    }
    warn!("{path}: a torn end was never acknowledged and is left out");
    Ok(())
}

/// The next frame, or the bytes that are none: no bytes at the end.
fn read_frame(file: &mut BufReader<File>) -> io::Result<Result<Frame, Vec<u8>>> {
    let mut bytes = Vec::new();
    file.by_ref().take(12).read_to_end(&mut bytes)?;
    if let Some(length) = bytes.first_chunk() {
        let length = u32::from_le_bytes(*length).into();
        file.by_ref().take(length).read_to_end(&mut bytes)?;
    }
    let read = frame::read(&bytes).map(|(frame, _)| frame);
    Ok(read.ok_or(bytes))
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
