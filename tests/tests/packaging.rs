//! The command lines of the shipped units and autostart entries, started as their starters would.
//!
//! From `ExecStart=` and `Exec=` under `packaging/` to processes: quoting and variables are resolved by the
//! rules of systemd and of the Desktop Entry Specification, `/usr/bin/` becomes the folder of the built
//! programs, and this test takes systemd's place at `$NOTIFY_SOCKET`. Each program has to say `READY=1`, feed
//! the watchdog and end with exit code 0 within 5 s of SIGTERM.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: starts programs and waits for them"
)]

use std::{
    collections::BTreeMap,
    env, fs,
    io::ErrorKind,
    net::TcpListener,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

/// Long enough for a program to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a service may take to end.
const GRACE: Duration = Duration::from_secs(5);

#[test]
fn the_broker_unit_starts_and_ends() -> anyhow::Result<()> {
    let desk = Desk::new()?;
    desk.start(unit("labwatch-broker.service"))?.end()
}

#[test]
fn the_recorder_unit_starts_and_ends() -> anyhow::Result<()> {
    starts_and_ends(unit("labwatch-recorder.service"))
}

#[test]
fn the_agent_unit_starts_and_ends() -> anyhow::Result<()> {
    starts_and_ends(unit("labwatch-agent.service"))
}

#[test]
fn the_user_unit_of_the_agent_starts_and_ends() -> anyhow::Result<()> {
    starts_and_ends(unit("user/labwatch-agent.service"))
}

#[test]
fn the_user_unit_of_the_notifier_starts_and_ends() -> anyhow::Result<()> {
    starts_and_ends(unit("user/labwatch-notifier.service"))
}

#[test]
fn the_autostart_entry_of_the_notifier_starts_and_ends() -> anyhow::Result<()> {
    starts_and_ends(entry("labwatch-notifier.desktop"))
}

#[test]
fn the_autostart_entry_of_the_agent_reads_its_settings_and_keeps_its_journal_in_the_state_home()
-> anyhow::Result<()> {
    let desk = Desk::new()?;
    let broker = desk.start(unit("labwatch-broker.service"))?;
    let home = desk.folder.path().join("state home");
    fs::create_dir(&home)?;
    let settings = format!("XDG_STATE_HOME='{}'\n", home.display());
    fs::write(desk.folder.path().join("etc/agent.env"), settings)?;
    desk.start(entry("labwatch-agent.desktop"))?.end()?;
    ensure!(home.join("labwatch/agent").is_dir(), "no state folder");
    broker.end()
}

#[test]
fn a_units_line_is_read_by_systemds_rules() -> anyhow::Result<()> {
    let env = BTreeMap::from([("STATE_DIRECTORY".to_owned(), "/var/lib/a b".to_owned())]);
    let words = unit_words(r#"/usr/bin/x --dir ${STATE_DIRECTORY} "two words""#, &env)?;
    ensure!(words == ["/usr/bin/x", "--dir", "/var/lib/a b", "two words"]);
    ensure!(unit_words("/usr/bin/x ${MISSING}", &env).is_err());
    Ok(())
}

#[test]
fn an_entrys_line_is_unescaped_twice() -> anyhow::Result<()> {
    let words = entry_words(r#"/bin/sh -c "echo \\"\\$HOME\\"" plain"#)?;
    ensure!(words == ["/bin/sh", "-c", r#"echo "$HOME""#, "plain"]);
    ensure!(entry_words(r#"/bin/sh "open"#).is_err());
    Ok(())
}

fn starts_and_ends(line: anyhow::Result<Line>) -> anyhow::Result<()> {
    let desk = Desk::new()?;
    let broker = desk.start(unit("labwatch-broker.service"))?;
    desk.start(line)?.end()?;
    broker.end()
}

/// A command line as it stands in a shipped file.
enum Line {
    Unit(String),
    Entry(String),
}

fn unit(file: &str) -> anyhow::Result<Line> {
    let text = fs::read_to_string(packaging("systemd").join(file))?;
    ensure!(
        value(&text, "Type") == Some("notify"),
        "{file} is not Type=notify"
    );
    let line = value(&text, "ExecStart").with_context(|| format!("{file} has no ExecStart="))?;
    Ok(Line::Unit(line.to_owned()))
}

fn entry(file: &str) -> anyhow::Result<Line> {
    let text = fs::read_to_string(packaging("autostart").join(file))?;
    let line = value(&text, "Exec").with_context(|| format!("{file} has no Exec="))?;
    Ok(Line::Entry(line.to_owned()))
}

fn packaging(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../packaging")
        .join(folder)
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let of_key = |line: &'a str| line.strip_prefix(key)?.strip_prefix('=');
    text.lines().find_map(of_key)
}

/// Where a test keeps what its programs share: a folder, a broker's port, the environment.
struct Desk {
    folder: TempDir,
    env: BTreeMap<String, String>,
}

impl Desk {
    fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let env = BTreeMap::from([
            ("PATH".into(), env::var("PATH")?),
            ("HOME".into(), path("home")),
            ("STATE_DIRECTORY".into(), path("state directory")),
            ("LABWATCH_LISTEN".into(), format!("127.0.0.1:{port}")),
            ("LABWATCH_BROKER".into(), format!("mqtt://127.0.0.1:{port}")),
            ("WATCHDOG_USEC".into(), "1000000".into()),
        ]);
        // systemd makes the first; the second stands for /etc/labwatch, so that no real settings are read.
        fs::create_dir(folder.path().join("state directory"))?;
        fs::create_dir(folder.path().join("etc"))?;
        Ok(Self { folder, env })
    }

    /// Starts a line and waits until the program says that it works.
    fn start(&self, line: anyhow::Result<Line>) -> anyhow::Result<Program> {
        let words = match line? {
            Line::Unit(line) => unit_words(&line, &self.env)?,
            Line::Entry(line) => entry_words(&line)?,
        };
        let etc = self.folder.path().join("etc").display().to_string();
        let words = words.iter().map(|word| word.replace("/etc/labwatch", &etc));
        let words = words.map(|word| with_built_programs(&word));
        let words = words.collect::<anyhow::Result<Vec<_>>>()?;
        let (program, arguments) = words.split_first().context("an empty command line")?;
        // A socket of its own for each program, named after what it starts.
        let notices = tempfile::tempdir_in(self.folder.path())?
            .keep()
            .join("notify");
        let socket = UnixDatagram::bind(&notices)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(&self.env)
            .env("NOTIFY_SOCKET", &notices)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("{program} cannot be started"))?;
        let mut program = Program { child, socket };
        program.await_notice("READY=1")?;
        Ok(program)
    }
}

/// A started program; killed when a test fails before its end.
struct Program {
    child: Child,
    socket: UnixDatagram,
}

impl Program {
    fn await_notice(&mut self, wanted: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.next_notice()?.lines().any(|line| line == wanted) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("ended by itself before {wanted}: {status}");
            }
        }
        anyhow::bail!("no {wanted} within {PATIENCE:?}")
    }

    /// What was said next; nothing after a moment of silence.
    fn next_notice(&self) -> anyhow::Result<String> {
        let mut buffer = [0; 4096];
        match self.socket.recv(&mut buffer) {
            Ok(length) => Ok(buffer
                .iter()
                .take(length)
                .map(|&byte| char::from(byte))
                .collect()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(String::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Lives, feeds the watchdog, and ends in order.
    fn end(mut self) -> anyhow::Result<()> {
        self.await_notice("WATCHDOG=1")?;
        if let Some(status) = self.child.try_wait()? {
            anyhow::bail!("ended by itself: {status}");
        }
        let id = self.child.id().to_string();
        let kill = Command::new("/bin/sh")
            .args(["-c", "kill -TERM \"$1\"", "sh", &id])
            .status()?;
        ensure!(kill.success(), "SIGTERM could not be sent");
        let status = self.await_end()?;
        ensure!(status.code() == Some(0), "SIGTERM was answered by {status}");
        Ok(())
    }

    fn await_end(&mut self) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            sleep(Duration::from_millis(20));
        }
        anyhow::bail!("did not end within {GRACE:?} of SIGTERM")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The programs of this build in place of the installed ones, also inside a shell's command.
fn with_built_programs(word: &str) -> anyhow::Result<String> {
    let test = env::current_exe()?;
    let built = test
        .ancestors()
        .nth(2)
        .context("the test has no build folder")?;
    if let Some((_, program)) = word.split_once("/usr/bin/labwatch-") {
        let name = program.split(' ').next().unwrap_or_default();
        let path = built.join(format!("labwatch-{name}"));
        ensure!(
            path.exists(),
            "{} is not built; first: cargo build --workspace",
            path.display()
        );
    }
    Ok(word.replace(
        "/usr/bin/labwatch-",
        &format!("{}/labwatch-", built.display()),
    ))
}

/// systemd.service(5), "Command lines": words, double quotes, `${NAME}` as one word.
fn unit_words(line: &str, env: &BTreeMap<String, String>) -> anyhow::Result<Vec<String>> {
    let expand = |word: String| match word.strip_prefix("${").and_then(|w| w.strip_suffix('}')) {
        Some(name) => env
            .get(name)
            .cloned()
            .with_context(|| format!("{name} is not set")),
        None => Ok(word),
    };
    quoted_words(line)?.into_iter().map(expand).collect()
}

/// Desktop Entry Specification, "Exec": first the escapes of a string value, then those of quoted arguments.
fn entry_words(value: &str) -> anyhow::Result<Vec<String>> {
    let mut line = String::new();
    let mut chars = value.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => line.push(chars.next().context("a backslash at the end")?),
            char => line.push(char),
        }
    }
    quoted_words(&line)
}

/// Words between spaces; double quotes hold spaces, and a backslash in them the next character as it is.
fn quoted_words(line: &str) -> anyhow::Result<Vec<String>> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        match (char, quoted) {
            ('"', _) => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            (' ', false) => words.extend(word.take()),
            ('\\', true) => {
                let next = chars.next().context("a backslash at the end")?;
                word.get_or_insert_default().push(next);
            }
            (char, _) => word.get_or_insert_default().push(char),
        }
    }
    ensure!(!quoted, "a quote is open: {line}");
    words.extend(word);
    Ok(words)
}
