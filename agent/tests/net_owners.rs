//! Whose conversation it is: the real agent in a network namespace, real programs of many users in it, and its journal.
//!
//! Needs root, `ip` and bash; skipped loudly elsewhere. The figures (`scripts/bench-owners`) count how many of 200
//! connections of 50 ms have the right user and program, and what finding them costs.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test reads files and clocks, and fails by panicking"
)]

mod owners_support;

use std::{
    collections::HashMap,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use labwatch_contract::event::{Fields, contact::Attribution};
use owners_support::{Lab, PORT, enter};

fn end(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Name, user and attribution of the program.
fn said(fields: &Fields) -> (String, String, Option<Attribution>) {
    let process = fields.process.clone().unwrap_or_default();
    (
        process.name.unwrap_or_default(),
        process.user.unwrap_or_default().name,
        fields.lab.attribution,
    )
}

fn is(name: &str, uid: u32) -> (String, String, Option<Attribution>) {
    (name.into(), uid.to_string(), Some(Attribution::Exact))
}

#[test]
fn programs_and_users_of_tcp_and_udp_are_exact() {
    let Some(lab) = Lab::new("kinds") else {
        return;
    };
    let tcp = "exec 3<>/dev/tcp/10.77.1.1/8080; read -t 60";
    let mut tcp = lab.bash("tcp-program", 20_001, tcp);
    let fields = lab.contact("10.77.1.1:8080");
    assert_eq!(said(&fields), is("tcp-program", 20_001));
    let process = fields.process.unwrap();
    assert_eq!(process.pid, Some(tcp.id()));
    assert_eq!(
        process.executable.map(PathBuf::from),
        Some(lab.program("tcp-program"))
    );

    let udp = "exec 3<>/dev/udp/10.77.1.2/9; echo hello >&3; read -t 60";
    let mut udp = lab.bash("udp-program", 20_002, udp);
    assert_eq!(said(&lab.contact("10.77.1.2:9")), is("udp-program", 20_002));

    // A child that has the socket from its parent is not its program.
    let inherited = "exec 3<>/dev/udp/10.77.1.3/9; (echo hello >&3; read -t 60)";
    let mut parent = lab.bash("parent", 20_003, inherited);
    let fields = lab.contact("10.77.1.3:9");
    assert_eq!(said(&fields), is("parent", 20_003));
    assert_eq!(fields.process.unwrap().pid, Some(parent.id()));
    for program in [&mut tcp, &mut udp, &mut parent] {
        end(program);
    }
}

#[test]
fn whoever_listens_is_named_for_what_the_peer_opens() {
    let Some(lab) = Lab::new("accept") else {
        return;
    };
    // Sockets of another program than this test: a listener of TCP, and one of UDP that is not connected.
    let serve = "import os, socket, sys, time
os.setuid(20004)
tcp = socket.create_server(('10.77.0.1', 7001))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(('', 7002))
print('ready', flush=True)
time.sleep(60)";
    let server = enter(&lab.pc, || {
        Command::new("python3")
            .args(["-c", serve])
            .stdout(Stdio::piped())
            .spawn()
    });
    let Ok(mut server) = server else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: no python3 here");
        return;
    };
    let mut ready = [0; 5];
    std::io::Read::read_exact(server.stdout.as_mut().unwrap(), &mut ready).unwrap();
    let (open, refused, datagram) = enter(&lab.other, || {
        let open = TcpStream::connect("10.77.0.1:7001").unwrap();
        let refused = TcpStream::connect("10.77.0.1:7009").is_err();
        let datagram = UdpSocket::bind("10.77.1.5:5353").unwrap();
        datagram.send_to(b"hello", "10.77.0.1:7002").unwrap();
        (open, refused, datagram)
    });
    for peer in [open.local_addr().unwrap(), datagram.local_addr().unwrap()] {
        let fields = lab.contact(&peer.to_string());
        let (_, user, attribution) = said(&fields);
        assert_eq!(
            (user.as_str(), attribution),
            ("20004", Some(Attribution::Exact))
        );
        assert_eq!(fields.process.unwrap().pid, Some(server.id()));
    }
    assert!(refused);
    let nobody = lab.wait_for("the refused contact", |lab| {
        let mut contacts = lab.contacts().into_values();
        contacts.find(|fields| fields.destination.as_ref().unwrap().port == Some(7009))
    });
    assert_eq!(nobody.process, None);
    assert_eq!(nobody.lab.attribution, Some(Attribution::None));
    assert_eq!(
        nobody.lab.reason.as_deref(),
        Some("no program listens for it")
    );
    end(&mut server);
}

#[test]
fn a_program_in_a_network_namespace_of_its_own_is_said_to_be_there() {
    let Some(lab) = Lab::new("inner") else {
        return;
    };
    // Its socket is of the PC's namespace, which it then leaves.
    let script = format!(
        "import ctypes, socket, time
s = socket.socket()
assert ctypes.CDLL(None).unshare(0x40000000) == 0
s.connect(('10.77.1.9', {PORT}))
time.sleep(60)"
    );
    let inner = enter(&lab.pc, || {
        Command::new("python3").args(["-c", &script]).spawn()
    });
    let Ok(mut inner) = inner else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: no python3 here");
        return;
    };
    let fields = lab.contact("10.77.1.9:8080");
    assert_eq!(fields.lab.attribution, Some(Attribution::Exact));
    assert_eq!(fields.process.unwrap().pid, Some(inner.id()));
    assert_eq!(
        fields.lab.reason.as_deref(),
        Some("in another network namespace (a container)")
    );
    end(&mut inner);
}

