//! How far each file of the record has come: what a checkpoint covers.
//!
//! Lines are hashed in the order in which they are placed. A head is taken of every file that grew since the last
//! checkpoint. Bounded like the files that are written to: a file that is left gets its head at once. Pure.

use std::collections::BTreeMap;

use labwatch_contract::{
    chain::{Digest, Hasher},
    checkpoint::FileHead,
};

use crate::{
    filing::{FileName, Folder, MAX_FOLDERS},
    recent::Recent,
};

/// The files that are written to, and the heads that no checkpoint has yet.
#[derive(Debug)]
pub(crate) struct Heads {
    growing: Recent<Folder, Growing>,
    left: BTreeMap<String, (u64, Digest)>,
}

#[derive(Debug)]
struct Growing {
    name: FileName,
    bytes: u64,
    hasher: Hasher,
    /// Since the last checkpoint.
    grew: bool,
}

impl Default for Heads {
    fn default() -> Self {
        Self {
            growing: Recent::new(MAX_FOLDERS),
            left: BTreeMap::new(),
        }
    }
}

impl Heads {
    /// A line was placed at the end of a file.
    pub(crate) fn add(&mut self, folder: Folder, name: &FileName, line: &[u8]) {
        let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if let Some(file) = self.growing.get_mut(&folder)
            && file.name == *name
        {
            file.hasher.add(line);
            file.bytes += bytes;
            file.grew = true;
            return;
        }
        if let Some(file) = self.growing.remove(&folder) {
            self.leave(folder, &file);
        }
        let mut hasher = Hasher::default();
        hasher.add(line);
        let file = Growing {
            name: name.clone(),
            bytes,
            hasher,
            grew: true,
        };
        if let Some((folder, file)) = self.growing.insert_entry(folder, file) {
            self.leave(folder, &file);
        }
    }

    /// The head of a file that an earlier run has written.
    pub(crate) fn found(&mut self, head: FileHead) {
        self.left.insert(head.file, (head.bytes, head.sha256));
    }

    /// The heads of all files that grew since this was last asked, by name.
    pub(crate) fn take(&mut self) -> Vec<FileHead> {
        for (folder, file) in self.growing.iter_mut().filter(|(_, file)| file.grew) {
            file.grew = false;
            let head = (file.bytes, file.hasher.digest());
            self.left.insert(format!("{folder}/{}", file.name), head);
        }
        let heads = std::mem::take(&mut self.left).into_iter();
        heads
            .map(|(file, (bytes, sha256))| FileHead {
                file,
                bytes,
                sha256,
            })
            .collect()
    }

    fn leave(&mut self, folder: Folder, file: &Growing) {
        if file.grew {
            let head = (file.bytes, file.hasher.digest());
            self.left.insert(format!("{folder}/{}", file.name), head);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(time: &str) -> FileName {
        FileName::at(format!("2026-11-22T{time}Z").parse().unwrap())
    }

    #[test]
    fn a_head_covers_all_lines_of_its_file_and_is_given_when_it_grew() {
        let mut heads = Heads::default();
        heads.add(Folder::Lab, &name("09:00:00"), b"one\n");
        heads.add(Folder::Lab, &name("09:00:00"), b"two\n");
        let taken = heads.take();
        assert_eq!((taken.len(), taken[0].bytes), (1, 8));
        assert_eq!(taken[0].sha256, Digest::of(b"one\ntwo\n"));
        assert_eq!(heads.take(), []);
        heads.add(Folder::Lab, &name("09:00:00"), b"three\n");
        heads.add(Folder::Lab, &name("10:00:00"), b"four\n");
        let taken = heads.take();
        assert_eq!(taken[0].sha256, Digest::of(b"one\ntwo\nthree\n"));
        assert_eq!(taken[1].file, "lab/2026-11-22T10-00-00Z.jsonl");
    }
}
