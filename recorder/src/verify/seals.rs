//! What was signed of each file: so many bytes with this digest.
//!
//! A digest of the beginning of a file speaks for every line in it, those that belong to no chain too. A line that no
//! digest covers must have come since the last checkpoint, or shortly before. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use labwatch_contract::{
    chain::{Digest, Hasher},
    time::Timestamp,
};

use super::{
    Finding, Findings,
    checkpoints::{Checkpoints, is_signed_by_itself},
};
use crate::show::reel::RawLine;

/// A checkpoint is made each minute; one that finds the disk busy covers no lines younger than this, in milliseconds.
const SIGNED_AFTER_MS: i64 = 120_000;

pub(super) struct Seals {
    dir: PathBuf,
    promised: BTreeMap<String, (u64, Digest)>,
    /// Offsets from and to which the log holds lines of a file.
    unwritten: BTreeMap<String, (u64, u64)>,
    /// By folder, the file that is being read.
    reading: BTreeMap<PathBuf, Reading>,
    /// When the last checkpoint was made.
    signed: Option<Timestamp>,
    /// When the first and the last line were received that no digest covers.
    unsigned: Option<(Timestamp, Timestamp)>,
}

struct Reading {
    file: PathBuf,
    bytes: u64,
    hasher: Hasher,
    promised: Option<(u64, Digest)>,
    kept: bool,
    /// Whether a line was told that should have been signed.
    told: bool,
}

impl Seals {
    pub(super) fn new(
        dir: &Path,
        checkpoints: &Checkpoints,
        unwritten: BTreeMap<String, (u64, u64)>,
    ) -> Self {
        let heads = checkpoints.heads.iter();
        Self {
            dir: dir.to_owned(),
            promised: heads
                .map(|head| (head.file.clone(), (head.bytes, head.sha256)))
                .collect(),
            unwritten,
            reading: BTreeMap::new(),
            signed: checkpoints.last.as_ref().map(|last| last.timestamp),
            unsigned: None,
        }
    }

    /// Takes the next line of a file, which was received at `time`.
    pub(super) fn take(
        &mut self,
        file: &Path,
        line: &RawLine,
        time: Option<Timestamp>,
        findings: &mut Findings,
    ) {
        let folder = file.parent().unwrap_or(file).to_owned();
        if self
            .reading
            .get(&folder)
            .is_none_or(|reading| reading.file != file)
        {
            let before = self.reading.remove(&folder);
            self.end(before, findings);
            let promised = self.name(file).and_then(|name| self.promised.remove(&name));
            let reading = Reading {
                file: file.to_owned(),
                bytes: 0,
                hasher: Hasher::default(),
                promised,
                kept: false,
                told: false,
            };
            self.reading.insert(folder.clone(), reading);
        }
        let Some(reading) = self.reading.get_mut(&folder) else {
            return;
        };
        if let Some(promised) = reading.promised.filter(|_| !reading.kept) {
            reading.take(line, promised, findings);
        } else if let Some(time) = time {
            let due = self
                .signed
                .is_some_and(|signed| is_long_before(time, signed));
            if due && !reading.told && !is_signed_by_itself(&line.text) {
                reading.told = true;
                let what = "not signed, though a later checkpoint is there: put in since";
                findings.add(Finding::new(file, line.number, what));
            }
            let (first, last) = self.unsigned.unwrap_or((time, time));
            self.unsigned = Some((first.min(time), last.max(time)));
        }
    }

    /// All lines were read: what was promised and is not there?
    pub(super) fn finish(
        &mut self,
        removed: &BTreeSet<String>,
        is_signed_in_log: bool,
        findings: &mut Findings,
    ) {
        for (_, reading) in std::mem::take(&mut self.reading) {
            self.end(Some(reading), findings);
        }
        for (name, (bytes, _)) in std::mem::take(&mut self.promised) {
            if !removed.contains(&name) && !self.is_in_log(&name, 0, bytes) {
                let what = format!("missing: {bytes} bytes of it were signed");
                findings.add(Finding::new(&self.dir.join(&name), 0, what));
            }
        }
        let long = self
            .unsigned
            .filter(|(first, last)| is_long_before(*first, *last));
        if self.signed.is_none() && !is_signed_in_log && long.is_some() {
            let what = "nothing here is signed: the checkpoints are missing";
            findings.add(Finding::new(&self.dir, 0, what));
        }
    }

    fn end(&self, reading: Option<Reading>, findings: &mut Findings) {
        let Some(reading) = reading.filter(|reading| !reading.kept) else {
            return;
        };
        let Some((bytes, _)) = reading.promised else {
            return;
        };
        let name = self.name(&reading.file).unwrap_or_default();
        if reading.bytes < bytes && !self.is_in_log(&name, reading.bytes, bytes) {
            let what = format!(
                "cut: {bytes} bytes of it were signed, {} are there",
                reading.bytes
            );
            findings.add(Finding::new(&reading.file, 0, what));
        }
    }

    fn is_in_log(&self, name: &str, from: u64, to: u64) -> bool {
        self.unwritten
            .get(name)
            .is_some_and(|(begin, end)| *begin <= from && *end >= to)
    }

    fn name(&self, file: &Path) -> Option<String> {
        Some(file.strip_prefix(&self.dir).ok()?.to_str()?.to_owned())
    }
}

impl Reading {
    fn take(&mut self, line: &RawLine, promised: (u64, Digest), findings: &mut Findings) {
        let (bytes, sha256) = promised;
        self.hasher.add(&line.text);
        self.hasher.add(b"\n");
        self.bytes += u64::try_from(line.text.len()).unwrap_or(u64::MAX) + 1;
        if self.bytes < bytes {
            return;
        }
        self.kept = true;
        if self.bytes > bytes || self.hasher.digest() != sha256 {
            let what = format!(
                "not what was signed: something in its first {bytes} bytes, up to about line {}, was changed",
                line.number
            );
            findings.add(Finding::new(&self.file, 0, what));
        }
    }
}

/// Whether a line of the one time should have been signed at the other.
fn is_long_before(time: Timestamp, signed: Timestamp) -> bool {
    signed.unix_ms().saturating_sub(time.unix_ms()) > SIGNED_AFTER_MS
}
