use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use labwatch_contract::{
    ack::Mark,
    event::{Action, Boot, Fields, Host, Occurrence},
};
use tempfile::{TempDir, tempdir};

use super::*;
use crate::sealer::Sealer;

const BOUNDS: Bounds = Bounds {
    size: 1 << 20,
    age: Duration::from_secs(30 * 24 * 3600),
};

fn now() -> Timestamp {
    "2026-11-22T09:31:05Z".parse().unwrap()
}

fn open(dir: &TempDir) -> (Journal, Past) {
    Journal::open(dir.path(), BOUNDS).unwrap()
}

fn nothing() -> Past {
    Past {
        prev: Digest::ZERO,
        journals: vec![],
        confirmed: Confirmed::default(),
    }
}

/// Seals and appends events; gives their payloads.
fn write(journal: &mut Journal, sealer: &mut Sealer, events: usize) -> Vec<Bytes> {
    let host = Host {
        ip: [10, 0, 0, 1].into(),
        name: "pc".into(),
        id: "x".into(),
        mac: None,
        boot: Boot::default(),
    };
    let occurrence = Occurrence {
        time: now(),
        action: Action::EventsLost,
        fields: Fields::default(),
    };
    let mut write = || {
        let payload = sealer.seal(occurrence.clone(), &host, 0).unwrap().payload;
        journal.append(&payload, now()).unwrap();
        payload
    };
    (0..events).map(|_| write()).collect()
}

fn begin(journal: &mut Journal) -> (Uuid, Sealer) {
    let name = journal.next_name();
    journal.begin(name, now()).unwrap();
    (name, Sealer::new(name, Digest::ZERO))
}

fn path(dir: &TempDir, journal: Uuid) -> PathBuf {
    dir.path().join(format!("journal/{journal}.jsonl"))
}

#[test]
fn the_chain_goes_on_from_the_last_whole_line_of_the_newest_journal() {
    let dir = tempdir().unwrap();
    let (mut journal, past) = open(&dir);
    assert_eq!(past, nothing());
    let (first, mut sealer) = begin(&mut journal);
    let payloads = write(&mut journal, &mut sealer, 3);
    let (empty, _) = begin(&mut journal);
    drop(journal);
    let mut torn = fs::read(path(&dir, first)).unwrap();
    torn.extend_from_slice(b"{\"torn");
    fs::write(path(&dir, first), torn).unwrap();

    let (_journal, past) = open(&dir);
    assert_eq!(past.prev, Digest::of(&payloads[2]));
    let range = JournalRange {
        journal: first,
        first: 1,
        last: 3,
    };
    assert_eq!(past.journals, [range]);
    let expected = [payloads.join(&b"\n"[..]), b"\n".to_vec()].concat();
    assert_eq!(fs::read(path(&dir, first)).unwrap(), expected);
    assert!(!path(&dir, empty).exists());
}

#[test]
fn a_journal_torn_at_any_byte_keeps_its_whole_lines() {
    let dir = tempdir().unwrap();
    let (mut journal, _) = open(&dir);
    let (name, mut sealer) = begin(&mut journal);
    let payloads = write(&mut journal, &mut sealer, 3);
    drop(journal);
    let whole = fs::read(path(&dir, name)).unwrap();
    for length in (0..=whole.len()).rev() {
        fs::write(path(&dir, name), &whole[..length]).unwrap();
        let lines = whole[..length]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        let (_journal, past) = open(&dir);
        let last = past.journals.first().map_or(0, |range| range.last);
        assert_eq!(last, u64::try_from(lines).unwrap(), "at byte {length}");
        let prev = lines
            .checked_sub(1)
            .map_or(Digest::ZERO, |at| Digest::of(&payloads[at]));
        assert_eq!(past.prev, prev, "at byte {length}");
    }
}

