//! `verify` against records that lie: each lie is found, and the first bad line named.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test of real files"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use labwatch_contract::{
    chain::Digest,
    checkpoint::{FileHead, Key, Summary, root},
};
use labwatch_recorder::verify::{VerifyArgs, verify};
use tempfile::{TempDir, tempdir};
use uuid::Uuid;

const FILE: &str = "192.168.0.133/2026-11-22T09-31-05Z.jsonl";
const NEXT: &str = "192.168.0.133/2026-11-22T10-00-00Z.jsonl";
const MOVED: &str = "192.168.0.140/2026-11-22T10-30-00Z.jsonl";
const LAB: &str = "lab/2026-11-22T09-31-05Z.jsonl";

/// Payloads 1 to 12 of a journal.
fn events() -> Vec<String> {
    let mut prev = Digest::ZERO;
    let event = |sequence| {
        let payload = format!(
            r#"{{"@timestamp":"2026-11-22T09:31:05.123Z","event":{{"action":"device-connected","sequence":{sequence}}},"host":{{"ip":"192.168.0.133"}},"lab":{{"journal":"019ab000-0000-7000-8000-000000000133","prev":"{prev}","uptime_ms":1}},"x":{sequence}}} "#
        );
        prev = Digest::of(payload.as_bytes());
        payload
    };
    (1..=12).map(event).collect()
}

struct Record(TempDir);

impl Record {
    /// A record of 12 events in three files of two folders, the journal moving to another address; signed.
    fn new() -> Self {
        let dir = tempdir().unwrap();
        let record = Self(dir);
        let events = events();
        for (file, numbers, hour) in [(FILE, 0..4, 9), (NEXT, 4..8, 10), (MOVED, 8..12, 11)] {
            let ip = file.split('/').next().unwrap();
            let line = |event: &String| {
                format!(
                    "{{\"received\":\"2026-11-22T{hour:02}:40:00.000Z\",\"topic\":\"lab/{ip}/usb\",\"payload\":{event}}}\n"
                )
            };
            record.write(file, &events[numbers].iter().map(line).collect::<String>());
        }
        record.sign();
        record
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }

    fn write(&self, file: &str, text: &str) {
        fs::create_dir_all(self.path(file).parent().unwrap()).unwrap();
        fs::write(self.path(file), text).unwrap();
    }

    fn sign(&self) {
        self.sign_with("");
    }

    /// Signs the files that are there, `notes` before the checkpoint.
    fn sign_with(&self, notes: &str) {
        let head = |file: &str| {
            let text = self.read(file);
            FileHead {
                file: file.to_owned(),
                bytes: text.len().try_into().unwrap(),
                sha256: Digest::of(text.as_bytes()),
            }
        };
        let there = [FILE, NEXT, MOVED].into_iter();
        let heads: Vec<_> = there
            .filter(|file| self.path(file).exists())
            .map(head)
            .collect();
        let summary = Summary {
            recorder: Uuid::nil(),
            number: 1,
            files: 3,
            prev: Digest::ZERO,
            root: root(Digest::ZERO, &heads),
        };
        let time = "2026-11-22T12:00:00Z".parse().unwrap();
        let checkpoint = serde_json::to_string(&Key::new(&[7; 32]).sign(time, summary)).unwrap();
        let heads = serde_json::to_string(&heads).unwrap();
        self.write(LAB, &format!(
            "{notes}{{\"received\":\"{time}\",\"note\":{{\"action\":\"heads\",\"heads\":{heads}}}}}\n{{\"received\":\"{time}\",\"topic\":\"lab/checkpoint\",\"payload\":{checkpoint}}}\n"
        ));
        self.write("checkpoint", &checkpoint);
    }

    /// What `verify` finds; nothing when all is in order.
    fn findings(&self, journal: Option<&Path>) -> String {
        let mut told = Vec::new();
        let args = VerifyArgs {
            dir: self.0.path().to_owned(),
            journal: journal.map(Path::to_owned),
            key: None,
        };
        let good = verify(&args, &mut told).unwrap();
        let told = String::from_utf8(told).unwrap();
        let (findings, summary) = told
            .trim_end()
            .rsplit_once('\n')
            .unwrap_or(("", told.trim_end()));
        assert_eq!(good, findings.is_empty(), "{told}");
        assert_eq!(good, summary.ends_with("in order"), "{told}");
        findings.to_owned()
    }

