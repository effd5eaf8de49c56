//! What a person reads: `show` against golden files, and while the recorder goes on writing.
//!
//! The golden files stand beside the records they are made from. After a wanted change of the layout, run
//! `labwatch-recorder show tests/records > tests/show.txt` and read the difference.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test of real files and a real process"
)]

use std::{
    fs::{self, OpenOptions},
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use labwatch_recorder::show::{ShowArgs, show};

const GENEROUS: Duration = Duration::from_secs(20);

fn arguments(path: &str) -> ShowArgs {
    ShowArgs {
        path: path.into(),
        ip: None,
        from: None,
        to: None,
        follow: false,
    }
}

/// What `show` prints; paths are those below the crate, where cargo runs its tests.
fn shown(args: &ShowArgs) -> String {
    let mut out = Vec::new();
    show(args, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_lab_is_shown_as_in_the_golden_file() {
    let golden = fs::read_to_string("tests/show.txt").unwrap();
    assert_eq!(shown(&arguments("tests/records")), golden);
}

#[test]
fn a_pcs_own_journal_is_shown_as_in_the_golden_file() {
    let golden = fs::read_to_string("tests/show-journal.txt").unwrap();
    assert_eq!(shown(&arguments("tests/journal")), golden);
}

#[test]
fn nothing_reaches_a_terminal_that_could_command_it() {
    for line in shown(&arguments("tests/records")).lines() {
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(!line.contains('\u{202e}'), "{line:?}");
    }
}

#[test]
fn one_folder_or_one_file_is_shown_alone() {
    let folder = shown(&arguments("tests/records/192.168.0.134"));
    assert_eq!(folder.lines().count(), 4);
    let file = "tests/records/192.168.0.134/2026-11-22T09-31-00Z.jsonl";
    assert_eq!(shown(&arguments(file)), folder);
}

#[test]
fn one_pc_is_shown_with_the_alerts_about_it() {
    let args = ShowArgs {
        ip: Some("192.168.0.133".parse().unwrap()),
        ..arguments("tests/records")
    };
    let text = shown(&args);
    assert!(text.contains("alert opened"), "{text}");
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("2026"))
        .collect();
    assert_eq!(lines.len(), 15, "{text}");
    assert!(
        lines
            .iter()
            .all(|line| line[26..].starts_with("192.168.0.133 "))
    );
}

#[test]
fn an_event_is_shown_as_its_senders_whatever_address_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("192.168.0.133");
    let event = |ip: &str| {
        format!(
            r#"{{"received":"2026-11-22T09:31:05.140Z","topic":"exam/192.168.0.133/usb","payload":{{"@timestamp":"2026-11-22T09:31:05.123Z","event":{{"action":"device-connected","sequence":1}},"host":{{"ip":"{ip}"}},"lab":{{"journal":"019ab000-0000-7000-8000-000000000133","prev":"{}","uptime_ms":1}}}}}}"#,
            "0".repeat(64)
        ) + "\n"
    };
    fs::write(dir.path().join("lock"), "").unwrap();
    append(&folder, "2026-11-22T09-31-05Z", &event("192.168.0.134"));
    append(&folder, "2026-11-22T09-31-05Z", &event("192.168.0.133"));
    let shown_of = |ip: &str| {
        let args = ShowArgs {
            ip: Some(ip.parse().unwrap()),
            ..arguments(dir.path().to_str().unwrap())
        };
        shown(&args)
    };
    assert_eq!(shown_of("192.168.0.134"), "");
    let text = shown_of("192.168.0.133");
    let lines: Vec<_> = text
        .lines()
        .map(|line| line.contains("[about 192.168.0.134]"))
        .collect();
    assert_eq!(lines, [true, false], "{text}");
}

#[test]
fn from_and_to_are_both_included() {
    let args = ShowArgs {
        from: Some("2026-11-22T10:31:05.140+01:00".parse().unwrap()),
        to: Some("2026-11-22T09:31:06.002Z".parse().unwrap()),
        ip: Some("192.168.0.133".parse().unwrap()),
        ..arguments("tests/records/192.168.0.133")
    };
    let text = shown(&args);
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("2026"))
        .collect();
    assert_eq!(lines.len(), 2, "{text}");
}

