//! The recorder as a process against a real broker (Mosquitto on a loopback port), killed and stopped.
//!
//! Skipped loudly where Mosquitto is not installed.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test of real processes, files and sockets"
)]

use std::{
    fs::{self, File},
    io::{Write as _, stderr},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use labwatch_contract::{chain::Digest, time::Timestamp};
use labwatch_link::{
    QoS,
    session::{Message, Publisher, SessionSettings, session},
    settings::{BrokerArgs, Problems},
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const GENEROUS: Duration = Duration::from_secs(30);
const PC: &str = "192.168.0.133";

/// A process that does not outlive the test.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.unwrap().success());
    }

    fn ended(&mut self) -> ExitStatus {
        until(|| self.0.try_wait().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `look` finds, once it finds something.
fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + GENEROUS;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "nothing within {GENEROUS:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn mosquitto() -> Option<&'static str> {
    let places = [
        "/usr/sbin/mosquitto",
        "/usr/local/sbin/mosquitto",
        "/usr/bin/mosquitto",
    ];
    places.into_iter().find(|place| Path::new(place).exists())
}

/// Mosquitto with everything open on a loopback port, and the folder of its settings; `None` if there is none.
fn broker() -> Option<(Process, u16, TempDir)> {
    let Some(program) = mosquitto() else {
        let _ = writeln!(stderr(), "SKIPPED: mosquitto is not installed");
        return None;
    };
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let (process, dir) = start_broker(program, port);
    Some((process, port, dir))
}

fn start_broker(program: &str, port: u16) -> (Process, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let settings = dir.path().join("mosquitto.conf");
    let text =
        format!("listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nuser root\n");
    fs::write(&settings, text).unwrap();
    let mut command = Command::new(program);
    command.arg("-c").arg(settings).stderr(Stdio::null());
    let process = Process::start(&mut command);
    until(|| TcpStream::connect(("127.0.0.1", port)).ok());
    (process, dir)
}

fn recorder(port: u16, dir: &Path) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_labwatch-recorder"));
    command.arg("--dir").arg(dir);
    command
        .arg("--broker")
        .arg(format!("mqtt://127.0.0.1:{port}"));
    Process::start(&mut command)
}

/// A client that publishes on a thread of its own, for as long as it lives.
struct Client {
    publisher: Publisher,
    stop: CancellationToken,
}

impl Client {
    fn start(port: u16) -> Self {
        let broker = BrokerArgs {
            broker: format!("mqtt://127.0.0.1:{port}"),
            root: "lab".into(),
            username: None,
            password_file: None,
            ca: None,
        };
        let stop = CancellationToken::new();
        let settings = SessionSettings {
            connection: broker.read(&mut Problems::default()).unwrap(),
            client_id: "test".into(),
            filters: Vec::new(),
            outgoing_queue: 1024,
            incoming_queue: 8,
        };
        let (session, publisher, incoming) = session(settings, (), stop.clone());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(session.run());
            drop(incoming);
        });
        Self { publisher, stop }
    }

    fn publish(&self, topic: &str, payload: &[u8]) {
        let message = Message {
            topic: topic.into(),
            payload: payload.to_vec().into(),
            qos: QoS::AtLeastOnce,
            retain: false,
        };
        self.publisher.try_publish(message).unwrap();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Payloads 1 to `count` of a journal, with an odd but legal way of writing.
fn journal(count: u64) -> Vec<Vec<u8>> {
    let mut prev = Digest::ZERO;
    let now = Timestamp::from(chrono::Utc::now());
    let event = |sequence| {
        let payload = format!(
            r#" {{"@timestamp":"{now}", "event":{{"action":"device-connected","sequence":{sequence}}},"host":{{"ip":"{PC}"}},"lab":{{"journal":"019ab000-0000-7000-8000-000000000133","prev":"{prev}","uptime_ms":1}},"x":"\u00e9é\/","y":1.50}}"#
        );
        prev = Digest::of(payload.as_bytes());
        payload.into_bytes()
    };
    (1..=count).map(event).collect()
}

/// The files of a folder, oldest first.
fn files(dir: &Path, folder: &str) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(dir.join(folder)) else {
        return Vec::new();
    };
    let mut files: Vec<_> = listing.map(|file| file.unwrap().path()).collect();
    // `…Z.jsonl` is older than `…Z-2.jsonl`.
    files.sort_by_key(|path| path.file_stem().unwrap().to_owned());
    files
}

fn lines(dir: &Path, folder: &str) -> Vec<String> {
    let files = files(dir, folder);
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// The payload of a record, byte for byte, once time and topic are seen to be right.
fn payload<'a>(line: &'a str, topic: &str) -> &'a [u8] {
    let rest = line.strip_prefix("{\"received\":\"").unwrap();
    let (received, rest) = rest.split_once('"').unwrap();
    assert_eq!(received.parse::<Timestamp>().unwrap().to_string(), received);
    let rest = rest.strip_prefix(&format!(",\"topic\":\"{topic}\",\"payload\":"));
    rest.and_then(|rest| rest.strip_suffix('}'))
        .unwrap()
        .as_bytes()
}