    /// Changes the lines of a file and expects the first finding there.
    fn lie(&self, file: &str, change: impl FnOnce(&mut Vec<String>), expected: &str) {
        let text = self.read(file);
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        change(&mut lines);
        self.write(
            file,
            &lines
                .iter()
                .map(|line| format!("{line}\n"))
                .collect::<String>(),
        );
        let findings = self.findings(None);
        let first = findings.lines().next().unwrap_or_default();
        assert!(
            !first.is_empty() && first.contains(expected),
            "{expected} is not first in:\n{findings}"
        );
    }
}

#[test]
fn a_true_record_is_in_order_and_follows_a_journal_over_files_and_folders() {
    assert_eq!(Record::new().findings(None), "");
}

#[test]
fn each_lie_is_found_and_its_line_named() {
    let at = |line| format!("{FILE}:{line}:");
    Record::new().lie(
        FILE,
        |lines| lines[1] = lines[1].replace("\"x\":2", "\"x\":9"),
        &at(2),
    );
    Record::new().lie(FILE, |lines| drop(lines.remove(1)), &at(2));
    Record::new().lie(FILE, |lines| lines.swap(1, 2), &at(2));
    Record::new().lie(FILE, |lines| lines.insert(2, lines[1].clone()), &at(3));
    Record::new().lie(FILE, |lines| lines[2].truncate(50), &at(3));
    Record::new().lie(FILE, |lines| lines.truncate(2), &format!("{FILE}: cut"));
    Record::new().lie(MOVED, |lines| lines.truncate(2), &format!("{MOVED}: cut"));
    // No event was touched, and the file is still not what was signed.
    Record::new().lie(
        FILE,
        |lines| lines[0] = lines[0].replace("09:40:00", "09:41:00"),
        FILE,
    );
}

#[test]
fn a_file_that_was_replaced_or_removed_is_found() {
    let record = Record::new();
    fs::remove_file(record.path(MOVED)).unwrap();
    assert!(record.findings(None).contains(&format!("{MOVED}: missing")));
    let record = Record::new();
    fs::remove_file(record.path(NEXT)).unwrap();
    let findings = record.findings(None);
    assert!(
        findings.contains(&format!("{MOVED}:1:")) && findings.contains(&format!("{NEXT}: missing")),
        "{findings}"
    );
    let record = Record::new();
    record.write(
        FILE,
        &record
            .read(FILE)
            .replace("\"sequence\":4}", "\"sequence\":5}"),
    );
    assert!(!record.findings(None).is_empty());
    let record = Record::new();
    fs::remove_file(record.path(LAB)).unwrap();
    assert!(record.findings(None).contains("checkpoint 1 was made"));
}

/// A line of the recorder's own, received at this time of the day.
fn note(at: &str) -> String {
    format!(
        "{{\"received\":\"2026-11-22T{at}.000Z\",\"note\":{{\"action\":\"other-host\",\"ip\":\"192.168.0.133\",\"journal\":\"019ab000-0000-7000-8000-000000000133\",\"sequence\":9}}}}\n"
    )
}

#[test]
fn what_was_put_in_behind_a_signature_is_found() {
    // In a signed file, and in one that no checkpoint knows.
    let other = "192.168.0.133/2026-11-22T11-00-00Z.jsonl";
    for (file, line) in [(FILE, 5), (other, 1)] {
        let record = Record::new();
        let text = fs::read_to_string(record.path(file)).unwrap_or_default();
        record.write(file, &(text + &note("11:55:00")));
        let findings = record.findings(None);
        assert!(
            findings.contains(&format!("{file}:{line}: not signed")),
            "{findings}"
        );
    }
    // What came since, or a moment before, is signed by the next checkpoint.
    let record = Record::new();
    record.write(other, &(note("11:59:00") + &note("12:00:30")));
    assert_eq!(record.findings(None), "");
}

#[test]
fn a_record_without_checkpoints_is_in_order_for_its_first_minutes_only() {
    let record = Record::new();
    fs::remove_file(record.path(LAB)).unwrap();
    fs::remove_file(record.path("checkpoint")).unwrap();
    assert!(record.findings(None).contains("nothing here is signed"));
    for file in [FILE, NEXT, MOVED] {
        fs::remove_file(record.path(file)).unwrap();
    }
    record.write(FILE, &(note("09:31:05") + &note("09:33:00")));
    assert_eq!(record.findings(None), "");
}

#[test]
fn what_has_the_fields_of_a_checkpoint_under_another_topic_is_none() {
    let record = Record::new();
    let text = record.read(LAB);
    let line = text.lines().next_back().unwrap();
    let odd = line.replace("lab/checkpoint", "lab/policy");
    record.write(LAB, &format!("{odd}\n{text}"));
    let findings = record.findings(None);
    assert!(!findings.contains("checkpoint 1"), "{findings}");
}

