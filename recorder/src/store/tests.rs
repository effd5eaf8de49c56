use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
};

use tempfile::{TempDir, tempdir, tempdir_in};

use super::*;

const PC: Folder = Folder::Pc(IpAddr::V4(Ipv4Addr::new(192, 168, 0, 133)));

fn entry(folder: Folder, at: &str, line: &str) -> Entry {
    Entry {
        folder,
        received: format!("2026-11-22T{at}Z").parse().unwrap(),
        line: format!("{line}\n").into_bytes(),
    }
}

fn open(dir: &TempDir) -> Store {
    let mut store = Store::open(dir.path(), Root::default(), OPEN_FILES).unwrap();
    store.recover(now()).unwrap();
    store
}

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn mark(sequence: u64) -> Standing {
    Standing {
        journal: uuid::Uuid::from_u128(7),
        ip: [192, 168, 0, 133].into(),
        sequence,
        digest: None,
        left: Vec::new(),
    }
}

impl Store {
    fn write(&mut self, entries: Vec<Entry>) -> Result<Vec<Standing>, Failure> {
        self.stage(entries, Vec::new());
        let committed = self.commit()?;
        self.flush()?;
        Ok(committed)
    }
}

/// The records of a folder, oldest first.
fn records(dir: &TempDir, folder: &str) -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(dir.path().join(folder))
        .unwrap()
        .map(|file| {
            let file = file.unwrap();
            let name = FileName::from_name(file.file_name().to_str().unwrap()).unwrap();
            (name, fs::read_to_string(file.path()).unwrap())
        })
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|(name, text)| (name.to_string(), text))
        .collect()
}

#[test]
fn lines_go_to_their_pcs_file_in_order() {
    let dir = tempdir().unwrap();
    let mut store = open(&dir);
    let batch = vec![
        entry(PC, "09:31:05.140", "one"),
        entry(Folder::Lab, "09:31:05.141", "policy"),
        entry(PC, "09:31:05.142", "two"),
    ];
    store.write(batch).unwrap();
    store.write(vec![entry(PC, "09:31:06", "three")]).unwrap();
    let name = "2026-11-22T09-31-05Z.jsonl".to_owned();
    assert_eq!(
        records(&dir, "192.168.0.133"),
        [(name.clone(), "one\ntwo\nthree\n".to_owned())]
    );
    assert_eq!(records(&dir, "lab"), [(name, "policy\n".to_owned())]);
    let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().mode() & 0o777;
    store.checkpoint(now()).unwrap();
    for path in ["lock", "key", "marks"] {
        assert_eq!(mode(path), 0o600, "{path}");
    }
    // What `show` and `verify` read is the group's too, as far as the umask lets it be.
    let mut probe = fs::OpenOptions::new();
    let probe = probe.write(true).create(true).mode(0o640);
    probe.open(dir.path().join("probe")).unwrap();
    for path in [
        "checkpoint",
        "log/00000001.log",
        "192.168.0.133/2026-11-22T09-31-05Z.jsonl",
    ] {
        assert_eq!(mode(path), mode("probe"), "{path}");
    }
    let mut probe = DirBuilder::new();
    probe.mode(0o750).create(dir.path().join("folder")).unwrap();
    for path in ["192.168.0.133", "log"] {
        assert_eq!(mode(path), mode("folder"), "{path}");
    }
}

#[test]
fn the_hour_and_64_mib_begin_a_new_file() {
    let dir = tempdir().unwrap();
    let mut store = open(&dir);
    store
        .write(vec![
            entry(PC, "09:59:59.999", "nine"),
            entry(PC, "10:00:00", "ten"),
        ])
        .unwrap();
    // 64 MiB in lines of 1 MiB: the last one does not fit.
    let large = "x".repeat(1024 * 1024 - 1);
    for _ in 0..64 {
        store.write(vec![entry(PC, "10:00:01", &large)]).unwrap();
    }
    let sizes: Vec<_> = records(&dir, "192.168.0.133")
        .into_iter()
        .map(|(name, text)| (name, text.len()))
        .collect();
    assert_eq!(
        sizes,
        [
            ("2026-11-22T09-59-59Z.jsonl".to_owned(), 5),
            (
                "2026-11-22T10-00-00Z.jsonl".to_owned(),
                4 + 63 * 1024 * 1024
            ),
            ("2026-11-22T10-00-01Z.jsonl".to_owned(), 1024 * 1024),
        ]
    );
}