#[test]
fn events_reach_the_files_through_kills_and_an_orderly_end() {
    let Some((_mosquitto, port, _conf)) = broker() else {
        return;
    };
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("records");
    let topic = format!("lab/{PC}/usb");
    let (events, client) = (journal(300), Client::start(port));

    let mut first = recorder(port, &dir);
    // The copies that come before it has subscribed are lost, those after the first are dropped.
    until(|| {
        client.publish(&topic, &events[0]);
        thread::sleep(Duration::from_millis(50));
        (!lines(&dir, PC).is_empty()).then_some(())
    });
    events[1..200]
        .iter()
        .for_each(|event| client.publish(&topic, event));
    client.publish("lab/../net", &events[0]);
    client.publish("lab/policy", b"{\"window\":null}");
    until(|| (lines(&dir, PC).len() == 200 && !lines(&dir, "lab").is_empty()).then_some(()));
    for (line, event) in lines(&dir, PC).iter().zip(&events) {
        assert_eq!(payload(line, &topic), event);
    }
    assert!(until(|| lines(&dir, "quarantine").pop()).contains("lab/../net"));

    first.signal("KILL");
    assert!(!first.ended().success());
    let mut second = recorder(port, &dir);
    // It knows where it was: the next event follows, those before it are duplicates.
    until(|| {
        client.publish(&topic, &events[199]);
        client.publish(&topic, &events[200]);
        thread::sleep(Duration::from_millis(50));
        (lines(&dir, PC).len() == 201).then_some(())
    });
    assert_eq!(payload(&lines(&dir, PC)[200], &topic), events[200]);
    client.publish(&topic, &events[299]);
    events[201..300]
        .iter()
        .for_each(|event| client.publish(&topic, event));
    until(|| (lines(&dir, PC).len() == 300).then_some(()));
    for (line, event) in lines(&dir, PC).iter().zip(&events) {
        assert_eq!(payload(line, &topic), event);
    }

    second.signal("TERM");
    assert_eq!(second.ended().code(), Some(0));
    let own = parent.path().join("own.jsonl");
    fs::write(&own, [events.join(&b'\n'), b"\n".to_vec()].concat()).unwrap();
    the_record_is_proof(&dir, &own);
}

/// What is there is in order and agrees with the PC's own journal; without its last line it is not.
fn the_record_is_proof(dir: &Path, own: &Path) {
    let verify = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_labwatch-recorder"));
        let ended = command
            .arg("verify")
            .arg(dir)
            .args(arguments)
            .output()
            .unwrap();
        (
            ended.status.code(),
            String::from_utf8(ended.stdout).unwrap(),
        )
    };
    let (code, told) = verify(&["--journal", own.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{told}");
    let last = files(dir, PC).pop().unwrap();
    let text = fs::read_to_string(&last).unwrap();
    let line = text.lines().last().unwrap().len() + 1;
    fs::write(&last, &text[..text.len() - line]).unwrap();
    let (code, told) = verify(&[]);
    assert!(code == Some(1) && told.contains("cut"), "{told}");
}

#[test]
fn a_broker_that_has_forgotten_is_left_the_last_checkpoint_again() {
    let Some((broker, port, _settings)) = broker() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let _recorder = recorder(port, dir.path());
    let client = Client::start(port);
    until(|| {
        client.publish(&format!("lab/{PC}/usb"), &journal(1)[0]);
        files(dir.path(), PC).pop()
    });
    let retained = || {
        let mut command = Command::new("mosquitto_sub");
        let port = port.to_string();
        let command = command.args(["-p", &port, "-t", "lab/checkpoint", "-C", "1", "-W", "1"]);
        let said = command.args(["-F", "%r %p"]).output().unwrap().stdout;
        String::from_utf8(said)
            .unwrap()
            .strip_prefix("1 ")
            .map(str::to_owned)
    };
    let first = until(retained);
    drop(broker);
    let _broker = start_broker(mosquitto().unwrap(), port);
    assert_eq!(until(retained), first);
}

#[test]
fn a_directory_that_another_recorder_holds_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let lock = File::create(dir.path().join("lock")).unwrap();
    lock.try_lock().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_labwatch-recorder"));
    let ended = command.arg("--dir").arg(dir.path()).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(told.contains("another recorder"), "{told}");
}

#[test]
fn wrong_settings_are_told_and_nothing_is_started() {
    let dir = tempfile::tempdir().unwrap();
    let records = dir.path().join("records");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_labwatch-recorder"));
        command.arg("--check").args(arguments).output().unwrap()
    };
    let good = run(&["--dir", records.to_str().unwrap()]);
    assert_eq!(good.status.code(), Some(0));
    assert!(!records.exists());
    let bad = run(&["--dir", "/dev/null", "--broker", "ftp://x"]);
    assert_eq!(bad.status.code(), Some(2));
    let told = String::from_utf8(bad.stderr).unwrap();
    assert!(
        told.contains("--dir") && told.contains("--broker"),
        "{told}"
    );
}
