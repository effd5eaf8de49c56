//! Who opened what: flows by their 5-tuple, and the conversations that they belong to.
//!
//! A conversation is (opener, peer, transport, service port); it is new again after [`IDLE`] without a packet. A hundred connections of
//! a browser to one server are one conversation and a hundred flows; a 5-tuple used again begins anew at its SYN.
//! The opener is told by TCP's SYN. Without one (the agent came later) the better-known port is the service; UDP is
//! judged like that only as long as the agent may have missed its beginning, later whoever sent first has opened it.
//! Both tables are bounded and forget what was longest silent; a packet of the past (the frames that are counted come later than
//! those that open) makes nothing older.

use std::{net::IpAddr, time::Duration};

use labwatch_contract::{
    event::contact::Direction,
    scope::{Networks, Scope, protocol},
};

use super::sighting::Sighting;
use crate::net::recent::Recent;

/// A conversation is new again after so long without a packet.
pub const IDLE: Duration = Duration::from_secs(60);

const MOST_FLOWS: usize = 16_384;
const MOST_CONVERSATIONS: usize = 8_192;

/// Linux takes ports of clients from here upwards (`ip_local_port_range`).
const FIRST_EPHEMERAL: u16 = 32_768;
const FIRST_UNPRIVILEGED: u16 = 1024;

/// A conversation: `source` opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Conversation {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    pub(super) service_port: Option<u16>,
}

/// What a packet belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Belonging {
    pub(super) conversation: Conversation,
    pub(super) direction: Direction,
    pub(super) scope: Scope,
    /// The conversation begins with this packet.
    pub(super) is_new: bool,
    /// How many packets of its flow came before; counted to 255, for only a flow's beginning is of interest.
    pub(super) packets_before: u8,
    /// It was open before its first packet was seen: TCP without a SYN.
    pub(super) already_open: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct FiveTuple {
    own: IpAddr,
    peer: IpAddr,
    protocol: u8,
    own_port: u16,
    peer_port: u16,
}

#[derive(Debug, Clone, Copy)]
struct Flow {
    direction: Direction,
    scope: Scope,
    packets_before: u8,
}

/// The tables of flows and conversations.
#[derive(Debug)]
pub(super) struct Conversations {
    flows: Recent<FiveTuple, Flow>,
    open: Recent<Conversation, Option<String>>,
    all_seen_from: Duration,
}

impl Conversations {
    pub(super) fn new() -> Self {
        Self {
            flows: Recent::new(MOST_FLOWS),
            open: Recent::new(MOST_CONVERSATIONS),
            all_seen_from: IDLE,
        }
    }

    /// Packets before `now` may have been missed.
    pub(super) fn set_blind_until(&mut self, now: Duration) {
        self.all_seen_from = now + IDLE;
    }

    /// Takes a packet in that [`Sighting::is_of_conversation`].
    pub(super) fn handle(
        &mut self,
        seen: &Sighting,
        networks: &Networks,
        now: Duration,
    ) -> Belonging {
        let flow = self.flow(seen, networks, now);
        let conversation = conversation(seen, flow.direction);
        let is_told = matches!(flow.scope, Scope::Intranet | Scope::Internet);
        let is_new = is_told && self.touch(conversation, now);
        Belonging {
            conversation,
            direction: flow.direction,
            scope: flow.scope,
            is_new,
            packets_before: flow.packets_before,
            already_open: is_new && seen.tcp_flags.is_some_and(|flags| !flags.is_handshake()),
        }
    }

    /// Keeps the name of the program that takes part in a conversation.
    pub(super) fn set_program(&mut self, conversation: &Conversation, name: String) {
        if let Some(entry) = self.open.get_mut(conversation) {
            entry.value = Some(name);
        }
    }

    /// Conversations heard of since `from`, with the program's name where it is known.
    pub(super) fn programs_since(
        &self,
        from: Duration,
    ) -> impl Iterator<Item = (&Conversation, &str)> {
        let heard = self
            .open
            .iter()
            .filter(move |(_, entry)| entry.last >= from);
        heard.filter_map(|(key, entry)| Some((key, entry.value.as_deref()?)))
    }

    /// Other networks, other scopes: also of flows that are already known.
    pub(super) fn set_networks(&mut self, networks: &Networks) {
        for (key, entry) in self.flows.iter_mut() {
            entry.value.scope = networks.scope(&key.contact());
        }
    }

