//! Who opened what: flows by their 5-tuple, and the conversations that they belong to.
//!
//! A conversation is (opener, peer, transport, service port); it is new again after [`IDLE`] without a packet. A hundred
//! connections of a browser to one server are one conversation and a hundred flows; a 5-tuple used again begins anew at its
//! SYN. One that comes again, or is taken in as an opening and then counted, is known by its sequence number. Both tables
//! are bounded and forget what was longest silent; a packet of the past (the frames that are counted come later than those
//! that open) makes nothing older. A packet of a known flow costs one search at most: the flow knows the places of its
//! conversation and its peer, and the flow of the packet before is tried first.

use std::{
    hash::{Hash, Hasher},
    net::IpAddr,
    time::Duration,
};

use labwatch_contract::{
    event::contact::Direction,
    scope::{Networks, Scope},
};

use super::{
    opener::{from_sender, opener, opener_of_icmp},
    sighting::Sighting,
};
use crate::net::recent::{Entry, Recent, Slot};

/// A conversation is new again after so long without a packet.
pub const IDLE: Duration = Duration::from_secs(60);

/// So long the opener of a silent connection is known.
pub(super) const CONNECTION: Duration = Duration::from_secs(15 * 60);

const MOST_FLOWS: usize = 16_384;
const MOST_CONVERSATIONS: usize = 8_192;

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
    pub(super) direction: Direction,
    pub(super) scope: Scope,
    /// The port of the one who did not open.
    pub(super) service_port: Option<u16>,
    /// The conversation begins with this packet.
    pub(super) is_new: bool,
    /// How many packets of its flow came before; counted to 255, for only a flow's beginning is of interest.
    pub(super) packets_before: u8,
    /// It was open before its first packet was seen: TCP without a SYN.
    pub(super) already_open: bool,
    /// Its flow; nowhere for ICMP.
    pub(super) flow: Slot,
    /// What [`Conversations::set_peer`] has said of the flow.
    pub(super) peer: Slot,
}

impl Belonging {
    /// The conversation of the packet `seen`.
    pub(super) fn conversation(&self, seen: &Sighting) -> Conversation {
        conversation(seen, self.direction)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FiveTuple {
    own: IpAddr,
    peer: IpAddr,
    protocol: u8,
    own_port: u16,
    peer_port: u16,
}

/// What is known of a flow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flow {
    pub(super) direction: Direction,
    pub(super) scope: Scope,
    packets_before: u8,
    /// Sequence number of the SYN that opened it.
    first: Option<u32>,
    conversation: Slot,
    /// Of its peer, in the table of sums.
    pub(super) peer: Slot,
}

#[derive(Debug)]
struct Talk {
    program: Option<String>,
    /// The interval in which it was last heard of.
    interval: u64,
}

/// The tables of flows and conversations.
#[derive(Debug)]
pub(super) struct Conversations {
    flows: Recent<FiveTuple, Flow>,
    /// The flow that the packet before belonged to.
    newest: Option<(FiveTuple, Slot)>,
    open: Recent<Conversation, Talk>,
    /// Conversations heard of in this interval, and perhaps some that are forgotten.
    heard: Vec<Slot>,
    interval: u64,
    all_seen_from: Duration,
}

impl Conversations {
    pub(super) fn new() -> Self {
        Self {
            flows: Recent::new(MOST_FLOWS),
            newest: None,
            open: Recent::new(MOST_CONVERSATIONS),
            heard: Vec::new(),
            interval: 1,
            all_seen_from: IDLE,
        }
    }

    /// Packets before `now` may have been missed.
    pub(super) fn set_blind_until(&mut self, now: Duration) {
        self.all_seen_from = now + IDLE;
    }

