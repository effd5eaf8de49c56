//! What the store does beside its lines: lock, key, marks and other small files; what a power loss tore is cut.
//!
//! Each run begins new files, so only the newest file of a folder can end in the middle of a line. Its tail is cut
//! after the last line feed; nothing else is touched. A small file is replaced as a whole, by a rename.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use chrono::Utc;
use labwatch_contract::{
    chain::{Hasher, hex},
    checkpoint::{Checkpoint, FileHead, Key, unhex},
    time::Timestamp,
    topic::Topic,
};
use serde::Deserialize;
use tracing::{info, warn};
use uuid::Uuid;

use super::{Failure, SECRET};
use crate::{
    filing::{FileName, Folder},
    marks::Marks,
    record::topic_of,
};

/// How much is read at once in search of a line feed, from the end.
const STEP: u64 = 64 * 1024;

/// The lock of a directory, held while the file lives.
pub(super) fn lock(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join("lock");
    // A disk that takes nothing any more lets what is there be locked.
    let opened = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut options = OpenOptions::new();
            options.write(true).create(true).mode(SECRET).open(&path)
        }
        opened => opened,
    };
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

/// Cuts the torn last line of each folder's newest file, and says which that is.
pub(super) fn cut_torn_lines(dir: &Path) -> anyhow::Result<Vec<(Folder, FileName)>> {
    let mut newest_files = Vec::new();
    for (name, path) in names(dir)? {
        let Some(folder) = Folder::from_name(&name) else {
            continue;
        };
        let records = names(&path)?.into_iter();
        let newest = records
            .filter_map(|(name, path)| Some((FileName::from_name(&name)?, path)))
            .max_by(|(one, _), (other, _)| one.cmp(other));
        if let Some((name, path)) = newest {
            cut_torn_line(&path).with_context(|| format!("{} cannot be mended", path.display()))?;
            newest_files.push((folder, name));
        }
    }
    Ok(newest_files)
}

