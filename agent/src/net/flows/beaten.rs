//! Beaten ways: from the ends of a plain packet straight to its sums.
//!
//! The first packet of a second walks from here to its flow, its conversation and its peer, and is looked at like any other. Those
//! that follow in the same second are but more of it: their bytes are summed up here, in one line of the cache, until the
//! second is over or somebody wants the sums ([`Beaten::settle`]). The table has a fixed size, and each way two places, told
//! by a hash with keys drawn at random. Where both are in use a packet goes without: whatever the network sends, it is only dearer.

use std::{hash::BuildHasher as _, hint::black_box, time::Duration};

use foldhash::fast::RandomState;

use crate::net::{packet::Ends, recent::Slot};

const PLACES: usize = 16_384;

/// Where packets of these ends went. Two of them are neighbours in the cache.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Way {
    ends: Ends,
    flow: Slot,
    peer: Slot,
    /// From this PC.
    sent: bool,
    /// Its further packets of this second are summed up here.
    is_open: bool,
    packets: u32,
    bytes: u64,
    payload: u64,
    /// Nanoseconds of the second at which the last one came.
    last: u32,
}

/// The two places that a way may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places([usize; 2]);

/// Of one packet, bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Of the whole frame.
    pub(super) len: u32,
    /// Of what a program says.
    pub(super) payload: u32,
}

/// What a way leads to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goal {
    pub(super) flow: Slot,
    pub(super) peer: Slot,
    /// From this PC.
    pub(super) sent: bool,
}

/// Packets of one second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) goal: Goal,
    pub(super) packets: u32,
    pub(super) bytes: u64,
    pub(super) payload: u64,
    pub(super) last: Duration,
}

/// The table.
#[derive(Debug)]
pub(super) struct Beaten {
    hash: RandomState,
    ways: Vec<Way>,
    /// Places of the open ways.
    open: Vec<usize>,
    /// Of the ways gone last, the place of one and of the one before: mostly the two directions of one flow.
    newest: [usize; 2],
    second: u64,
}

impl Beaten {
    pub(super) fn new() -> Self {
        Self {
            hash: RandomState::default(),
            ways: vec![Way::default(); PLACES],
            open: Vec::new(),
            newest: [0; 2],
            second: 0,
        }
    }

    /// Whether another second runs than that of the open ways: they have to be settled.
    #[inline]
    pub(super) fn is_over(&self, now: Duration) -> bool {
        self.second != now.as_secs()
    }

    /// From here on this second runs.
    pub(super) fn begin(&mut self, now: Duration) {
        self.second = now.as_secs();
    }

    /// Takes out what has been summed up, and closes all ways.
    pub(super) fn settle(&mut self, mut each: impl FnMut(Load)) {
        for place in self.open.drain(..) {
            let Some(way) = self.ways.get_mut(place) else {
                continue;
            };
            way.is_open = false;
            let load = Load {
                goal: way.goal(),
                packets: std::mem::take(&mut way.packets),
                bytes: std::mem::take(&mut way.bytes),
                payload: std::mem::take(&mut way.payload),
                last: Duration::new(self.second, way.last),
            };
            if load.packets > 0 {
                each(load);
            }
        }
    }

    /// Where a way with these ends may be.
    #[inline]
    pub(super) fn places(&self, ends: &Ends) -> Places {
        let hash = self.hash.hash_one(ends);
        let place = usize::try_from(hash).unwrap_or_default() % PLACES;
        Places([place, place ^ 1])
    }

    /// Asks the memory for ways. Done for many packets before the first of them is counted, they wait for the memory together;
    /// what is seen is of no interest.
    #[inline]
    pub(super) fn reach_for(&self, places: Places) {
        for place in places.0 {
            black_box(self.ways.get(place).map(|way| way.packets));
        }
    }

    /// Adds a packet to its way, if that is open.
    #[inline]
    pub(super) fn add(&mut self, place: usize, size: Size, now: Duration) -> bool {
        let way = self.ways.get_mut(place);
        let is_added = way.is_some_and(|way| way.add(size, now));
        let [newest, _] = self.newest;
        if is_added && newest != place {
            self.newest = [place, newest];
        }
        is_added
    }

    /// Adds a packet of the second that runs to its way, if it is one of the two gone last, which need not be sought.
    #[inline]
    pub(super) fn add_to_newest(&mut self, ends: &Ends, size: Size, now: Duration) -> bool {
        let add = |place: usize| {
            let way = self.ways.get_mut(place);
            way.is_some_and(|way| way.ends == *ends && way.add(size, now))
        };
        self.second == now.as_secs() && self.newest.into_iter().any(add)
    }

    /// The place of the way of these ends, if it is known.
    #[inline]
    pub(super) fn find(&self, ends: &Ends, places: Places) -> Option<usize> {
        let is_its = |place: &usize| self.ways.get(*place).is_some_and(|way| way.ends == *ends);
        places.0.into_iter().find(is_its)
    }

    /// What a way leads to that has to be walked: it is not open.
    #[inline]
    pub(super) fn to_walk(&self, ends: &Ends, places: Places) -> Option<Goal> {
        let way = self.ways.get(self.find(ends, places)?)?;
        (!way.is_open).then(|| way.goal())
    }