#[test]
fn each_start_begins_a_new_file_and_a_taken_name_gets_a_number() {
    let dir = tempdir().unwrap();
    for line in ["one", "two", "three"] {
        open(&dir).write(vec![entry(PC, "09:31:05", line)]).unwrap();
    }
    let name = |suffix| format!("2026-11-22T09-31-05Z{suffix}.jsonl");
    assert_eq!(
        records(&dir, "192.168.0.133"),
        [
            (name(""), "one\n".to_owned()),
            (name("-2"), "two\n".to_owned()),
            (name("-3"), "three\n".to_owned()),
        ]
    );
}

#[test]
fn files_are_read_in_the_order_of_their_lines_though_the_clock_is_set_back() {
    let dir = tempdir().unwrap();
    let mut store = open(&dir);
    store.write(vec![entry(PC, "10:31:05", "one")]).unwrap();
    store.write(vec![entry(PC, "09:31:05", "two")]).unwrap();
    drop(store);
    open(&dir)
        .write(vec![entry(PC, "09:00:00", "three")])
        .unwrap();
    let texts: String = records(&dir, "192.168.0.133")
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert_eq!(texts, "one\ntwo\nthree\n");
}

#[test]
fn what_was_committed_is_in_the_files_after_a_crash_exactly_once() {
    let dir = tempdir().unwrap();
    for flushed in [false, true] {
        let mut store = open(&dir);
        store.stage(
            vec![entry(PC, "09:31:05", "one"), entry(PC, "09:31:06", "two")],
            vec![mark(2)],
        );
        assert_eq!(store.commit().unwrap(), [mark(2)]);
        if flushed {
            store.flush().unwrap();
        }
        // Never committed, never acknowledged.
        store.stage(vec![entry(PC, "09:31:07", "lost")], vec![mark(3)]);
        drop(store);
    }
    let store = open(&dir);
    assert_eq!(store.marks.standings().collect::<Vec<_>>(), [mark(2)]);
    let texts: Vec<_> = records(&dir, "192.168.0.133")
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert_eq!(texts, ["one\ntwo\n", "one\ntwo\n"]);
    // Nothing is left in the log, and what was found was signed by each of the two starts.
    assert_eq!(unwritten(dir.path()).unwrap().ends.len(), 0);
    assert_eq!(store.last.unwrap().lab.number, 2);
}

#[test]
fn a_log_torn_at_any_byte_gives_whole_commits_only() {
    let dir = tempdir().unwrap();
    let mut store = open(&dir);
    for number in 1..=3 {
        store.stage(
            vec![entry(PC, "09:31:05", &format!("line {number}"))],
            vec![mark(number)],
        );
        store.commit().unwrap();
    }
    let log = fs::read_dir(dir.path().join("log"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .max()
        .unwrap();
    let marks = fs::read(dir.path().join("marks")).unwrap();
    let bytes = fs::read(&log).unwrap();
    drop(store);
    let mut seen = std::collections::BTreeSet::new();
    // Thousands of starts: on a disk in memory, where there is one.
    let memory = Some(Path::new("/dev/shm")).filter(|memory| memory.is_dir());
    for length in 0..=bytes.len() {
        let torn = tempdir_in(memory.unwrap_or(dir.path())).unwrap();
        fs::create_dir(torn.path().join("log")).unwrap();
        fs::write(torn.path().join("marks"), &marks).unwrap();
        fs::copy(dir.path().join("key"), torn.path().join("key")).unwrap();
        fs::write(torn.path().join("log/00000001.log"), &bytes[..length]).unwrap();
        let store = open(&torn);
        let sequence = store
            .marks
            .standings()
            .next()
            .map_or(0, |mark| mark.sequence);
        let lines: String = (1..=sequence)
            .map(|number| format!("line {number}\n"))
            .collect();
        if sequence > 0 {
            assert_eq!(records(&torn, "192.168.0.133")[0].1, lines);
        }
        seen.insert(sequence);
    }
    assert!(seen.into_iter().eq(0..=3));
}

#[test]
fn a_log_damaged_before_its_end_is_an_error_and_nothing_is_changed() {
    let dir = tempdir().unwrap();
    let mut store = open(&dir);
    for number in 1..=3 {
        let line = entry(PC, "09:31:05", &format!("line {number}"));
        store.stage(vec![line], vec![mark(number)]);
        store.commit().unwrap();
    }
    store.flush().unwrap();
    drop(store);
    let log = dir.path().join("log/00000001.log");
    let whole = fs::read(&log).unwrap();
    let second = whole.len() / 3;
    for at in [0, 5, 20, second, second + 5, second + 20] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&log, &bytes).unwrap();
        let error = Store::open(dir.path(), Root::default(), OPEN_FILES).unwrap_err();
        assert!(error.to_string().contains("00000001.log"), "{at}: {error}");
        assert!(unwritten(dir.path()).is_err());
        assert_eq!(fs::read(&log).unwrap(), bytes);
    }
    let text = &records(&dir, "192.168.0.133")[0].1;
    assert_eq!(text, "line 1\nline 2\nline 3\n");
}

