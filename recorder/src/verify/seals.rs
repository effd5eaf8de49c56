//! What was signed of each file: so many bytes with this digest.
//!
//! A digest of the beginning of a file speaks for every line in it, those that belong to no chain too. Pure but for
//! asking whether a file is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use labwatch_contract::{
    chain::{Digest, Hasher},
    checkpoint::FileHead,
};

use super::{Finding, Findings};
use crate::show::reel::RawLine;

pub(super) struct Seals {
    dir: PathBuf,
    promised: BTreeMap<String, (u64, Digest)>,
    /// Offsets from and to which the log holds lines of a file.
    unwritten: BTreeMap<String, (u64, u64)>,
    /// By folder, the file that is being read.
    reading: BTreeMap<PathBuf, Reading>,
}

struct Reading {
    file: PathBuf,
    bytes: u64,
    hasher: Hasher,
    promised: Option<(u64, Digest)>,
    kept: bool,
}

impl Seals {
    pub(super) fn new(
        dir: &Path,
        heads: Vec<FileHead>,
        unwritten: BTreeMap<String, (u64, u64)>,
    ) -> Self {
        let heads = heads.into_iter();
        Self {
            dir: dir.to_owned(),
            promised: heads
                .map(|head| (head.file, (head.bytes, head.sha256)))
                .collect(),
            unwritten,
            reading: BTreeMap::new(),
        }
    }

    /// Takes the next line of a file.
    pub(super) fn take(&mut self, file: &Path, line: &RawLine, findings: &mut Findings) {
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
            };
            self.reading.insert(folder.clone(), reading);
        }
        if let Some(reading) = self.reading.get_mut(&folder) {
            reading.take(line, findings);
        }
    }

    /// All lines were read: what was promised and is not there?
    pub(super) fn finish(&mut self, removed: &BTreeSet<String>, findings: &mut Findings) {
        for (_, reading) in std::mem::take(&mut self.reading) {
            self.end(Some(reading), findings);
        }
        for (name, (bytes, _)) in std::mem::take(&mut self.promised) {
            if !removed.contains(&name) && !self.is_in_log(&name, 0, bytes) {
                let what = format!("missing: {bytes} bytes of it were signed");
                findings.add(Finding::new(&self.dir.join(&name), 0, what));
            }
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
    fn take(&mut self, line: &RawLine, findings: &mut Findings) {
        let Some((bytes, sha256)) = self.promised.filter(|_| !self.kept) else {
            return;
        };
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
