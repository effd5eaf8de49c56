//! The files of the record, read in order and a little at a time.
//!
//! A [`Library`] is what the user named; it holds a [`Reel`] for each folder, and a reel goes through the files of
//! its folder in the order in which they were begun. A file is open only while some of it is read, so that any
//! number of PCs needs one descriptor. While following, a file is left only when a newer one was listed before
//! its end was seen: the recorder never comes back to it.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    fmt,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom},
    net::IpAddr,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use labwatch_contract::{text::harmless, time::Timestamp};

use super::entry::{self, Entry};
use crate::filing::{FileName, Folder};

/// Bytes of a file that are read at once, and then the rest of a line.
const STEP: u64 = 32 * 1024;
/// A longer line is no record: payloads have at most 200 KiB, escapes included.
const MAX_LINE: u64 = 1024 * 1024;

/// Waits until there may be something new.
pub(super) fn pause() {
    thread::sleep(Duration::from_millis(300));
}

/// A line, read.
pub(super) struct Item {
    /// Its place among the others.
    pub(super) time: Timestamp,
    /// What it says, or why it says nothing.
    pub(super) content: Result<Entry, BadLine>,
}

/// A line that is no record.
pub(super) struct BadLine {
    file: PathBuf,
    number: u64,
    why: String,
    excerpt: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = harmless(&self.file.to_string_lossy());
        let (why, excerpt) = (harmless(&self.why), &self.excerpt);
        write!(f, "{file}:{}: no record: {why}: {excerpt}", self.number)
    }
}

/// What the user named.
pub(crate) struct Library {
    path: PathBuf,
    only: Option<IpAddr>,
    reels: Vec<Reel>,
}

impl Library {
    /// Opens a directory or file; `only` leaves other PCs' folders alone.
    pub(crate) fn open(path: &Path, only: Option<IpAddr>) -> anyhow::Result<Self> {
        let mut library = Self {
            path: path.to_owned(),
            only: only.map(|ip| ip.to_canonical()),
            reels: Vec::new(),
        };
        let kind = fs::metadata(path).with_context(|| path.display().to_string())?;
        if kind.is_file() {
            let mut reel = Reel::new(PathBuf::new());
            reel.unread.insert((None, path.to_owned()));
            library.reels.push(reel);
            return Ok(library);
        }
        library.look_again()?;
        if library.reels.is_empty() && !path.join("lock").exists() {
            bail!("{} holds no records", path.display());
        }
        Ok(library)
    }

    pub(crate) fn reels(&mut self) -> &mut [Reel] {
        &mut self.reels
    }

    /// Looks for folders and files that are new.
    pub(super) fn look_again(&mut self) -> anyhow::Result<()> {
        if self.path.is_file() {
            return Ok(());
        }
        let mut folders = vec![self.path.clone()];
        for path in list(&self.path)? {
            let folder = path.file_name().and_then(|name| name.to_str());
            let folder = folder.and_then(Folder::from_name);
            if folder.is_some_and(|folder| self.wants(folder)) {
                folders.push(path);
            }
        }
        folders.sort();
        for folder in folders {
            self.look_into(folder)?;
        }
        Ok(())
    }

    fn wants(&self, folder: Folder) -> bool {
        match (folder, self.only) {
            (Folder::Pc(ip), Some(only)) => ip == only,
            // Alerts name their PC.
            (Folder::Lab, _) | (_, None) => true,
            (Folder::Quarantine, Some(_)) => false,
        }
    }

    fn look_into(&mut self, folder: PathBuf) -> anyhow::Result<()> {
        let files = list(&folder)?.into_iter().filter_map(|path| {
            let name = path.file_name()?.to_str()?;
            let record = name.ends_with(".jsonl") && path.is_file();
            record.then(|| (FileName::from_name(name), path.clone()))
        });
        let mut files = files.peekable();
        let known = self.reels.iter_mut().find(|reel| reel.folder == folder);
        if let Some(reel) = known {
            reel.add(files);
        } else if files.peek().is_some() {
            let mut reel = Reel::new(folder);
            reel.add(files);
            self.reels.push(reel);
        }
        Ok(())
    }
}

fn list(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let listing = match fs::read_dir(dir) {
        Ok(listing) => listing,
        // A file beside the folders, or one that was just taken away.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error).with_context(|| dir.display().to_string()),
    };
    let paths = listing.map(|entry| entry.map(|entry| entry.path()));
    let paths: io::Result<Vec<PathBuf>> = paths.collect();
    paths.with_context(|| dir.display().to_string())
}

/// Files in the order in which they were begun; those of other names first.
type Shelf = BTreeSet<(Option<FileName>, PathBuf)>;

/// The files of one folder, one after the other.
pub(crate) struct Reel {
    folder: PathBuf,
    ip: Option<IpAddr>,
    known: HashSet<PathBuf>,
    unread: Shelf,
    sheet: Option<Sheet>,
    lines: VecDeque<RawLine>,
    time: Timestamp,
}