    /// Takes a packet in that [`Sighting::is_of_conversation`].
    #[inline]
    pub(super) fn handle(
        &mut self,
        seen: &Sighting,
        networks: &Networks,
        now: Duration,
    ) -> Belonging {
        let (slot, flow, is_known) = self.flow(seen, networks, now);
        let is_new = is_told(flow.scope) && self.touch(seen, slot, &flow, now);
        let is_handshake = seen.tcp_flags.is_none_or(|flags| flags.is_handshake());
        Belonging {
            direction: flow.direction,
            scope: flow.scope,
            service_port: service_port(seen, flow.direction),
            is_new,
            packets_before: flow.packets_before,
            already_open: is_new && !is_known && !is_handshake,
            flow: slot,
            peer: flow.peer,
        }
    }

    /// Asks the memory for a flow, before it is needed.
    #[inline]
    pub(super) fn reach_for(&self, flow: Slot) {
        self.flows.reach_for(flow);
    }

    /// Takes in further packets of a flow. `None` where it is more than that: the flow is forgotten or was silent for too long,
    /// or its conversation was not heard of in this interval. Then [`Conversations::handle`] has to take it in.
    #[inline]
    pub(super) fn go_on(&mut self, slot: Slot, packets: u32, now: Duration) -> Option<Flow> {
        let known = self.flows.at_mut(slot)?;
        if now.saturating_sub(known.last) >= IDLE {
            return None;
        }
        if is_told(known.value.scope) {
            let talk = self.open.at_mut(known.value.conversation)?;
            talk.go_on(self.interval, now)?;
        }
        known.go_on(packets, now);
        Some(known.value)
    }

    /// Keeps the place of the peer for the flow's next packet.
    pub(super) fn set_peer(&mut self, belonging: &Belonging, peer: Slot) {
        if let Some(flow) = self.flows.at_mut(belonging.flow) {
            flow.value.peer = peer;
        }
    }

    /// Keeps the name of the program that takes part in a conversation.
    pub(super) fn set_program(&mut self, conversation: &Conversation, name: String) {
        if let Some(entry) = self.open.get_mut(conversation) {
            entry.value.program = Some(name);
        }
    }

    /// Conversations heard of since the last call, with the program's name where it is known.
    pub(super) fn take_programs(&mut self) -> impl Iterator<Item = (&Conversation, &str)> {
        self.interval += 1;
        let heard = std::mem::take(&mut self.heard);
        heard.into_iter().filter_map(|slot| {
            let (conversation, talk) = self.open.at(slot)?;
            Some((conversation, talk.value.program.as_deref()?))
        })
    }

    /// Other networks, other scopes: also of flows that are already known.
    pub(super) fn set_networks(&mut self, networks: &Networks) {
        for (key, entry) in self.flows.iter_mut() {
            entry.value.scope = networks.scope(&key.contact());
        }
    }