#[test]
fn a_log_that_is_applied_twice_gives_each_line_once() {
    let dir = tempdir().unwrap();
    let mut store = open(&dir);
    store.stage(vec![entry(PC, "09:31:05", "one")], vec![mark(1)]);
    store.commit().unwrap();
    let log = dir.path().join("log/00000001.log");
    let bytes = fs::read(&log).unwrap();
    drop(store);
    drop(open(&dir));
    fs::write(&log, bytes).unwrap();
    drop(open(&dir));
    assert_eq!(records(&dir, "192.168.0.133")[0].1, "one\n");
}

#[test]
fn a_torn_last_line_is_cut_at_the_next_start() {
    let dir = tempdir().unwrap();
    let folder = dir.path().join("192.168.0.133");
    fs::create_dir(&folder).unwrap();
    let torn = format!("whole\n{}", "x".repeat(200_000));
    let newest = folder.join("2026-11-22T09-31-05Z-10.jsonl");
    fs::write(folder.join("2026-11-22T09-31-05Z-2.jsonl"), "older\n").unwrap();
    fs::write(&newest, torn).unwrap();
    fs::create_dir(dir.path().join("lab")).unwrap();
    let headless = dir.path().join("lab/2026-11-22T09-31-05Z.jsonl");
    fs::write(&headless, "no line feed at all").unwrap();
    drop(open(&dir));
    assert_eq!(fs::read_to_string(newest).unwrap(), "whole\n");
    assert_eq!(fs::read_to_string(headless).unwrap(), "");
    assert_eq!(records(&dir, "192.168.0.133")[0].1, "older\n");
}

#[test]
fn what_is_not_the_recorders_is_left_alone() {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("notes")).unwrap();
    let foreign = dir.path().join("notes/2026-11-22T09-31-05Z.jsonl");
    fs::write(&foreign, "torn").unwrap();
    drop(open(&dir));
    assert_eq!(fs::read_to_string(foreign).unwrap(), "torn");
}

