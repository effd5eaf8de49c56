//! A laboratory of network namespaces, joined by veth pairs and a bridge; root makes it, its end removes it. It has
//! three PCs unless its type says another number, at most 200.
//!
//! ```text
//!  pc1 .11   pc2 .12   pc3 .13   server .2          203.0.113.80 host
//!    |         |         |          |                     |
//!    +---------+----br0--+----------+---- .1 gateway .1 --+
//!                10.77.0.0/24            (DNS, routing)   203.0.113.0/24
//! ```

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    net::{IpAddr, Ipv4Addr},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;

use crate::program::{Program, labwatch};

/// The invigilator's server.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The gateway, which is the DNS server too.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// A host outside the private ranges (RFC 5737).
pub const INTERNET: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);
/// The name that the gateway's DNS gives it.
pub const INTERNET_NAME: &str = "www.example.test";

/// Every user's of Mosquitto, in the lab.
pub const PASSWORD: &str = "only for the lab";

static LABS: AtomicUsize = AtomicUsize::new(0);

/// A machine of the lab: a network namespace of its own.
#[derive(Debug, Clone)]
pub struct Machine {
    namespace: String,
    /// Its address.
    pub ip: Ipv4Addr,
}

impl Machine {
    /// A command that runs on this machine. Its process id is that of the program.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace])
            .arg(program.as_ref());
        command
    }

    /// Runs a closure on a thread that is on this machine, and gives what it returns.
    ///
    /// # Panics
    /// When the closure does.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.namespace);
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let namespace = fs::File::open(&path).unwrap();
                setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    /// A counter of its network card: `rx_bytes`, `tx_bytes` …
    ///
    /// # Panics
    /// When there is no such counter.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        let path = format!("/sys/class/net/eth0/statistics/{name}");
        let read = self.command("cat").arg(path).output().unwrap();
        String::from_utf8(read.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    }
}

/// The whole laboratory.
pub struct Lab<const PCS: usize = 3> {
    prefix: String,
    /// The invigilator's server.
    pub server: Machine,
    /// The lab PCs.
    pub pcs: [Machine; PCS],
    /// Gateway and DNS server.
    pub gateway: Machine,
    /// A host on the internet.
    pub internet: Machine,
    /// A place for files; gone with the lab.
    pub dir: TempDir,
    dns: Option<Program>,
}

impl Lab {
    /// Builds a laboratory of three PCs.
    ///
    /// # Panics
    /// When a namespace or link cannot be made.
    #[must_use]
    pub fn new() -> Self {
        Self::of_any_size()
    }
}

impl<const PCS: usize> Lab<PCS> {
    /// Builds a laboratory of as many PCs as its type says.
    ///
    /// # Panics
    /// When a namespace or link cannot be made.
    #[must_use]
    pub fn of_any_size() -> Self {
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("lw{}n{number}", std::process::id());
        let machine = |name: &str, ip| Machine {
            namespace: format!("{prefix}-{name}"),
            ip,
        };
        let pc = |at: usize| {
            let number = u8::try_from(at + 1).unwrap();
            machine(
                &format!("pc{number}"),
                Ipv4Addr::new(10, 77, 0, 10 + number),
            )
        };
        let mut lab = Self {
            server: machine("server", SERVER),
            pcs: std::array::from_fn(pc),
            gateway: machine("gateway", GATEWAY),
            internet: machine("internet", INTERNET),
            dir: TempDir::new().unwrap(),
            dns: None,
            prefix,
        };
        lab.wire();
        lab.start_dns();
        lab
    }

    fn machines(&self) -> Vec<Machine> {
        let others = [&self.server, &self.gateway, &self.internet];
        others.into_iter().chain(&self.pcs).cloned().collect()
    }

