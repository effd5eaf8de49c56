//! What earlier runs left in one journal's file: its first and last event, once a torn last line is cut.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use labwatch_contract::{MAX_PACKET, chain::Digest, event::Head, status::JournalRange};
use uuid::Uuid;

/// Read from the end at first; more only when the last line is longer.
const TAIL: u64 = 4096;

/// A journal with at least one whole event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) range: JournalRange,
    /// Of its last payload.
    pub(super) digest: Digest,
}

/// Reads the ends of a file. `None` for one without an event of `journal`; it is left alone.
pub(super) fn read(path: &Path, journal: Uuid) -> io::Result<Option<Left>> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let first = first_line(&file)?;
    let length = file.metadata()?.len();
    let mut window = TAIL;
    let most = u64::try_from(2 * MAX_PACKET).unwrap_or(u64::MAX);
    loop {
        let start = length.saturating_sub(window);
        let tail = read_from(&mut file, start)?;
        let end = tail.iter().rposition(|byte| *byte == b'\n');
        let whole = end.and_then(|end| tail.get(..end));
        let begin = whole.map(|whole| whole.iter().rposition(|byte| *byte == b'\n'));
        match (end, whole, begin) {
            // The line feed before the last line is there, or the file begins with it.
            (Some(end), Some(whole), Some(before)) if before.is_some() || start == 0 => {
                cut(&file, start, end, length)?;
                let last = whole.get(before.map_or(0, |at| at + 1)..);
                let ends = ends(journal, &first, last.unwrap_or_default());
                return ends.map_or_else(|| scan(&mut file, journal), |left| Ok(Some(left)));
            }
            _ if start == 0 || window >= most => return scan(&mut file, journal),
            _ => window = window.saturating_mul(4).min(most),
        }
    }
}

/// The ends by looking at every line, for a file that is damaged at one of them.
fn scan(file: &mut File, journal: Uuid) -> io::Result<Option<Left>> {
    let limit = u64::try_from(MAX_PACKET).unwrap_or(u64::MAX);
    let mut left: Option<Left> = None;
    file.seek(SeekFrom::Start(0))?;
    let mut lines = BufReader::new(file);
    let mut line = Vec::new();
    while lines.by_ref().take(limit).read_until(b'\n', &mut line)? > 0 {
        let whole = line.pop_if(|last| *last == b'\n').is_some();
        let found = ends(journal, &line, &line).filter(|_| whole);
        left = match (left, found) {
            (Some(Left { range, .. }), Some(found)) if found.range.last > range.last => {
                Some(Left {
                    range: JournalRange {
                        first: range.first,
                        ..found.range
                    },
                    ..found
                })
            }
            (None, found) => found,
            (left, _) => left,
        };
        line.clear();
    }
    Ok(left)
}

fn first_line(file: &File) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let limit = u64::try_from(MAX_PACKET).unwrap_or(u64::MAX);
    BufReader::new(file)
        .take(limit)
        .read_until(b'\n', &mut line)?;
    line.pop();
    Ok(line)
}

fn read_from(file: &mut File, start: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn cut(file: &File, start: u64, end: usize, length: u64) -> io::Result<()> {
    let whole = start + u64::try_from(end).unwrap_or(u64::MAX) + 1;
    if whole < length {
        file.set_len(whole)?;
    }
    Ok(())
}

fn ends(journal: Uuid, first: &[u8], last: &[u8]) -> Option<Left> {
    let sequence = |line: &[u8]| {
        let place = Head::from_payload(line).ok()?.place;
        (place.journal == journal).then_some(place.sequence)
    };
    let (first, digest) = (sequence(first)?, Digest::of(last));
    let last = sequence(last).filter(|last| *last >= first)?;
    let range = JournalRange {
        journal,
        first,
        last,
    };
    Some(Left { range, digest })
}
