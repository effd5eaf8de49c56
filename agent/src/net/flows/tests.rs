use std::collections::HashMap;

use labwatch_contract::{
    event::{
        Action, Fields,
        contact::{Attribution, Process, User},
        report::PeerTotals,
    },
    time::Timestamp,
};
use proptest::prelude::*;

use super::*;
use crate::net::packet::{Ports, TcpFlags};

const OWN: &str = "192.168.0.7";
const NEIGHBOUR: &str = "192.168.0.8";
const SERVER: &str = "203.0.113.5";
const DNS_SERVER: &str = "192.168.0.1";
const BROKER: &str = "192.168.0.2:1883";

const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(ms: u64) -> Moment {
    let time = Timestamp::from_unix_ms(1_700_000_000_000 + i64::try_from(ms).unwrap()).unwrap();
    Moment {
        uptime: Duration::from_millis(ms),
        time,
    }
}

fn packet(protocol: u8, from: &str, to: &str) -> Packet<'static> {
    let end = |text: &str| -> (IpAddr, Option<u16>) {
        text.parse::<SocketAddr>()
            .map_or_else(|_| (ip(text), None), |end| (end.ip(), Some(end.port())))
    };
    let ((source, from), (destination, to)) = (end(from), end(to));
    Packet {
        source,
        destination,
        protocol,
        ports: from.zip(to).map(|(source, destination)| Ports {
            source,
            destination,
        }),
        tcp_flags: None,
        sequence: 0,
        icmp_type: None,
        fragment: false,
        payload: &[],
    }
}

fn tcp(from: &str, to: &str, flags: u8) -> Packet<'static> {
    Packet {
        tcp_flags: Some(TcpFlags(flags)),
        ..packet(protocol::TCP, from, to)
    }
}

fn udp(from: &str, to: &str) -> Packet<'static> {
    packet(protocol::UDP, from, to)
}

fn icmp(from: &str, to: &str, icmp_type: u8) -> Packet<'static> {
    Packet {
        icmp_type: Some(icmp_type),
        ..packet(protocol::ICMP, from, to)
    }
}

struct Lab {
    flows: Flows,
    asked: Vec<(Ticket, Socket)>,
    looked_up: Vec<IpAddr>,
}

impl Lab {
    fn new() -> Self {
        let mut here = Surroundings {
            dns_servers: vec![ip(DNS_SERVER)],
            ..Surroundings::default()
        };
        let mut interface = Interface {
            index: 1,
            ..Interface::default()
        };
        interface.shown.name = "eth0".into();
        interface.shown.addresses = vec!["192.168.0.7/24".parse().unwrap()];
        here.interfaces.push(interface.clone());
        let mut flows = Flows::new(at(0));
        flows.set_surroundings(&here, here.networks(&[], Some(BROKER.parse().unwrap())));
        flows.open_interface(&interface);
        Self {
            flows,
            asked: vec![],
            looked_up: vec![],
        }
    }

    /// A frame of 100 bytes, as an opening and counted, and the events until then.
    fn frame(&mut self, ms: u64, packet: Packet<'_>) -> Vec<Occurrence> {
        let frame = Frame {
            len: 100,
            content: Content::Ip(packet),
        };
        self.flows.handle_opening(&frame, 1, at(ms));
        self.flows.handle_frame(&frame, 1, at(ms));
        self.outputs()
    }

    /// A frame, and the events once nobody knows the program.
    fn told(&mut self, ms: u64, packet: Packet<'_>) -> Vec<Occurrence> {
        let mut told = self.frame(ms, packet);
        while let Some((ticket, _)) = self.asked.pop() {
            self.flows.handle_owner(ticket, Owner::Unknown, at(ms));
        }
        told.extend(self.outputs());
        told
    }

    fn time(&mut self, ms: u64) -> Vec<Occurrence> {
        self.flows.handle_timeout(at(ms));
        self.outputs()
    }

    fn report(&mut self, ms: u64) -> Fields {
        self.flows.end_interval(at(ms));
        let mut reports = self.outputs();
        assert_eq!(reports.len(), 1);
        reports.remove(0).fields
    }

    fn outputs(&mut self) -> Vec<Occurrence> {
        let mut told = vec![];
        while let Some(output) = self.flows.poll_output() {
            match output {
                Output::Occurrence(occurrence) => told.push(*occurrence),
                Output::FindOwner(ticket, socket) => self.asked.push((ticket, socket)),
                Output::FindName(ip) => self.looked_up.push(ip),
            }
        }
        told
    }
}

/// `egress 192.168.0.7:40000 > 192.168.0.8:80`
fn line(occurrence: &Occurrence) -> String {
    let fields = &occurrence.fields;
    let direction = fields
        .network
        .as_ref()
        .map_or(Direction::Unknown, |network| network.direction);
    let end = |end: &Option<labwatch_contract::event::contact::Endpoint>| {
        end.as_ref().unwrap().to_string()
    };
    format!(
        "{direction:?} {} > {}",
        end(&fields.source),
        end(&fields.destination)
    )
    .to_lowercase()
}

