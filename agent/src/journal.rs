//! The journal on the PC's disk: each event stands in it before it is published.
//!
//! ```text
//! <state-dir>/            0700
//!   lock                  held while an agent runs
//!   journal/              0700
//!     <UUID v7>.jsonl     0600, one a start: one payload a line, byte for byte as published
//! ```
//!
//! A line is complete when its line feed is there; a torn last line is what a power cut left, and is cut at the
//! next start. Names sort by time, so the newest file with a line in it tells where the chain goes on. A write
//! that fails (a full disk) takes nothing back: the part of a line is cut, and the next event begins a new file.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use labwatch_contract::{MAX_PACKET, chain::Digest, event::Head, status::JournalRange};
use uuid::Uuid;

/// Journals that `status` names, newest first to stay.
const NAMED: usize = 64;

/// The journals of this PC, one of them open.
pub(crate) struct Journal {
    dir: PathBuf,
    open: Option<Open>,
    _lock: File,
}

struct Open {
    file: Arc<File>,
    length: u64,
}

/// What earlier runs left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Past {
    /// Digest of the last event; zeros when there is none.
    pub(crate) prev: Digest,
    /// Journals with at least one event, oldest first, at most 64 of them.
    pub(crate) journals: Vec<JournalRange>,
}

impl Journal {
    /// Opens the directory, alone, and reads what earlier runs left.
    ///
    /// # Errors
    /// When the directory cannot be made or read, or another agent holds it.
    pub(crate) fn open(state_dir: &Path) -> anyhow::Result<(Self, Past)> {
        let dir = state_dir.join("journal");
        let make = || DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        make().with_context(|| format!("{} cannot be made", dir.display()))?;
        let lock = lock(&state_dir.join("lock"))?;
        let past = read_past(&dir).with_context(|| format!("{} cannot be read", dir.display()))?;
        Ok((
            Self {
                dir,
                open: None,
                _lock: lock,
            },
            past,
        ))
    }

    /// Whether the journal begun last takes events.
    #[must_use]
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Begins a new journal.
    ///
    /// # Errors
    /// When its file cannot be made.
    pub(crate) fn begin(&mut self, journal: Uuid) -> io::Result<()> {
        self.open = None;
        let path = self.dir.join(format!("{journal}.jsonl"));
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        File::open(&self.dir)?.sync_all()?;
        self.open = Some(Open {
            file: Arc::new(file),
            length: 0,
        });
        Ok(())
    }

    /// Appends a payload as one line.
    ///
    /// # Errors
    /// When it cannot be written whole; the journal is closed then, without a part of the line.
    pub(crate) fn append(&mut self, payload: &[u8]) -> io::Result<()> {
        let open = self
            .open
            .as_mut()
            .ok_or_else(|| io::Error::other("no journal is open"))?;
        let line = [payload, b"\n"].concat();
        match (&*open.file).write_all(&line) {
            Ok(()) => {
                open.length += u64::try_from(line.len()).unwrap_or(u64::MAX);
                Ok(())
            }
            Err(error) => {
                // Cutting only frees room; should it fail too, the next start cuts.
                let _ = open.file.set_len(open.length);
                self.open = None;
                Err(error)
            }
        }
    }

    /// Takes no more events until another one is begun.
    pub(crate) fn close(&mut self) {
        self.open = None;
    }