/// A line without its line feed, or the beginning of one that is wrong.
pub(crate) struct RawLine {
    /// Its number in its file, from 1.
    pub(crate) number: u64,
    /// Its bytes.
    pub(crate) text: Vec<u8>,
    /// Why it is none.
    pub(crate) wrong: Option<&'static str>,
}

impl Reel {
    fn new(folder: PathBuf) -> Self {
        let name = folder.file_name().and_then(|name| name.to_str());
        let ip = match name.and_then(Folder::from_name) {
            Some(Folder::Pc(ip)) => Some(ip),
            _ => None,
        };
        Self {
            folder,
            ip,
            known: HashSet::new(),
            unread: Shelf::new(),
            sheet: None,
            lines: VecDeque::new(),
            time: chrono::DateTime::UNIX_EPOCH.into(),
        }
    }

    fn add(&mut self, files: impl Iterator<Item = (Option<FileName>, PathBuf)>) {
        let known = &mut self.known;
        let new = files.filter(|(_, path)| known.insert(path.clone()));
        self.unread.extend(new);
    }

    /// The next line, read; `ending` if nothing will be added to the last file.
    pub(super) fn next(&mut self, ending: bool) -> anyhow::Result<Option<Item>> {
        let line = self.next_raw(ending)?;
        Ok(line.map(|line| self.item(line)))
    }

    /// The file of the line that was given last.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.sheet.as_ref().map(|sheet| sheet.path.as_path())
    }

    /// The next line; `ending` if nothing will be added to the last file.
    pub(crate) fn next_raw(&mut self, ending: bool) -> anyhow::Result<Option<RawLine>> {
        while self.lines.is_empty() {
            let over = ending || !self.unread.is_empty();
            match &mut self.sheet {
                Some(sheet) => {
                    sheet.read(&mut self.lines, over)?;
                    if self.lines.is_empty() && !over {
                        return Ok(None);
                    } else if self.lines.is_empty() {
                        self.sheet = None;
                    }
                }
                None => match self.unread.pop_first() {
                    Some((_, path)) => self.sheet = Some(Sheet::new(path)),
                    None => return Ok(None),
                },
            }
        }
        Ok(self.lines.pop_front())
    }

    fn item(&mut self, line: RawLine) -> Item {
        let content = match line.wrong {
            None => entry::read(&line.text),
            Some(wrong) => Err(wrong.to_owned()),
        };
        let content = content.map_err(|why| BadLine {
            file: self.file().map_or_else(PathBuf::new, Path::to_owned),
            number: line.number,
            why,
            excerpt: harmless(str_of(&line.text)),
        });
        let content = content.map(|entry| Entry {
            ip: entry.ip.or(self.ip),
            ..entry
        });
        if let Ok(entry) = &content {
            self.time = entry.time;
        }
        Item {
            time: self.time,
            content,
        }
    }
}

/// The text up to the first byte that is none.
fn str_of(bytes: &[u8]) -> &str {
    let valid = bytes.utf8_chunks().next();
    valid.map_or("", |chunk| chunk.valid())
}

/// A file and how far it was read.
struct Sheet {
    path: PathBuf,
    offset: u64,
    number: u64,
}

impl Sheet {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            offset: 0,
            number: 0,
        }
    }

    /// Adds some of the next lines, none at the end. If it is `over`, a last line without line feed is one too.
    fn read(&mut self, lines: &mut VecDeque<RawLine>, over: bool) -> anyhow::Result<()> {
        match self.read_step(lines, over) {
            // Taken away since it was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            read => read.with_context(|| self.path.display().to_string()),
        }
    }

    fn read_step(&mut self, lines: &mut VecDeque<RawLine>, over: bool) -> io::Result<()> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut file = BufReader::new(file);
        let until = self.offset + STEP;
        while self.offset < until {
            let Some((text, wrong, length)) = read_line(&mut file, over)? else {
                break;
            };
            self.offset += length;
            self.number += 1;
            lines.push_back(RawLine {
                number: self.number,
                text,
                wrong,
            });
        }
        Ok(())
    }
}

/// A line without its line feed, what is wrong with it, and how many bytes it took.
type Read = (Vec<u8>, Option<&'static str>, u64);

/// The next line; `None` at the end. What was read of a wrong one is its beginning.
fn read_line(file: &mut BufReader<File>, over: bool) -> io::Result<Option<Read>> {
    let mut line = Vec::new();
    let length = file.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
    let mut length = u64::try_from(length).unwrap_or(u64::MAX);
    if line.pop_if(|last| *last == b'\n').is_some() {
        return Ok(Some((line, None, length)));
    }
    if length == MAX_LINE {
        length += u64::try_from(file.skip_until(b'\n')?).unwrap_or(u64::MAX);
        return Ok(Some((line, Some("longer than 1 MiB"), length)));
    }
    let incomplete = over && length > 0;
    Ok(incomplete.then_some((line, Some("the last line is incomplete"), length)))
}
