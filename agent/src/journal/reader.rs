//! Reads events back from a journal's file, in order or from any number, with memory for one line and one offset
//! for every [`STRIDE`] lines.
//!
//! A line counts only if it says that it is that event of that journal. Where one is damaged, the next that is not is
//! looked for, so that one bad block costs the events in it and no more.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use labwatch_contract::{MAX_PACKET, event::Head};
use uuid::Uuid;

/// Lines between two remembered offsets.
const STRIDE: u64 = 256;
/// Read from the disk at once.
const AHEAD: usize = 64 * 1024;

/// Why an event could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not there; `next` is the first number after it that is, `None` at the end.
    #[error("the journal is damaged")]
    Damaged {
        /// The next number that can be read.
        next: Option<u64>,
    },
    /// The disk's, perhaps for the moment.
    #[error(transparent)]
    Disk(#[from] io::Error),
}

/// An open journal, somewhere in it.
#[derive(Debug)]
pub(super) struct Reader {
    journal: Uuid,
    file: BufReader<File>,
    /// Where the next line begins.
    offset: u64,
    /// The number that the next line should have.
    next: u64,
    /// The number of the first line.
    first: u64,
    offsets: BTreeMap<u64, u64>,
}

impl Reader {
    /// Opens the file of a journal whose first line has number `first`.
    pub(super) fn open(path: &Path, journal: Uuid, first: u64) -> io::Result<Self> {
        Ok(Self {
            journal,
            file: BufReader::with_capacity(AHEAD, File::open(path)?),
            offset: 0,
            next: first,
            first,
            offsets: BTreeMap::new(),
        })
    }

    pub(super) fn journal(&self) -> Uuid {
        self.journal
    }

    /// The payload of an event and its head.
    pub(super) fn read(&mut self, sequence: u64) -> Result<(Vec<u8>, Head), ReadError> {
        if self.next != sequence {
            self.go_near(sequence)?;
            while self.next < sequence && self.line()?.is_some() {}
        }
        let begins = self.offset;
        let found = self.line()?.and_then(|line| self.recognise(line));
        match found.filter(|(_, head)| head.place.sequence == sequence) {
            Some(found) => {
                self.remember(sequence, begins);
                Ok(found)
            }
            None => self.search(sequence),
        }
    }

    /// Goes through all lines by what they say, not by their count.
    fn search(&mut self, sequence: u64) -> Result<(Vec<u8>, Head), ReadError> {
        self.offsets.clear();
        self.go_near(sequence)?;
        while let Some(line) = self.line()? {
            let Some((line, head)) = self.recognise(line) else {
                continue;
            };
            let found = head.place.sequence;
            self.next = found.saturating_add(1);
            match found {
                _ if found < sequence => {}
                _ if found == sequence => return Ok((line, head)),
                _ => return Err(ReadError::Damaged { next: Some(found) }),
            }
        }
        Err(ReadError::Damaged { next: None })
    }

    fn recognise(&self, line: Vec<u8>) -> Option<(Vec<u8>, Head)> {
        let head = Head::from_payload(&line).ok()?;
        (head.place.journal == self.journal).then_some((line, head))
    }

    fn remember(&mut self, sequence: u64, offset: u64) {
        let near = self.offsets.range(..=sequence).next_back();
        if near.is_none_or(|(near, _)| sequence - near >= STRIDE) {
            self.offsets.insert(sequence, offset);
        }
    }

    fn go_near(&mut self, sequence: u64) -> io::Result<()> {
        let near = self.offsets.range(..=sequence).next_back();
        let (next, offset) = near.map_or((self.first, 0), |(next, offset)| (*next, *offset));
        self.file.seek(SeekFrom::Start(offset))?;
        (self.next, self.offset) = (next, offset);
        Ok(())
    }

    /// The next line without its line feed; one too long for an event is cut, and thereby none.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let limit = u64::try_from(MAX_PACKET).unwrap_or(u64::MAX);
        let mut read = self
            .file
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        if line.pop_if(|last| *last == b'\n').is_none() {
            read += self.file.skip_until(b'\n')?;
        }
        self.offset += u64::try_from(read).unwrap_or(u64::MAX);
        self.next = self.next.saturating_add(1);
        Ok(Some(line))
    }
}
