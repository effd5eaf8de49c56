//! A PC with the real agent on it in a network namespace, a cable, and another PC that it talks to.

use std::{
    collections::{HashMap, VecDeque},
    fs::{self, File},
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use labwatch_contract::event::{Action, Event, Fields, contact::Direction};
use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;

const LIVENESS: Duration = Duration::from_secs(20);
/// The other PC listens on so many ports from this one.
pub(crate) const PORT: u16 = 8080;
const PORTS: u16 = 4;
/// More than are open at a time.
const MOST_OPEN: usize = 400;

fn run(program: &str, arguments: &str) -> bool {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output();
    output.is_ok_and(|output| output.status.success())
}

/// Runs `work` in a thread of its own within a namespace; programs that it starts stay there.
pub(crate) fn enter<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let run = || {
            let namespace = File::open(format!("/run/netns/{namespace}")).unwrap();
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        scope.spawn(run).join().unwrap()
    })
}

/// A PC (10.77.0.1) with the agent on it, a cable, and another PC with the addresses 10.77.1.1 to 10.77.1.250 that listens
/// on all of them.
pub(crate) struct Lab {
    pub(crate) pc: String,
    pub(crate) other: String,
    dir: TempDir,
    agent: Option<Child>,
    server: Option<thread::JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
}

impl Lab {
    /// `None` where it cannot be made.
    pub(crate) fn new(test: &str) -> Option<Self> {
        Self::with_agent_under(test, &["env"])
    }

