//! The watcher in namespaces of its own, and what the tests do to it.

use std::{
    collections::BTreeSet,
    fs,
    io::{Write as _, stderr},
    net::SocketAddr,
    os::fd::OwnedFd,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use labwatch_agent::{
    degraded::Degraded,
    usb::{Roots, watch},
};
use labwatch_contract::event::{Action, Occurrence};
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType,
    netlink::{self, SocketAddrNetlink},
    sendto, socket_with,
};
use tokio::{
    sync::{mpsc, watch as state},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);
const INSIDE: &str = "LABWATCH_TEST_IN_NAMESPACES";

/// Whether this process is the one in the namespaces. Otherwise runs `test` again there.
pub fn in_namespaces(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let quiet = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !quiet("unshare", &["--net", "--mount", "true"]) {
        skipped(&format!("{test}: namespaces of its own need root"));
        return false;
    }
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount"]).arg(program);
    command
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1");
    assert!(
        command.status().unwrap().success(),
        "{test} failed in its namespaces"
    );
    false
}

/// A running watcher.
pub struct Watching {
    occurrences: mpsc::Receiver<Occurrence>,
    degraded: state::Receiver<BTreeSet<&'static str>>,
    connected: state::Sender<Option<SocketAddr>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Watching {
    /// Starts it.
    pub fn start(roots: Roots) -> Self {
        let (sender, occurrences) = mpsc::channel(64);
        let words = Degraded::default();
        for word in ["no-usb", "no-mounts"] {
            words.note(word, Some(&"not looked yet"));
        }
        let degraded = words.watch();
        let (connected, connections) = state::channel(None);
        let stop = CancellationToken::new();
        let task = tokio::spawn(watch(roots, sender, words, connections, stop.clone()));
        Self {
            occurrences,
            degraded,
            connected,
            stop,
            task,
        }
    }

    /// Waits until it sees everything but `words`.
    pub async fn until_degraded(&mut self, words: &[&'static str]) {
        let expected = BTreeSet::from_iter(words.iter().copied());
        let reached = self.degraded.wait_for(|words| *words == expected);
        timeout(PATIENCE, reached).await.expect("in time").unwrap();
    }

    async fn next(&mut self) -> Occurrence {
        timeout(PATIENCE, self.occurrences.recv())
            .await
            .expect("an occurrence in time")
            .unwrap()
    }

    /// Tells it of a connection to the broker.
    pub fn connect(&self) {
        self.connected.send_replace(None);
    }

    /// The next occurrence of one of these.
    pub async fn next_of(&mut self, actions: &[Action]) -> Occurrence {
        loop {
            let occurrence = self.next().await;
            if actions.contains(&occurrence.action) {
                return occurrence;
            }
        }
    }

    /// Ends it; what it has told that nobody took.
    pub async fn end(self) -> Vec<Occurrence> {
        self.stop.cancel();
        timeout(PATIENCE, self.task)
            .await
            .expect("an end in time")
            .unwrap();
        let mut rest = self.occurrences;
        std::iter::from_fn(|| rest.try_recv().ok()).collect()
    }
}

/// Sends uevents through the kernel.
pub struct Kernel(OwnedFd);

impl Kernel {
    /// Opens the socket.
    pub fn open() -> Self {
        let protocol = Some(netlink::KOBJECT_UEVENT);
        let flags = SocketFlags::CLOEXEC;
        Self(socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, protocol).unwrap())
    }

    /// The kernel sends it on to the namespace's listeners, as from itself (`uevent_net_rcv`).
    pub fn send(&self, message: &[u8]) {
        let length = u32::try_from(message.len() + 16).unwrap();
        let mut packet = length.to_ne_bytes().to_vec();
        packet.extend(16_u16.to_ne_bytes());
        packet.extend(1_u16.to_ne_bytes());
        packet.extend([0; 8]);
        packet.extend(message);
        self.send_to(0, &packet);
    }

    /// Sends to the group by itself, as any program of root can.
    pub fn forge(&self, message: &[u8]) {
        self.send_to(1, message);
    }

    fn send_to(&self, group: u32, packet: &[u8]) {
        let address = SocketAddrNetlink::new(0, group);
        // A listener whose buffer is full is no matter here.
        let _ = sendto(&self.0, packet, SendFlags::empty(), &address);
    }
}

/// Whether a program ran and ended well.
pub fn run(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program).args(args).status();
    status.is_ok_and(|status| status.success())
}

/// An ext4 image in `folder`; `None`, said loudly, where it cannot be made.
pub fn image(folder: &Path) -> Option<String> {
    let path = folder.join("stick.img");
    fs::File::create(&path)
        .unwrap()
        .set_len(16 * 1024 * 1024)
        .unwrap();
    let path = path.to_str()?.to_owned();
    if !run("mkfs.ext4", &["-q", "-L", "LABSTICK", &path]) {
        skipped("no mkfs.ext4");
        return None;
    }
    Some(path)
}

/// Says loudly what was not tried; the harness hides what `eprintln!` says.
pub fn skipped(what: &str) {
    let _ = writeln!(stderr(), "SKIPPED: {what}");
}