#[test]
fn the_first_packet_of_a_conversation_is_told_with_both_ends() {
    let mut lab = Lab::new();
    let told = lab.told(5, tcp("192.168.0.7:40000", "192.168.0.8:80", SYN));
    assert_eq!(told.len(), 1);
    assert_eq!(line(&told[0]), "egress 192.168.0.7:40000 > 192.168.0.8:80");
    assert_eq!(
        (told[0].action.clone(), told[0].time),
        (Action::IntranetAccess, at(5).time)
    );
    let network = told[0].fields.network.clone().unwrap();
    assert_eq!(
        (network.transport.as_str(), network.protocol.as_deref()),
        ("tcp", Some("http"))
    );
    assert_eq!(told[0].fields.lab.scope, Some(Scope::Intranet));
    assert_eq!(told[0].fields.lab.attribution, Some(Attribution::None));
    assert_eq!(
        lab.told(6, tcp("192.168.0.8:80", "192.168.0.7:40000", SYN_ACK)),
        []
    );
    assert_eq!(
        lab.told(7, tcp("192.168.0.7:40001", "192.168.0.8:80", SYN)),
        []
    );
    let other = lab.told(8, tcp("192.168.0.7:40002", "192.168.0.8:22", SYN));
    assert_eq!(line(&other[0]), "egress 192.168.0.7:40002 > 192.168.0.8:22");
}

#[test]
fn who_comes_to_us_is_told_as_ingress() {
    let told = Lab::new().told(0, tcp("192.168.0.8:40000", "192.168.0.7:80", SYN));
    assert_eq!(line(&told[0]), "ingress 192.168.0.8:40000 > 192.168.0.7:80");
}

#[test]
fn what_was_already_running_is_told_with_the_service_as_destination() {
    for (packet, expected) in [
        (
            tcp("192.168.0.8:22", "192.168.0.7:40000", ACK),
            "egress 192.168.0.7:40000 > 192.168.0.8:22",
        ),
        (
            tcp("192.168.0.7:8000", "192.168.0.8:50000", ACK),
            "ingress 192.168.0.8:50000 > 192.168.0.7:8000",
        ),
        (
            tcp("192.168.0.8:80", "192.168.0.7:900", SYN_ACK),
            "egress 192.168.0.7:900 > 192.168.0.8:80",
        ),
        (
            tcp("192.168.0.7:40000", "192.168.0.8:50000", ACK),
            "ingress 192.168.0.8:50000 > 192.168.0.7:40000",
        ),
        (
            udp("192.168.0.8:5004", "192.168.0.7:50000"),
            "egress 192.168.0.7:50000 > 192.168.0.8:5004",
        ),
        (
            udp("192.168.0.8:40000", "192.168.0.7:50000"),
            "ingress 192.168.0.8:40000 > 192.168.0.7:50000",
        ),
    ] {
        let told = Lab::new().told(0, packet);
        assert_eq!(line(&told[0]), expected);
    }
}

#[test]
fn once_all_is_seen_the_first_datagram_tells_who_opened() {
    let told = Lab::new().told(60_000, udp("192.168.0.8:53", "192.168.0.7:50000"));
    assert_eq!(line(&told[0]), "ingress 192.168.0.8:53 > 192.168.0.7:50000");
}

#[test]
fn a_connection_whose_beginning_was_not_seen_is_said_to_be_already_open() {
    let reason = |packet| {
        let told = Lab::new().told(0, packet).remove(0);
        told.fields.lab.reason
    };
    let (own, peer) = ("192.168.0.7:40000", "192.168.0.8:80");
    assert_eq!(reason(tcp(own, peer, ACK)).as_deref(), Some(ALREADY_OPEN));
    for packet in [tcp(own, peer, SYN), tcp(peer, own, SYN_ACK), udp(own, peer)] {
        assert_eq!(reason(packet), None);
    }
}

#[test]
fn frames_counted_late_open_nothing_again_and_are_counted_once() {
    let mut lab = Lab::new();
    let count = |lab: &mut Lab, ms, packet| {
        let frame = Frame {
            len: 100,
            content: Content::Ip(packet),
        };
        lab.flows.handle_frame(&frame, 1, at(ms));
        lab.outputs()
    };
    let syn = tcp("192.168.0.7:40000", "192.168.0.8:80", SYN);
    let internet = tcp("192.168.0.7:40000", "203.0.113.5:443", SYN);
    for packet in [syn, internet] {
        let frame = Frame {
            len: 100,
            content: Content::Ip(packet),
        };
        lab.flows.handle_opening(&frame, 1, at(9_900));
        assert_eq!(lab.time(12_000).len(), 1);
    }
    assert_eq!(lab.report(12_000).lab.peers.unwrap(), []);
    assert_eq!(count(&mut lab, 9_900, syn), []);
    assert_eq!(count(&mut lab, 9_900, internet), []);
    assert_eq!(lab.time(20_000), []);
    let peers = lab.report(20_000).lab.peers.unwrap();
    assert_eq!(peers.iter().map(|peer| peer.sent_bytes).sum::<u64>(), 200);
}

#[test]
fn a_conversation_is_new_again_after_a_minute_of_silence() {
    let mut lab = Lab::new();
    let again = |lab: &mut Lab, ms| {
        lab.told(ms, udp("192.168.0.7:40000", "192.168.0.8:9999"))
            .len()
    };
    assert_eq!(again(&mut lab, 0), 1);
    assert_eq!(again(&mut lab, 59_999), 0);
    assert_eq!(again(&mut lab, 119_998), 0);
    assert_eq!(again(&mut lab, 179_998), 1);
    lab.time(500_000);
    assert_eq!(
        lab.flows.poll_timeout(),
        None,
        "nothing is left to wait for"
    );
}

