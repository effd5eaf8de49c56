//! A log that ends at any byte, as a power cut leaves it: the recorder starts, and its record is whole as far as it goes.
//!
//! A recorder, a broker and a small crowd of their own: the log of a first run is cut at one byte after the other, each
//! time beside the files as they were before that run, and the recorder is started on it without a broker.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    crowd::Crowd,
    disk::Disk,
    oracle::{self, Journal, Record, list},
    room::recorder_command,
};
use crate::{
    lab::Lab,
    program::{Program, labwatch},
};

const PORT: u16 = 1883;
/// Enough for any run.
const MIB: u64 = 64;
/// Files that stand before the first event.
const SMALL: [&str; 4] = ["lock", "key", "marks", "checkpoint"];

/// Cuts the log behind every byte of its last `bytes`, or behind `samples` of them.
///
/// # Panics
/// When a record is not whole, or the recorder does not start.
pub fn run(bytes: usize, samples: Option<usize>, dice: &mut fastrand::Rng) {
    let lab = Lab::new();
    let disk = Disk::mount(lab.dir.path().join("disk"), MIB);
    let (first, base) = (disk.records(), lab.dir.path().join("disk/base"));
    let log = record_something(&lab, &first, &base);
    let journals = oracle::journals(lab.dir.path());
    let whole = fs::read(&log).unwrap();
    let mut lengths: Vec<_> = (whole.len().saturating_sub(bytes)..=whole.len()).collect();
    if let Some(samples) = samples {
        dice.shuffle(&mut lengths);
        lengths.truncate(samples);
    }
    println!(
        "a log of {} bytes is cut behind {} of the last {bytes}",
        whole.len(),
        lengths.len()
    );
    let mut seen = std::collections::BTreeSet::new();
    for length in lengths {
        let torn = disk.records().with_file_name("torn");
        copy(&base, &torn);
        fs::create_dir_all(torn.join("log")).unwrap();
        fs::write(
            torn.join("log").join(log.file_name().unwrap()),
            &whole[..length],
        )
        .unwrap();
        seen.insert(check(&torn, &journals, length));
        fs::remove_dir_all(&torn).unwrap();
    }
    println!("records of {seen:?} events came of it");
    assert!(
        seen.len() > 1,
        "some events are lost with the end of the log, and some are not"
    );
}

/// A first run that is killed; gives its only segment.
fn record_something(lab: &Lab, dir: &Path, base: &Path) -> PathBuf {
    let _broker = lab.start_broker();
    let mut command = lab.server.command(labwatch("recorder"));
    let mut recorder = Program::start("recorder", command.arg("--dir").arg(dir));
    let _ = recorder.wait_for(&["connected to the broker"]);
    fs::create_dir(base).unwrap();
    for name in SMALL {
        // No checkpoint has been made yet.
        let _ = fs::copy(dir.join(name), base.join(name));
    }
    let mut crowd = Crowd::new(Ipv4Addr::new(10, 96, 0, 1), 4, 0);
    for _ in 0..12 {
        crowd.occur(1);
        crowd.deliver(&lab.server, PORT);
    }
    recorder.kill();
    crowd.write_journals(lab.dir.path());
    let mut segments = list(&dir.join("log"));
    assert_eq!(segments.len(), 1, "{segments:?}");
    segments.remove(0)
}

/// Starts a recorder on a torn log; gives how many events its record has then.
fn check(dir: &Path, journals: &[Journal], length: usize) -> usize {
    let mut command = recorder_command();
    // Nobody listens there.
    command
        .args(["--broker", "mqtt://127.0.0.1:9", "--dir"])
        .arg(dir);
    let mut recorder = Program::start("recorder", &mut command);
    let _ = recorder.wait_for(&["no connection to the broker"]);
    let (ended, _) = recorder.terminate();
    assert!(ended.success(), "cut behind byte {length}: {ended}");
    let record = Record::read(dir);
    let findings = record.compare(journals);
    assert!(
        findings.is_but_short(),
        "cut behind byte {length}: {findings}"
    );
    let verified = recorder_command().arg("verify").arg(dir).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(
        verified.status.success(),
        "cut behind byte {length}: {said}"
    );
    record.len()
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}