    /// With an agent that this program and its arguments start.
    pub(crate) fn with_agent_under(test: &str, starter: &[&str]) -> Option<Self> {
        let id = std::process::id();
        let mut lab = Self {
            pc: format!("lwo{id}{test}a"),
            other: format!("lwo{id}{test}b"),
            dir: TempDir::new().unwrap(),
            agent: None,
            server: None,
            is_over: Arc::default(),
        };
        let Self { pc, other, .. } = &lab;
        let made =
            run("ip", &format!("netns add {pc}")) && run("ip", &format!("netns add {other}"));
        if !made || !run("bash", "--version") {
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: no network namespaces or no bash here (root, iproute2 and bash are needed)"
            );
            return None;
        }
        lab.plug();
        lab.serve();
        lab.start_agent(starter);
        Some(lab)
    }

    fn plug(&self) {
        let Self { pc, other, .. } = self;
        let link = format!("-n {pc} link add lab0 type veth peer name lab0 netns {other}");
        assert!(run("ip", &link));
        for name in [pc, other] {
            enter(name, || {
                fs::write("/proc/sys/net/ipv6/conf/lab0/disable_ipv6", "1").unwrap();
            });
            assert!(run("ip", &format!("-n {name} link set lab0 up")));
        }
        assert!(run(
            "ip",
            &format!("-n {pc} addr add 10.77.0.1/16 dev lab0")
        ));
        let addresses: String = (1..=250)
            .map(|number| format!("addr add 10.77.1.{number}/16 dev lab0\n"))
            .collect();
        let batch = self.dir.path().join("addresses");
        fs::write(&batch, addresses).unwrap();
        assert!(run("ip", &format!("-n {other} -b {}", batch.display())));
    }

    /// Accepts what comes, and leaves it to the clients to end it.
    fn serve(&mut self) {
        let listeners: Vec<TcpListener> = enter(&self.other, || {
            let ports = PORT..PORT + PORTS;
            ports
                .map(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap())
                .collect()
        });
        for listener in &listeners {
            listener.set_nonblocking(true).unwrap();
        }
        let is_over = self.is_over.clone();
        self.server = Some(thread::spawn(move || {
            let mut accepted = VecDeque::new();
            while !is_over.load(Ordering::Relaxed) {
                let streams = listeners.iter().filter_map(|one| one.accept().ok());
                accepted.extend(streams);
                while accepted.len() > MOST_OPEN {
                    accepted.pop_front();
                }
                thread::sleep(Duration::from_millis(5));
            }
        }));
    }

    fn start_agent(&mut self, starter: &[&str]) {
        let agent = enter(&self.pc, || {
            Command::new(starter[0])
                .args(&starter[1..])
                .arg(env!("CARGO_BIN_EXE_labwatch-agent"))
                .args([
                    "--ip",
                    "10.77.0.1",
                    "--interface",
                    "lab0",
                    "--report-every",
                    "1h",
                    "--state-dir",
                ])
                .arg(self.dir.path().join("state"))
                .stdout(Stdio::null())
                .stderr(File::create(self.dir.path().join("log")).unwrap())
                .spawn()
                .unwrap()
        });
        self.agent = Some(agent);
        self.wait_for("a capture", |lab| {
            let log = fs::read_to_string(lab.dir.path().join("log")).unwrap();
            log.contains("capturing on lab0").then_some(())
        });
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        let journals = fs::read_dir(self.dir.path().join("state/journal"));
        let texts = journals
            .into_iter()
            .flatten()
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
        let parse = |text: String| -> Vec<Event> {
            // The last line may still be on its way.
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            whole
                .lines()
                .map(|line| Event::from_payload(line.as_bytes()).unwrap())
                .collect()
        };
        texts.flat_map(parse).collect()
    }

    /// What was told about conversations, by the other end.
    pub(crate) fn contacts(&self) -> HashMap<SocketAddr, Fields> {
        let told = self.events().into_iter().map(|event| event.occurrence);
        let told = told.filter(|one| one.action == Action::IntranetAccess);
        let by_end = told.map(|one| {
            let fields = one.fields;
            let end = match fields.network.as_ref().unwrap().direction {
                Direction::Ingress => &fields.source,
                _ => &fields.destination,
            };
            let end = end.as_ref().unwrap();
            (SocketAddr::new(end.ip, end.port.unwrap()), fields)
        });
        by_end.collect()
    }

    /// What was told about the conversation with this end, as soon as it is.
    pub(crate) fn contact(&self, end: &str) -> Fields {
        let end: SocketAddr = end.parse().unwrap();
        self.wait_for(&format!("the contact with {end}"), |lab| {
            lab.contacts().remove(&end)
        })
    }

    pub(crate) fn wait_for<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + LIVENESS;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "{what} did not come; log: {}",
                fs::read_to_string(self.dir.path().join("log")).unwrap()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A bash under a name and a user of its own, in the namespace of the PC.
    pub(crate) fn bash(&self, name: &str, uid: u32, script: &str) -> Child {
        let program = self.program(name);
        enter(&self.pc, || {
            Command::new(&program)
                .args(["-c", script])
                .uid(uid)
                .gid(uid)
                .stdin(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
    }

    /// Every program its own name: a copy, and links to it.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        let dir = self.dir.path().join("bin");
        let (copy, program) = (dir.join("bash"), dir.join(name));
        if !copy.exists() {
            fs::create_dir_all(&dir).unwrap();
            fs::set_permissions(self.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
            fs::copy("/bin/bash", &copy).unwrap();
        }
        if !program.exists() {
            fs::hard_link(&copy, &program).unwrap();
        }
        program
    }

    /// CPU time of the agent's threads with this name, or of all.
    pub(crate) fn cpu(&self, thread: Option<&str>) -> Duration {
        let tasks = format!("/proc/{}/task", self.agent.as_ref().unwrap().id());
        let mut sum = 0;
        for task in fs::read_dir(tasks).unwrap().flatten() {
            let text = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            if thread.is_none_or(|name| text("comm").trim() == name) {
                let used = text("schedstat");
                sum += used
                    .split(' ')
                    .next()
                    .and_then(|used| used.parse().ok())
                    .unwrap_or(0);
            }
        }
        Duration::from_nanos(sum)
    }

    /// Ends the agent; its last report is in the journal then.
    pub(crate) fn stop_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            run("kill", &agent.id().to_string());
            agent.wait().unwrap();
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop_agent();
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(server) = self.server.take() {
            server.join().unwrap();
        }
        run("ip", &format!("netns del {}", self.pc));
        run("ip", &format!("netns del {}", self.other));
    }
}