    pub(super) fn forget_silent(&mut self, now: Duration) {
        if let Some(moment) = now.checked_sub(IDLE) {
            self.flows.forget_before(moment);
            self.open.forget_before(moment);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty() && self.open.is_empty()
    }

    fn flow(&mut self, seen: &Sighting, networks: &Networks, now: Duration) -> Flow {
        if seen.icmp_type.is_some() {
            // An error notice and a ping between the same two are not of one scope.
            let direction = opener_of_icmp(seen);
            return Flow {
                direction,
                scope: networks.scope(&seen.contact()),
                packets_before: 0,
            };
        }
        let key = FiveTuple::new(seen);
        let opens = seen.tcp_flags.is_some_and(|flags| flags.opens());
        let all_seen = now >= self.all_seen_from;
        match self.flows.get_mut(&key) {
            Some(known) if !opens && now.saturating_sub(known.last) < IDLE => {
                known.last = known.last.max(now);
                known.value.packets_before = known.value.packets_before.saturating_add(1);
                known.value
            }
            _ => {
                let scope = networks.scope(&seen.contact());
                let flow = Flow {
                    direction: opener(seen, all_seen),
                    scope,
                    packets_before: 0,
                };
                self.flows.insert(key, flow, now);
                flow
            }
        }
    }

    /// True when the conversation is new.
    fn touch(&mut self, conversation: Conversation, now: Duration) -> bool {
        match self.open.get_mut(&conversation) {
            Some(known) if now.saturating_sub(known.last) < IDLE => {
                known.last = known.last.max(now);
                false
            }
            _ => {
                self.open.insert(conversation, None, now);
                true
            }
        }
    }
}

impl FiveTuple {
    fn new(seen: &Sighting) -> Self {
        let (own_port, peer_port) = seen.ports.unwrap_or_default();
        Self {
            own: seen.own,
            peer: seen.peer,
            protocol: seen.protocol,
            own_port,
            peer_port,
        }
    }

    fn contact(&self) -> labwatch_contract::scope::Contact {
        labwatch_contract::scope::Contact {
            peer: self.peer,
            peer_port: self.peer_port,
            own_port: self.own_port,
            protocol: self.protocol,
            icmp_type: None,
        }
    }
}

fn conversation(seen: &Sighting, direction: Direction) -> Conversation {
    let egress = direction == Direction::Egress;
    let (source, destination) = if egress {
        (seen.own, seen.peer)
    } else {
        (seen.peer, seen.own)
    };
    let service_port = seen
        .ports
        .map(|(own, peer)| if egress { peer } else { own });
    Conversation {
        source,
        destination,
        protocol: seen.protocol,
        service_port,
    }
}

fn from_sender(seen: &Sighting) -> Direction {
    if seen.sent {
        Direction::Egress
    } else {
        Direction::Ingress
    }
}

fn from_receiver(seen: &Sighting) -> Direction {
    if seen.sent {
        Direction::Ingress
    } else {
        Direction::Egress
    }
}

/// Replies (echo, timestamp, mask; RFC 792, 4443) belong to the one who asked.
fn opener_of_icmp(seen: &Sighting) -> Direction {
    match (seen.protocol, seen.icmp_type) {
        (protocol::ICMP, Some(0 | 14 | 16 | 18)) | (protocol::ICMPV6, Some(129)) => {
            from_receiver(seen)
        }
        _ => from_sender(seen),
    }
}

fn opener(seen: &Sighting, all_seen: bool) -> Direction {
    match seen.tcp_flags {
        Some(flags) if flags.opens() => from_sender(seen),
        Some(flags) if flags.accepts() => from_receiver(seen),
        Some(_) => by_ports(seen).unwrap_or_else(|| by_lower_port(seen)),
        None if all_seen => from_sender(seen),
        None => by_ports(seen).unwrap_or_else(|| from_sender(seen)),
    }
}

/// Where exactly one end has a port that clients do not get, the other end is the client.
fn by_ports(seen: &Sighting) -> Option<Direction> {
    let (own, peer) = seen.ports?;
    let told_by = |limit: u16| match (own < limit, peer < limit) {
        (false, true) => Some(Direction::Egress),
        (true, false) => Some(Direction::Ingress),
        _ => None,
    };
    told_by(FIRST_UNPRIVILEGED).or_else(|| told_by(FIRST_EPHEMERAL))
}

fn by_lower_port(seen: &Sighting) -> Direction {
    match seen.ports {
        Some((own, peer)) if peer < own => Direction::Egress,
        Some((own, peer)) if own < peer => Direction::Ingress,
        _ => from_sender(seen),
    }
}
