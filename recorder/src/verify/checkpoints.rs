//! The checkpoints of a record: what they promise, and whether they hold together.
//!
//! Each must be signed by the one key, follow on the one before, and its root must be that of the heads in the notes
//! before it. What retention has removed counts only when a checkpoint follows on the word.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use labwatch_contract::{
    chain::Digest,
    checkpoint::{Checkpoint, FileHead, Summary, root},
    topic::Topic,
};
use serde::Deserialize;

use super::{Finding, Findings};
use crate::{
    filing::Folder,
    record::{Note, topic_of},
    show::reel::Library,
    store::{self, Unwritten},
};

/// What the checkpoints say.
#[derive(Default)]
pub(super) struct Checkpoints {
    /// The last head of each file.
    pub(super) heads: Vec<FileHead>,
    /// Files that retention has removed.
    pub(super) removed: BTreeSet<String>,
    /// How many there are.
    pub(super) count: u64,
    /// The last one.
    pub(super) last: Option<Checkpoint>,
    /// What is wrong with them.
    pub(super) findings: Vec<Finding>,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    topic: String,
    #[serde(default)]
    note: Option<Note>,
    #[serde(default)]
    payload: Option<Checkpoint>,
}

impl Line {
    /// The checkpoint in it: what has its fields under another topic is none.
    fn checkpoint(self) -> Option<Checkpoint> {
        let own = topic_of(&self.topic) == Ok(Topic::Checkpoint);
        self.payload.filter(|_| own)
    }
}

#[derive(Default)]
struct Reader {
    findings: Findings,
    heads: BTreeMap<String, FileHead>,
    removed: BTreeSet<String>,
    last: Option<Checkpoint>,
    count: u64,
    /// Since the last checkpoint.
    new_heads: Vec<FileHead>,
    new_removed: Vec<String>,
}

impl Checkpoints {
    /// Reads the checkpoints in `dir`, with what the log still holds.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn read(dir: &Path, unwritten: &Unwritten) -> anyhow::Result<Self> {
        let lab = dir.join(Folder::Lab.to_string());
        let mut reader = Reader::default();
        if lab.is_dir() {
            let mut library = Library::open(&lab, None).or_else(|_| Library::open(dir, None))?;
            for reel in library.reels() {
                while let Some(line) = reel.next_raw(true)? {
                    let file = reel.file().unwrap_or(&lab).to_owned();
                    reader.take(&file, line.number, &line.text);
                }
            }
        }
        reader.finish(dir, unwritten)
    }

    /// Whether `key` has signed them; each is checked against the one before already.
    pub(super) fn check_key(&self, dir: &Path, key: &str, findings: &mut Findings) {
        let what = match &self.last {
            None => "no checkpoint is there that the key could have signed",
            Some(last) if last.key != key => "the checkpoints are signed with another key",
            Some(_) => return,
        };
        findings.add(Finding::new(&dir.join(Folder::Lab.to_string()), 0, what));
    }
}

/// Whether a line of the lab is a checkpoint, or one of the notes before it that its root signs.
pub(super) fn is_signed_by_itself(text: &[u8]) -> bool {
    let line = serde_json::from_slice::<Line>(text);
    line.is_ok_and(|line| {
        matches!(line.note, Some(Note::Heads { .. })) || line.checkpoint().is_some()
    })
}

impl Reader {
    fn take(&mut self, file: &Path, number: u64, text: &[u8]) {
        // Alerts and policies are no business of ours, and broken lines are told elsewhere.
        let Ok(line) = serde_json::from_slice::<Line>(text) else {
            return;
        };
        match line.note {
            Some(Note::Heads { heads }) => return self.new_heads.extend(heads),
            Some(Note::Retention { files, .. }) => return self.new_removed.extend(files),
            _ => {}
        }
        if let Some(checkpoint) = line.checkpoint() {
            if let Err(what) = self.check(&checkpoint) {
                self.findings.add(Finding::new(file, number, what));
            }
            let heads = std::mem::take(&mut self.new_heads).into_iter();
            self.heads
                .extend(heads.map(|head| (head.file.clone(), head)));
            self.removed.extend(std::mem::take(&mut self.new_removed));
            self.last = Some(checkpoint);
            self.count += 1;
        }
    }

    fn check(&self, checkpoint: &Checkpoint) -> Result<(), String> {
        checkpoint
            .verify()
            .map_err(|error| format!("checkpoint: {error}"))?;
        let Summary { number, prev, .. } = checkpoint.lab;
        match &self.last {
            Some(last) if last.key != checkpoint.key => {
                return Err(format!(
                    "checkpoint {number} is signed with another key than the one before"
                ));
            }
            Some(last) if last.lab.number + 1 != number => {
                return Err(format!(
                    "checkpoint {number} follows on {}: some are missing, doubled or out of order",
                    last.lab.number
                ));
            }
            Some(last) if last.lab.root != prev => {
                return Err(format!(
                    "checkpoint {number} does not follow on the one before"
                ));
            }
            None if number == 1 && prev != Digest::ZERO => {
                return Err("the first checkpoint follows on another".to_owned());
            }
            _ => {}
        }
        if root(prev, &self.new_heads) == checkpoint.lab.root {
            Ok(())
        } else {
            Err(format!(
                "the notes before checkpoint {number} are not those that it signs"
            ))
        }
    }

    fn finish(mut self, dir: &Path, unwritten: &Unwritten) -> anyhow::Result<Checkpoints> {
        let known = store::last_checkpoint(dir)?;
        let known = known.map_or(0, |known| known.lab.number);
        let there = self
            .last
            .as_ref()
            .map_or(0, |last| last.lab.number)
            .max(unwritten.checkpoint);
        if there < known {
            let what = format!(
                "checkpoint {known} was made, the last one here is {there}: files were cut or removed"
            );
            self.findings
                .add(Finding::new(&dir.join(Folder::Lab.to_string()), 0, what));
        }
        let first = self.last.as_ref().map_or(1, |last| {
            last.lab.number + 1 - self.count.min(last.lab.number)
        });
        let thinned = self.removed.iter().any(|file| file.starts_with("lab/"));
        if first > 1 && !thinned {
            let what = format!("the checkpoints before number {first} are missing");
            self.findings
                .add(Finding::new(&dir.join(Folder::Lab.to_string()), 0, what));
        }
        Ok(Checkpoints {
            heads: self.heads.into_values().collect(),
            removed: self.removed,
            count: self.count,
            last: self.last,
            findings: self.findings.told,
        })
    }
}