#[test]
fn a_store_without_its_key_or_with_one_that_others_may_read_is_not_opened() {
    let dir = tempdir().unwrap();
    let opened =
        || Store::open(dir.path(), Root::default(), OPEN_FILES).map(|store| store.public_key());
    let public = opened().unwrap();
    let (key, kept) = (dir.path().join("key"), dir.path().join("kept"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let error = opened().unwrap_err();
    assert!(error.to_string().contains("others may read"), "{error}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&key, &kept).unwrap();
    let error = opened().unwrap_err();
    assert!(error.to_string().contains("key is missing"), "{error}");
    assert!(!key.exists());
    fs::rename(kept, key).unwrap();
    assert_eq!(opened().unwrap(), public);
}

#[test]
fn a_checkpoint_of_another_key_or_topic_is_not_taken_for_ones_own() {
    let dir = tempdir().unwrap();
    let mut store = open(&dir);
    let summary = Summary {
        recorder: Uuid::nil(),
        number: 700,
        files: 0,
        prev: Digest::ZERO,
        root: Digest::ZERO,
    };
    let signed = |key: &Key| serde_json::to_string(&key.sign(now(), summary.clone())).unwrap();
    let line = |topic, payload: &str| {
        format!(
            r#"{{"received":"{}","topic":"lab/{topic}","payload":{payload}}}"#,
            now()
        )
    };
    let lines = [
        line("policy", &signed(&store.key)),
        line("checkpoint", &signed(&Key::new(&[8; 32]))),
        line("checkpoint", &signed(&store.key).replace("700", "701")),
    ];
    store.write(vec![entry(PC, "09:31:05", "{}")]).unwrap();
    store.checkpoint(now()).unwrap();
    let entries = lines
        .iter()
        .map(|line| entry(Folder::Lab, "09:31:05", line));
    store.stage(entries.collect(), Vec::new());
    store.commit().unwrap();
    drop(store);
    assert_eq!(unwritten(dir.path()).unwrap().checkpoint, 1);
    assert_eq!(open(&dir).last.unwrap().lab.number, 2);
}

#[test]
fn a_directory_has_one_recorder() {
    let dir = tempdir().unwrap();
    let first = open(&dir);
    let second = Store::open(dir.path(), Root::default(), OPEN_FILES).unwrap_err();
    assert!(second.to_string().contains("another recorder"), "{second}");
    drop(first);
    open(&dir);
}

#[test]
fn three_thousand_pcs_are_kept_with_64_open_files() {
    let dir = tempdir().unwrap();
    let mut store = Store::open(dir.path(), Root::default(), 64).unwrap();
    store.recover(now()).unwrap();
    let pcs: Vec<_> = (0..3000_u32)
        .map(|number| Folder::Pc(Ipv4Addr::from(0x0a00_0000 + number).into()))
        .collect();
    for round in ["one", "two", "three"] {
        for batch in pcs.chunks(1000) {
            let batch = batch.iter().map(|pc| entry(*pc, "09:31:05", round));
            store.write(batch.collect()).unwrap();
            assert!(store.files.open_count() <= 64);
        }
    }
    store.close(now()).unwrap();
    for pc in pcs {
        let text = "one\ntwo\nthree\n".to_owned();
        let name = "2026-11-22T09-31-05Z.jsonl".to_owned();
        assert_eq!(records(&dir, &pc.to_string()), [(name, text)]);
    }
}

#[test]
fn what_cannot_be_written_is_kept_and_named_and_goes_when_it_can() {
    let dir = tempdir().unwrap();
    let mut store = open(&dir);
    let way = dir.path().join("192.168.0.133");
    fs::write(&way, "in the way").unwrap();
    store.stage(vec![entry(PC, "09:31:05", "one")], vec![mark(1)]);
    let told = match store.commit() {
        Err(Failure::Retry(told)) => told,
        other => panic!("{other:?}"),
    };
    assert!(told.contains("192.168.0.133"), "{told}");
    fs::remove_file(way).unwrap();
    assert_eq!(store.commit().unwrap(), [mark(1)]);
    store.flush().unwrap();
    assert_eq!(records(&dir, "192.168.0.133")[0].1, "one\n");
}

#[test]
fn checkpoints_follow_on_each_other_over_a_restart() {
    let dir = tempdir().unwrap();
    let mut store = open(&dir);
    store.write(vec![entry(PC, "09:31:05", "{}")]).unwrap();
    let first: Checkpoint = serde_json::from_slice(&store.checkpoint(now()).unwrap()).unwrap();
    store.write(vec![entry(PC, "09:31:06", "{}")]).unwrap();
    store.close(now()).unwrap();
    let second = last_checkpoint(dir.path()).unwrap().unwrap();
    assert_eq!((first.lab.number, second.lab.number), (1, 2));
    assert_eq!(second.lab.prev, first.lab.root);
    assert!(second.verify().is_ok() && second.key == first.key);
    // Lost with the file, but not with the log.
    let mut store = open(&dir);
    store.write(vec![entry(PC, "09:31:07", "{}")]).unwrap();
    let before = fs::read(dir.path().join("checkpoint")).unwrap();
    store.checkpoint(now()).unwrap();
    drop(store);
    fs::write(dir.path().join("checkpoint"), before).unwrap();
    assert_eq!(open(&dir).last.unwrap().lab.number, 4);
}

#[test]
fn records_go_when_their_time_is_over_and_a_note_says_so() {
    let dir = tempdir().unwrap();
    let mut store = open(&dir);
    store
        .write(vec![
            entry(PC, "09:31:05", "old"),
            entry(Folder::Lab, "11:59:00", "new"),
        ])
        .unwrap();
    let day = Duration::from_secs(24 * 3600);
    assert!(!store.expire(day, now()).unwrap());
    let later = "2026-11-23T10:40:00Z".parse().unwrap();
    assert!(store.expire(day, later).unwrap());
    store.close(later).unwrap();
    assert_eq!(records(&dir, "192.168.0.133"), []);
    let lab: String = records(&dir, "lab")
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert!(
        lab.contains("192.168.0.133/2026-11-22T09-31-05Z.jsonl"),
        "{lab}"
    );
    assert!(lab.contains("retention") && lab.contains("new"), "{lab}");
}

#[test]
fn what_retention_removed_does_not_come_back_after_a_crash() {
    let dir = tempdir().unwrap();
    let mut store = open(&dir);
    store.write(vec![entry(PC, "09:31:05", "old")]).unwrap();
    let later = "2026-11-23T10:40:00Z".parse().unwrap();
    assert!(store.expire(Duration::from_secs(24 * 3600), later).unwrap());
    drop(store);
    open(&dir);
    assert_eq!(records(&dir, "192.168.0.133"), []);
}

#[test]
fn what_cannot_be_brought_to_the_disk_before_records_go_ends_the_recorder() {
    let dir = tempdir().unwrap();
    let mut store = Store::open(dir.path(), Root::default(), 1).unwrap();
    store.recover(now()).unwrap();
    let both = vec![
        entry(PC, "09:31:05", "one"),
        entry(Folder::Lab, "09:31:05", "two"),
    ];
    store.write(both).unwrap();
    // Its one open file is the other folder's.
    let file = dir.path().join("192.168.0.133/2026-11-22T09-31-05Z.jsonl");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let later = "2026-11-23T10:40:00Z".parse().unwrap();
    let expired = store.expire(Duration::from_secs(24 * 3600), later);
    assert!(matches!(expired, Err(Failure::Fatal(_))), "{expired:?}");
}

#[test]
fn what_the_quarantine_holds_counts_towards_its_cap() {
    let dir = tempdir().unwrap();
    let mut store = open(&dir);
    assert_eq!(store.quarantined().unwrap(), 0);
    store
        .write(vec![entry(Folder::Quarantine, "09:31:05", "12345")])
        .unwrap();
    assert_eq!(store.quarantined().unwrap(), 6);
}

#[test]
fn a_start_where_nothing_can_be_written_knows_its_marks_and_goes_on_when_it_can() {
    let dir = tempdir().unwrap();
    let mut store = open(&dir);
    store.stage(vec![entry(PC, "09:31:05", "one")], vec![mark(1)]);
    store.commit().unwrap();
    drop(store);
    let folder = dir.path().join("192.168.0.133");
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "in the way").unwrap();
    let mut store = Store::open(dir.path(), Root::default(), OPEN_FILES).unwrap();
    assert_eq!(store.marks.standings().collect::<Vec<_>>(), [mark(1)]);
    store.stage(vec![entry(PC, "09:31:06", "two")], vec![mark(2)]);
    for _ in 0..2 {
        assert!(matches!(store.recover(now()), Err(Failure::Retry(_))));
    }
    fs::remove_file(folder).unwrap();
    store.recover(now()).unwrap();
    store.commit().unwrap();
    store.close(now()).unwrap();
    let texts = records(&dir, "192.168.0.133").into_iter();
    assert_eq!(
        texts.map(|(_, text)| text).collect::<String>(),
        "one\ntwo\n"
    );
}

#[test]
fn a_checkpoint_that_cannot_be_saved_is_made_once_and_saved_when_it_can_be() {
    let dir = tempdir().unwrap();
    let mut store = open(&dir);
    store.write(vec![entry(PC, "09:31:05", "one")]).unwrap();
    let way = dir.path().join("checkpoint.new");
    fs::create_dir(&way).unwrap();
    for _ in 0..3 {
        assert!(matches!(store.checkpoint(now()), Err(Failure::Retry(_))));
        assert!(store.wants_checkpoint(false), "it is tried again");
    }
    store.stage(vec![entry(PC, "09:31:06", "two")], Vec::new());
    fs::remove_dir(way).unwrap();
    let saved: Checkpoint = serde_json::from_slice(&store.checkpoint(now()).unwrap()).unwrap();
    assert_eq!((saved.lab.number, saved.lab.files), (1, 1));
    assert!(
        store.wants_checkpoint(true),
        "what came meanwhile is not signed yet"
    );
    store.close(now()).unwrap();
    let lab: String = records(&dir, "lab")
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert_eq!(lab.matches("\"number\":").count(), 2, "{lab}");
}