#[test]
fn a_tuple_used_again_in_the_other_direction_is_another_conversation() {
    let mut lab = Lab::new();
    assert_eq!(
        lab.told(0, tcp("192.168.0.7:5000", "192.168.0.8:6000", SYN))
            .len(),
        1
    );
    let told = lab.told(1, tcp("192.168.0.8:6000", "192.168.0.7:5000", SYN));
    assert_eq!(
        line(&told[0]),
        "ingress 192.168.0.8:6000 > 192.168.0.7:5000"
    );
}

#[test]
fn pings_are_told_and_error_notices_are_not() {
    let mut lab = Lab::new();
    assert_eq!(lab.told(0, icmp(NEIGHBOUR, OWN, 3)), []);
    let told = lab.told(1, icmp(OWN, NEIGHBOUR, 0));
    assert_eq!(line(&told[0]), "ingress 192.168.0.8 > 192.168.0.7");
    assert_eq!(lab.told(2, icmp(NEIGHBOUR, OWN, 8)), []);
    assert_eq!(lab.told(3, icmp(OWN, NEIGHBOUR, 8)).len(), 1);
    assert!(lab.asked.is_empty(), "ICMP has no socket to ask for");
}

#[test]
fn infrastructure_groups_fragments_and_others_traffic_raise_nothing() {
    let mut lab = Lab::new();
    let fragment = Packet {
        fragment: true,
        ..packet(protocol::UDP, NEIGHBOUR, OWN)
    };
    for packet in [
        udp("192.168.0.7:40000", "192.168.0.1:53"),
        tcp("192.168.0.7:40000", BROKER, SYN),
        udp("0.0.0.0:68", "255.255.255.255:67"),
        udp("192.168.0.8:137", "192.168.0.255:137"),
        udp("192.168.0.7:5353", "224.0.0.251:5353"),
        udp("192.168.0.7:9999", "239.1.2.3:9999"),
        udp("[fe80::1]:546", "[ff02::1:2]:547"),
        tcp("192.168.0.8:40000", "192.168.0.9:80", SYN),
        fragment,
    ] {
        assert_eq!(lab.told(0, packet), [], "{packet:?}");
    }
    assert_eq!(lab.time(10_000), []);
    let peers = lab.report(10_000).lab.peers.unwrap();
    let bytes: u64 = peers
        .iter()
        .map(|peer| peer.sent_bytes + peer.received_bytes)
        .sum();
    assert_eq!(bytes, 900, "their bytes are counted all the same");
}

#[test]
fn those_who_come_to_a_broker_on_this_pc_raise_nothing() {
    let mut lab = Lab::new();
    for broker in ["127.0.0.1:1883", "192.168.0.7:1883"] {
        let networks = Networks {
            broker: broker.parse().ok(),
            ..lab.flows.networks.clone()
        };
        lab.flows.networks = networks;
        assert_eq!(
            lab.told(0, tcp("192.168.0.8:40000", "192.168.0.7:1883", SYN)),
            []
        );
    }
}

fn exact(process: Process) -> Found {
    Found {
        process,
        attribution: Attribution::Exact,
        reason: None,
    }
}

#[test]
fn a_user_without_a_program_is_told_with_the_reason() {
    let mut lab = Lab::new();
    lab.frame(0, tcp("192.168.0.7:40000", "192.168.0.8:80", SYN));
    let (ticket, _) = lab.asked.pop().unwrap();
    let mut found = exact(Process {
        user: Some(User {
            name: "anna".into(),
        }),
        ..Process::default()
    });
    found.attribution = Attribution::None;
    found.reason = Some("hidden");
    lab.flows
        .handle_owner(ticket, Owner::Program(found), at(20));
    let fields = lab.outputs().remove(0).fields;
    assert_eq!(fields.process.unwrap().user.unwrap().name, "anna");
    assert_eq!(fields.lab.attribution, Some(Attribution::None));
    assert_eq!(fields.lab.reason.as_deref(), Some("hidden"));

    lab.frame(30, tcp("192.168.0.7:40000", "192.168.0.8:81", SYN));
    let (ticket, _) = lab.asked.pop().unwrap();
    let nothing = Found {
        attribution: Attribution::None,
        ..exact(Process::default())
    };
    lab.flows
        .handle_owner(ticket, Owner::Program(nothing), at(40));
    assert_eq!(lab.outputs().remove(0).fields.process, None);
}

#[test]
fn a_question_names_direction_and_interface() {
    let mut lab = Lab::new();
    lab.frame(0, tcp("192.168.0.8:40000", "192.168.0.7:22", SYN));
    let (_, socket) = lab.asked.pop().unwrap();
    assert_eq!(
        (socket.own.to_string(), socket.direction, socket.interface),
        ("192.168.0.7:22".into(), Direction::Ingress, 1)
    );
}

#[test]
fn in_a_flood_only_so_many_programs_are_asked_for_in_a_window() {
    let mut lab = Lab::new();
    let scan = |lab: &mut Lab, ms: u64, ports: std::ops::RangeInclusive<u16>| {
        for port in ports {
            let to = format!("192.168.0.8:{port}");
            lab.frame(ms, tcp("192.168.0.7:40000", &to, SYN));
        }
        for (ticket, _) in std::mem::take(&mut lab.asked) {
            lab.flows.handle_owner(ticket, Owner::Unknown, at(ms));
        }
    };
    scan(&mut lab, 1, 1..=1000);
    lab.frame(5000, tcp("192.168.0.7:40000", "192.168.0.8:2000", SYN));
    assert_eq!(lab.asked.len(), 0);
    lab.frame(10_002, tcp("192.168.0.7:40000", "192.168.0.8:2001", SYN));
    assert_eq!(lab.asked.len(), 1);
}

