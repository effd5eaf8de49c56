//! A lab PC with Ubuntu that nobody touches, for 90 minutes of virtual time: frames through the agent's core, its events
//! through the notifier's, with no policy and with the shipped one. Nothing may come of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic, and builds frames of known lengths"
)]

use std::{net::IpAddr, time::Duration};

use labwatch_agent::net::{
    Moment,
    flows::{Flows, Output, Owner},
    packet::{LinkType, parse},
    surroundings::{Interface, Surroundings, files::TimeServer},
};
use labwatch_contract::{
    chain::Digest,
    event::{Action, Boot, Event, Host, Occurrence, Place},
    policy::Policy,
    time::Timestamp,
    topic::{Root, Topic},
};
use labwatch_notifier::{
    inbox::Inbox,
    incidents::{Incidents, Notice},
    policy::file,
    silence::Seen,
};
use uuid::Uuid;

const PC: &str = "192.168.0.133";
const PC6: &str = "fe80::133";
const ROUTER: &str = "192.168.0.1";
const ROUTER6: &str = "fe80::1";
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;

/// An Ethernet frame with an IP packet: protocol, ends, and what follows the IP header.
fn frame(protocol: u8, source: &str, destination: &str, body: &[u8]) -> Vec<u8> {
    let ends: [IpAddr; 2] = [source, destination].map(|end| end.parse().unwrap());
    let length = u16::try_from(body.len()).unwrap();
    let mut frame = vec![0x02; 12];
    match ends {
        [IpAddr::V4(source), IpAddr::V4(destination)] => {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend((length + 20).to_be_bytes());
            frame.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        [IpAddr::V6(source), IpAddr::V6(destination)] => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([protocol, 255]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        _ => panic!("two kinds of address"),
    }
    frame.extend(body);
    frame
}

fn ports(source: u16, destination: u16) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes()].concat()
}

fn udp(source: (&str, u16), destination: (&str, u16), payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 8).unwrap();
    let header = [
        ports(source.1, destination.1),
        length.to_be_bytes().to_vec(),
        vec![0, 0],
    ];
    frame(
        UDP,
        source.0,
        destination.0,
        &[header.concat(), payload.to_vec()].concat(),
    )
}

fn tcp(source: (&str, u16), destination: (&str, u16), flags: u8) -> Vec<u8> {
    let rest = [0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
    frame(
        TCP,
        source.0,
        destination.0,
        &[ports(source.1, destination.1), rest.to_vec()].concat(),
    )
}

/// A DNS answer that gives `name` the address.
fn dns_answer(name: &str, address: [u8; 4]) -> Vec<u8> {
    let mut question: Vec<u8> = name
        .split('.')
        .flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat())
        .collect();
    question.extend([0, 0, 1, 0, 1]);
    let mut answer = vec![0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
    answer.extend(&question);
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4]);
    answer.extend(address);
    answer
}

/// What a desktop fetches from the internet by itself, how often, and over which transport and port.
const FETCHES: [(&str, [u8; 4], u8, u16, u64); 9] = [
    ("archive.ubuntu.com", [203, 0, 113, 10], TCP, 80, 900),
    ("security.ubuntu.com", [203, 0, 113, 11], TCP, 443, 900),
    ("changelogs.ubuntu.com", [203, 0, 113, 12], TCP, 443, 1800),
    ("api.snapcraft.io", [203, 0, 113, 13], TCP, 443, 600),
    ("cdn.fwupd.org", [203, 0, 113, 14], TCP, 443, 1200),
    (
        "connectivity-check.ubuntu.com",
        [203, 0, 113, 15],
        TCP,
        80,
        300,
    ),
    ("esm.ubuntu.com", [203, 0, 113, 16], TCP, 443, 2000),
    ("ntp.ubuntu.com", [203, 0, 113, 17], UDP, 123, 64),
    ("motd.ubuntu.com", [203, 0, 113, 18], TCP, 443, 2400),
];

/// The frames of one second.
fn background(second: u64) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let own_port = 32_768 + u16::try_from(second % 20_000).unwrap();
    let every = |interval: u64, at: u64| second % interval == at;
    for (number, (name, address, protocol, port, interval)) in (0..).zip(FETCHES) {
        if every(interval, number) {
            let peer = IpAddr::from(address).to_string();
            frames.push(udp((PC, own_port), (ROUTER, 53), b"?"));
            frames.push(udp(
                (ROUTER, 53),
                (PC, own_port),
                &dns_answer(name, address),
            ));
            if protocol == UDP {
                frames.push(udp((PC, own_port), (&peer, port), &[0x23; 48]));
                frames.push(udp((&peer, port), (PC, own_port), &[0x24; 48]));
            } else {
                frames.push(tcp((PC, own_port), (&peer, port), SYN));
                frames.push(tcp((&peer, port), (PC, own_port), SYN_ACK));
            }
        }
    }
    frames.extend(local_upkeep(second, own_port));
    frames
}

