//! The whole of Labwatch on real packets: a server, three lab PCs, a gateway with DNS, an internet host, each in
//! a network namespace; every program is the real one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test talks to the world, and fails by a panic"
)]

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use labwatch_contract::{
    event::{Action, Event, contact::Direction},
    scope::Scope,
};
use labwatch_tests::{
    lab::{INTERNET, INTERNET_NAME, Lab, Machine, PASSWORD},
    program::{Program, eventually},
    record, skipped, traffic,
};

const TOOLS: [&str; 4] = ["ip", "dnsmasq", "sysctl", "mosquitto_sub"];
const WEB: u16 = 8080;

/// The first packet must be on the invigilator's console by then; the busy machines that run tests get five times it.
const VISIBLE_WITHIN: Duration = Duration::from_secs(5);

struct Room {
    _agents: Vec<Program>,
    notifier: Program,
    _recorder: Program,
}

impl Room {
    fn open(lab: &Lab, agent_flags: &[&str]) -> Self {
        let flags = agent_flags.iter().map(|flag| (*flag).to_owned());
        Self::open_as(lab, &[], |_| flags.clone().collect())
    }

    /// With the flags of staff, and those of each PC's agent.
    fn open_as(lab: &Lab, staff: &[String], pc: impl Fn(&Machine) -> Vec<String>) -> Self {
        let recorder = lab.start_recorder(staff);
        let notifier = lab.start_notifier(staff);
        let agents: Vec<_> = lab
            .pcs
            .iter()
            .map(|machine| lab.start_agent(machine, &pc(machine)))
            .collect();
        for pc in &lab.pcs {
            let _ = notifier.wait_for(&[&pc.ip.to_string(), "connected"]);
        }
        Self {
            _agents: agents,
            notifier,
            _recorder: recorder,
        }
    }

    /// Lines on the console that are about the network.
    fn alerts(&self) -> Vec<String> {
        let lines = self.notifier.lines().into_iter().map(|line| line.text);
        lines
            .filter(|line| line.contains("etwork") && line.contains("accessed"))
            .collect()
    }
}

fn recorded(lab: &Lab, pc: &Machine, action: &Action, peer: IpAddr) -> Event {
    eventually("the event is in the record", || {
        let events = record::events(&lab.records(), pc.into(), action);
        events.into_iter().find(|event| {
            let ends = [
                &event.occurrence.fields.source,
                &event.occurrence.fields.destination,
            ];
            ends.into_iter().flatten().any(|end| end.ip == peer)
        })
    })
}

#[test]
fn a_page_fetched_from_a_neighbour_is_named_at_both_ends() {
    if skipped(&TOOLS).is_some() {
        return;
    }
    let lab = Lab::new();
    let _broker = lab.start_broker();
    let room = Room::open(&lab, &[]);
    a_neighbour_is_seen(&lab, &room);
}

fn a_neighbour_is_seen(lab: &Lab, room: &Room) {
    let [one, two, _] = &lab.pcs;
    traffic::serve_pages(two, WEB);
    let skip = room.notifier.lines().len();
    let began = Instant::now();
    traffic::fetch_page(one, SocketAddr::new(two.into(), WEB));

    let (first, second, port) = (one.ip.to_string(), two.ip.to_string(), WEB.to_string());
    let opened = room
        .notifier
        .wait_for_after(skip, &[&first, &second, &port, "opened"]);
    let contacted = room
        .notifier
        .wait_for_after(skip, &[&first, &second, &port, "contacted"]);
    for line in [opened, contacted] {
        let after = line.at.saturating_duration_since(began);
        println!("{after:?} after the fetch began: {}", line.text);
        assert!(after < VISIBLE_WITHIN, "{after:?}: {}", line.text);
    }

    for (pc, peer, direction) in [
        (one, two, Direction::Egress),
        (two, one, Direction::Ingress),
    ] {
        let event = recorded(lab, pc, &Action::IntranetAccess, peer.into());
        let fields = event.occurrence.fields;
        let (source, destination) = (fields.source.unwrap(), fields.destination.unwrap());
        assert_eq!((source.ip, destination.ip), (one.into(), two.into()));
        assert!(source.port.is_some());
        assert_eq!(destination.port, Some(WEB));
        let network = fields.network.unwrap();
        assert_eq!(
            (network.direction, network.transport.as_str()),
            (direction, "tcp")
        );
    }
}

#[test]
fn mosquitto_with_the_shipped_configuration_does_the_same() {
    let tools = [&TOOLS[..], &["mosquitto", "mosquitto_passwd"]].concat();
    if skipped(&tools).is_some() {
        return;
    }
    let lab = Lab::new();
    let _broker = lab.start_mosquitto();
    let agent_flags = |pc: &Machine| {
        let own = lab.credentials(&pc.ip.to_string());
        own.into_iter()
            .chain(["--report-every".into(), "4s".into()])
            .collect()
    };
    let room = Room::open_as(&lab, &lab.credentials("staff"), agent_flags);
    a_neighbour_is_seen(&lab, &room);
    quiet_traffic_is_quiet(&lab, &room);
    reports_are_exact(&lab, &room);
    a_pc_sees_only_its_own(&lab);
}