#[test]
fn programs_behind_a_burst_stand_in_its_sum_and_in_the_report() {
    let mut lab = Lab::new();
    let scanner = || {
        let name = Some("nmap".into());
        Owner::Program(exact(Process {
            name,
            ..Process::default()
        }))
    };
    for port in 1..=500 {
        lab.frame(
            1,
            tcp("192.168.0.7:40000", &format!("192.168.0.8:{port}"), SYN),
        );
    }
    // Fifty are told, and of the others only so many are asked about.
    assert_eq!(lab.asked.len(), 50 + 256);
    for (ticket, _) in std::mem::take(&mut lab.asked) {
        lab.flows.handle_owner(ticket, scanner(), at(2));
    }
    let sums = lab.time(10_001);
    let burst = sums.last().unwrap().fields.lab.burst.clone().unwrap();
    assert_eq!(burst.processes, ["nmap"]);
    let peers = lab.report(10_002).lab.peers.unwrap();
    assert_eq!(peers[0].processes, ["nmap"]);
}

#[test]
fn a_further_conversation_with_an_internet_peer_is_not_told_but_its_program_is_in_the_report() {
    let mut lab = Lab::new();
    lab.frame(0, tcp("192.168.0.7:40000", "203.0.113.5:443", SYN));
    lab.asked.clear();
    lab.frame(1, tcp("192.168.0.7:40001", "203.0.113.5:80", SYN));
    let (ticket, _) = lab.asked.pop().unwrap();
    let process = Process {
        name: Some("curl".into()),
        ..Process::default()
    };
    lab.flows
        .handle_owner(ticket, Owner::Program(exact(process)), at(2));
    assert_eq!(lab.outputs(), []);
    let peers = lab.report(5000).lab.peers.unwrap();
    assert_eq!(peers[0].processes, ["curl"]);
}

#[test]
fn an_event_waits_for_its_program_but_not_long() {
    let mut lab = Lab::new();
    assert_eq!(
        lab.frame(0, tcp("192.168.0.7:40000", "192.168.0.8:80", SYN)),
        []
    );
    let (ticket, socket) = lab.asked.pop().unwrap();
    assert_eq!(
        (socket.own.to_string(), socket.peer.to_string()),
        ("192.168.0.7:40000".into(), "192.168.0.8:80".into())
    );
    let process = Process {
        name: Some("curl".into()),
        ..Process::default()
    };
    lab.flows
        .handle_owner(ticket, Owner::Program(exact(process)), at(20));
    let told = lab.outputs();
    assert_eq!(told[0].time, at(0).time);
    assert_eq!(
        told[0].fields.process.as_ref().unwrap().name.as_deref(),
        Some("curl")
    );
    assert_eq!(told[0].fields.lab.attribution, Some(Attribution::Exact));

    lab.frame(1000, tcp("192.168.0.7:40001", "192.168.0.8:81", SYN));
    assert_eq!(lab.flows.poll_timeout(), Some(at(1100).uptime));
    assert_eq!(lab.time(1099), []);
    assert_eq!(lab.time(1100).len(), 1);
    let (late, _) = lab.asked.pop().unwrap();
    lab.flows.handle_owner(late, Owner::Unknown, at(1200));
    assert_eq!(lab.outputs(), []);
    let peers = lab.report(1200).lab.peers.unwrap();
    assert_eq!(
        (peers[0].processes.as_slice(), peers[0].ports.as_slice()),
        (&["curl".to_owned()][..], &[80, 81][..])
    );
}

#[test]
fn the_agents_own_connection_to_a_broker_not_yet_known_is_not_told() {
    let mut lab = Lab::new();
    lab.frame(0, tcp("192.168.0.7:40000", "192.168.0.3:1883", SYN));
    let (ticket, _) = lab.asked.pop().unwrap();
    lab.flows.handle_owner(ticket, Owner::Agent, at(10));
    assert_eq!(lab.outputs(), []);

    lab.frame(20, tcp("192.168.0.7:40000", "192.168.0.4:1883", SYN));
    let networks = Networks {
        broker: "192.168.0.4:1883".parse().ok(),
        ..lab.flows.networks.clone()
    };
    lab.flows.networks = networks;
    assert_eq!(lab.time(1000), []);
}

#[test]
fn an_internet_peer_is_told_once_an_interval_by_name_or_after_two_seconds() {
    let mut lab = Lab::new();
    assert_eq!(
        lab.told(0, tcp("192.168.0.7:40000", "203.0.113.5:443", SYN)),
        []
    );
    assert_eq!(lab.looked_up, [ip(SERVER)]);
    assert_eq!(
        lab.told(100, tcp("192.168.0.7:40001", "203.0.113.5:80", SYN)),
        []
    );
    assert_eq!(lab.time(1999), []);
    let told = lab.time(2000);
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].action.clone(), told[0].fields.lab.name_source),
        (Action::InternetAccess, Some(NameSource::None))
    );
    assert_eq!(line(&told[0]), "egress 192.168.0.7:40000 > 203.0.113.5:443");

    lab.report(40_000);
    assert_eq!(
        lab.told(40_100, tcp("192.168.0.7:40000", "203.0.113.5:443", ACK)),
        []
    );
    lab.flows
        .handle_name(ip(SERVER), "www.example".into(), at(40_200));
    let told = lab.outputs();
    assert_eq!(
        told[0]
            .fields
            .destination
            .as_ref()
            .unwrap()
            .domain
            .as_deref(),
        Some("www.example")
    );
    assert_eq!(
        (told[0].time, told[0].fields.lab.name_source),
        (at(40_100).time, Some(NameSource::Reverse))
    );
    assert_eq!(lab.looked_up.len(), 1, "asked once only");
}

