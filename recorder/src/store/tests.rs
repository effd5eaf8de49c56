use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::MetadataExt as _,
};

use tempfile::{TempDir, tempdir};

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
    Store::open(dir.path(), OPEN_FILES).unwrap()
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
    store.sync().unwrap();
    let name = "2026-11-22T09-31-05Z.jsonl".to_owned();
    assert_eq!(
        records(&dir, "192.168.0.133"),
        [(name.clone(), "one\ntwo\nthree\n".to_owned())]
    );
    assert_eq!(records(&dir, "lab"), [(name, "policy\n".to_owned())]);
}

#[test]
fn nobody_else_may_read_the_records() {
    let parent = tempdir().unwrap();
    let dir = parent.path().join("deep/down");
    let mut store = Store::open(&dir, OPEN_FILES).unwrap();
    store.write(vec![entry(PC, "09:31:05", "one")]).unwrap();
    let mode = |path: &str| fs::metadata(dir.join(path)).unwrap().mode() & 0o7777;
    assert_eq!(mode(""), 0o700);
    assert_eq!(mode("lock"), 0o600);
    assert_eq!(mode("192.168.0.133"), 0o700);
    assert_eq!(mode("192.168.0.133/2026-11-22T09-31-05Z.jsonl"), 0o600);
}

#[test]
fn the_hour_and_64_mib_begin_a_new_file() {
    let dir = tempdir().unwrap();
    let mut store = open(&dir);
    let batch = vec![
        entry(PC, "09:59:59.999", "nine"),
        entry(PC, "10:00:00", "ten"),
    ];
    store.write(batch).unwrap();
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
fn a_directory_has_one_recorder() {
    let dir = tempdir().unwrap();
    let first = open(&dir);
    let second = Store::open(dir.path(), OPEN_FILES).unwrap_err();
    assert!(second.to_string().contains("another recorder"), "{second}");
    drop(first);
    open(&dir);
}

#[test]
fn three_thousand_pcs_are_kept_with_64_open_files() {
    let dir = tempdir().unwrap();
    let mut store = Store::open(dir.path(), 64).unwrap();
    let pcs: Vec<_> = (0..3000_u32)
        .map(|number| Folder::Pc(Ipv4Addr::from(0x0a00_0000 + number).into()))
        .collect();
    for round in ["one", "two", "three"] {
        for batch in pcs.chunks(BATCH) {
            let batch = batch.iter().map(|pc| entry(*pc, "09:31:05", round));
            store.write(batch.collect()).unwrap();
            assert!(store.open.values_mut().count() <= 64);
        }
    }
    store.sync().unwrap();
    for pc in pcs {
        let text = "one\ntwo\nthree\n".to_owned();
        let name = "2026-11-22T09-31-05Z.jsonl".to_owned();
        assert_eq!(records(&dir, &pc.to_string()), [(name, text)]);
    }
}

#[test]
fn a_file_that_was_taken_away_is_begun_anew() {
    let dir = tempdir().unwrap();
    let mut store = Store::open(dir.path(), 1).unwrap();
    store.write(vec![entry(PC, "09:31:05", "one")]).unwrap();
    store
        .write(vec![entry(Folder::Lab, "09:31:05", "x")])
        .unwrap();
    fs::remove_dir_all(dir.path().join("192.168.0.133")).unwrap();
    store.write(vec![entry(PC, "09:31:06", "two")]).unwrap();
    let name = "2026-11-22T09-31-06Z.jsonl".to_owned();
    assert_eq!(records(&dir, "192.168.0.133"), [(name, "two\n".to_owned())]);
}

#[test]
fn what_cannot_be_written_is_an_error_that_names_it() {
    let dir = tempdir().unwrap();
    let mut store = open(&dir);
    fs::write(dir.path().join("192.168.0.133"), "in the way").unwrap();
    let error = store.write(vec![entry(PC, "09:31:05", "one")]).unwrap_err();
    assert!(error.to_string().contains("192.168.0.133"), "{error}");
}

#[test]
fn a_full_disk_ends_the_writer_with_an_error_that_names_the_file() {
    let dir = tempdir().unwrap();
    let mut store = open(&dir);
    let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
    store.write(vec![entry(PC, "09:31:05", "one")]).unwrap();
    store.keep_open(PC, "/dev/full".into(), full).unwrap();
    let (orders, queue) = mpsc::channel(2);
    let order = Order::Write(entry(PC, "09:31:06", "two"));
    orders.blocking_send(order).unwrap();
    let error = write_queue(store, queue).unwrap_err();
    assert!(error.to_string().contains("/dev/full"), "{error}");
}

#[test]
fn the_writer_brings_all_to_the_disk_when_its_queue_ends() {
    let dir = tempdir().unwrap();
    let (orders, queue) = mpsc::channel(8);
    for (at, line) in [("09:31:05", "one"), ("09:31:06", "two")] {
        let order = Order::Write(entry(PC, at, line));
        orders.blocking_send(order).unwrap();
        orders.blocking_send(Order::Sync).unwrap();
    }
    drop(orders);
    write_queue(open(&dir), queue).unwrap();
    assert_eq!(records(&dir, "192.168.0.133")[0].1, "one\ntwo\n");
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
