//! Sums: per interface, per peer, and of all that has no IP peer.
//!
//! Invariant: every frame is added to one interface and to exactly one of a peer, `other` and `overflow`; so over any interval
//! peers + other + overflow equals the interfaces to the byte. At most [`MOST_PEERS`] peers are kept; the
//! frames of further ones are `overflow` until the next report makes room by dropping peers that were silent longest.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use foldhash::HashMap;
use labwatch_contract::{
    event::{
        contact::NameSource,
        report::{InterfaceTotals, PeerTotals, Rates},
    },
    scope::{Networks, Scope},
};

/// So many peers are kept.
pub const MOST_PEERS: usize = 8_192;
const MOST_PORTS: usize = 16;
/// Seconds that the longest rate looks back, and the one that is running.
const SECONDS: usize = 41;

/// What a frame adds to its peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) peer: IpAddr,
    pub(super) sent: bool,
    pub(super) len: u32,
    /// `None` where the frame alone does not tell (a later fragment).
    pub(super) scope: Option<Scope>,
    pub(super) service_port: Option<u16>,
}

/// All sums since the last report, and of peers also since the start.
#[derive(Debug, Default)]
pub(super) struct Totals {
    interfaces: BTreeMap<u32, Interface>,
    /// Boxed, because a hash table keeps room for twice as many.
    peers: HashMap<IpAddr, Box<Peer>>,
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
    scope: Option<Scope>,
    ports: Vec<u16>,
    /// The last contact that was told.
    contacted: Option<Duration>,
    last: Duration,
}

/// One direction of a peer.
#[derive(Debug, Default)]
struct Sum {
    bytes: u64,
    packets: u64,
    total_bytes: u64,
    history: History,
}

/// Sums taken out for a report.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Taken {
    pub(super) interfaces: Vec<InterfaceTotals>,
    pub(super) peers: Vec<PeerTotals>,
    pub(super) other_bytes: u64,
    pub(super) overflow_bytes: u64,
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

    pub(super) fn add_frame(&mut self, index: u32, len: u32) {
        let totals = &mut self.interfaces.entry(index).or_default().totals;
        totals.packets += 1;
        totals.bytes += u64::from(len);
    }

    pub(super) fn add_other(&mut self, len: u32) {
        self.other += u64::from(len);
    }

    pub(super) fn add(&mut self, share: &Share, now: Duration) {
        if self.peers.len() >= MOST_PEERS && !self.peers.contains_key(&share.peer) {
            self.overflow += u64::from(share.len);
            return;
        }
        self.peers.entry(share.peer).or_default().add(share, now);
    }

    /// True at the first call for a peer between two reports. A frame that is read after the report, but came before, belongs to
    /// the interval in which it came. The peer is kept from here on, with sums of nothing until its frames are counted.
    pub(super) fn is_first_contact(&mut self, peer: IpAddr, now: Duration) -> bool {
        if self.peers.len() >= MOST_PEERS && !self.peers.contains_key(&peer) {
            return false;
        }
        let peer = self.peers.entry(peer).or_default();
        let began = if now < self.began {
            self.began_before
        } else {
            self.began
        };
        let is_first = peer.contacted.is_none_or(|last| last < began);
        if is_first {
            peer.contacted = Some(now);
            peer.last = peer.last.max(now);
        }
        is_first
    }

    /// Takes out the sums of the interval that ends now, and begins a new one.
    pub(super) fn take(&mut self, networks: &Networks, now: Duration) -> Taken {
        let peers = self.peers.iter_mut().filter(|(_, peer)| peer.is_active());
        let mut peers: Vec<PeerTotals> = peers
            .map(|(&ip, peer)| peer.take(ip, networks.scope_of_address(ip), now))
            .collect();
        peers.sort_by_key(|peer| {
            std::cmp::Reverse((peer.sent_bytes + peer.received_bytes, peer.ip))
        });
        let interfaces = self.interfaces.values_mut().map(Interface::take).collect();
        self.interfaces.retain(|_, interface| !interface.closed);
        self.make_room();
        self.began_before = std::mem::replace(&mut self.began, now);
        Taken {
            interfaces,
            peers,
            other_bytes: std::mem::take(&mut self.other),
            overflow_bytes: std::mem::take(&mut self.overflow),
        }
    }

    fn make_room(&mut self) {
        if self.peers.len() > MOST_PEERS / 4 * 3 {
            let mut ages: Vec<Duration> = self.peers.values().map(|peer| peer.last).collect();
            let middle = ages.len() / 2;
            let (_, &mut median, _) = ages.select_nth_unstable(middle);
            self.peers.retain(|_, peer| peer.last > median);
        }
    }
}

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
    fn add(&mut self, share: &Share, now: Duration) {
        self.last = self.last.max(now);
        let sum = if share.sent {
            &mut self.sent
        } else {
            &mut self.received
        };
        sum.add(share.len, now);
        if self.scope.is_none()
            || share
                .scope
                .is_some_and(|scope| scope != Scope::Infrastructure)
        {
            self.scope = share.scope.or(self.scope);
        }
        if let Some(port) = share.service_port
            && self.ports.len() < MOST_PORTS
            && !self.ports.contains(&port)
        {
            self.ports.push(port);
        }
    }

    fn is_active(&self) -> bool {
        self.sent.packets + self.received.packets > 0
    }

    /// A peer that was only talked to as infrastructure is infrastructure; any other is where its address is.
    fn take(&mut self, ip: IpAddr, scope_of_address: Scope, now: Duration) -> PeerTotals {
        let scope = match self.scope.take() {
            Some(Scope::Infrastructure) => Scope::Infrastructure,
            _ => scope_of_address,
        };
        let mut ports = std::mem::take(&mut self.ports);
        ports.sort_unstable();
        PeerTotals {
            ip,
            name: None,
            name_source: NameSource::None,
            scope,
            sent_bps: self.sent.history.rates(now),
            received_bps: self.received.history.rates(now),
            total_sent_bytes: self.sent.total_bytes,
            total_received_bytes: self.received.total_bytes,
            sent_bytes: std::mem::take(&mut self.sent.bytes),
            received_bytes: std::mem::take(&mut self.received.bytes),
            sent_packets: std::mem::take(&mut self.sent.packets),
            received_packets: std::mem::take(&mut self.received.packets),
            ports,
            processes: Vec::new(),
        }
    }
}