/// An answer to `www.example`, A 203.0.113.5.
const DNS_ANSWER: &[u8] =
    b"\x00\x07\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x03www\x07example\x00\x00\x01\x00\x01\
    \xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xcb\x00\x71\x05";

#[test]
fn a_name_heard_in_a_dns_answer_is_used_at_once() {
    let mut lab = Lab::new();
    lab.frame(0, udp("192.168.0.7:40000", "192.168.0.1:53"));
    lab.frame(
        1,
        Packet {
            payload: DNS_ANSWER,
            ..udp("192.168.0.1:53", "192.168.0.7:40000")
        },
    );
    let told = lab.told(2, tcp("192.168.0.7:40001", "203.0.113.5:22", SYN));
    assert_eq!(
        told[0]
            .fields
            .destination
            .as_ref()
            .unwrap()
            .domain
            .as_deref(),
        Some("www.example")
    );
    assert_eq!(told[0].fields.lab.name_source, Some(NameSource::Dns));
    let peers = lab.report(3).lab.peers.unwrap();
    let names: HashMap<_, _> = peers
        .iter()
        .map(|peer| (peer.ip, (peer.name.as_deref(), peer.scope)))
        .collect();
    assert_eq!(names[&ip(SERVER)], (Some("www.example"), Scope::Internet));
    assert_eq!(names[&ip(DNS_SERVER)], (None, Scope::Infrastructure));
}

/// The ClientHello of openssl's s_client, cut down to the name `exam.example`, in one record.
const HELLO: &[u8] =
    b"\x16\x03\x01\x00\x46\x01\x00\x00\x42\x03\x03................................\x00\
    \x00\x02\x13\x01\x01\x00\x00\x17\x00\x00\x00\x11\x00\x0f\x00\x00\x0cexam.example\xff\x01";

fn domain(event: &Occurrence) -> (Option<&str>, Option<NameSource>) {
    let destination = event.fields.destination.as_ref().unwrap();
    (destination.domain.as_deref(), event.fields.lab.name_source)
}

#[test]
fn what_a_conversation_says_itself_is_better_than_what_is_known_of_its_address() {
    let mut lab = Lab::new();
    lab.frame(0, udp("192.168.0.7:40000", "192.168.0.1:53"));
    let answer = Packet {
        payload: DNS_ANSWER,
        ..udp("192.168.0.1:53", "192.168.0.7:40000")
    };
    lab.frame(1, answer);
    let ends = ("192.168.0.7:40001", "203.0.113.5:443");
    assert_eq!(lab.told(10, tcp(ends.0, ends.1, SYN)), []);
    assert_eq!(lab.told(20, tcp(ends.1, ends.0, SYN_ACK)), []);
    let (first, second) = HELLO.split_at(60);
    let hello = |sequence, payload| Packet {
        sequence,
        payload,
        ..tcp(ends.0, ends.1, ACK)
    };
    assert_eq!(lab.told(30, hello(0, first)), []);
    let told = lab.told(31, hello(60, second));
    assert_eq!(
        domain(&told[0]),
        (Some("exam.example"), Some(NameSource::Sni))
    );
    assert_eq!(told[0].time, at(10).time);
    let peers = lab.report(40).lab.peers.unwrap();
    let server = peers.iter().find(|peer| peer.ip == ip(SERVER)).unwrap();
    assert_eq!(server.name.as_deref(), Some("exam.example"));
}

#[test]
fn a_conversation_that_says_nothing_is_told_by_the_name_of_its_address() {
    let mut lab = Lab::new();
    let learn = |lab: &mut Lab, ms| {
        lab.flows
            .handle_name(ip(SERVER), "host.example".into(), at(ms));
    };
    assert_eq!(
        lab.told(0, tcp("192.168.0.7:40001", "203.0.113.5:443", SYN)),
        []
    );
    learn(&mut lab, 100);
    assert_eq!(lab.time(499), [], "a better name may come");
    let told = lab.time(500);
    assert_eq!(
        domain(&told[0]),
        (Some("host.example"), Some(NameSource::Reverse))
    );
}

#[test]
fn only_who_opens_a_conversation_names_its_peer_and_only_at_its_beginning() {
    let mut lab = Lab::new();
    let with_hello = |packet| Packet {
        payload: HELLO,
        ..packet
    };
    let (own, peer) = ("192.168.0.7:443", "203.0.113.5:40000");
    lab.told(0, tcp(peer, own, SYN));
    lab.told(1, with_hello(tcp(peer, own, ACK)));
    lab.told(2, with_hello(tcp(own, peer, ACK)));
    assert_eq!(domain(&lab.time(2000)[0]).0, None);
    let (own, peer) = ("192.168.0.7:40000", "203.0.113.6:443");
    lab.told(3000, tcp(own, peer, SYN));
    for _ in 0..hearing::LAST_HEARD {
        lab.frame(3000, tcp(own, peer, ACK));
    }
    lab.told(3001, with_hello(tcp(own, peer, ACK)));
    assert_eq!(domain(&lab.time(5000)[0]).0, None);
}

