//! From packets to names: who a conversation says it is with, and what answers say of addresses.
//!
//! ```text
//! TCP, opener's first bytes -> stream -> tls (any port), http (port 80) --+
//! UDP, Initial packets ------> quic (any port) ---------------------------+--> Heard{ip, name}
//! port 53 (UDP, TCP) --------> dns ---------------------------------------+
//! ports 5353, 5355 ----------> mdns, llmnr -------------------------------+
//! ```
//! Whoever calls decides which packets are worth hearing. A packet that neither begins something nor belongs to
//! something begun is passed over without allocation. Streams begin at their SYN, or without one at a segment that
//! begins a hello or a request; they and Initial packets are kept only until the name is there or cannot come. What is kept is
//! bounded: [`MOST_OPEN`] of each kind, [`stream::LONGEST`] bytes each, those longest silent go first. Of a SYN no more is
//! kept than where its stream begins (`beginnings`): most connections say nothing worth hearing.

mod beginnings;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use labwatch_contract::{event::contact::NameSource, scope::protocol};

use self::beginnings::Beginnings;
use super::{
    Name, dns, http, quic,
    reader::Short,
    stream::{self, Stream},
    tls,
};
use crate::net::{packet::Packet, recent::Recent};

/// So many conversations are listened to at once, in each way of listening.
pub const MOST_OPEN: usize = 512;
/// One that is silent for so long is given up when [`Listener::forget_silent`] is called.
pub const PATIENCE: Duration = Duration::from_secs(10);

const HTTP: u16 = 80;
const DNS: u16 = 53;
const MDNS: u16 = 5353;
const LLMNR: u16 = 5355;

/// A name that was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Whose name it is.
    pub ip: IpAddr,
    /// The name and how it was heard.
    pub name: Name,
}

/// Hears names in packets.
#[derive(Debug)]
pub struct Listener {
    beginnings: Beginnings,
    openings: Recent<Path, Opening>,
    initials: Recent<Path, Box<quic::Initials>>,
    answers: Recent<Path, Answers>,
}

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Path {
    source: SocketAddr,
    destination: SocketAddr,
}

/// What an opener sends first.
#[derive(Debug)]
struct Opening {
    first: u32,
    stream: Stream,
    /// Before so many bytes are there it is not worth reading again.
    needed: usize,
}

/// What a name server sends over TCP.
#[derive(Debug)]
struct Answers {
    first: u32,
    stream: Stream,
    /// So many bytes have been read.
    read: usize,
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            beginnings: Beginnings::new(),
            openings: Recent::new(MOST_OPEN),
            initials: Recent::new(MOST_OPEN),
            answers: Recent::new(MOST_OPEN),
        }
    }
}

/// Whether a packet could name a machine of the local network: by mDNS or LLMNR.
#[must_use]
pub fn is_local_answer(packet: &Packet<'_>) -> bool {
    let source = packet.ports.map(|ports| ports.source);
    packet.protocol == protocol::UDP && matches!(source, Some(MDNS | LLMNR))
}

impl Listener {
    /// Takes in a packet; most teach nothing.
    pub fn hear(&mut self, packet: &Packet<'_>, now: Duration) -> Vec<Heard> {
        let Some(path) = Path::of(packet) else {
            return Vec::new();
        };
        let name_of_server = match (packet.protocol, path.source.port()) {
            (protocol::UDP, DNS) => return hear_dns(packet.payload),
            (protocol::UDP, MDNS) => return hear_mdns(packet),
            (protocol::UDP, LLMNR) => return hear_llmnr(packet),
            (protocol::TCP, DNS) => return self.hear_dns_stream(packet, path, now),
            (protocol::UDP, _) => self.hear_initials(packet, path, now),
            (protocol::TCP, _) => self.hear_opening(packet, path, now),
            _ => None,
        };
        let heard = name_of_server.map(|name| Heard {
            ip: packet.destination,
            name,
        });
        heard.into_iter().collect()
    }

    /// Gives up what has been silent for [`PATIENCE`].
    pub fn forget_silent(&mut self, now: Duration) {
        if let Some(moment) = now.checked_sub(PATIENCE) {
            self.openings.forget_before(moment);
            self.initials.forget_before(moment);
            self.answers.forget_before(moment);
        }
    }

    /// A SYN that comes again changes nothing, one of another connection begins anew.
    fn hear_opening(&mut self, packet: &Packet<'_>, path: Path, now: Duration) -> Option<Name> {
        if packet.tcp_flags.is_some_and(|flags| flags.opens()) {
            self.beginnings.note(&path, packet.sequence);
        }
        if packet.payload.is_empty() {
            return None;
        }
        let port = path.destination.port();
        let noted = self.beginnings.get(&path);
        let known = self.openings.get_mut(&path);
        let read = match known.filter(|entry| noted.is_none_or(|first| first == entry.value.first))
        {
            Some(entry) => {
                entry.last = now;
                entry.value.hear(packet, port)
            }
            None => {
                let begins =
                    tls::begins(packet.payload) || port == HTTP && http::begins(packet.payload);
                let mut opening = Opening::at(noted.or(begins.then_some(packet.sequence))?);
                let read = opening.hear(packet, port);
                if read.is_err() {
                    self.openings.insert(path, opening, now);
                }
                read
            }
        };
        if read.is_ok() {
            self.beginnings.forget(&path);
            self.openings.remove(&path);
        }
        read.ok().flatten()
    }