    fn wire(&self) {
        let switch = format!("{}-switch", self.prefix);
        ip(&["netns", "add", &switch]);
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &switch, "link", "set", "br0", "up"]);
        for machine in self.machines() {
            let Machine {
                namespace,
                ip: address,
            } = &machine;
            ip(&["netns", "add", namespace]);
            ip(&["-n", namespace, "link", "set", "lo", "up"]);
            if machine.ip == INTERNET {
                self.join_internet(namespace);
                continue;
            }
            let port = format!("p{}", address.octets()[3]);
            ip(&[
                "-n", &switch, "link", "add", &port, "type", "veth", "peer", "name", "eth0",
                "netns", namespace,
            ]);
            ip(&["-n", &switch, "link", "set", &port, "master", "br0", "up"]);
            ip(&[
                "-n",
                namespace,
                "addr",
                "add",
                &format!("{address}/24"),
                "dev",
                "eth0",
            ]);
            ip(&["-n", namespace, "link", "set", "eth0", "up"]);
            if *address != GATEWAY {
                ip(&[
                    "-n",
                    namespace,
                    "route",
                    "add",
                    "default",
                    "via",
                    &GATEWAY.to_string(),
                ]);
                self.resolve_by_gateway(namespace);
            }
        }
    }

    fn join_internet(&self, namespace: &str) {
        let gateway = &self.gateway.namespace;
        ip(&[
            "-n", namespace, "link", "add", "eth0", "type", "veth", "peer", "name", "wan", "netns",
            gateway,
        ]);
        ip(&[
            "-n",
            namespace,
            "addr",
            "add",
            &format!("{INTERNET}/24"),
            "dev",
            "eth0",
        ]);
        ip(&["-n", namespace, "link", "set", "eth0", "up"]);
        ip(&[
            "-n",
            namespace,
            "route",
            "add",
            "default",
            "via",
            "203.0.113.1",
        ]);
        ip(&["-n", gateway, "addr", "add", "203.0.113.1/24", "dev", "wan"]);
        ip(&["-n", gateway, "link", "set", "wan", "up"]);
        let forward = self
            .gateway
            .command("sysctl")
            .args(["-qw", "net.ipv4.ip_forward=1"])
            .status();
        assert!(forward.unwrap().success());
    }

    /// `ip netns exec` lays the files of /etc/netns/NAME over /etc.
    fn resolve_by_gateway(&self, namespace: &str) {
        let dir = Path::new("/etc/netns").join(namespace);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("resolv.conf"), format!("nameserver {GATEWAY}\n")).unwrap();
    }

    fn start_dns(&mut self) {
        let mut command = self.gateway.command("dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--no-resolv",
            "--no-hosts",
            "--user=root",
            "--log-facility=-",
        ]);
        command.args(["--conf-file=/dev/null", "--pid-file="]);
        command.arg(format!("--address=/{INTERNET_NAME}/{INTERNET}"));
        for (number, pc) in self.pcs.iter().enumerate() {
            command.arg(format!("--host-record=pc{}.lab.test,{}", number + 1, pc.ip));
        }
        let dns = Program::start("dnsmasq", &mut command);
        let _ = dns.wait_for(&["started"]);
        self.dns = Some(dns);
    }

    /// Starts the embedded broker on the server.
    #[must_use]
    pub fn start_broker(&self) -> Program {
        let broker = Program::start("broker", &mut self.server.command(labwatch("broker")));
        self.await_broker();
        broker
    }

    /// Starts Mosquitto on the server with the shipped configuration: a user for each PC, and staff.
    ///
    /// # Panics
    /// When a password cannot be made.
    #[must_use]
    pub fn start_mosquitto(&self) -> Program {
        let dir = self.dir.path();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        fs::set_permissions(dir, Permissions::from_mode(0o711)).unwrap();
        fs::create_dir_all(dir.join("packaging/mosquitto")).unwrap();
        for file in ["mosquitto.conf", "packaging/mosquitto/acl"] {
            fs::copy(shipped.join(file), dir.join(file)).unwrap();
        }
        fs::write(dir.join("mosquitto.passwd"), "").unwrap();
        let pcs = self.pcs.iter().map(|pc| pc.ip.to_string());
        for user in pcs.chain(["staff".to_owned()]) {
            let mut command = Command::new("mosquitto_passwd");
            command.args(["-b", "mosquitto.passwd", &user, PASSWORD]);
            let made = command.current_dir(dir).status().unwrap();
            assert!(made.success(), "a password for {user}");
        }
        // As root Mosquitto runs as its own user.
        let chown = Command::new("chown")
            .arg("mosquitto")
            .arg(dir.join("mosquitto.passwd"))
            .status();
        assert!(chown.unwrap().success());
        let mut command = self.server.command("mosquitto");
        command.args(["-c", "mosquitto.conf"]).current_dir(dir);
        let broker = Program::start("mosquitto", &mut command);
        self.await_broker();
        broker
    }

    /// The flags with which a user of [`Self::start_mosquitto`] is let in.
    ///
    /// # Panics
    /// When the password file cannot be written.
    #[must_use]
    pub fn credentials(&self, user: &str) -> Vec<String> {
        let file = self.dir.path().join("password");
        fs::write(&file, PASSWORD).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let file = file.to_str().unwrap();
        ["--username", user, "--password-file", file]
            .map(str::to_owned)
            .into()
    }

    /// Waits until something listens on the broker's port.
    pub fn await_broker(&self) {
        self.server.inside(|| {
            crate::program::eventually("the broker listens", || {
                std::net::TcpStream::connect("127.0.0.1:1883").ok()
            });
        });
    }

    /// Where the recorder of this lab writes.
    #[must_use]
    pub fn records(&self) -> PathBuf {
        self.dir.path().join("records")
    }

    /// Starts the recorder on the server.
    #[must_use]
    pub fn start_recorder(&self, flags: &[impl AsRef<OsStr>]) -> Program {
        let mut command = self.server.command(labwatch("recorder"));
        command.arg("--dir").arg(self.records()).args(flags);
        let recorder = Program::start("recorder", &mut command);
        let _ = recorder.wait_for(&["connected to the broker"]);
        recorder
    }

    /// Starts the notifier on the server, console only.
    #[must_use]
    pub fn start_notifier(&self, flags: &[impl AsRef<OsStr>]) -> Program {
        let mut command = self.server.command(labwatch("notifier"));
        let notifier = Program::start("notifier", command.args(["--desktop", "off"]).args(flags));
        let _ = notifier.wait_for(&["connected to the broker"]);
        notifier
    }

    /// Where the agent of a PC keeps its journals.
    #[must_use]
    pub fn state_dir(&self, pc: &Machine) -> PathBuf {
        self.dir.path().join(format!("state-{}", pc.ip))
    }

    /// The command that is the agent of a PC, with the server as its broker.
    #[must_use]
    pub fn agent(&self, pc: &Machine) -> Command {
        let mut command = pc.command(labwatch("agent"));
        command
            .args(["--broker", &format!("mqtt://{SERVER}:1883"), "--state-dir"])
            .arg(self.state_dir(pc));
        // An agent must not outlive the test that was killed.
        command.process_group(0);
        command
    }

    /// Starts the agent of a PC and waits until it is connected.
    #[must_use]
    pub fn start_agent(&self, pc: &Machine, flags: &[impl AsRef<OsStr>]) -> Program {
        let mut command = self.agent(pc);
        let agent = Program::start(&format!("agent {}", pc.ip), command.args(flags));
        let _ = agent.wait_for(&["connected to the broker"]);
        agent
    }

    /// Pulls a PC's cable out of the switch, or plugs it in again.
    pub fn plug(&self, pc: &Machine, plugged: bool) {
        let switch = format!("{}-switch", self.prefix);
        let port = format!("p{}", pc.ip.octets()[3]);
        let state = if plugged { "up" } else { "down" };
        ip(&["-n", &switch, "link", "set", &port, state]);
    }

    /// Sends what one machine says to another one astray, or no longer; the other direction is not touched.
    pub fn mislead(&self, from: &Machine, to: &Machine, astray: bool) {
        let (space, address) = (&from.namespace, to.ip.to_string());
        let neighbour = ["neigh", "replace", &address, "dev", "eth0"];
        // A hardware address that nobody has; what was there before is asked for anew.
        let state: &[&str] = match astray {
            true => &["lladdr", "02:00:00:00:00:99", "nud", "permanent"],
            false => &["nud", "failed"],
        };
        ip(&[&["-n", space], &neighbour[..], state].concat());
    }

    /// Lets a machine ask anew who has which address, as it does by itself within a minute.
    pub fn forget_neighbours(&self, machine: &Machine) {
        ip(&["-n", &machine.namespace, "neigh", "flush", "dev", "eth0"]);
    }

    /// Gives a PC one address more, or takes it away again.
    pub fn alias(&self, pc: &Machine, alias: Ipv4Addr, there: bool) {
        let (space, what) = (&pc.namespace, if there { "add" } else { "del" });
        let alias = format!("{alias}/32");
        ip(&["-n", space, "addr", what, &alias, "dev", "eth0"]);
    }

    /// Gives a PC another address in place of its own.
    pub fn readdress(&self, pc: &Machine, new: Ipv4Addr) {
        let address = |ip: Ipv4Addr| format!("{ip}/24");
        let space = &pc.namespace;
        ip(&["-n", space, "addr", "add", &address(new), "dev", "eth0"]);
        ip(&["-n", space, "addr", "del", &address(pc.ip), "dev", "eth0"]);
        // The secondary address of a network goes with its primary one, the default route with both.
        ip(&["-n", space, "addr", "replace", &address(new), "dev", "eth0"]);
        let via = GATEWAY.to_string();
        ip(&["-n", space, "route", "replace", "default", "via", &via]);
    }

    /// Subscribes to everything on the server with `mosquitto_sub -v`.
    #[must_use]
    pub fn watch(&self, machine: &Machine, flags: &[&str]) -> Program {
        let mut command = machine.command("mosquitto_sub");
        command.args(["-h", &SERVER.to_string(), "-v"]).args(flags);
        Program::start("mosquitto_sub", &mut command)
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl<const PCS: usize> Drop for Lab<PCS> {
    fn drop(&mut self) {
        self.dns = None;
        for machine in self.machines() {
            let _ = fs::remove_dir_all(Path::new("/etc/netns").join(&machine.namespace));
            let _ = Command::new("ip")
                .args(["netns", "del", &machine.namespace])
                .status();
        }
        let _ = Command::new("ip")
            .args(["netns", "del", &format!("{}-switch", self.prefix)])
            .status();
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().unwrap();
    assert!(status.success(), "ip {}", arguments.join(" "));
}

/// The address of a machine as the programs write it.
impl From<&Machine> for IpAddr {
    fn from(machine: &Machine) -> Self {
        machine.ip.into()
    }
}