#[test]
fn neighbours_say_their_names_by_multicast() {
    let mut lab = Lab::new();
    let answer =
        b"\x00\x00\x84\x00\x00\x00\x00\x01\x00\x00\x00\x00\x04pc-8\x05local\x00\x00\x01\x80\x01\
        \x00\x00\x00\x78\x00\x04\xc0\xa8\x00\x08";
    let announcement = Packet {
        payload: answer,
        ..udp("192.168.0.8:5353", "224.0.0.251:5353")
    };
    assert_eq!(lab.told(0, announcement), []);
    let told = lab.told(1, tcp("192.168.0.7:40000", "192.168.0.8:22", SYN));
    assert_eq!(
        domain(&told[0]),
        (Some("pc-8.local"), Some(NameSource::Mdns))
    );
}

#[test]
fn a_time_server_set_up_by_name_is_infrastructure_once_its_address_is_heard() {
    let mut lab = Lab::new();
    lab.flows.time_servers = HashSet::from([TimeServer::Name("www.example".into())]);
    lab.frame(0, udp("192.168.0.7:40000", "192.168.0.1:53"));
    lab.frame(
        1,
        Packet {
            payload: DNS_ANSWER,
            ..udp("192.168.0.1:53", "192.168.0.7:40000")
        },
    );
    assert_eq!(lab.told(2, udp("192.168.0.7:40001", "203.0.113.5:123")), []);
    assert_eq!(lab.time(3000), []);
    assert_eq!(
        lab.told(4000, udp("192.168.0.7:40001", "203.0.113.5:4000"))
            .len(),
        1
    );
}

#[test]
fn an_answer_that_nobody_asked_for_names_nobody() {
    let mut lab = Lab::new();
    lab.told(
        60_000,
        Packet {
            payload: DNS_ANSWER,
            ..udp("192.168.0.8:53", "192.168.0.7:40000")
        },
    );
    assert_eq!(
        lab.told(60_001, tcp("192.168.0.7:40001", "203.0.113.5:443", SYN)),
        []
    );
}

#[test]
fn a_scan_is_told_fifty_times_and_then_as_a_sum() {
    let mut lab = Lab::new();
    let told: usize = (1..=200_u16)
        .map(|port| {
            lab.told(
                u64::from(port),
                tcp("192.168.0.7:40000", &format!("192.168.0.8:{port}"), SYN),
            )
            .len()
        })
        .sum();
    assert_eq!(told, BURST);
    assert_eq!(lab.flows.poll_timeout(), Some(at(51).uptime + WINDOW));
    assert_eq!(lab.time(10_050), []);
    let sums = lab.time(10_051);
    let burst = sums[0].fields.lab.burst.clone().unwrap();
    assert_eq!(
        (sums[0].action.clone(), burst.count),
        (Action::ConversationBurst, 150)
    );
    assert_eq!((burst.peers, burst.ports.len()), (vec![ip(NEIGHBOUR)], 100));
    assert_eq!(sums[0].fields.interval.unwrap().start, at(51).time);
    assert_eq!(
        lab.told(10_100, tcp("192.168.0.7:40000", "192.168.0.8:300", SYN))
            .len(),
        1
    );
}

#[test]
fn at_the_end_all_that_waits_is_told() {
    let mut lab = Lab::new();
    lab.frame(0, tcp("192.168.0.7:40000", "203.0.113.5:443", SYN));
    for port in 1..=60 {
        lab.frame(
            1,
            tcp("192.168.0.7:40000", &format!("192.168.0.8:{port}"), SYN),
        );
    }
    lab.flows.finish(at(2));
    let told = lab.outputs();
    let count = |action| told.iter().filter(|one| one.action == action).count();
    assert_eq!(count(Action::InternetAccess), 1);
    assert_eq!(count(Action::IntranetAccess), 50);
    assert_eq!(count(Action::ConversationBurst), 1);
    assert_eq!(told.last().unwrap().action, Action::TrafficReport);
}

#[test]
fn more_peers_than_the_table_holds_are_summed_and_make_room_at_the_report() {
    let mut lab = Lab::new();
    let beyond = 100_000 - MOST_PEERS;
    for number in 0..u32::try_from(MOST_PEERS + beyond).unwrap() {
        let peer = std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string();
        lab.frame(1, packet(47, &peer, "192.168.0.255"));
    }
    lab.flows.end_interval(at(10));
    let reports = lab.outputs();
    let first = &reports[0].fields.lab;
    assert_eq!(
        first.other_bytes,
        Some(100 * u64::try_from(beyond).unwrap())
    );
    assert!(first.reason.is_some());
    let peers: usize = reports
        .iter()
        .map(|report| report.fields.lab.peers.as_ref().unwrap().len())
        .sum();
    assert_eq!(peers, MOST_PEERS);
    lab.frame(11, udp("192.168.0.7:40000", "192.168.0.8:9"));
    assert_eq!(lab.report(12).lab.peers.unwrap().len(), 1);
}