    #[inline]
    pub(super) fn goal(&self, place: usize) -> Option<Goal> {
        self.ways.get(place).map(Way::goal)
    }

    /// The next packets of this way are but more of it.
    pub(super) fn open(&mut self, place: usize) {
        if let Some(way) = self.ways.get_mut(place).filter(|way| !way.is_open) {
            (way.is_open, way.last) = (true, 0);
            self.open.push(place);
        }
    }

    /// Keeps a way in one of its places that is not in use.
    pub(super) fn keep(&mut self, ends: Ends, Goal { flow, peer, sent }: Goal) {
        let places = self.places(&ends);
        let is_free = |place: &usize| self.ways.get(*place).is_some_and(|way| !way.is_open);
        let free = || places.0.into_iter().find(is_free);
        let place = self.find(&ends, places).or_else(free).filter(is_free);
        if let Some(way) = place.and_then(|place| self.ways.get_mut(place)) {
            *way = Way {
                ends,
                flow,
                peer,
                sent,
                ..Way::default()
            };
        }
    }

    /// Forgets all ways; those that are open have been settled.
    pub(super) fn clear(&mut self) {
        self.ways.fill(Way::default());
    }
}

impl Way {
    /// False, and nothing is added, where it is not open.
    #[inline]
    fn add(&mut self, size: Size, now: Duration) -> bool {
        let packets = self.packets.checked_add(1).filter(|_| self.is_open);
        if let Some(packets) = packets {
            self.packets = packets;
            self.bytes += u64::from(size.len);
            self.payload += u64::from(size.payload);
            self.last = self.last.max(now.subsec_nanos());
        }
        packets.is_some()
    }

    fn goal(&self) -> Goal {
        Goal {
            flow: self.flow,
            peer: self.peer,
            sent: self.sent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::packet::{Captured, LinkType, Plain};

    fn ends(port: u16) -> Ends {
        let mut bytes = [0; 28];
        (bytes[0], bytes[9]) = (0x45, 17);
        bytes[20..22].copy_from_slice(&port.to_be_bytes());
        let captured = Captured {
            link: LinkType::RawIp,
            bytes: &bytes,
            len: 28,
        };
        Plain::read(&captured).unwrap().ends
    }

    fn find(beaten: &Beaten, ends: &Ends) -> Option<usize> {
        beaten.find(ends, beaten.places(ends))
    }

    fn size(len: u32) -> Size {
        Size { len, payload: 1 }
    }

    fn goal() -> Goal {
        Goal {
            flow: Slot::default(),
            peer: Slot::default(),
            sent: true,
        }
    }

    fn loads(beaten: &mut Beaten) -> Vec<(u32, u64, Duration)> {
        let mut loads = Vec::new();
        beaten.settle(|load| loads.push((load.packets, load.bytes, load.last)));
        loads
    }

    #[test]
    fn packets_of_an_open_way_are_summed_up_until_the_second_is_over() {
        let at = Duration::from_millis;
        let mut beaten = Beaten::new();
        beaten.begin(at(5000));
        beaten.keep(ends(1), goal());
        let place = find(&beaten, &ends(1)).unwrap();
        assert!(!beaten.add(place, size(100), at(5000)));
        beaten.open(place);
        assert!(beaten.add(place, size(100), at(5700)) && beaten.add(place, size(50), at(5600)));
        assert!(!beaten.is_over(at(5999)) && beaten.is_over(at(6000)) && beaten.is_over(at(4999)));
        assert_eq!(loads(&mut beaten), [(2, 150, at(5700))]);
        assert!(!beaten.add(place, size(100), at(5800)));
        assert_eq!(loads(&mut beaten), []);
    }

    #[test]
    fn the_two_ways_gone_last_need_not_be_sought() {
        let at = Duration::from_millis;
        let mut beaten = Beaten::new();
        beaten.begin(at(5000));
        for port in [1, 2, 3] {
            beaten.keep(ends(port), goal());
            let place = find(&beaten, &ends(port)).unwrap();
            beaten.open(place);
            assert!(beaten.add(place, size(100), at(5100)));
        }
        let mut again = |port, ms| beaten.add_to_newest(&ends(port), size(1), at(ms));
        assert!(again(2, 5200) && again(3, 5200) && again(2, 5200));
        assert!(!again(1, 5200) && !again(3, 6000));
        let sums: Vec<_> = loads(&mut beaten).iter().map(|load| load.1).collect();
        assert_eq!(sums, [100, 102, 101]);
        assert!(!beaten.add_to_newest(&ends(3), size(1), at(5300)));
    }

    #[test]
    fn a_way_in_use_is_not_taken_over() {
        let mut beaten = Beaten::new();
        for port in 0..u16::MAX {
            beaten.keep(ends(port), goal());
            if let Some(place) = find(&beaten, &ends(port)) {
                beaten.open(place);
                assert!(beaten.add(place, size(1), Duration::ZERO));
            }
        }
        let loads = loads(&mut beaten);
        assert!(loads.len() > PLACES / 2 && loads.iter().all(|load| load.0 == 1));
    }
}
