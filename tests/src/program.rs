//! One running program: the lines it prints, with the moment of each, and its end.

use std::{
    io::{BufRead as _, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long anything that must happen may take, on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(20);

/// One of Labwatch's own programs, built beside this test.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn labwatch(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test
        .ancestors()
        .nth(2)
        .unwrap()
        .join(format!("labwatch-{name}"));
    assert!(
        path.exists(),
        "{} is missing: cargo build --workspace first",
        path.display()
    );
    path
}

/// A line and when it came.
#[derive(Debug, Clone)]
pub struct Line {
    /// When it was read.
    pub at: Instant,
    /// Without its line feed.
    pub text: String,
}

#[derive(Default)]
struct Lines {
    lines: Mutex<Vec<Line>>,
    more: Condvar,
}

/// A running program; killed when dropped.
pub struct Program {
    name: String,
    child: Child,
    lines: Arc<Lines>,
}

impl Program {
    /// Starts a command and reads what it prints.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: &str, command: &mut Command) -> Self {
        let command = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let lines = Arc::new(Lines::default());
        collect(child.stdout.take().unwrap(), lines.clone());
        collect(child.stderr.take().unwrap(), lines.clone());
        Self {
            name: name.to_owned(),
            child,
            lines,
        }
    }

    /// All lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.lines
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The first line after the first `skip` ones that holds all of `parts`.
    ///
    /// # Panics
    /// When none comes within [`LIMIT`]; the message holds everything that came instead.
    #[must_use]
    pub fn wait_for_after(&self, skip: usize, parts: &[&str]) -> Line {
        let end = Instant::now() + LIMIT;
        let mut lines = self
            .lines
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loop {
            let fits = |line: &&Line| parts.iter().all(|part| line.text.contains(part));
            if let Some(line) = lines.iter().skip(skip).find(fits) {
                return line.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let all: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
                panic!(
                    "{}: no line with {parts:?} among:\n{}",
                    self.name,
                    all.join("\n")
                );
            }
            lines = self
                .lines
                .more
                .wait_timeout(lines, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// The first line that holds all of `parts`; see [`Self::wait_for_after`].
    #[must_use]
    pub fn wait_for(&self, parts: &[&str]) -> Line {
        self.wait_for_after(0, parts)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Kills it, as `kill -9` does, and waits.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, and says how it did and how long it took.
    ///
    /// # Panics
    /// When it does not end within [`LIMIT`].
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        self.signal(Signal::SIGTERM);
        self.wait_since(began)
    }

    /// Waits for its end, and says how it was and how long it took.
    ///
    /// # Panics
    /// When it does not end within [`LIMIT`].
    pub fn wait(&mut self) -> (ExitStatus, Duration) {
        self.wait_since(Instant::now())
    }

    fn wait_since(&mut self, began: Instant) -> (ExitStatus, Duration) {
        while began.elapsed() < LIMIT {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, began.elapsed());
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{} does not end", self.name);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if thread::panicking() {
            let all: Vec<_> = self.lines().into_iter().map(|line| line.text).collect();
            eprintln!("--- {}:\n{}", self.name, all.join("\n"));
        }
        self.kill();
    }
}

fn collect(stream: impl Read + Send + 'static, lines: Arc<Lines>) {
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut bytes = Vec::new();
        while reader
            .read_until(b'\n', &mut bytes)
            .is_ok_and(|count| count > 0)
        {
            let text = String::from_utf8_lossy(&bytes)
                .trim_end_matches('\n')
                .to_owned();
            let line = Line {
                at: Instant::now(),
                text,
            };
            lines
                .lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
            lines.more.notify_all();
            bytes.clear();
        }
    });
}

/// Tries until something is there.
///
/// # Panics
/// With `what` when it is not there within [`LIMIT`].
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    while Instant::now() < end {
        if let Some(found) = attempt() {
            return found;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("{what}: not within {LIMIT:?}");
}