#[test]
fn nobody_else_may_read_a_journal() {
    let dir = tempdir().unwrap();
    let (mut journal, _) = Journal::open(&dir.path().join("state"), BOUNDS).unwrap();
    let (name, _) = begin(&mut journal);
    journal.remember(&Confirmed::default()).unwrap();
    let mode = |path: &str| {
        fs::metadata(dir.path().join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode("state"), 0o700);
    assert_eq!(mode("state/journal"), 0o700);
    assert_eq!(mode("state/confirmed.json"), 0o600);
    assert_eq!(mode(&format!("state/journal/{name}.jsonl")), 0o600);
}

#[test]
fn a_second_agent_on_the_same_directory_is_refused() {
    let dir = tempdir().unwrap();
    let first = open(&dir);
    let refused = Journal::open(dir.path(), BOUNDS).err().unwrap();
    assert!(refused.to_string().contains("another agent"));
    drop(first);
    assert!(Journal::open(dir.path(), BOUNDS).is_ok());
}

#[test]
fn foreign_files_in_the_directory_are_left_alone() {
    let dir = tempdir().unwrap();
    fs::create_dir_all(dir.path().join("journal")).unwrap();
    let names = [
        "notes.txt",
        "x.jsonl",
        "00000000-0000-7000-8000-000000000001.jsonl",
    ];
    for name in names {
        fs::write(dir.path().join("journal").join(name), "no event\n").unwrap();
    }
    fs::write(dir.path().join("confirmed.json"), "{").unwrap();
    assert_eq!(open(&dir).1, nothing());
    for name in names {
        assert!(dir.path().join("journal").join(name).exists());
    }
}

#[test]
fn what_the_recorder_confirmed_is_remembered() {
    let dir = tempdir().unwrap();
    let (journal, _) = open(&dir);
    let mark = Mark {
        journal: Uuid::from_u128(1),
        sequence: 7,
    };
    let confirmed = Confirmed {
        recorder: Some(Uuid::from_u128(9)),
        marks: vec![mark],
        ..Confirmed::default()
    };
    journal.remember(&confirmed).unwrap();
    drop(journal);
    assert_eq!(open(&dir).1.confirmed, confirmed);
}

#[test]
fn names_sort_by_their_begin_though_the_clock_goes_back() {
    let (earlier, later) = (Uuid::from_u128(5 << 80 | 3), Uuid::from_u128(6 << 80 | 1));
    assert_eq!(after(earlier, later), later);
    assert!(after(later, earlier) > later);
    assert!(after(after(later, earlier), earlier) > after(later, earlier));
}

#[test]
fn events_are_read_back_while_the_journal_grows_and_in_any_order() {
    let dir = tempdir().unwrap();
    let (mut journal, _) = open(&dir);
    let (name, mut sealer) = begin(&mut journal);
    let mut payloads = write(&mut journal, &mut sealer, 1000);
    for sequence in [1, 2, 3, 999, 1000, 700, 701, 1, 1000] {
        let read = journal.read(name, sequence).unwrap();
        let at = usize::try_from(sequence).unwrap() - 1;
        assert_eq!(read, (Leaf::Usb, payloads[at].clone()), "{sequence}");
    }
    payloads.extend(write(&mut journal, &mut sealer, 1));
    assert_eq!(journal.read(name, 1001).unwrap().1, payloads[1000]);
    assert!(matches!(
        journal.read(name, 1002),
        Err(ReadError::Damaged { next: None })
    ));
}

#[test]
fn only_what_is_damaged_is_passed_over() {
    let dir = tempdir().unwrap();
    let (mut journal, _) = open(&dir);
    let (name, mut sealer) = begin(&mut journal);
    let payloads = write(&mut journal, &mut sealer, 10);
    let line = payloads[0].len() + 1;
    let mut bytes = fs::read(path(&dir, name)).unwrap();
    // Two events run together, a third is zeros.
    bytes[4 * line - 1] = b' ';
    bytes[7 * line..8 * line - 1].fill(0);
    fs::write(path(&dir, name), bytes).unwrap();
    assert_eq!(journal.read(name, 3).unwrap().1, payloads[2]);
    assert!(matches!(
        journal.read(name, 4),
        Err(ReadError::Damaged { next: Some(6) })
    ));
    for sequence in [6, 7, 10, 9] {
        assert_eq!(
            journal.read(name, sequence).unwrap().1,
            payloads[usize::try_from(sequence).unwrap() - 1]
        );
    }
    assert!(matches!(
        journal.read(name, 8),
        Err(ReadError::Damaged { next: Some(9) })
    ));
}

#[test]
fn a_damaged_end_costs_only_itself() {
    let dir = tempdir().unwrap();
    let (mut journal, _) = open(&dir);
    let (name, mut sealer) = begin(&mut journal);
    let payloads = write(&mut journal, &mut sealer, 3);
    drop(journal);
    let mut bytes = fs::read(path(&dir, name)).unwrap();
    bytes.extend_from_slice(b"\0\0\0\n");
    fs::write(path(&dir, name), bytes).unwrap();
    let (_, past) = open(&dir);
    assert_eq!(
        (past.journals[0].last, past.prev),
        (3, Digest::of(&payloads[2]))
    );
}

#[test]
fn the_oldest_journals_go_when_the_bound_is_reached() {
    let dir = tempdir().unwrap();
    let (mut journal, _) = open(&dir);
    let mut names = Vec::new();
    while journal.surplus(now(), |_| false).is_empty() {
        let (name, mut sealer) = begin(&mut journal);
        names.push(name);
        while !journal.is_long(now()) {
            write(&mut journal, &mut sealer, 1);
        }
    }
    let safe = names[3];
    assert_eq!(journal.surplus(now(), |name| name == safe), [safe]);
    assert_eq!(journal.surplus(now(), |_| false), [names[0]]);
    journal.drop_journal(names[0]).unwrap();
    assert!(!path(&dir, names[0]).exists());
    assert!(journal.surplus(now(), |_| false).is_empty());
}

#[test]
fn without_a_disk_events_wait_in_memory_within_bounds() {
    let dir = tempdir().unwrap();
    let (mut journal, _) = open(&dir);
    let mut names = Vec::new();
    while journal.surplus(now(), |_| false).is_empty() {
        let name = journal.next_name();
        journal.begin_in_memory(name);
        names.push(name);
        let mut sealer = Sealer::new(name, Digest::ZERO);
        let payloads = write(&mut journal, &mut sealer, 3);
        assert_eq!(journal.read(name, 3).unwrap().1, payloads[2]);
        while !journal.is_long(now()) {
            write(&mut journal, &mut sealer, 1);
        }
    }
    assert_eq!(journal.surplus(now(), |_| false), [names[0]]);
    begin(&mut journal);
    assert_eq!(journal.surplus(now(), |_| true), names);
    for name in names {
        journal.drop_journal(name).unwrap();
    }
    assert!(journal.surplus(now(), |_| true).is_empty());
}