#[test]
fn what_holds_no_records_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path(), Path::new("/nowhere/at/all")] {
        let args = arguments(path.to_str().unwrap());
        let error = show(&args, &mut io::sink()).unwrap_err();
        assert!(
            format!("{error:#}").contains(path.to_str().unwrap()),
            "{error:#}"
        );
    }
    fs::write(dir.path().join("lock"), "").unwrap();
    assert_eq!(shown(&arguments(dir.path().to_str().unwrap())), "");
}

#[test]
fn a_large_folder_is_shown_whole_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let note = |number| {
        format!(r#"{{"received":"2026-11-22T09:31:05.140Z","note":{{"number":{number}}}}}"#)
    };
    let mut number = 0;
    for file in ["", "-2", "-10"] {
        let lines: Vec<String> = (0..5000)
            .map(|_| {
                number += 1;
                note(number)
            })
            .collect();
        let path = dir.path().join(format!("2026-11-22T09-31-05Z{file}.jsonl"));
        fs::write(path, lines.join("\n") + "\n").unwrap();
    }
    let text = shown(&arguments(dir.path().to_str().unwrap()));
    let numbers: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split("number\":").nth(1))
        .collect();
    let expected: Vec<String> = (1..=15_000).map(|number| format!("{number}}}")).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn a_line_of_many_mebibytes_is_one_bad_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("2026-11-22T09-31-05Z.jsonl");
    let good = r#"{"received":"2026-11-22T09:31:05.140Z","note":{}}"#;
    fs::write(&path, format!("{}\n{good}\n", "x".repeat(3 << 20))).unwrap();
    let text = shown(&arguments(path.to_str().unwrap()));
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains(":1: no record: longer than 1 MiB"), "{text}");
}

#[test]
fn a_reader_that_has_enough_is_a_quiet_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("2026-11-22T09-31-05Z.jsonl");
    let line = "{\"received\":\"2026-11-22T09:31:05.140Z\",\"note\":{}}\n";
    // More than a pipe holds.
    fs::write(&path, line.repeat(50_000)).unwrap();
    let mut child = start(&["show", path.to_str().unwrap()]);
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    drop(lines);
    let ended = child.wait_with_output().unwrap();
    assert!(
        ended.status.success() && ended.stderr.is_empty(),
        "{ended:?}"
    );
}

#[test]
fn following_goes_on_in_new_files_and_with_new_pcs() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("lock"), "").unwrap();
    let path = dir.path().to_str().unwrap();
    let mut child = start(&["show", path, "--follow"]);
    let lines = lines_of(&mut child);
    let pc = dir.path().join("10.0.0.1");
    let other = dir.path().join("10.0.0.2");
    for (folder, file, text) in [
        (&pc, "2026-11-22T09-31-05Z", "one"),
        (&pc, "2026-11-22T09-31-05Z", "two"),
        (&pc, "2026-11-22T10-00-00Z", "three"),
        (&other, "2026-11-22T10-00-00Z", "four"),
        (&pc, "2026-11-22T10-00-00Z-2", "five"),
        // The clock was set back.
        (&pc, "2026-11-22T08-00-00Z", "six"),
    ] {
        append(folder, file, &half(text).0);
        append(folder, file, &half(text).1);
        let line = lines.recv_timeout(GENEROUS).unwrap();
        assert!(line.contains(&format!("\"{text}\"")), "{line}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A line in two pieces, as a reader may find it.
fn half(text: &str) -> (String, String) {
    let line =
        format!("{{\"received\":\"2026-11-22T09:31:05.140Z\",\"note\":{{\"x\":\"{text}\"}}}}\n");
    let (head, tail) = line.split_at(20);
    (head.to_owned(), tail.to_owned())
}

fn append(folder: &Path, file: &str, text: &str) {
    fs::create_dir_all(folder).unwrap();
    let path = folder.join(format!("{file}.jsonl"));
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn start(arguments: &[&str]) -> Child {
    Command::new(PathBuf::from(env!("CARGO_BIN_EXE_labwatch-recorder")))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn lines_of(child: &mut Child) -> mpsc::Receiver<String> {
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
