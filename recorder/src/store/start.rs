//! What the store does before the first line: takes the lock, and cuts what a power loss tore.
//!
//! Each run begins new files and brings a file to the disk before it leaves it, so only the newest file of a
//! folder can end in the middle of a line. Its tail is cut after the last line feed; nothing else is touched.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{ErrorKind, Read as _, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use tracing::warn;

use crate::filing::{FileName, Folder};

/// How much is read at once in search of a line feed, from the end.
const STEP: u64 = 64 * 1024;

/// The lock of a directory, held while the file lives.
pub(super) fn lock(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).mode(0o600).open(&path);
    let lock = opened.with_context(|| format!("{} cannot be opened", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            bail!("another recorder keeps its records in {}", dir.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{} cannot be locked", path.display()))
        }
    }
}

/// Cuts the torn last line of each folder's newest file.
pub(super) fn cut_torn_lines(dir: &Path) -> anyhow::Result<()> {
    for (name, folder) in names(dir)? {
        if Folder::from_name(&name).is_none() {
            continue;
        }
        let records = names(&folder)?.into_iter();
        let newest = records
            .filter_map(|(name, path)| Some((FileName::from_name(&name)?, path)))
            .max_by(|(one, _), (other, _)| one.cmp(other));
        if let Some((_, path)) = newest {
            cut_torn_line(&path).with_context(|| format!("{} cannot be mended", path.display()))?;
        }
    }
    Ok(())
}

/// Bytes of the files in a folder; 0 if it is not there.
pub(super) fn size(folder: &Path) -> anyhow::Result<u64> {
    let mut sum = 0;
    for (_, path) in names(folder)? {
        sum += fs::metadata(&path).map_or(0, |file| file.len());
    }
    Ok(sum)
}

/// Names and paths of what is in a directory; none if it is not there. A name that is no text is not ours.
fn names(dir: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let listing = match fs::read_dir(dir) {
        Ok(listing) => listing,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("{} cannot be read", dir.display()));
        }
    };
    let mut names = Vec::new();
    for entry in listing {
        let entry = entry.with_context(|| format!("{} cannot be read", dir.display()))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push((name, entry.path()));
        }
    }
    Ok(names)
}

fn cut_torn_line(path: &Path) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let size = file.metadata()?.len();
    let whole = end_of_last_line(&mut file, size)?;
    if whole < size {
        file.set_len(whole)?;
        file.sync_all()?;
        warn!(
            "{}: cut a torn last line of {} bytes",
            path.display(),
            size - whole
        );
    }
    Ok(())
}

/// Where the last line feed ends; 0 if there is none.
fn end_of_last_line(file: &mut File, size: u64) -> anyhow::Result<u64> {
    let mut end = size;
    let mut step = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(STEP);
        file.seek(SeekFrom::Start(start))?;
        step.clear();
        file.by_ref().take(end - start).read_to_end(&mut step)?;
        if let Some(at) = step.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + u64::try_from(at)? + 1);
        }
        end = start;
    }
    Ok(0)
}
