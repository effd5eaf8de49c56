//! Live capture on real interfaces: a veth pair between two network namespaces that the test makes and takes away.
//!
//! Needs root and `ip`; skipped loudly elsewhere. Each PC is a thread that enters its namespace with `setns`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test reads files and clocks, and fails by panicking"
)]

use std::{
    collections::HashMap,
    fs::File,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Command, Stdio},
    sync::{Arc, Mutex, atomic::Ordering, mpsc as std_mpsc},
    thread,
    time::{Duration, Instant},
};

use labwatch_agent::net::{NetHealth, NetSettings, watch};
use labwatch_contract::{
    event::{
        Action, Occurrence,
        contact::{Attribution, Direction, NameSource},
    },
    scope::Scope,
};
use nix::sched::{CloneFlags, setns};
use tokio::sync::{mpsc, watch as latest};
use tokio_util::sync::CancellationToken;

const LIVENESS: Duration = Duration::from_secs(20);

fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

fn ip(arguments: &str) -> bool {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output();
    output.is_ok_and(|output| output.status.success())
}

/// Two namespaces with a cable between them: 10.77.0.1 (`PC`) and 10.77.0.2 (`OTHER`).
struct Cable {
    pc: String,
    other: String,
}

impl Cable {
    fn new(test: &str) -> Option<Self> {
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

    fn plug(&self) {
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
fn enter<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
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
fn bash(namespace: &str, script: &str) {
    let status = Command::new("ip")
        .args(["netns", "exec", namespace, "bash", "-c", script])
        .stderr(Stdio::null())
        .status();
    status.unwrap();
}

fn counter(namespace: &str) -> u64 {
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

/// The watcher in its namespace, on a thread of its own.
struct Watcher {
    events: std_mpsc::Receiver<Occurrence>,
    health: NetHealth,
    broker: latest::Sender<Option<SocketAddr>>,
    /// While this is held nobody takes events, and the watcher has to wait.
    taking: Arc<Mutex<()>>,
    stop: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl Watcher {
    fn start(namespace: &str, report_every: Duration) -> Self {
        let (forward, events) = std_mpsc::channel();
        let (broker, broker_receiver) = latest::channel(None);
        let health = NetHealth::default();
        let own_health = health.clone();
        let stop = CancellationToken::new();
        let taking = Arc::new(Mutex::new(()));
        let take = taking.clone();
        let (stopped, path) = (stop.clone(), format!("/run/netns/{namespace}"));
        let settings = NetSettings {
            interfaces: vec![],
            local_networks: latest::channel(vec!["10.77.0.0/24".parse().unwrap()]).1,
            report_every,
        };
        let thread = thread::spawn(move || {
            setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let (sender, mut receiver) = mpsc::channel(64);
                let watching = watch(settings, broker_receiver, sender, own_health, stopped);
                let forwarding = async {
                    while let Some(event) = receiver.recv().await {
                        // On the watcher's own thread: it stands still with us.
                        drop(take.lock());
                        forward.send(event).ok();
                    }
                };
                let (watched, ()) = tokio::join!(watching, forwarding);
                watched.unwrap();
            });
        });
        Self {
            events,
            health,
            broker,
            taking,
            stop,
            thread: Some(thread),
        }
    }

    /// Waits for an event that fits.
    fn wait_for(&self, what: &str, fits: impl Fn(&Occurrence) -> bool) -> Occurrence {
        let deadline = Instant::now() + LIVENESS;
        let mut seen = vec![];
        while let Ok(event) = self
            .events
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if fits(&event) {
                return event;
            }
            seen.push(event);
        }
        panic!("{what} did not come; these did: {seen:#?}");
    }

    fn wait_for_interface(&self) {
        self.wait_for("interface-up with its address", |event| {
            let is_news = [Action::InterfaceUp, Action::AddressChanged].contains(&event.action);
            is_news
                && event
                    .fields
                    .lab
                    .interface
                    .as_ref()
                    .is_some_and(|one| one.addresses.len() == 2)
        });
    }

    fn stop(mut self) -> Vec<Occurrence> {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap();
        self.events.try_iter().collect()
    }
}

fn end(endpoint: &Option<labwatch_contract::event::contact::Endpoint>) -> String {
    endpoint.as_ref().unwrap().to_string()
}

#[test]
fn the_first_packet_between_two_pcs_is_told_at_both_ends() {
    let Some(cable) = Cable::new("first") else {
        return;
    };
    let (pc, other) = (
        Watcher::start(&cable.pc, Duration::from_secs(600)),
        Watcher::start(&cable.other, Duration::from_secs(600)),
    );
    pc.wait_for_interface();
    other.wait_for_interface();
    bash(&cable.pc, "exec 3<>/dev/tcp/10.77.0.2/8080");
    let mut ends = vec![];
    for (watcher, direction) in [(&pc, Direction::Egress), (&other, Direction::Ingress)] {
        let told = watcher.wait_for("intranet-access", |event| {
            event.action == Action::IntranetAccess
        });
        assert_eq!(end(&told.fields.destination), "10.77.0.2:8080");
        assert_eq!(told.fields.network.unwrap().direction, direction);
        ends.push(end(&told.fields.source));
    }
    assert!(
        ends[0].starts_with("10.77.0.1:") && ends[0] == ends[1],
        "{ends:?}"
    );
    pc.stop();
    other.stop();
}

#[test]
fn a_server_on_the_internet_is_told_by_the_name_that_a_real_client_asks_for() {
    let Some(cable) = Cable::new("name") else {
        return;
    };
    if Command::new("openssl").arg("version").output().is_err() {
        skipped("no openssl here, a client of TLS");
        return;
    }
    let _listener = enter(&cable.other, || {
        TcpListener::bind("203.0.113.2:4433").unwrap()
    });
    let watcher = Watcher::start(&cable.pc, Duration::from_secs(600));
    watcher.wait_for_interface();
    bash(
        &cable.pc,
        "timeout 2 openssl s_client -connect 203.0.113.2:4433 -servername Exam.example </dev/null",
    );
    let told = watcher.wait_for("internet-access", |event| {
        event.action == Action::InternetAccess
    });
    let destination = told.fields.destination.unwrap();
    assert_eq!(destination.domain.as_deref(), Some("exam.example"));
    assert_eq!(told.fields.lab.name_source, Some(NameSource::Sni));
    watcher.stop();
}

/// 500,000 bytes there and 300,000 back over TCP, 90,000 there over UDP.
fn exchange(cable: &Cable) {
    let listener = enter(&cable.other, || {
        TcpListener::bind("10.77.0.2:8080").unwrap()
    });
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut received = vec![];
        stream.read_to_end(&mut received).unwrap();
        stream.write_all(&vec![7; 300_000]).unwrap();
        received.len()
    });
    let fetched = enter(&cable.pc, || {
        let mut stream = TcpStream::connect("10.77.0.2:8080").unwrap();
        stream.write_all(&vec![1; 500_000]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut received = vec![];
        stream.read_to_end(&mut received).unwrap();
        let socket = UdpSocket::bind("203.0.113.1:0").unwrap();
        (0..100).for_each(|_| assert!(socket.send_to(&[9; 900], "203.0.113.2:9").is_ok()));
        received.len()
    });
    assert_eq!((fetched, server.join().unwrap()), (300_000, 500_000));
}

/// Bytes of the interfaces, of their own counters, and of peers and others together.
fn sums(reports: &[Occurrence]) -> (u64, u64, u64) {
    let mut sums = (0, 0, 0);
    for lab in reports.iter().map(|report| &report.fields.lab) {
        for interface in lab.interfaces.iter().flatten() {
            sums.0 += interface.bytes;
            sums.1 += interface.counter_bytes.unwrap();
        }
        for peer in lab.peers.iter().flatten() {
            sums.2 += peer.sent_bytes + peer.received_bytes;
        }
        sums.2 += lab.other_bytes.unwrap_or_default();
    }
    sums
}

#[test]
fn reports_equal_the_interface_counters_to_the_byte() {
    let Some(cable) = Cable::new("bytes") else {
        return;
    };
    let before = counter(&cable.pc);
    let watcher = Watcher::start(&cable.pc, Duration::from_secs(2));
    watcher.wait_for_interface();
    assert_eq!(before, counter(&cable.pc), "the cable is quiet");
    exchange(&cable);

    let mut reports = vec![];
    let deadline = Instant::now() + LIVENESS;
    loop {
        reports.push(watcher.wait_for("traffic-report", |event| {
            event.action == Action::TrafficReport
        }));
        let (bytes, counted, peers) = sums(&reports);
        assert_eq!(bytes, peers, "peers + other = interfaces");
        let grown = counter(&cable.pc) - before;
        if bytes == grown && counted == grown {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{bytes} captured, {counted} by counter_bytes, {grown} by the interface"
        );
    }
    assert!(sums(&reports).0 > 890_000);
    let peers = reports
        .iter()
        .flat_map(|report| report.fields.lab.peers.iter().flatten());
    let scopes: HashMap<IpAddr, Scope> = peers.map(|peer| (peer.ip, peer.scope)).collect();
    assert_eq!(
        scopes[&"10.77.0.2".parse::<IpAddr>().unwrap()],
        Scope::Intranet
    );
    assert_eq!(
        scopes[&"203.0.113.2".parse::<IpAddr>().unwrap()],
        Scope::Internet
    );
    assert_eq!(watcher.health.dropped.load(Ordering::Relaxed), 0);
    watcher.stop();
}

#[test]
fn frames_lost_while_the_watcher_stands_still_are_told_in_the_report_and_as_a_gap() {
    let Some(cable) = Cable::new("drops") else {
        return;
    };
    let watcher = Watcher::start(&cable.pc, Duration::from_secs(2));
    watcher.wait_for_interface();
    let hold = watcher.taking.lock().unwrap();
    // The watcher stands still as soon as it has told of another program's packet.
    bash(&cable.pc, "echo hello >/dev/udp/10.77.0.2/9999");
    thread::sleep(Duration::from_secs(1));
    enter(&cable.pc, || {
        let socket = UdpSocket::bind("10.77.0.1:0").unwrap();
        (0..60_000).for_each(|_| assert!(socket.send_to(&[9; 18], "10.77.0.2:9").is_ok()));
    });
    drop(hold);
    let gap = watcher.wait_for("capture-gap", |event| event.action == Action::CaptureGap);
    let interval = gap.fields.interval.unwrap();
    assert!(interval.start < interval.end);
    assert!(gap.fields.lab.reason.unwrap().contains("dropped"));
    let (mut dropped, mut frames) = (0, 0);
    while dropped == 0 {
        let report = watcher.wait_for("traffic-report", |event| {
            event.action == Action::TrafficReport
        });
        for interface in report.fields.lab.interfaces.iter().flatten() {
            (dropped, frames) = (dropped + interface.dropped, frames + interface.packets);
        }
        assert!(frames <= 60_000, "only {dropped} of {frames} were dropped");
    }
    assert!(dropped > 10_000, "{dropped}");
    watcher.stop();
}

#[test]
fn an_interface_that_comes_late_is_watched_and_one_that_goes_is_told() {
    let Some(cable) = Cable::new("late") else {
        return;
    };
    assert!(ip(&format!("-n {} link del lab0", cable.pc)));
    let watcher = Watcher::start(&cable.pc, Duration::from_secs(600));
    cable.plug();
    watcher.wait_for_interface();
    bash(&cable.pc, "echo hello >/dev/udp/10.77.0.2/9999");
    let told = watcher.wait_for("intranet-access", |event| {
        event.action == Action::IntranetAccess
    });
    assert_eq!(end(&told.fields.destination), "10.77.0.2:9999");
    assert!(ip(&format!("-n {} link set lab0 down", cable.pc)));
    watcher.wait_for("interface-down", |event| {
        event.action == Action::InterfaceDown
    });
    assert!(ip(&format!("-n {} link set lab0 up", cable.pc)));
    watcher.wait_for_interface();
    bash(&cable.pc, "echo hello >/dev/udp/10.77.0.2/9998");
    let told = watcher.wait_for("intranet-access", |event| {
        event.action == Action::IntranetAccess
    });
    assert_eq!(end(&told.fields.destination), "10.77.0.2:9998");
    assert!(ip(&format!("-n {} link del lab0", cable.pc)));
    watcher.wait_for("interface-down", |event| {
        event.action == Action::InterfaceDown
    });
    let last = watcher.stop();
    let report = last
        .iter()
        .find(|event| event.action == Action::TrafficReport)
        .unwrap();
    let interfaces = report.fields.lab.interfaces.as_ref().unwrap();
    assert!(
        interfaces
            .iter()
            .any(|one| one.name == "lab0" && one.bytes > 0),
        "{interfaces:?}"
    );
}

#[test]
fn another_programs_contact_is_named_and_the_brokers_is_not_told() {
    let Some(cable) = Cable::new("program") else {
        return;
    };
    let watcher = Watcher::start(&cable.pc, Duration::from_secs(600));
    watcher.wait_for_interface();
    watcher
        .broker
        .send(Some("10.77.0.2:1883".parse().unwrap()))
        .unwrap();
    let listeners = enter(&cable.other, || {
        [1883, 2222].map(|port| TcpListener::bind(("10.77.0.2", port)).unwrap())
    });
    let script = "exec 3<>/dev/tcp/10.77.0.2/1883; exec 4<>/dev/tcp/10.77.0.2/2222; read line <&4";
    let mut bash = Command::new("ip")
        .args(["netns", "exec", &cable.pc, "bash", "-c", script])
        .spawn()
        .unwrap();
    let told = watcher.wait_for("intranet-access", |event| {
        event.action == Action::IntranetAccess
    });
    bash.kill().unwrap();
    bash.wait().unwrap();
    assert_eq!(end(&told.fields.destination), "10.77.0.2:2222");
    assert_eq!(told.fields.lab.attribution, Some(Attribution::Exact));
    let process = told.fields.process.unwrap();
    assert_eq!(process.name.as_deref(), Some("bash"));
    assert_eq!(process.user.unwrap().name, "root");
    drop(listeners);
    watcher.stop();
}

#[test]
fn without_the_privilege_to_capture_the_rest_goes_on_and_says_so() {
    const INNER: &str = "LABWATCH_TEST_WITHOUT_PRIVILEGE";
    if std::env::var_os(INNER).is_none() {
        let test = "without_the_privilege_to_capture_the_rest_goes_on_and_says_so";
        let inner = Command::new("setpriv")
            .args(["--inh-caps=-net_raw", "--bounding-set=-net_raw", "--"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .env(INNER, "1")
            .output();
        match inner {
            Ok(inner) => assert!(
                inner.status.success(),
                "{}",
                String::from_utf8_lossy(&inner.stdout)
            ),
            Err(error) => skipped(&format!("no setpriv (util-linux) here: {error}")),
        }
        return;
    }
    let Some(cable) = Cable::new("raw") else {
        return;
    };
    let watcher = Watcher::start(&cable.pc, Duration::from_secs(600));
    watcher.wait_for_interface();
    assert_eq!(watcher.health.degraded.words(), ["no-capture"]);
    assert!(ip(&format!("-n {} link del lab0", cable.pc)));
    watcher.wait_for("interface-down", |event| {
        event.action == Action::InterfaceDown
    });
    watcher.stop();
}

/// The event of this action about this interface.
fn about(watcher: &Watcher, action: Action, name: &str) -> Occurrence {
    watcher.wait_for(&format!("{action} of {name}"), |event| {
        let interface = event.fields.lab.interface.as_ref();
        event.action == action && interface.is_some_and(|one| one.name == name)
    })
}

fn reason(event: &Occurrence) -> &str {
    event.fields.lab.reason.as_deref().unwrap_or_default()
}

/// Two that run for a while: the PC at the cable and what it tells.
fn watched(test: &str) -> Option<(Cable, Watcher)> {
    let cable = Cable::new(test)?;
    let watcher = Watcher::start(&cable.pc, Duration::from_secs(600));
    watcher.wait_for_interface();
    Some((cable, watcher))
}

#[test]
fn each_kind_of_interface_that_this_kernel_can_make_is_told_in_words() {
    use labwatch_contract::event::interface::InterfaceKind::{Bridge, Tunnel, Virtual};
    let Some((cable, watcher)) = watched("kinds") else {
        return;
    };
    let pc = &cable.pc;
    for (make, driver, kind) in [
        ("link add new0 type dummy", "dummy", Virtual),
        ("link add new0 type veth peer name new1", "veth", Virtual),
        ("link add new0 type bridge", "bridge", Bridge),
        (
            "link add link lab0 name new0 type vlan id 7",
            "vlan",
            Virtual,
        ),
        (
            "link add link lab0 name new0 type macvlan",
            "macvlan",
            Virtual,
        ),
        (
            "link add new0 type vxlan id 7 dstport 4789 remote 10.77.0.2",
            "vxlan",
            Tunnel,
        ),
        ("tuntap add new0 mode tun", "tun", Tunnel),
        ("tuntap add new0 mode tap", "tun", Tunnel),
        ("link add new0 type wireguard", "wireguard", Tunnel),
        (
            "link add new0 type sit remote 10.77.0.2 local 10.77.0.1",
            "sit",
            Tunnel,
        ),
    ] {
        if !ip(&format!("-n {pc} {make}")) {
            skipped(&format!("{driver}: this kernel or ip does not know it"));
            continue;
        }
        assert!(ip(&format!("-n {pc} link set new0 up")));
        let up = about(&watcher, Action::InterfaceUp, "new0");
        let told = up.fields.lab.interface.as_ref().unwrap();
        assert_eq!((told.kind, told.driver.as_deref()), (kind, Some(driver)));
        assert!(ip(&format!("-n {pc} link del new0")));
        let down = about(&watcher, Action::InterfaceDown, "new0");
        assert_eq!((reason(&up), reason(&down)), ("new", "gone"));
    }
    watcher.stop();
}

#[test]
fn another_name_is_told_and_its_traffic_still_counted() {
    let Some((cable, watcher)) = watched("rename") else {
        return;
    };
    let pc = &cable.pc;
    let renames_up = ip(&format!("-n {pc} link set lab0 name evil0"));
    if !renames_up {
        // Before Linux 6.2 only what is off takes another name.
        assert!(ip(&format!("-n {pc} link set lab0 down")));
        assert!(ip(&format!("-n {pc} link set lab0 name evil0")));
        assert!(ip(&format!("-n {pc} link set evil0 up")));
    }
    about(&watcher, Action::InterfaceDown, "lab0");
    let up = about(&watcher, Action::InterfaceUp, "evil0");
    assert!(reason(&up).contains("renamed from lab0"), "{up:?}");
    bash(pc, "echo hello >/dev/udp/10.77.0.2/9997");
    let told = watcher.wait_for("intranet-access", |event| {
        event.action == Action::IntranetAccess
    });
    assert_eq!(end(&told.fields.destination), "10.77.0.2:9997");
    let reports = watcher.stop();
    let reports = reports
        .iter()
        .filter(|event| event.action == Action::TrafficReport);
    let mut interfaces = reports.flat_map(|report| report.fields.lab.interfaces.iter().flatten());
    assert!(interfaces.any(|one| one.name == "evil0" && Some(one.bytes) == one.counter_bytes));
}

#[test]
fn addresses_routes_and_a_pulled_cable_are_told() {
    let Some((cable, watcher)) = watched("routes") else {
        return;
    };
    let (pc, other) = (&cable.pc, &cable.other);
    assert!(ip(&format!("-n {pc} addr add 10.77.0.3/24 dev lab0")));
    let changed = about(&watcher, Action::AddressChanged, "lab0");
    assert_eq!(changed.fields.lab.interface.unwrap().addresses.len(), 3);
    assert!(ip(&format!("-n {pc} route replace default via 10.77.0.9")));
    let changed = about(&watcher, Action::RouteChanged, "lab0")
        .fields
        .lab
        .interface
        .unwrap();
    assert_eq!(changed.gateway, "10.77.0.9".parse().ok());
    assert!(ip(&format!("-n {pc} route add 0.0.0.0/1 via 10.77.0.8")));
    let changed = about(&watcher, Action::RouteChanged, "lab0")
        .fields
        .lab
        .interface
        .unwrap();
    assert_eq!(changed.gateway, "10.77.0.8".parse().ok());
    assert!(ip(&format!("-n {other} link set lab0 down")));
    let pulled = about(&watcher, Action::InterfaceDown, "lab0");
    assert!(reason(&pulled).starts_with("no carrier"));
    assert!(pulled.fields.lab.interface.is_some());
    assert!(ip(&format!("-n {other} link set lab0 up")));
    assert_eq!(
        reason(&about(&watcher, Action::InterfaceUp, "lab0")),
        "carrier is there"
    );
    watcher.stop();
}

#[test]
fn a_tunnel_that_came_and_went_at_once_is_told_with_what_went_over_it() {
    let Some((cable, watcher)) = watched("flash") else {
        return;
    };
    // The watcher cannot look meanwhile: it waits for us to take this event.
    let hold = watcher.taking.lock().unwrap();
    bash(&cable.pc, "echo hello >/dev/udp/10.77.0.2/9996");
    thread::sleep(Duration::from_millis(500));
    bash(
        &cable.pc,
        "ip link add flash0 type veth peer name flash1; ip link set flash1 up; ip link set flash0 up
         ip addr add 10.99.0.1/24 dev flash0; ip neigh add 10.99.0.2 lladdr 02:00:00:00:00:02 dev flash0
         echo hello >/dev/udp/10.99.0.2/9; sleep 0.1; ip link del flash0",
    );
    drop(hold);
    assert_eq!(
        reason(&about(&watcher, Action::InterfaceUp, "flash0")),
        "came and went at once"
    );
    about(&watcher, Action::InterfaceDown, "flash0");
    let gap = about(&watcher, Action::CaptureGap, "flash0");
    assert!(
        reason(&gap).ends_with("bytes went over it unseen"),
        "{gap:?}"
    );
    watcher.stop();
}

#[test]
fn answers_to_a_question_to_everybody_are_no_contact() {
    let Some((cable, watcher)) = watched("ssdp") else {
        return;
    };
    let answers = enter(&cable.other, || UdpSocket::bind("10.77.0.2:1900").unwrap());
    let asks = enter(&cable.pc, || UdpSocket::bind("10.77.0.1:0").unwrap());
    asks.send_to(b"M-SEARCH * HTTP/1.1\r\n\r\n", "239.255.255.250:1900")
        .unwrap();
    answers
        .send_to(b"HTTP/1.1 200 OK", asks.local_addr().unwrap())
        .unwrap();
    thread::sleep(Duration::from_secs(1));
    bash(&cable.pc, "echo hello >/dev/udp/10.77.0.2/9995");
    let told = watcher.wait_for("intranet-access", |event| {
        event.action == Action::IntranetAccess
    });
    assert_eq!(
        end(&told.fields.destination),
        "10.77.0.2:9995",
        "and nothing before"
    );
    watcher.stop();
}
