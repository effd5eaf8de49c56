//! Sums: per interface, per peer, and of all that has no IP peer.
//!
//! Invariant: every frame is added to one interface and to exactly one of a peer, `other` and `overflow`; so over any
//! interval peers + other + overflow equals the interfaces to the byte. At most [`MOST_PEERS`] peers are kept. A further
//! one takes the place of a peer that was silent in this interval; where none was, its frames are `overflow`. A report
//! costs what was active in its interval, however many peers are known.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use labwatch_contract::{
    event::{
        contact::NameSource,
        report::{InterfaceTotals, PeerTotals},
    },
    scope::{Networks, Scope},
};

use super::rates::Seconds;
use crate::net::recent::{Recent, Slot};

/// So many peers are kept.
pub const MOST_PEERS: usize = 8_192;
const MOST_PORTS: usize = 16;

/// What frames add to their peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) sent: bool,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// What programs said in conversations.
    pub(super) payload: u64,
    /// `None` where the frame alone does not tell (a later fragment).
    pub(super) scope: Option<Scope>,
    pub(super) service_port: Option<u16>,
}

/// All sums since the last report, and of peers also since the start.
#[derive(Debug)]
pub(super) struct Totals {
    interfaces: BTreeMap<u32, Interface>,
    peers: Recent<IpAddr, Peer>,
    /// Those with frames in this interval.
    active: Vec<Slot>,
    /// No peer can give way before the next report.
    is_full: bool,
    other: u64,
    overflow: u64,
    /// When this interval began, and the one before.
    began: Duration,
    began_before: Duration,
}

#[derive(Debug, Default)]
struct Interface {
    totals: InterfaceTotals,
    closed: bool,
}

#[derive(Debug, Default)]
struct Peer {
    sent: Sum,
    received: Sum,
    seconds: Seconds,
    scope: Option<Scope>,
    is_active: bool,
    /// The service port of its last frame; in `ports` already.
    newest_port: Option<u16>,
    ports: Vec<u16>,
    /// The last contact that was told.
    contacted: Option<Duration>,
}

/// One direction of a peer.
#[derive(Debug, Default)]
struct Sum {
    bytes: u64,
    packets: u64,
    payload: u64,
    /// Of the intervals before.
    bytes_before: u64,
}

/// Sums taken out for a report.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Taken {
    pub(super) interfaces: Vec<InterfaceTotals>,
    pub(super) peers: Vec<PeerTotals>,
    pub(super) other_bytes: u64,
    pub(super) overflow_bytes: u64,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            interfaces: BTreeMap::new(),
            peers: Recent::new(MOST_PEERS),
            active: Vec::new(),
            is_full: false,
            other: 0,
            overflow: 0,
            began: Duration::ZERO,
            began_before: Duration::ZERO,
        }
    }
}

impl Totals {
    pub(super) fn open(&mut self, index: u32, name: &str, mac: Option<&str>, ip: Vec<IpAddr>) {
        let interface = self.interfaces.entry(index).or_default();
        interface.closed = false;
        interface.totals.name = name.to_owned();
        interface.totals.mac = mac.map(str::to_owned);
        interface.totals.ip = ip;
    }

    pub(super) fn close(&mut self, index: u32) {
        if let Some(interface) = self.interfaces.get_mut(&index) {
            interface.closed = true;
        }
    }

    pub(super) fn count(&mut self, index: u32, dropped: u64, counter_bytes: Option<u64>) {
        let totals = &mut self.interfaces.entry(index).or_default().totals;
        totals.dropped += dropped;
        if let Some(bytes) = counter_bytes {
            *totals.counter_bytes.get_or_insert(0) += bytes;
        }
    }

    pub(super) fn add_frames(&mut self, index: u32, packets: u64, bytes: u64) {
        let totals = &mut self.interfaces.entry(index).or_default().totals;
        totals.packets += packets;
        totals.bytes += bytes;
    }

    pub(super) fn add_other(&mut self, len: u32) {
        self.other += u64::from(len);
    }

    /// Asks the memory for a peer, before it is needed.
    #[inline]
    pub(super) fn reach_for(&self, peer: Slot) {
        self.peers.reach_for(peer);
    }

    /// Adds a frame to its peer, which is sought where it is `known_as` first; returns where it is.
    #[inline]
    pub(super) fn add(
        &mut self,
        peer: IpAddr,
        share: &Share,
        known_as: Slot,
        now: Duration,
    ) -> Slot {
        if self.add_to_known(known_as, share, now) {
            return known_as;
        }
        let slot = self.find(peer, now).unwrap_or_default();
        self.add_to_known_or_overflow(slot, share, now);
        slot
    }

    /// Adds frames to the peer in this place, or to no peer where there is none.
    pub(super) fn add_to_known_or_overflow(&mut self, slot: Slot, share: &Share, now: Duration) {
        if !self.add_to_known(slot, share, now) {
            self.overflow += share.bytes;
        }
    }

    /// Adds a frame to the peer in this place; false, and nothing is added, where there is none.
    #[inline]
    pub(super) fn add_to_known(&mut self, slot: Slot, share: &Share, now: Duration) -> bool {
        let Some(peer) = self.peers.at_mut(slot) else {
            return false;
        };
        peer.last = peer.last.max(now);
        if !std::mem::replace(&mut peer.value.is_active, true) {
            self.active.push(slot);
        }
        peer.value.add(share, now);
        true
    }

