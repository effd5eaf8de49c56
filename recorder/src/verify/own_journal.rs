//! A PC's own journal beside the record: both hold the same events, byte for byte.
//!
//! Both are in order, so each is read once. The record may be ahead of a journal that lost its last moment to a power
//! cut; it may lack what the agent itself says it has dropped, at the beginning; it is never different.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use labwatch_contract::{
    chain::Digest,
    event::{Head, Place},
};

use super::{Finding, Findings, lines::Found};

/// A longer line is no event.
const MAX_LINE: u64 = 1024 * 1024;

pub(super) struct OwnJournal {
    path: PathBuf,
    lines: BufReader<File>,
    number: u64,
    next: Option<(Place, Digest)>,
    /// The event before the next one.
    before: Option<(Place, Digest)>,
}

impl OwnJournal {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        let mut own = Self {
            path: path.to_owned(),
            lines: BufReader::new(file),
            number: 0,
            next: None,
            before: None,
        };
        own.advance()?;
        if own.next.is_none() {
            bail!("{} holds no event", path.display());
        }
        Ok(own)
    }

    /// Compares an event of the record with the journal's.
    pub(super) fn compare(&mut self, found: &Found, findings: &mut Findings) -> anyhow::Result<()> {
        while let Some((place, digest)) = self.next {
            if place.journal != found.place.journal || place.sequence > found.place.sequence {
                return Ok(());
            }
            if place.sequence < found.place.sequence {
                self.lacks(place, findings);
            } else if digest != found.digest {
                let what = format!(
                    "event {} differs from the PC's own journal ({}:{})",
                    place.sequence,
                    self.path.display(),
                    self.number
                );
                findings.add(Finding::new(&found.file, found.line, what));
            }
            self.check_own_chain(findings);
            self.advance()?;
        }
        Ok(())
    }

    /// The record is at its end: what the journal has beyond it is missing there.
    pub(super) fn finish(&mut self, findings: &mut Findings) -> anyhow::Result<()> {
        while let Some((place, _)) = self.next {
            self.lacks(place, findings);
            self.check_own_chain(findings);
            self.advance()?;
        }
        Ok(())
    }

    fn lacks(&self, place: Place, findings: &mut Findings) {
        let what = format!(
            "event {} of journal {} is not in the record",
            place.sequence, place.journal
        );
        findings.add(Finding::new(&self.path, self.number, what));
    }

    fn check_own_chain(&self, findings: &mut Findings) {
        if let (Some((before, digest)), Some((place, _))) = (self.before, self.next)
            && (place.journal != before.journal
                || before.sequence + 1 != place.sequence
                || place.prev != digest)
        {
            let what = "does not continue the line before it";
            findings.add(Finding::new(&self.path, self.number, what));
        }
    }

    fn advance(&mut self) -> anyhow::Result<()> {
        self.before = self.next.take();
        let mut line = Vec::new();
        self.lines
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)?;
        // What has no line feed is what a power cut left.
        if line.pop_if(|last| *last == b'\n').is_none() {
            return Ok(());
        }
        self.number += 1;
        let head = Head::from_payload(&line)
            .with_context(|| format!("{}:{}", self.path.display(), self.number))?;
        self.next = Some((head.place, Digest::of(&line)));
        Ok(())
    }
}