/// Mosquitto grants a foreign subscription and delivers nothing.
fn a_pc_sees_only_its_own(lab: &Lab) {
    let [one, two, _] = &lab.pcs;
    let user = one.ip.to_string();
    let login = ["-u", user.as_str(), "-P", PASSWORD, "-t", "lab/#"];
    let spy = lab.watch(one, &login);
    let live = lab.watch(&lab.server, &["-u", "staff", "-P", PASSWORD, "-t", "lab/#"]);
    let _ = live.wait_for(&[&format!("lab/{}/health", two.ip)]);
    let _ = live.wait_for(&[&format!("lab/{}/health", one.ip)]);
    let own_status = format!("lab/{}/status", one.ip);
    let _ = spy.wait_for(&[&own_status, "online"]);
    let got: Vec<_> = spy
        .lines()
        .into_iter()
        .filter(|line| line.text.starts_with("lab/"))
        .collect();
    let own_ack = format!("lab/{}/ack", one.ip);
    let is_own = |text: &str| text.starts_with(&own_status) || text.starts_with(&own_ack);
    assert!(got.iter().all(|line| is_own(&line.text)), "{got:?}");
}

#[test]
fn what_a_network_needs_to_work_raises_nothing_and_the_internet_no_alert() {
    if skipped(&TOOLS).is_some() {
        return;
    }
    let lab = Lab::new();
    let _broker = lab.start_broker();
    let room = Room::open(&lab, &[]);
    quiet_traffic_is_quiet(&lab, &room);
}

fn quiet_traffic_is_quiet(lab: &Lab, room: &Room) {
    let [one, ..] = &lab.pcs;
    let before = room.alerts();
    traffic::make_infrastructure_noise(one, &lab.gateway, INTERNET_NAME);
    traffic::serve_pages(&lab.internet, WEB);
    traffic::fetch_page(one, SocketAddr::new(INTERNET.into(), WEB));

    let event = recorded(lab, one, &Action::InternetAccess, INTERNET.into());
    let destination = event.occurrence.fields.destination.unwrap();
    assert_eq!(
        destination.domain.as_deref(),
        Some(INTERNET_NAME),
        "the DNS answer was on the wire"
    );
    assert_eq!(event.occurrence.fields.lab.scope, Some(Scope::Internet));
    assert_eq!(room.alerts(), before);
    let intranet = record::events(&lab.records(), one.into(), &Action::IntranetAccess);
    let own: Vec<_> = intranet
        .iter()
        .filter(|event| event.occurrence.fields.destination.as_ref().unwrap().port != Some(WEB))
        .collect();
    assert!(own.is_empty(), "{own:#?}");
}

#[test]
fn reports_equal_the_interface_counters_to_the_byte() {
    if skipped(&TOOLS).is_some() {
        return;
    }
    let lab = Lab::new();
    let _broker = lab.start_broker();
    let room = Room::open(&lab, &["--report-every", "4s"]);
    reports_are_exact(&lab, &room);
}

/// The sums of one traffic report.
struct Sums {
    peers_and_other: u64,
    captured: u64,
    counted: u64,
    names_neighbour: bool,
}

fn sums(report: Event, neighbour: IpAddr) -> Sums {
    let fields = report.occurrence.fields.lab;
    let peers = fields.peers.unwrap();
    let interfaces = fields.interfaces.unwrap();
    assert!(interfaces.iter().all(|interface| interface.dropped == 0));
    let of_peers: u64 = peers
        .iter()
        .map(|peer| peer.sent_bytes + peer.received_bytes)
        .sum();
    Sums {
        peers_and_other: of_peers + fields.other_bytes.unwrap(),
        captured: interfaces.iter().map(|interface| interface.bytes).sum(),
        counted: interfaces
            .iter()
            .map(|interface| interface.counter_bytes.unwrap())
            .sum(),
        names_neighbour: peers
            .iter()
            .any(|peer| peer.ip == neighbour && peer.sent_bytes > 0),
    }
}

fn reports_are_exact(lab: &Lab, _room: &Room) {
    let [one, two, _] = &lab.pcs;
    let reports = || record::events(&lab.records(), one.into(), &Action::TrafficReport);
    // What went by while the capture was opened is in no count of it; from the first report on nothing may be.
    let first = eventually("a first report", || {
        Some(reports().len()).filter(|count| *count > 0)
    });
    traffic::serve_pages(two, WEB + 1);
    for _ in 0..20 {
        traffic::fetch_page(one, SocketAddr::new(two.into(), WEB + 1));
    }
    // A frame may fall between the look at the counter and that at the capture; the next report evens it out.
    let total = eventually("a report up to which capture and counter agree", || {
        let (mut captured, mut counted, mut named) = (0, 0, false);
        reports().into_iter().skip(first).find_map(|report| {
            let sums = sums(report, two.into());
            assert_eq!(sums.peers_and_other, sums.captured);
            captured += sums.captured;
            counted += sums.counted;
            named |= sums.names_neighbour;
            (named && captured == counted).then_some(captured)
        })
    });
    println!("{total} bytes captured, and as many counted by the interface");
}
