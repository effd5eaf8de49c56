//! A journal's file after anything that can happen to a disk: it opens, and each event of it is read or called damaged.
#![no_main]

use std::{cell::LazyCell, fs, time::Duration};

use labwatch_agent::{
    journal::{Journal, ReadError},
    retention::Bounds,
};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

const NAME: &str = "0199b7d2-0000-7000-8000-000000000001.jsonl";
const MOST: u64 = 1000;
const BOUNDS: Bounds = Bounds {
    size: 1 << 20,
    age: Duration::from_secs(3600),
};

thread_local! {
    static FOLDER: LazyCell<TempDir> = LazyCell::new(|| tempfile::tempdir().expect("a folder"));
}

fuzz_target!(|bytes: &[u8]| FOLDER.with(|folder| {
    let files = folder.path().join("journal");
    let _ = fs::remove_dir_all(&files);
    fs::create_dir_all(&files).expect("a folder");
    fs::write(files.join(NAME), bytes).expect("a file");
    let Ok((mut journal, past)) = Journal::open(folder.path(), BOUNDS) else {
        return;
    };
    for range in past.journals {
        for sequence in (range.first..=range.last).take(MOST as usize) {
            match journal.read(range.journal, sequence) {
                Ok((_, payload)) => assert!(!payload.is_empty() && !payload.contains(&b'\n')),
                Err(ReadError::Damaged { next }) => assert!(next.is_none_or(|next| next > sequence)),
                Err(ReadError::Disk(error)) => panic!("{error}"),
            }
        }
    }
}));