/// What goes on in the local network without anybody's doing.
fn local_upkeep(second: u64, own_port: u16) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let every = |interval: u64| second.is_multiple_of(interval);
    if every(20) {
        frames.push(udp((PC, 5353), ("224.0.0.251", 5353), b"mdns"));
        frames.push(udp(("192.168.0.140", 5353), ("224.0.0.251", 5353), b"mdns"));
        // A neighbour answers the query to this PC alone.
        frames.push(udp(("192.168.0.140", 5353), (PC, 5353), b"mdns"));
        frames.push(udp((PC6, 5353), ("ff02::fb", 5353), b"mdns"));
    }
    if every(30) {
        frames.push(udp((PC, own_port), ("224.0.0.252", 5355), b"llmnr"));
        frames.push(udp((PC, own_port), ("239.255.255.250", 1900), b"M-SEARCH"));
        // A television or router answers the search.
        frames.push(udp(
            ("192.168.0.200", 1900),
            (PC, own_port),
            b"HTTP/1.1 200 OK",
        ));
        frames.push(udp(
            ("192.168.0.141", own_port),
            ("192.168.0.255", 137),
            b"browse",
        ));
    }
    if every(45) {
        // Printers are looked for over SNMP and WS-Discovery to all, and answer this PC alone.
        frames.push(udp(("192.168.0.210", 161), (PC, own_port), b"snmp"));
        frames.push(udp((PC, own_port), ("239.255.255.250", 3702), b"probe"));
        frames.push(udp(("192.168.0.210", 3702), (PC, own_port), b"match"));
        frames.push(udp(("192.168.0.140", 5355), (PC, own_port), b"llmnr"));
        frames.push(udp((PC, own_port), ("192.168.0.255", 161), b"snmp"));
        frames.push(udp(("192.168.0.210", 631), ("192.168.0.255", 631), b"cups"));
    }
    if every(600) {
        frames.push(udp((PC, 68), (ROUTER, 67), b"dhcp"));
        frames.push(udp((ROUTER, 67), (PC, 68), b"dhcp"));
        frames.push(udp((PC6, 546), ("ff02::1:2", 547), b"dhcpv6"));
        frames.push(udp((ROUTER6, 547), (PC6, 546), b"dhcpv6"));
    }
    if every(120) {
        // An answer that is too long for UDP.
        frames.push(tcp((PC, own_port), (ROUTER, 53), SYN));
        frames.push(tcp((ROUTER, 53), (PC, own_port), SYN_ACK));
    }
    if every(10) {
        let icmp = |kind: u8| [kind, 0, 0, 0, 0, 0, 0, 0];
        frames.push(frame(ICMPV6, ROUTER6, "ff02::1", &icmp(134)));
        frames.push(frame(ICMPV6, PC6, ROUTER6, &icmp(135)));
        frames.push(frame(ICMPV6, ROUTER6, PC6, &icmp(136)));
        frames.push(frame(ICMPV6, PC6, "ff02::16", &icmp(143)));
        frames.push(frame(2, PC, "224.0.0.22", &[0x22, 0, 0, 0, 0, 0, 0, 0]));
        // ARP.
        frames.push([vec![0xff; 12], vec![0x08, 0x06], vec![0; 46]].concat());
    }
    frames
}

/// The agent's core, and what it has said.
struct Agent {
    flows: Flows,
    said: Vec<Occurrence>,
}

impl Agent {
    fn new() -> Self {
        let mut interface = Interface {
            index: 1,
            ..Interface::default()
        };
        interface.shown.name = "eth0".into();
        interface.shown.addresses = vec![
            "192.168.0.133/24".parse().unwrap(),
            "fe80::133/64".parse().unwrap(),
        ];
        interface.shown.gateway = ROUTER.parse().ok();
        let here = Surroundings {
            interfaces: vec![interface.clone()],
            dns_servers: vec![ROUTER.parse().unwrap()],
            time_servers: vec![TimeServer::Name("ntp.ubuntu.com".into())],
            ..Surroundings::default()
        };
        let mut flows = Flows::new(moment(0));
        flows.set_surroundings(&here, here.networks(&[], "192.168.0.2:1883".parse().ok()));
        flows.open_interface(&interface);
        Self {
            flows,
            said: Vec::new(),
        }
    }