    fn hear_initials(&mut self, packet: &Packet<'_>, path: Path, now: Duration) -> Option<Name> {
        if !quic::begins(packet.payload) {
            return None;
        }
        let (read, is_known) = match self.initials.get_mut(&path) {
            Some(entry) => {
                entry.last = now;
                (entry.value.hear(packet.payload), true)
            }
            None => {
                let mut initials = Box::<quic::Initials>::default();
                let read = initials.hear(packet.payload);
                if may_come(&read) {
                    self.initials.insert(path, initials, now);
                }
                (read, false)
            }
        };
        if is_known && !may_come(&read) {
            self.initials.remove(&path);
        }
        let domain = read.ok().flatten()?;
        Some(Name {
            domain,
            source: NameSource::Quic,
        })
    }

    /// RFC 1035 section 4.2.2: each message behind its length.
    fn hear_dns_stream(&mut self, packet: &Packet<'_>, path: Path, now: Duration) -> Vec<Heard> {
        let first = packet.sequence;
        let accepts = packet.tcp_flags.is_some_and(|flags| flags.accepts());
        let known = self.answers.get(&path);
        let begins = match known {
            Some(answers) => accepts && answers.first != first,
            None => accepts || !packet.payload.is_empty(),
        };
        if begins {
            self.answers.insert(path, Answers::at(first), now);
        }
        let Some(entry) = self.answers.get_mut(&path) else {
            return Vec::new();
        };
        entry.last = now;
        entry.value.hear(packet)
    }
}

/// Further bytes may bring the name.
fn may_come(read: &Result<Option<String>, Short>) -> bool {
    matches!(read, Err(Short(needed)) if *needed <= stream::LONGEST)
}

impl Path {
    fn of(packet: &Packet<'_>) -> Option<Self> {
        let ports = packet.ports?;
        Some(Self {
            source: SocketAddr::new(packet.source, ports.source),
            destination: SocketAddr::new(packet.destination, ports.destination),
        })
    }
}

impl Opening {
    fn at(first: u32) -> Self {
        Self {
            first,
            stream: Stream::default(),
            needed: 1,
        }
    }

    /// Takes in a segment. `Ok` when there is nothing to wait for.
    fn hear(&mut self, packet: &Packet<'_>, port: u16) -> Result<Option<Name>, Short> {
        if self.stream.is_empty() && packet.sequence == self.first {
            // As nearly always: all of it in one segment.
            let read = read_opening(packet.payload, port);
            if !matches!(read, Err(Short(needed)) if needed <= stream::LONGEST) {
                return read.or(Ok(None));
            }
        }
        add(&mut self.stream, self.first, packet);
        let beginning = self.stream.beginning();
        if beginning.len() < self.needed {
            return Err(Short(self.needed));
        }
        let read = read_opening(beginning, port);
        if let Err(Short(needed)) = read {
            if needed > stream::LONGEST {
                return Ok(None);
            }
            self.needed = needed;
        }
        read
    }
}

/// Adds a segment at its place. Of one that begins before the stream only the rest counts.
fn add(stream: &mut Stream, first: u32, packet: &Packet<'_>) {
    let ahead = usize::try_from(packet.sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
    if ahead <= stream::LONGEST {
        stream.add(ahead, packet.payload);
        return;
    }
    let behind = usize::try_from(first.wrapping_sub(packet.sequence)).unwrap_or(usize::MAX);
    if let Some(rest) = packet.payload.get(behind..) {
        stream.add(0, rest);
    }
}

fn read_opening(bytes: &[u8], port: u16) -> Result<Option<Name>, Short> {
    let name = |source| move |domain| Name { domain, source };
    let tls = tls::server_name(bytes)?;
    if tls.is_some() || port != HTTP {
        return Ok(tls.map(name(NameSource::Sni)));
    }
    Ok(http::host(bytes)?.map(name(NameSource::Http)))
}

impl Answers {
    fn at(first: u32) -> Self {
        Self {
            first,
            stream: Stream::default(),
            read: 0,
        }
    }

    fn hear(&mut self, packet: &Packet<'_>) -> Vec<Heard> {
        add(&mut self.stream, self.first, packet);
        let mut heard = Vec::new();
        while let Some((len, rest)) = self
            .stream
            .beginning()
            .get(self.read..)
            .and_then(|bytes| bytes.split_first_chunk())
            && let Some(message) = rest.get(..usize::from(u16::from_be_bytes(*len)))
        {
            self.read += len.len() + message.len();
            heard.extend(hear_dns(message));
        }
        heard
    }
}

/// Each address is one of the name that was asked for, whatever aliases lie between.
fn hear_dns(message: &[u8]) -> Vec<Heard> {
    dns::parse(message).map_or_else(Vec::new, |answer| all_heard(answer, NameSource::Dns))
}

fn all_heard(answer: dns::Answer, source: NameSource) -> Vec<Heard> {
    let heard = answer.addresses.into_iter().map(|ip| Heard {
        ip,
        name: Name {
            domain: answer.name.clone(),
            source,
        },
    });
    heard.collect()
}

fn hear_mdns(packet: &Packet<'_>) -> Vec<Heard> {
    let owners = dns::parse_multicast(packet.payload).into_iter();
    owners
        .filter(|(domain, ip)| domain.ends_with(".local") && may_speak_for(packet.source, *ip))
        .map(|(domain, ip)| Heard {
            ip,
            name: Name {
                domain,
                source: NameSource::Mdns,
            },
        })
        .collect()
}

fn hear_llmnr(packet: &Packet<'_>) -> Vec<Heard> {
    let mut heard = dns::parse(packet.payload)
        .map_or_else(Vec::new, |answer| all_heard(answer, NameSource::Llmnr));
    heard.retain(|heard| may_speak_for(packet.source, heard.ip));
    heard
}

/// Anybody may answer there, so a machine names only itself: an IPv4 sender no other IPv4 address.
fn may_speak_for(sender: IpAddr, ip: IpAddr) -> bool {
    sender == ip || !(sender.is_ipv4() && ip.is_ipv4())
}

#[cfg(test)]
mod tests;