#[test]
fn without_the_right_to_look_at_others_programs_their_user_is_named_all_the_same() {
    let lacking = "--bounding-set=-dac_override,-dac_read_search,-sys_ptrace";
    let starter = ["setpriv", lacking, "--"];
    let Some(lab) = Lab::with_agent_under("rights", &starter) else {
        return;
    };
    let script = "exec 3<>/dev/tcp/10.77.1.1/8080; read -t 60";
    let mut program = lab.bash("hidden", 20_005, script);
    let fields = lab.contact("10.77.1.1:8080");
    let (name, user, attribution) = said(&fields);
    assert_eq!((name.as_str(), user.as_str()), ("", "20005"));
    assert_eq!(attribution, Some(Attribution::None));
    assert_eq!(
        fields.lab.reason.as_deref(),
        Some("no program that the agent may look at has its socket open")
    );
    end(&mut program);
}

/// How many of the 200 were told at all, with the right user, the right program, and called exact.
#[derive(Debug, Default)]
struct Score {
    told: usize,
    users: usize,
    programs: usize,
    exact: usize,
}

impl Score {
    fn add(&mut self, fields: Option<&Fields>, uid: u32, pid: u32) {
        let Some(fields) = fields else {
            return;
        };
        let process = fields.process.clone().unwrap_or_default();
        self.told += 1;
        self.users += usize::from(
            process
                .user
                .is_some_and(|user| user.name == uid.to_string()),
        );
        self.programs += usize::from(process.pid == Some(pid) && process.name.is_some());
        self.exact += usize::from(fields.lab.attribution == Some(Attribution::Exact));
    }
}

/// 50 new conversations in 10 s are told one by one, so there is a pause between connections.
const PAUSE: Duration = Duration::from_millis(225);
const CONNECTIONS: u8 = 200;

fn peer(number: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 77, 1, number)), PORT)
}

fn one_process(lab: &Lab) -> Score {
    let script = format!(
        "for n in {{1..{CONNECTIONS}}}; do exec 3<>/dev/tcp/10.77.1.$n/{PORT}; read -t 0.05 -u 3; exec 3>&-; read -t 0.175; done"
    );
    let mut program = lab.bash("one", 20_500, &script);
    let (pid, stdin) = (program.id(), program.stdin.take());
    program.wait().unwrap();
    drop(stdin);
    score(lab, |_| (20_500, pid))
}

fn many_processes(lab: &Lab) -> Score {
    let mut children: Vec<Child> = vec![];
    for number in 1..=CONNECTIONS {
        children.push(short_lived(lab, number));
        thread::sleep(PAUSE);
    }
    let pids: Vec<u32> = children.iter().map(Child::id).collect();
    children.iter_mut().for_each(|child| drop(child.wait()));
    score(lab, |number| {
        (21_000 + u32::from(number), pids[usize::from(number) - 1])
    })
}