    /// The open file, to be synced by whoever may wait for the disk.
    #[must_use]
    pub(crate) fn file(&self) -> Option<Arc<File>> {
        self.open.as_ref().map(|open| open.file.clone())
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

fn read_past(dir: &Path) -> io::Result<Past> {
    let mut names: Vec<Uuid> = fs::read_dir(dir)?
        .filter_map(|entry| journal_name(&entry.ok()?.path()))
        .collect();
    names.sort_unstable();
    let mut past = Past {
        prev: Digest::ZERO,
        journals: Vec::new(),
    };
    for journal in names.into_iter().rev() {
        let path = dir.join(format!("{journal}.jsonl"));
        let Some((range, last)) = read_ends(&path, journal)? else {
            continue;
        };
        if past.journals.is_empty() {
            past.prev = Digest::of(&last);
        }
        past.journals.push(range);
        if past.journals.len() == NAMED {
            break;
        }
    }
    past.journals.reverse();
    Ok(past)
}

fn journal_name(path: &Path) -> Option<Uuid> {
    let name = path.file_name()?.to_str()?.strip_suffix(".jsonl")?;
    name.parse().ok()
}

/// The numbers in a file and its last payload; a torn last line is cut. `None` without a whole line.
fn read_ends(path: &Path, journal: Uuid) -> io::Result<Option<(JournalRange, Vec<u8>)>> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let window = u64::try_from(2 * MAX_PACKET).unwrap_or(u64::MAX);
    let head = read_at(&mut file, 0, window)?;
    let tail_start = length.saturating_sub(window);
    let tail = read_at(&mut file, tail_start, window)?;
    let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    let whole = tail_start + u64::try_from(end).unwrap_or(u64::MAX) + 1;
    if whole < length {
        file.set_len(whole)?;
    }
    let first = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let last = tail
        .get(..end)
        .unwrap_or_default()
        .rsplit(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let sequence = |line: &[u8]| {
        Head::from_payload(line)
            .ok()
            .map(|head| head.place.sequence)
    };
    let range = sequence(first)
        .zip(sequence(last))
        .map(|(first, last)| JournalRange {
            journal,
            first,
            last,
        });
    Ok(range.map(|range| (range, last.to_vec())))
}

fn read_at(file: &mut File, start: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use labwatch_contract::event::{Action, Boot, Fields, Host, Occurrence};
    use tempfile::tempdir;

    use super::*;
    use crate::outbox::Outbox;

    fn payload(outbox: &mut Outbox) -> Vec<u8> {
        let host = Host {
            ip: [10, 0, 0, 1].into(),
            name: "pc".into(),
            id: "x".into(),
            mac: None,
            boot: Boot::default(),
        };
        let time = "2026-11-22T09:31:05Z".parse().unwrap();
        let occurrence = Occurrence {
            time,
            action: Action::EventsLost,
            fields: Fields::default(),
        };
        outbox.seal(occurrence, &host, 0).unwrap().payload
    }

    #[test]
    fn the_chain_goes_on_from_the_last_whole_line_of_the_newest_journal() {
        let dir = tempdir().unwrap();
        let (mut journal, past) = Journal::open(dir.path()).unwrap();
        assert_eq!(
            past,
            Past {
                prev: Digest::ZERO,
                journals: vec![]
            }
        );
        let first = Uuid::now_v7();
        let mut outbox = Outbox::new(first, past.prev);
        journal.begin(first).unwrap();
        let payloads: Vec<_> = (0..3).map(|_| payload(&mut outbox)).collect();
        payloads
            .iter()
            .for_each(|payload| journal.append(payload).unwrap());
        journal.begin(Uuid::now_v7()).unwrap();
        drop(journal);

        let file = dir.path().join(format!("journal/{first}.jsonl"));
        let mut torn = fs::read(&file).unwrap();
        torn.extend_from_slice(b"{\"torn");
        fs::write(&file, torn).unwrap();

        let (_journal, past) = Journal::open(dir.path()).unwrap();
        assert_eq!(past.prev, Digest::of(&payloads[2]));
        assert_eq!(
            past.journals,
            [JournalRange {
                journal: first,
                first: 1,
                last: 3
            }]
        );
        let expected = [payloads.join(&b"\n"[..]), b"\n".to_vec()].concat();
        assert_eq!(fs::read(&file).unwrap(), expected);
    }

    #[test]
    fn nobody_else_may_read_a_journal() {
        let dir = tempdir().unwrap();
        let (mut journal, _) = Journal::open(&dir.path().join("state")).unwrap();
        let name = Uuid::now_v7();
        journal.begin(name).unwrap();
        let mode = |path: &str| {
            fs::metadata(dir.path().join(path))
                .unwrap()
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!(mode("state/journal"), 0o700);
        assert_eq!(mode(&format!("state/journal/{name}.jsonl")), 0o600);
    }

    #[test]
    fn a_second_agent_on_the_same_directory_is_refused() {
        let dir = tempdir().unwrap();
        let first = Journal::open(dir.path()).unwrap();
        assert!(
            Journal::open(dir.path())
                .err()
                .unwrap()
                .to_string()
                .contains("another agent")
        );
        drop(first);
        assert!(Journal::open(dir.path()).is_ok());
    }

    #[test]
    fn foreign_files_in_the_directory_are_left_alone() {
        let dir = tempdir().unwrap();
        fs::create_dir_all(dir.path().join("journal")).unwrap();
        for name in [
            "notes.txt",
            "x.jsonl",
            "00000000-0000-7000-8000-000000000001.jsonl",
        ] {
            fs::write(dir.path().join("journal").join(name), "no event\n").unwrap();
        }
        let (_, past) = Journal::open(dir.path()).unwrap();
        assert_eq!(
            past,
            Past {
                prev: Digest::ZERO,
                journals: vec![]
            }
        );
    }
}