    fn second(&mut self, second: u64) {
        for bytes in background(second) {
            let length = u32::try_from(bytes.len()).unwrap();
            let frame = parse(LinkType::Ethernet, &bytes, length);
            self.flows.handle_frame(&frame, 1, moment(second));
            self.answer(second);
        }
        self.flows.handle_timeout(moment(second));
        if second.is_multiple_of(40) {
            self.flows.end_interval(moment(second));
        }
        self.answer(second);
    }

    fn answer(&mut self, second: u64) {
        while let Some(output) = self.flows.poll_output() {
            match output {
                Output::Occurrence(occurrence) => self.said.push(*occurrence),
                Output::FindOwner(ticket, _) => {
                    self.flows
                        .handle_owner(ticket, Owner::Unknown, moment(second));
                }
                Output::FindName(_) => {}
            }
        }
    }
}

fn moment(second: u64) -> Moment {
    let start = 1_795_338_000_000 + i64::try_from(second).unwrap() * 1000;
    Moment {
        uptime: Duration::from_secs(second),
        time: Timestamp::from_unix_ms(start).unwrap(),
    }
}

/// The payload of an event, as the agent would publish it.
fn event(occurrence: Occurrence, sequence: u64) -> Event {
    Event {
        occurrence,
        place: Place {
            journal: Uuid::from_u128(1),
            sequence,
            prev: Digest::of(b""),
        },
        host: Host {
            ip: PC.parse().unwrap(),
            name: "pc-33".into(),
            id: "a1".into(),
            mac: None,
            boot: Boot::default(),
        },
        uptime_ms: sequence,
    }
}

/// What the notifier tells of 90 minutes.
fn told(policy: Policy, also: Option<Vec<u8>>) -> (Vec<Notice>, Vec<Action>) {
    let root = Root::default();
    let mut agent = Agent::new();
    let mut inbox = Inbox::new(root.clone());
    inbox.set_policy(policy, Duration::ZERO, moment(0).time);
    let mut incidents = Incidents::default();
    let (mut notices, mut actions, mut sequence) = (Vec::new(), Vec::new(), 0);
    for second in 1..=90 * 60 {
        agent.second(second);
        if let Some(bytes) = also.as_ref().filter(|_| second == 1000) {
            let length = u32::try_from(bytes.len()).unwrap();
            agent
                .flows
                .handle_frame(&parse(LinkType::Ethernet, bytes, length), 1, moment(second));
        }
        let now = Duration::from_secs(second);
        notices.extend(incidents.handle_timeout(now));
        for occurrence in std::mem::take(&mut agent.said) {
            sequence += 1;
            actions.push(occurrence.action.clone());
            let event = event(occurrence, sequence);
            let topic = root.text(&Topic::pc(event.host.ip, event.leaf().unwrap()));
            let seen = Seen {
                at: moment(second).time,
                now,
                retained: false,
            };
            for finding in inbox.handle(&topic, &event.to_payload().unwrap(), seen) {
                notices.extend(incidents.handle(finding, now));
            }
        }
    }
    (notices, actions)
}

#[test]
fn an_idle_ubuntu_pc_raises_no_alert_in_90_minutes() {
    let shipped = include_str!("../../packaging/etc/policy.toml");
    let shipped = file::read(shipped, |_| Err("no file".into())).unwrap();
    for policy in [Policy::default(), shipped] {
        let (notices, actions) = told(policy, None);
        assert_eq!(notices, []);
        let count = |wanted: Action| actions.iter().filter(|action| **action == wanted).count();
        println!(
            "{} events: {} reports, {} internet, {} intranet",
            actions.len(),
            count(Action::TrafficReport),
            count(Action::InternetAccess),
            count(Action::IntranetAccess)
        );
        assert_eq!(count(Action::TrafficReport), 135);
        assert!(count(Action::InternetAccess) > 30, "the frames are read");
    }
}

#[test]
fn the_same_pc_raises_one_as_soon_as_it_talks_to_a_neighbour() {
    let contact = tcp((PC, 50_000), ("192.168.0.134", 445), SYN);
    let (notices, _) = told(Policy::default(), Some(contact));
    assert_eq!(notices[0].rule.id, "intranet-egress");
}