fn short_lived(lab: &Lab, number: u8) -> Child {
    let script = format!("exec 3<>/dev/tcp/10.77.1.{number}/{PORT}; read -t 0.05 -u 3");
    lab.bash(
        &format!("many{number}"),
        21_000 + u32::from(number),
        &script,
    )
}

fn score(lab: &Lab, expected: impl Fn(u8) -> (u32, u32)) -> Score {
    thread::sleep(Duration::from_secs(1));
    let contacts = lab.contacts();
    let mut score = Score::default();
    for number in 1..=CONNECTIONS {
        let (uid, pid) = expected(number);
        score.add(contacts.get(&peer(number)), uid, pid);
    }
    score
}

/// All at once, more than are told one by one: programs by the report's list of each peer.
fn all_at_once(lab: &mut Lab) -> (usize, Duration) {
    let started = Instant::now();
    let mut children: Vec<Child> = (1..=CONNECTIONS)
        .map(|number| short_lived(lab, number))
        .collect();
    let took = started.elapsed();
    children.iter_mut().for_each(|child| drop(child.wait()));
    thread::sleep(Duration::from_secs(1));
    lab.stop_agent();
    let events = lab.events().into_iter();
    let peers = events.flat_map(|event| event.occurrence.fields.lab.peers.unwrap_or_default());
    let by_ip: HashMap<IpAddr, Vec<String>> = peers.map(|peer| (peer.ip, peer.processes)).collect();
    let is_right = |number: &u8| {
        by_ip
            .get(&peer(*number).ip())
            .is_some_and(|names| names == &[format!("many{number}")])
    };
    ((1..=CONNECTIONS).filter(is_right).count(), took)
}

#[test]
#[ignore = "figures, not a test: scripts/bench-owners"]
fn figures() {
    let Some(lab) = Lab::new("one") else {
        return;
    };
    let idle = lab.cpu(Some("processes"));
    thread::sleep(Duration::from_secs(10));
    let idle = lab.cpu(Some("processes")) - idle;
    println!(
        "200 connections of 50 ms      told  user  program  exact   (asked for: user 200, program 190 and 170)"
    );
    let line = |what: &str, score: &Score| {
        println!(
            "{what:<28} {:>5} {:>5} {:>8} {:>6}",
            score.told, score.users, score.programs, score.exact
        );
    };
    line("from one process", &one_process(&lab));
    drop(lab);
    let lab = Lab::new("many").unwrap();
    line("from 200 processes", &many_processes(&lab));
    drop(lab);
    let mut lab = Lab::new("once").unwrap();
    let (programs, took) = all_at_once(&mut lab);
    println!(
        "{:<28} {:>5} {:>5} {programs:>8}        (by the report; started within {took:.1?})",
        "from 200 processes at once", "-", "-"
    );
    drop(lab);
    println!("\nCPU of the thread that finds programs: {idle:?} in 10 s of an idle PC");
    load();
}

/// What 100 new conversations a second cost, for 10 s.
fn load() {
    let lab = Lab::new("load").unwrap();
    let script = format!(
        "for p in {{1..4}}; do for n in {{1..250}}; do exec 3<>/dev/tcp/10.77.1.$n/$((p+{PORT}-1)); exec 3>&-; read -t 0.01; done; done"
    );
    let (before, all_before, started) = (lab.cpu(Some("processes")), lab.cpu(None), Instant::now());
    let mut program = lab.bash("load", 20_500, &script);
    let stdin = program.stdin.take();
    program.wait().unwrap();
    drop(stdin);
    let took = started.elapsed();
    let (used, all) = (
        lab.cpu(Some("processes")) - before,
        lab.cpu(None) - all_before,
    );
    println!(
        "{used:?} in {took:.1?} with 1000 new conversations ({:.2} % of a core; the whole agent {:.2} %)",
        100.0 * used.as_secs_f64() / took.as_secs_f64(),
        100.0 * all.as_secs_f64() / took.as_secs_f64()
    );
}