#[test]
fn after_retention_a_journal_may_begin_with_events_and_with_a_gap() {
    let retention = format!(
        "{{\"received\":\"2026-11-22T12:00:00.000Z\",\"note\":{{\"action\":\"retention\",\"before\":\"2026-11-22T10:00:00.000Z\",\"files\":[\"{FILE}\"]}}}}\n"
    );
    let gap = "{\"received\":\"2026-11-22T10:40:00.000Z\",\"note\":{\"action\":\"gap\",\"ip\":\"192.168.0.133\",\"journal\":\"019ab000-0000-7000-8000-000000000133\",\"from\":5,\"to\":6}}\n";
    let record = Record::new();
    fs::remove_file(record.path(FILE)).unwrap();
    record.sign_with(&retention);
    assert_eq!(record.findings(None), "");
    let kept: String = record.read(NEXT).split_inclusive('\n').skip(2).collect();
    record.write(NEXT, &(gap.to_owned() + &kept));
    record.sign_with(&retention);
    assert_eq!(record.findings(None), "");
    // Without it neither.
    record.sign();
    assert!(
        record
            .findings(None)
            .contains(&format!("{NEXT}:1: a gap that does not follow"))
    );
}

#[test]
fn the_key_of_a_record_is_told_and_compared_with_the_one_that_it_should_have() {
    let record = Record::new();
    let told = |key: &str| {
        let mut told = Vec::new();
        let args = VerifyArgs {
            dir: record.0.path().to_owned(),
            journal: None,
            key: Some(key.to_owned()),
        };
        let good = verify(&args, &mut told).unwrap();
        (good, String::from_utf8(told).unwrap())
    };
    let (own, other) = (Key::new(&[7; 32]).public(), Key::new(&[8; 32]).public());
    let (good, text) = told(&own);
    assert!(
        good && text.contains(&format!("the last is number 1 by key {own}")),
        "{text}"
    );
    let (good, text) = told(&other);
    assert!(!good && text.contains("another key"), "{text}");
    fs::remove_file(record.path(LAB)).unwrap();
    fs::remove_file(record.path("checkpoint")).unwrap();
    assert!(!told(&own).0);
}

#[test]
fn a_checkpoint_that_was_changed_proves_nothing() {
    Record::new().lie(
        LAB,
        |lines| lines[1] = lines[1].replace("\"number\":1", "\"number\":2"),
        "lab/",
    );
    Record::new().lie(
        LAB,
        |lines| lines[0] = lines[0].replacen("\"bytes\":", "\"bytes\":1", 1),
        "not those that it signs",
    );
    Record::new().lie(
        LAB,
        |lines| drop(lines.remove(0)),
        "not those that it signs",
    );
}

#[test]
fn any_byte_that_is_changed_is_found() {
    for file in [FILE, MOVED] {
        let length = Record::new().read(file).len();
        for at in (0..length).step_by(37) {
            let record = Record::new();
            let mut bytes = fs::read(record.path(file)).unwrap();
            bytes[at] ^= 1;
            fs::write(record.path(file), bytes).unwrap();
            assert_ne!(record.findings(None), "", "{file} at {at}");
        }
    }
}

#[test]
fn a_pcs_own_journal_may_be_shorter_and_never_different() {
    let record = Record::new();
    let own = record.path("own.txt");
    let write = |events: &[String]| {
        fs::write(
            &own,
            events
                .iter()
                .map(|event| format!("{event}\n"))
                .collect::<String>(),
        )
        .unwrap()
    };
    write(&events());
    assert_eq!(record.findings(Some(&own)), "");
    write(&events()[..10]);
    assert_eq!(record.findings(Some(&own)), "");
    let mut other = events();
    other[4] = other[4].replace("\"x\":5", "\"x\":6");
    write(&other);
    let findings = record.findings(Some(&own));
    assert!(
        findings.starts_with(record.path(NEXT).to_str().unwrap()) && findings.contains("own.txt:5"),
        "{findings}"
    );
    // The record was cut where no checkpoint speaks for it: the journal does.
    let record = Record::new();
    fs::remove_file(record.path(LAB)).unwrap();
    fs::remove_file(record.path("checkpoint")).unwrap();
    let text = record.read(MOVED);
    let last = text.trim_end().rfind('\n').unwrap();
    record.write(MOVED, &text[..=last]);
    write(&events());
    let findings = record.findings(Some(&own));
    assert!(findings.contains("own.txt:12: event 12"), "{findings}");
}
