//! A PC in virtual time, and what its network side tells of packets.

mod answers;
mod bounds;
mod contacts;
mod peer_names;
mod programs;
mod sums;

use std::collections::HashMap;

use labwatch_contract::{
    event::{
        Action, Fields,
        contact::{Attribution, Process, User},
        report::PeerTotals,
    },
    scope::protocol,
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

/// An answer to `www.example`, A 203.0.113.5.
const DNS_ANSWER: &[u8] =
    b"\x00\x07\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x03www\x07example\x00\x00\x01\x00\x01\
    \xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xcb\x00\x71\x05";

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
        payload_len: 0,
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
