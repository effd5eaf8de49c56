//! Programs under test and around it, each killed when its owner is dropped.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Long enough for a busy machine; only a test that fails waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A child process that does not outlive its test.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// Sends a signal: `TERM`, `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for the end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the end of the process", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks again and again; for what tells nobody when it changes.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Whether all of these programs are there; says SKIPPED when not.
pub(crate) fn have(programs: &[&str]) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let missing: Vec<_> = programs
        .iter()
        .filter(|program| !std::env::split_paths(&path).any(|dir| dir.join(program).exists()))
        .collect();
    if missing.is_empty() {
        return true;
    }
    // The test harness hides what a passing test prints; this must be seen.
    let _ = writeln!(std::io::stderr(), "SKIPPED: no {missing:?} on this machine");
    false
}

/// A Mosquitto on a random port of the loopback interface.
pub(crate) struct Broker {
    port: u16,
    running: Option<Running>,
    room: tempfile::TempDir,
}

impl Broker {
    /// `None`, and said loudly, where there is no Mosquitto.
    pub(crate) fn start() -> Option<Self> {
        if !have(&["mosquitto", "mosquitto_pub"]) {
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut broker = Self {
            port,
            running: None,
            room: tempfile::tempdir().unwrap(),
        };
        broker.up();
        Some(broker)
    }

    /// Starts it (again) on its port.
    pub(crate) fn up(&mut self) {
        let settings = self.room.path().join("mosquitto.conf");
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n",
            self.port
        );
        std::fs::write(&settings, text).unwrap();
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        let mut command = Command::new("mosquitto");
        command.env("PATH", path).arg("-c").arg(settings);
        self.running = Some(Running::start(
            command.stdout(Stdio::null()).stderr(Stdio::null()),
        ));
        let port = self.port;
        eventually("mosquitto", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
    }

    /// Kills it.
    pub(crate) fn down(&mut self) {
        self.running = None;
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Publishes a message at QoS 1 and waits until the broker has it.
    pub(crate) fn publish(&self, topic: &str, payload: &[u8]) {
        self.publish_with(topic, payload, &["-q", "1", "-s"]);
    }

    /// Publishes a retained message.
    pub(crate) fn retain(&self, topic: &str, payload: &[u8]) {
        self.publish_with(topic, payload, &["-q", "1", "-s", "-r"]);
    }

    /// What the broker retains under a topic; nothing within five seconds is an empty text.
    pub(crate) fn retained(&self, topic: &str) -> String {
        let output = Command::new("mosquitto_sub")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-t", topic, "-C", "1", "-W", "5"])
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    /// Publishes many messages on one connection, as fast as it goes.
    pub(crate) fn publish_all(&self, topic: &str, payloads: &[Vec<u8>]) {
        self.publish_with(topic, &payloads.join(&b'\n'), &["-q", "0", "-l"]);
    }

    fn publish_with(&self, topic: &str, input: &[u8], flags: &[&str]) {
        let mut child = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-t", topic])
            .args(flags)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        assert!(child.wait().unwrap().success());
    }
}

/// The notifier's binary, its stdout as lines.
pub(crate) struct Notifier {
    pub(crate) running: Running,
    lines: Receiver<String>,
    log: Arc<Mutex<Vec<u8>>>,
}

impl Notifier {
    /// A command with nothing of this session's environment that would reach a desktop.
    pub(crate) fn command(broker: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_labwatch-notifier"));
        command
            .args(["--broker", broker])
            .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus")
            .env_remove("XDG_RUNTIME_DIR")
            .stdin(Stdio::null());
        command
    }

    /// Starts it and waits until it is subscribed: a retained status of a PC that is there comes to it.
    pub(crate) fn start<I: AsRef<OsStr>>(broker: &Broker, args: &[I]) -> Self {
        let mut command = Self::command(&broker.url());
        command.args(args);
        Self::watching(broker, command)
    }

    pub(crate) fn watching(broker: &Broker, mut command: Command) -> Self {
        let witness = crate::lab::status("192.168.0.99", "online", "started", 99);
        broker.retain("lab/192.168.0.99/status", &witness);
        let notifier = Self::spawn(&mut command);
        notifier.line("192.168.0.99 connected");
        notifier
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = Running::start(command);
        let (sender, lines) = channel();
        let stdout = BufReader::new(running.0.stdout.take().unwrap());
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut stderr = running.0.stderr.take().unwrap();
        let copy = Arc::clone(&log);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stderr.read(&mut bytes) {
                copy.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Self {
            running,
            lines,
            log,
        }
    }

    /// The next line, which must hold this text.
    #[track_caller]
    pub(crate) fn line(&self, text: &str) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) if line.contains(text) => line,
            Ok(line) => panic!("the next line is {line:?}, not {text:?}"),
            Err(error) => panic!("no line with {text:?} ({error}); the log: {}", self.log()),
        }
    }

    /// The next line.
    pub(crate) fn any_line(&self) -> Option<String> {
        self.lines.recv_timeout(PATIENCE).ok()
    }

    /// The next line, if it comes within so many milliseconds.
    pub(crate) fn any_line_within(&self, milliseconds: u64) -> Option<String> {
        let wait = Duration::from_millis(milliseconds);
        self.lines.recv_timeout(wait).ok()
    }

    /// What stderr holds by now.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().unwrap()).into_owned()
    }
}
