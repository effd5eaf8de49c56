//! A cable between two PCs: network namespaces that go away with it, and what is done in them.

use std::{
    fs::File,
    io::Write as _,
    process::{Command, Stdio},
    thread,
};

use nix::sched::{CloneFlags, setns};

pub(crate) fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

pub(crate) fn ip(arguments: &str) -> bool {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output();
    output.is_ok_and(|output| output.status.success())
}

/// Two namespaces with a cable between them: 10.77.0.1 (`PC`) and 10.77.0.2 (`OTHER`).
pub(crate) struct Cable {
    pub(crate) pc: String,
    pub(crate) other: String,
}

impl Cable {
    pub(crate) fn new(test: &str) -> Option<Self> {
        let id = std::process::id();
        let cable = Self {
            pc: format!("lw{id}{test}a"),
            other: format!("lw{id}{test}b"),
        };
        let Self { pc, other } = &cable;
        if !ip(&format!("netns add {pc}")) || !ip(&format!("netns add {other}")) {
            skipped("no network namespaces here (root and iproute2 are needed)");
            return None;
        }
        cable.plug();
        Some(cable)
    }

    pub(crate) fn plug(&self) {
        let Self { pc, other } = self;
        assert!(ip(&format!(
            "-n {pc} link add lab0 type veth peer name lab0 netns {other}"
        )));
        for (name, address, gateway) in [
            (pc, "10.77.0.1", "10.77.0.2"),
            (other, "10.77.0.2", "10.77.0.1"),
        ] {
            enter(name, || {
                // No router solicitations and no address detection: a quiet cable.
                std::fs::write("/proc/sys/net/ipv6/conf/lab0/disable_ipv6", "1").unwrap();
            });
            assert!(ip(&format!("-n {name} addr add {address}/24 dev lab0")));
            assert!(ip(&format!(
                "-n {name} addr add 203.0.113.{}/32 dev lab0",
                &address[8..]
            )));
            assert!(ip(&format!("-n {name} link set lab0 up")));
            assert!(ip(&format!("-n {name} route add default via {gateway}")));
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.pc));
        ip(&format!("netns del {}", self.other));
    }
}

/// Runs `work` in a thread of its own within a namespace.
pub(crate) fn enter<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let run = || {
            setns(
                File::open(format!("/run/netns/{namespace}")).unwrap(),
                CloneFlags::CLONE_NEWNET,
            )
            .unwrap();
            work()
        };
        scope.spawn(run).join().unwrap()
    })
}

/// Traffic of another program: sockets of this process are the agent's own.
pub(crate) fn bash(namespace: &str, script: &str) {
    let status = Command::new("ip")
        .args(["netns", "exec", namespace, "bash", "-c", script])
        .stderr(Stdio::null())
        .status();
    status.unwrap();
}

pub(crate) fn counter(namespace: &str) -> u64 {
    let text = enter(namespace, || {
        std::fs::read_to_string("/proc/thread-self/net/dev").unwrap()
    });
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with("lab0:"))
        .unwrap();
    let fields: Vec<u64> = line
        .split_once(':')
        .unwrap()
        .1
        .split_whitespace()
        .map(|field| field.parse().unwrap())
        .collect();
    fields[0] + fields[8]
}