#[test]
fn a_peer_that_is_silent_makes_room_at_once_and_one_that_is_not_stays() {
    let mut lab = Lab::new();
    let peer = |number: usize| -> String {
        let number = u32::try_from(number).unwrap();
        std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string()
    };
    for number in 0..MOST_PEERS {
        lab.frame(1, packet(47, &peer(number), "192.168.0.255"));
    }
    lab.flows.end_interval(at(10));
    lab.outputs();
    lab.frame(11, packet(47, &peer(0), "192.168.0.255"));
    lab.frame(12, packet(47, &peer(MOST_PEERS), "192.168.0.255"));
    lab.frame(13, packet(47, &peer(0), "192.168.0.255"));
    let lab = lab.report(14).lab;
    let told = lab.peers.unwrap();
    let bytes: Vec<_> = told
        .iter()
        .map(|one| (one.received_bytes, one.total_received_bytes))
        .collect();
    assert_eq!(
        (bytes, lab.other_bytes),
        (vec![(200, 300), (100, 100)], Some(0))
    );
}

#[test]
fn idle_flows_cost_a_tick_nothing() {
    let mut lab = Lab::new();
    for port in 1..10_000_u16 {
        lab.frame(1, udp(&format!("192.168.0.7:{port}"), "192.168.0.8:9"));
    }
    let looked_at: Vec<usize> = (1..=60)
        .map(|second| {
            lab.flows
                .conversations
                .forget_silent(at(second * 1000).uptime)
        })
        .collect();
    assert_eq!(looked_at.iter().sum::<usize>(), 0);
    let looked_at = lab.flows.conversations.forget_silent(at(60_001).uptime);
    assert_eq!(looked_at, 9_999 + 1);
    assert!(lab.flows.conversations.is_empty());
}

#[test]
fn an_interface_that_closed_stands_in_one_more_report() {
    let mut lab = Lab::new();
    lab.frame(1, udp("192.168.0.7:40000", "192.168.0.8:9"));
    lab.flows.count(1, 3, Some(100));
    lab.flows.close_interface(1);
    let interfaces = lab.report(2).lab.interfaces.unwrap();
    let eth0 = &interfaces[0];
    assert_eq!(
        (
            eth0.name.as_str(),
            eth0.bytes,
            eth0.packets,
            eth0.dropped,
            eth0.counter_bytes
        ),
        ("eth0", 100, 1, 3, Some(100))
    );
    assert_eq!(lab.report(3).lab.interfaces.unwrap(), []);
}

#[test]
fn totals_go_on_over_the_reports() {
    let mut lab = Lab::new();
    let mut peer = |ms| -> PeerTotals {
        lab.frame(ms, udp("192.168.0.7:40000", "192.168.0.8:9999"));
        lab.report(ms).lab.peers.unwrap().remove(0)
    };
    assert_eq!(
        (peer(0).total_sent_bytes, peer(40_000).total_sent_bytes),
        (100, 200)
    );
}

#[derive(Debug, Clone)]
struct Step {
    gap_ms: u64,
    len: u32,
    kind: u8,
    ends: (u8, u8),
    ports: (u16, u16),
    flags: u8,
    interface: u32,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (
        0..20_000_u64,
        0..70_000_u32,
        0..6_u8,
        (0..8_u8, 0..8_u8),
        (any::<u16>(), any::<u16>()),
        any::<u8>(),
        1..3_u32,
    );
    let step = step.prop_map(|(gap_ms, len, kind, ends, ports, flags, interface)| Step {
        gap_ms,
        len,
        kind,
        ends,
        ports,
        flags,
        interface,
    });
    prop::collection::vec(step, 0..60)
}

fn frame(step: &Step) -> Frame<'static> {
    const ENDS: [&str; 8] = [
        OWN,
        NEIGHBOUR,
        SERVER,
        DNS_SERVER,
        "255.255.255.255",
        "224.0.0.251",
        "0.0.0.0",
        "127.0.0.1",
    ];
    let (source, destination) = (
        ip(ENDS[usize::from(step.ends.0)]),
        ip(ENDS[usize::from(step.ends.1)]),
    );
    let ports = Some(Ports {
        source: step.ports.0,
        destination: step.ports.1,
    });
    let empty = Packet {
        source,
        destination,
        ..packet(47, OWN, OWN)
    };
    let content = match step.kind {
        0 => Content::Other,
        1 => Content::Malformed,
        2 => Content::Ip(Packet {
            protocol: protocol::TCP,
            ports,
            tcp_flags: Some(TcpFlags(step.flags)),
            ..empty
        }),
        3 => Content::Ip(Packet {
            protocol: protocol::UDP,
            ports,
            payload: DNS_ANSWER,
            ..empty
        }),
        4 => Content::Ip(Packet {
            protocol: protocol::ICMP,
            icmp_type: Some(step.flags),
            ..empty
        }),
        _ => Content::Ip(empty),
    };
    Frame {
        len: step.len,
        content,
    }
}

/// The final report of these steps. Each is taken in as an opening at once; the frames are counted, and time passes, after each
/// step for which `tick` says so.
fn final_report(steps: &[Step], tick: impl Fn(usize) -> bool) -> Fields {
    let mut lab = Lab::new();
    let (mut ms, mut waiting) = (0, vec![]);
    for (number, step) in steps.iter().enumerate() {
        ms += step.gap_ms;
        lab.flows
            .handle_opening(&frame(step), step.interface, at(ms));
        waiting.push((step, ms));
        if tick(number) {
            for (step, came) in waiting.drain(..) {
                lab.flows
                    .handle_frame(&frame(step), step.interface, at(came));
            }
            lab.time(ms);
        }
    }
    for (step, came) in waiting {
        lab.flows
            .handle_frame(&frame(step), step.interface, at(came));
    }
    lab.outputs();
    lab.report(ms)
}