/// The marks of the store; those of a new one if there is none yet.
pub(super) fn marks(dir: &Path) -> anyhow::Result<Marks> {
    let path = dir.join("marks");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let read = Marks::from_text(&text);
            read.map_err(|error| anyhow!("{}: {error}", path.display()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut marks = Marks::new(Uuid::new_v4());
            replace(dir, "marks", SECRET, &marks.write(Utc::now().into()))?;
            info!("a new store: {}", marks.store());
            Ok(marks)
        }
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}

/// The key of the store, made at the first start and never after it: what another key signs proves nothing.
pub(super) fn key(dir: &Path) -> anyhow::Result<Key> {
    let path = dir.join("key");
    let secret: [u8; 32] = match fs::read_to_string(&path) {
        Ok(text) => {
            let mode = fs::metadata(&path).map_or(0, |file| file.mode());
            if mode & 0o077 != 0 {
                bail!(
                    "{}: others may read it (mode {:o}); if none has, `chmod 600` makes it good",
                    path.display(),
                    mode & 0o777
                );
            }
            unhex(text.trim_end()).with_context(|| format!("{} is no key", path.display()))?
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if dir.join("marks").exists() || dir.join("checkpoint").exists() {
                bail!(
                    "{}: the key is missing, although the store is not new; put it back, or begin in another directory",
                    path.display()
                );
            }
            let mut secret = [0; 32];
            File::open("/dev/urandom")
                .and_then(|mut random| random.read_exact(&mut secret))
                .context("no random numbers for a key")?;
            replace(dir, "key", SECRET, format!("{}\n", hex(&secret)).as_bytes())?;
            secret
        }
        Err(error) => {
            return Err(error).with_context(|| format!("{} cannot be read", path.display()));
        }
    };
    Ok(Key::new(&secret))
}

/// The last checkpoint, as far as its file knows.
pub(crate) fn last_checkpoint(dir: &Path) -> anyhow::Result<Option<Checkpoint>> {
    let path = dir.join("checkpoint");
    match fs::read(&path) {
        Ok(text) => {
            let read = serde_json::from_slice(&text);
            read.with_context(|| path.display().to_string()).map(Some)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Raises `last` to a later checkpoint among these lines of the record. Only one that came by the topic of checkpoints
/// and that `key` has signed, any key if there is none.
pub(super) fn find_checkpoint(lines: &[u8], key: Option<&str>, last: &mut Option<Checkpoint>) {
    #[derive(Deserialize)]
    struct Line {
        topic: String,
        payload: Checkpoint,
    }
    for line in lines.split(|byte| *byte == b'\n') {
        let Ok(Line { topic, payload }) = serde_json::from_slice(line) else {
            continue;
        };
        let later = |last: &Checkpoint| last.lab.number < payload.lab.number;
        if last.as_ref().is_none_or(later)
            && topic_of(&topic) == Ok(Topic::Checkpoint)
            && key.is_none_or(|key| key == payload.key)
            && payload.verify().is_ok()
        {
            *last = Some(payload);
        }
    }
}

/// The head of the first `bytes` of a file.
pub(super) fn head(dir: &Path, file: &str, bytes: u64) -> anyhow::Result<FileHead> {
    let path = dir.join(file);
    let mut hasher = Hasher::default();
    let mut step = Vec::new();
    let mut reader = File::open(&path)
        .with_context(|| path.display().to_string())?
        .take(bytes);
    while reader.by_ref().take(STEP).read_to_end(&mut step)? > 0 {
        hasher.add(&step);
        step.clear();
    }
    Ok(FileHead {
        file: file.to_owned(),
        bytes,
        sha256: hasher.digest(),
    })
}

/// Puts a small file in the place of the one with this name, on the disk before anything else happens.
pub(super) fn replace(dir: &Path, name: &str, mode: u32, text: &[u8]) -> Result<(), Failure> {
    let (path, new) = (dir.join(name), dir.join(format!("{name}.new")));
    let written = || -> io::Result<File> {
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(mode);
        let mut file = options.open(&new)?;
        file.write_all(text)?;
        Ok(file)
    };
    let file = written().map_err(|error| Failure::retry(&new, &error))?;
    let synced = file.sync_all();
    synced.map_err(|error| Failure::fatal(&new, error))?;
    fs::rename(&new, &path).map_err(|error| Failure::retry(&path, &error))?;
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| Failure::fatal(&path, error))
}

/// Record files that were left before this moment: another one was begun since, or they have been full for an hour.
pub(super) fn older(dir: &Path, before: Timestamp) -> anyhow::Result<Vec<String>> {
    // A file takes lines for at most an hour.
    let begun = FileName::at(before.earlier(std::time::Duration::from_secs(3600)));
    let mut files = Vec::new();
    for (name, folder) in names(dir)? {
        if Folder::from_name(&name).is_none() {
            continue;
        }
        let listed = names(&folder)?.into_iter();
        let old = listed.filter(|(name, _)| {
            FileName::from_name(name).is_some_and(|file| file.stem() < begun.stem())
        });
        files.extend(old.map(|(file, _)| format!("{name}/{file}")));
    }
    files.sort();
    Ok(files)
}

/// Removes files, and folders that are empty then.
pub(super) fn remove(dir: &Path, files: &[String]) -> anyhow::Result<()> {
    for file in files {
        let path = dir.join(file);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("{} cannot be removed", path.display()));
            }
            _ => info!("{}: its retention time is over, removed", path.display()),
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
pub(super) fn names(dir: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
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
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let whole = end_of_last_line(&mut file, size)?;
    if whole < size {
        let file = OpenOptions::new().write(true).open(path)?;
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
        io::Read::by_ref(file)
            .take(end - start)
            .read_to_end(&mut step)?;
        if let Some(at) = step.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + u64::try_from(at)? + 1);
        }
        end = start;
    }
    Ok(0)
}