    /// Returns how many flows and conversations it has looked at.
    pub(super) fn forget_silent(&mut self, now: Duration) -> usize {
        now.checked_sub(IDLE).map_or(0, |moment| {
            let flows = now
                .checked_sub(CONNECTION)
                .map_or(0, |moment| self.flows.forget_before(moment));
            flows + self.open.forget_before(moment)
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty() && self.open.is_empty()
    }

    /// Its flow, and whether that was known. A connection that was silent for a while is still the one that its SYN opened.
    #[inline]
    fn flow(&mut self, seen: &Sighting, networks: &Networks, now: Duration) -> (Slot, Flow, bool) {
        if seen.icmp_type.is_some() {
            // An error notice and a ping between the same two are not of one scope.
            let flow = Flow::new(opener_of_icmp(seen), networks.scope(&seen.contact()), None);
            return (Slot::default(), flow, false);
        }
        let key = FiveTuple::new(seen);
        let slot = match self.newest {
            Some((newest, slot)) if newest == key => Some(slot),
            _ => self.flows.find(&key),
        };
        let opens = seen.tcp_flags.is_some_and(|flags| flags.opens());
        let first = opens.then_some(seen.sequence);
        let opened = |flow: &Flow| flow.first == first && flow.direction == from_sender(seen);
        if let Some(slot) = slot
            && let Some(known) = self.flows.at_mut(slot)
            && (!opens || opened(&known.value))
            && (seen.tcp_flags.is_some() || now.saturating_sub(known.last) < IDLE)
        {
            known.go_on(1, now);
            self.newest = Some((key, slot));
            return (slot, known.value, true);
        }
        let all_seen = now >= self.all_seen_from;
        let scope = networks.scope(&seen.contact());
        let flow = Flow::new(opener(seen, all_seen), scope, first);
        let slot = self.flows.insert(key, flow, now);
        self.newest = Some((key, slot));
        (slot, flow, false)
    }

    /// True when the conversation is new.
    #[inline]
    fn touch(&mut self, seen: &Sighting, slot: Slot, flow: &Flow, now: Duration) -> bool {
        let known = self.open.at_mut(flow.conversation);
        if known.is_some_and(|known| known.go_on(self.interval, now).is_some()) {
            return false;
        }
        let (found, is_new) = self.touch_by_name(conversation(seen, flow.direction), now);
        if let Some(flow) = self.flows.at_mut(slot) {
            flow.value.conversation = found;
        }
        is_new
    }

    fn touch_by_name(&mut self, conversation: Conversation, now: Duration) -> (Slot, bool) {
        let found = self.open.find(&conversation);
        if let Some(slot) = found
            && let Some(known) = self.open.at_mut(slot)
            && now.saturating_sub(known.last) < IDLE
        {
            known.last = known.last.max(now);
            let before = std::mem::replace(&mut known.value.interval, self.interval);
            if before != self.interval {
                self.note_heard(slot);
            }
            return (slot, false);
        }
        let talk = Talk {
            program: None,
            interval: self.interval,
        };
        let slot = self.open.insert(conversation, talk, now);
        self.note_heard(slot);
        (slot, true)
    }

    fn note_heard(&mut self, slot: Slot) {
        if self.heard.len() >= 2 * MOST_CONVERSATIONS {
            let open = &self.open;
            self.heard.retain(|&slot| open.at(slot).is_some());
        }
        self.heard.push(slot);
    }
}

impl Entry<Flow> {
    #[inline]
    fn go_on(&mut self, packets: u32, now: Duration) {
        self.last = self.last.max(now);
        let packets = u8::try_from(packets).unwrap_or(u8::MAX);
        self.value.packets_before = self.value.packets_before.saturating_add(packets);
    }
}

impl Entry<Talk> {
    /// `None` where it was silent for too long, or not heard of in this interval.
    #[inline]
    fn go_on(&mut self, interval: u64, now: Duration) -> Option<()> {
        let is_heard = now.saturating_sub(self.last) < IDLE && self.value.interval == interval;
        is_heard.then(|| self.last = self.last.max(now))
    }
}

impl Flow {
    fn new(direction: Direction, scope: Scope, first: Option<u32>) -> Self {
        Self {
            direction,
            scope,
            packets_before: 0,
            first,
            conversation: Slot::default(),
            peer: Slot::default(),
        }
    }
}

/// In as few words as possible: this is done for most packets.
impl Hash for FiveTuple {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match (self.own, self.peer) {
            (IpAddr::V4(own), IpAddr::V4(peer)) => {
                state.write_u64(u64::from(own.to_bits()) << 32 | u64::from(peer.to_bits()));
            }
            (own, peer) => [own, peer].hash(state),
        }
        let ports = u64::from(self.own_port) << 16 | u64::from(self.peer_port);
        state.write_u64(u64::from(self.protocol) << 32 | ports);
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
    Conversation {
        source,
        destination,
        protocol: seen.protocol,
        service_port: service_port(seen, direction),
    }
}

/// Whether conversations of this scope are told at all.
fn is_told(scope: Scope) -> bool {
    matches!(scope, Scope::Intranet | Scope::Internet)
}

fn service_port(seen: &Sighting, direction: Direction) -> Option<u16> {
    let egress = direction == Direction::Egress;
    seen.ports
        .map(|(own, peer)| if egress { peer } else { own })
}