proptest! {
    #[test]
    fn peers_and_other_equal_the_interfaces_whatever_comes(steps in steps()) {
        let lab = final_report(&steps, |_| true).lab;
        let interfaces: u64 = lab.interfaces.unwrap().iter().map(|one| one.bytes).sum();
        let peers: u64 = lab.peers.unwrap().iter().map(|peer| peer.sent_bytes + peer.received_bytes).sum();
        prop_assert_eq!(interfaces, steps.iter().map(|step| u64::from(step.len)).sum::<u64>());
        prop_assert_eq!(peers + lab.other_bytes.unwrap(), interfaces);
    }

    #[test]
    fn how_packets_are_split_into_ticks_changes_no_sum(steps in steps(), ticks: u64) {
        let never = final_report(&steps, |_| false);
        prop_assert_eq!(&never, &final_report(&steps, |_| true));
        prop_assert_eq!(&never, &final_report(&steps, |number| ticks >> (number % 64) & 1 == 1));
    }
}

/// This PC asks all printers, and one answers.
fn ask_everybody(lab: &mut Lab, ms: u64) {
    let question = udp("192.168.0.7:50000", "239.255.255.250:1900");
    assert_eq!(lab.told(ms, question), []);
}

#[test]
fn answers_to_a_question_to_everybody_are_counted_and_are_no_contact() {
    for (group, service, from) in [
        ("239.255.255.250:1900", "192.168.0.8:1900", "an SSDP device"),
        (
            "239.255.255.250:1900",
            "192.168.0.8:49152",
            "one that answers from another port",
        ),
        ("239.255.255.250:3702", "192.168.0.8:3702", "WS-Discovery"),
        ("192.168.0.255:161", "192.168.0.8:161", "SNMP"),
        ("224.0.0.252:5355", "192.168.0.8:5355", "LLMNR"),
        (
            "224.0.0.251:5353",
            "203.0.113.5:5353",
            "mDNS, on a site with public addresses",
        ),
    ] {
        let mut lab = Lab::new();
        lab.told(0, udp("192.168.0.7:50000", group));
        assert_eq!(lab.told(5, udp(service, "192.168.0.7:50000")), [], "{from}");
        assert_eq!(lab.time(3_000), []);
        let report = lab.report(4_000);
        let peers = report.lab.peers.unwrap();
        let peer = service.parse::<SocketAddr>().unwrap().ip();
        let answered = peers.iter().find(|one| one.ip == peer).unwrap();
        assert_eq!(
            (answered.received_bytes, answered.scope),
            (100, Scope::Infrastructure)
        );
    }
}

#[test]
fn what_nobody_asked_for_or_comes_late_or_from_another_service_is_a_contact() {
    let answer = || udp("192.168.0.8:3702", "192.168.0.7:50000");
    assert_eq!(Lab::new().told(5, answer()).len(), 1);
    let mut lab = Lab::new();
    lab.told(0, udp("192.168.0.7:50000", "239.255.255.250:3702"));
    assert_eq!(
        lab.told(1, udp("192.168.0.8:4000", "192.168.0.7:50000"))
            .len(),
        1
    );
    assert_eq!(
        lab.told(2, udp("192.168.0.9:3702", "192.168.0.7:50001"))
            .len(),
        1
    );
    assert_eq!(lab.told(10_000, answer()).len(), 1);
}

#[test]
fn a_transfer_cannot_be_hidden_among_answers() {
    let mut lab = Lab::new();
    let mut told_after = None;
    for number in 0..100 {
        // From ever new ports, and asked for again and again.
        ask_everybody(&mut lab, number * 100);
        let from = format!("192.168.0.8:{}", 2000 + number);
        if !lab
            .told(number * 100 + 5, udp(&from, "192.168.0.7:50000"))
            .is_empty()
        {
            told_after.get_or_insert(number);
        }
    }
    assert_eq!(told_after, Some(discovery::MOST_PACKETS.into()));

    let mut lab = Lab::new();
    ask_everybody(&mut lab, 0);
    let answer = Frame {
        len: 1500,
        content: Content::Ip(udp("192.168.0.8:1900", "192.168.0.7:50000")),
    };
    let most = discovery::MOST_BYTES / 1500;
    for number in 0..=most {
        assert_eq!(lab.outputs(), []);
        lab.flows.handle_frame(&answer, 1, at(number));
    }
    let (ticket, _) = lab
        .asked
        .pop()
        .or_else(|| {
            lab.outputs();
            lab.asked.pop()
        })
        .unwrap();
    lab.flows.handle_owner(ticket, Owner::Unknown, at(100));
    assert_eq!(lab.outputs().len(), 1);
}

#[test]
fn whoever_answers_now_and_then_never_becomes_a_contact() {
    let mut lab = Lab::new();
    for minute in 0..100 {
        ask_everybody(&mut lab, minute * 70_000);
        let answer = udp("192.168.0.8:1900", "192.168.0.7:50000");
        assert_eq!(lab.told(minute * 70_000 + 5, answer), []);
    }
}

#[test]
fn what_this_pc_sends_to_one_that_answered_is_a_contact() {
    let mut lab = Lab::new();
    ask_everybody(&mut lab, 0);
    assert_eq!(
        lab.told(5, udp("192.168.0.8:1900", "192.168.0.7:50000")),
        []
    );
    assert_eq!(
        lab.told(6, udp("192.168.0.7:50000", "192.168.0.8:1900"))
            .len(),
        1
    );
}