impl Sum {
    fn add(&mut self, len: u32, now: Duration) {
        self.packets += 1;
        self.bytes += u64::from(len);
        self.total_bytes += u64::from(len);
        self.history.add(len, now);
    }
}

/// Bytes of each of the last seconds; slot = second modulo [`SECONDS`].
#[derive(Debug)]
struct History {
    newest: u64,
    bytes: [u32; SECONDS],
}

impl Default for History {
    fn default() -> Self {
        Self {
            newest: 0,
            bytes: [0; SECONDS],
        }
    }
}

impl History {
    fn add(&mut self, len: u32, now: Duration) {
        let second = now.as_secs().max(self.newest);
        for stale in (self.newest + 1..=second).take(SECONDS) {
            if let Some(slot) = self.bytes.get_mut(slot_of(stale)) {
                *slot = 0;
            }
        }
        self.newest = second;
        if let Some(slot) = self.bytes.get_mut(slot_of(second)) {
            *slot = slot.saturating_add(len);
        }
    }

    /// Bits per second up to now. The second in which a window begins counts by the part that lies within it.
    fn rates(&self, now: Duration) -> Rates {
        let this = now.as_secs();
        let outside = u64::from(now.subsec_millis());
        let over = |seconds: u64| {
            let full: u64 = (0..seconds)
                .map(|back| self.at(this.checked_sub(back)))
                .sum();
            let first = self.at(this.checked_sub(seconds)) * (1000 - outside) / 1000;
            (full + first) * 8 / seconds
        };
        Rates {
            over_2s: over(2),
            over_10s: over(10),
            over_40s: over(40),
        }
    }

    fn at(&self, second: Option<u64>) -> u64 {
        let is_kept = |age: u64| usize::try_from(age).is_ok_and(|age| age < SECONDS);
        let kept = second.filter(|&second| self.newest.checked_sub(second).is_some_and(is_kept));
        let bytes = kept.and_then(|second| self.bytes.get(slot_of(second)));
        bytes.copied().map_or(0, u64::from)
    }
}

fn slot_of(second: u64) -> usize {
    usize::try_from(second).map_or(0, |second| second % SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates_of(frames: &[(u64, u32)], now_ms: u64) -> (u64, u64, u64) {
        let mut history = History::default();
        for &(ms, len) in frames {
            history.add(len, Duration::from_millis(ms));
        }
        let rates = history.rates(Duration::from_millis(now_ms));
        (rates.over_2s, rates.over_10s, rates.over_40s)
    }

    #[test]
    fn rates_look_back_over_2_10_and_40_seconds() {
        assert_eq!(rates_of(&[(0, 1000)], 500), (4000, 800, 200));
        assert_eq!(rates_of(&[(0, 1000)], 5_000), (0, 800, 200));
        assert_eq!(rates_of(&[(0, 1000)], 39_999), (0, 0, 200));
        assert_eq!(rates_of(&[(0, 1000)], 41_000), (0, 0, 0));
        assert_eq!(rates_of(&[(0, 1000)], 1_000_000), (0, 0, 0));
    }

    #[test]
    fn the_second_in_which_a_window_begins_counts_by_its_part() {
        assert_eq!(rates_of(&[(10_000, 1000)], 12_250).0, 3000);
    }

    #[test]
    fn what_is_older_than_the_table_is_forgotten_when_its_slot_comes_round() {
        let second = 1000;
        assert_eq!(
            rates_of(&[(0, 5000), (41 * second, 1000)], 41 * second),
            (4000, 800, 200)
        );
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_loses_no_byte() {
        assert_eq!(
            rates_of(&[(3000, 1000), (1000, 1000)], 3000),
            (8000, 1600, 400)
        );
    }
}