    /// Whether [`Totals::is_first_contact`] would say no of the peer in this place.
    #[inline]
    pub(super) fn is_contacted(&self, slot: Slot, now: Duration) -> bool {
        let began = self.interval_of(now);
        let contacted = self
            .peers
            .at(slot)
            .and_then(|(_, peer)| peer.value.contacted);
        contacted.is_some_and(|last| last >= began)
    }

    /// True at the first call for a peer between two reports. A frame that is read after the report, but came before, belongs to
    /// the interval in which it came. The peer is kept from here on, with sums of nothing until its frames are counted.
    pub(super) fn is_first_contact(&mut self, peer: IpAddr, known_as: Slot, now: Duration) -> bool {
        let began = self.interval_of(now);
        let slot = match self.peers.at(known_as) {
            Some(_) => known_as,
            None => self.find(peer, now).unwrap_or_default(),
        };
        let Some(peer) = self.peers.at_mut(slot) else {
            return false;
        };
        let is_first = peer.value.contacted.is_none_or(|last| last < began);
        if is_first {
            peer.value.contacted = Some(now);
            peer.last = peer.last.max(now);
        }
        is_first
    }

    /// When the interval began that a frame belongs to.
    fn interval_of(&self, frame: Duration) -> Duration {
        if frame < self.began {
            self.began_before
        } else {
            self.began
        }
    }

    /// A peer that is not known takes a place, if there is one.
    fn find(&mut self, peer: IpAddr, now: Duration) -> Option<Slot> {
        if let Some(known) = self.peers.find(&peer) {
            return Some(known);
        }
        if self.is_full {
            return None;
        }
        let began = self.began;
        let may_go = |peer: &Peer| !peer.is_active && peer.contacted.is_none_or(|at| at < began);
        let found = self
            .peers
            .insert_if_room(peer, Peer::default(), now, may_go);
        self.is_full = found.is_none();
        found
    }

    /// Takes out the sums of the interval that ends now, and begins a new one.
    pub(super) fn take(&mut self, networks: &Networks, now: Duration) -> Taken {
        let active = std::mem::take(&mut self.active);
        let mut peers: Vec<PeerTotals> = active
            .into_iter()
            .filter_map(|slot| {
                let ip = *self.peers.at(slot)?.0;
                let peer = &mut self.peers.at_mut(slot)?.value;
                Some(peer.take(ip, networks.scope_of_address(ip), now))
            })
            .collect();
        peers.sort_unstable_by_key(|peer| {
            std::cmp::Reverse((peer.sent_bytes + peer.received_bytes, peer.ip))
        });
        let interfaces = self.interfaces.values_mut().map(Interface::take).collect();
        self.interfaces.retain(|_, interface| !interface.closed);
        self.is_full = false;
        self.began_before = std::mem::replace(&mut self.began, now);
        Taken {
            interfaces,
            peers,
            other_bytes: std::mem::take(&mut self.other),
            overflow_bytes: std::mem::take(&mut self.overflow),
        }
    }
}

/// In the order of their index.
impl Interface {
    fn take(&mut self) -> InterfaceTotals {
        let next = InterfaceTotals {
            name: self.totals.name.clone(),
            mac: self.totals.mac.clone(),
            ip: self.totals.ip.clone(),
            ..InterfaceTotals::default()
        };
        std::mem::replace(&mut self.totals, next)
    }
}

impl Peer {
    #[inline]
    fn add(&mut self, share: &Share, now: Duration) {
        let sum = if share.sent {
            &mut self.sent
        } else {
            &mut self.received
        };
        sum.packets += share.packets;
        sum.bytes += share.bytes;
        sum.payload += share.payload;
        self.seconds.add(share.sent, share.bytes, now);
        if self.scope.is_none()
            || share
                .scope
                .is_some_and(|scope| scope != Scope::Infrastructure)
        {
            self.scope = share.scope.or(self.scope);
        }
        if let Some(port) = share.service_port
            && self.newest_port != Some(port)
        {
            self.newest_port = Some(port);
            self.note_port(port);
        }
    }

    fn note_port(&mut self, port: u16) {
        if self.ports.len() < MOST_PORTS && !self.ports.contains(&port) {
            self.ports.push(port);
        }
    }

    /// A peer that was only talked to as infrastructure is infrastructure; any other is where its address is.
    fn take(&mut self, ip: IpAddr, scope_of_address: Scope, now: Duration) -> PeerTotals {
        let scope = match self.scope.take() {
            Some(Scope::Infrastructure) => Scope::Infrastructure,
            _ => scope_of_address,
        };
        let mut ports = std::mem::take(&mut self.ports);
        ports.sort_unstable();
        (self.newest_port, self.is_active) = (None, false);
        let (sent, received) = (self.sent.take(), self.received.take());
        let (sent_bps, received_bps) = self.seconds.rates(now);
        PeerTotals {
            ip,
            name: None,
            name_source: NameSource::None,
            scope,
            sent_bps,
            received_bps,
            total_sent_bytes: self.sent.bytes_before,
            total_received_bytes: self.received.bytes_before,
            sent_bytes: sent.bytes,
            received_bytes: received.bytes,
            sent_packets: sent.packets,
            received_packets: received.packets,
            sent_payload_bytes: Some(sent.payload),
            received_payload_bytes: Some(received.payload),
            ports,
            processes: Vec::new(),
        }
    }
}

impl Sum {
    /// Takes out what the interval has added.
    fn take(&mut self) -> Self {
        let bytes_before = self.bytes_before + self.bytes;
        let next = Self {
            bytes_before,
            ..Self::default()
        };
        std::mem::replace(self, next)
    }
}
