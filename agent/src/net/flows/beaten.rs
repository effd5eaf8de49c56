//! Beaten ways: from the ends of a plain packet straight to its sums.
//!
//! The first packet of a second walks from here to its flow, its conversation and its peer, and is looked at like any
//! other. Those that follow in the same second are but more of it, whichever end sends them: their bytes are summed up
//! here, in one line of the cache, until the second is over or somebody wants the sums ([`Beaten::settle`]). The table has
//! a fixed size, and each way two places, told by a hash with keys drawn at random. Where both are in use a packet goes
//! without: whatever the network sends, it is only dearer.

use std::{hash::BuildHasher as _, hint::black_box, time::Duration};

use foldhash::fast::RandomState;

use crate::net::{packet::Ends, recent::Slot};

const PLACES: usize = 16_384;

/// Where packets between these ends went. Two of them are neighbours in the cache.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Way {
    ends: Ends,
    flow: Slot,
    peer: Slot,
    /// Of its further packets of this second: those in the order of the ends, and those the other way round.
    sums: [Sum; 2],
    /// Nanoseconds of the second at which the last one came.
    last: u32,
    /// This PC sends in the order of the ends.
    sends: bool,
    /// Further packets of this second are summed up here.
    is_open: bool,
}

/// Packets of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) packets: u32,
    pub(super) bytes: u32,
    pub(super) payload: u32,
}

/// The ends of a packet's way, and its direction on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    ends: Ends,
    /// Against the order of the ends.
    is_back: bool,
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
    /// The packet is from this PC.
    pub(super) sent: bool,
}

/// Packets of one second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) flow: Slot,
    pub(super) peer: Slot,
    pub(super) sent: Sum,
    pub(super) received: Sum,
    pub(super) last: Duration,
}

/// The table.
#[derive(Debug)]
pub(super) struct Beaten {
    hash: RandomState,
    ways: Vec<Way>,
    /// Places of the open ways.
    open: Vec<usize>,
    /// Place of the way gone last: mostly the next packet's.
    newest: usize,
    second: u64,
}

impl Course {
    #[inline]
    pub(super) fn of(ends: Ends) -> Self {
        let (ends, is_back) = ends.either_way();
        Self { ends, is_back }
    }
}

impl Beaten {
    pub(super) fn new() -> Self {
        Self {
            hash: RandomState::default(),
            ways: vec![Way::default(); PLACES],
            open: Vec::new(),
            newest: 0,
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
            let [there, back] = std::mem::take(&mut way.sums);
            let (sent, received) = if way.sends {
                (there, back)
            } else {
                (back, there)
            };
            if sent.packets > 0 || received.packets > 0 {
                each(Load {
                    flow: way.flow,
                    peer: way.peer,
                    sent,
                    received,
                    last: Duration::new(self.second, way.last),
                });
            }
        }
    }

    /// Where the way of a packet may be.
    #[inline]
    pub(super) fn places(&self, course: &Course) -> Places {
        let hash = self.hash.hash_one(course.ends);
        let place = usize::try_from(hash).unwrap_or_default() % PLACES;
        Places([place, place ^ 1])
    }

    /// Asks the memory for ways. Done for many packets before the first of them is counted, they wait for the memory together;
    /// what is seen is of no interest.
    #[inline]
    pub(super) fn reach_for(&self, places: Places) {
        for place in places.0 {
            black_box(self.ways.get(place).map(|way| way.last));
        }
    }

    /// Adds a packet to the way in this place, if that is open.
    #[inline]
    pub(super) fn add(&mut self, place: usize, course: Course, size: Size, now: Duration) -> bool {
        self.newest = place;
        let way = self.ways.get_mut(place);
        way.is_some_and(|way| way.add(course, size, now))
    }

    /// Adds a packet of the second that runs to its way, if it is the one gone last, which need not be sought.
    #[inline]
    pub(super) fn add_to_newest(&mut self, course: Course, size: Size, now: Duration) -> bool {
        let way = self.ways.get_mut(self.newest);
        let way = way.filter(|way| way.ends == course.ends && self.second == now.as_secs());
        way.is_some_and(|way| way.add(course, size, now))
    }

    /// The place of the way of a packet, if it is known.
    #[inline]
    pub(super) fn find(&self, course: &Course, places: Places) -> Option<usize> {
        let is_its = |place: &usize| {
            let way = self.ways.get(*place);
            way.is_some_and(|way| way.ends == course.ends)
        };
        places.0.into_iter().find(is_its)
    }

    /// What a way leads to that has to be walked: it is not open.
    #[inline]
    pub(super) fn to_walk(&self, course: &Course, places: Places) -> Option<Goal> {
        let way = self.ways.get(self.find(course, places)?)?;
        (!way.is_open).then(|| way.goal(course))
    }

    #[inline]
    pub(super) fn goal(&self, place: usize, course: &Course) -> Option<Goal> {
        self.ways.get(place).map(|way| way.goal(course))
    }

    /// The next packets of this way are but more of it.
    pub(super) fn open(&mut self, place: usize) {
        if let Some(way) = self.ways.get_mut(place).filter(|way| !way.is_open) {
            (way.is_open, way.last) = (true, 0);
            self.open.push(place);
        }
    }

    /// Keeps the way of a packet in one of its places that is not in use, and opens it.
    pub(super) fn keep(&mut self, course: Course, places: Places, goal: Goal) {
        let is_free = |place: &usize| self.ways.get(*place).is_some_and(|way| !way.is_open);
        let free = || places.0.into_iter().find(is_free);
        let place = self.find(&course, places).or_else(free).filter(is_free);
        let Some(place) = place else {
            return;
        };
        if let Some(way) = self.ways.get_mut(place) {
            *way = Way {
                ends: course.ends,
                flow: goal.flow,
                peer: goal.peer,
                sends: goal.sent != course.is_back,
                ..Way::default()
            };
        }
        self.open(place);
    }

    /// Forgets all ways; those that are open have been settled.
    pub(super) fn clear(&mut self) {
        self.ways.fill(Way::default());
    }
}

impl Sum {
    /// `None` where a figure has no room for more.
    #[inline]
    fn plus(&self, size: Size) -> Option<Self> {
        Some(Self {
            packets: self.packets.checked_add(1)?,
            bytes: self.bytes.checked_add(size.len)?,
            payload: self.payload.checked_add(size.payload)?,
        })
    }
}

impl Way {
    /// False, and nothing is added, where it is not open or its sums have no room.
    #[inline]
    fn add(&mut self, course: Course, size: Size, now: Duration) -> bool {
        let [there, back] = &mut self.sums;
        let sum = if course.is_back { back } else { there };
        let more = sum.plus(size).filter(|_| self.is_open);
        if let Some(more) = more {
            *sum = more;
            self.last = self.last.max(now.subsec_nanos());
        }
        more.is_some()
    }

    fn goal(&self, course: &Course) -> Goal {
        Goal {
            flow: self.flow,
            peer: self.peer,
            sent: self.sends != course.is_back,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::packet::{Captured, LinkType, Plain};

    /// From 192.0.2.1, `port`, to 198.51.100.1, port 53.
    fn ends(port: u16) -> Ends {
        let [high, low] = port.to_be_bytes();
        read([192, 0, 2, 1], [198, 51, 100, 1], [high, low, 0, 53])
    }

    fn back(port: u16) -> Ends {
        let [high, low] = port.to_be_bytes();
        read([198, 51, 100, 1], [192, 0, 2, 1], [0, 53, high, low])
    }

    fn read(from: [u8; 4], to: [u8; 4], ports: [u8; 4]) -> Ends {
        let mut bytes = [0; 28];
        (bytes[0], bytes[9]) = (0x45, 17);
        bytes[12..24].copy_from_slice(&[from, to, ports].concat());
        let captured = Captured {
            link: LinkType::RawIp,
            bytes: &bytes,
            len: 28,
        };
        Plain::read(&captured).unwrap().ends
    }

    fn course(port: u16) -> Course {
        Course::of(ends(port))
    }

    fn size(len: u32) -> Size {
        Size { len, payload: 1 }
    }

    fn keep(beaten: &mut Beaten, port: u16) -> Option<usize> {
        let goal = Goal {
            flow: Slot::default(),
            peer: Slot::default(),
            sent: true,
        };
        let (course, places) = (course(port), beaten.places(&course(port)));
        beaten.keep(course, places, goal);
        beaten.find(&course, places)
    }

    fn loads(beaten: &mut Beaten) -> Vec<(u32, u32, Duration)> {
        let mut loads = Vec::new();
        beaten.settle(|load| {
            let (sent, received) = (load.sent, load.received);
            loads.push((
                sent.packets + received.packets,
                sent.bytes + received.bytes,
                load.last,
            ));
        });
        loads
    }

    #[test]
    fn packets_of_an_open_way_are_summed_up_until_the_second_is_over() {
        let at = Duration::from_millis;
        let mut beaten = Beaten::new();
        beaten.begin(at(5000));
        let place = keep(&mut beaten, 1).unwrap();
        let mut add = |len, ms| beaten.add(place, course(1), size(len), at(ms));
        assert!(add(100, 5700) && add(50, 5600) && !add(u32::MAX, 5800));
        assert!(!beaten.is_over(at(5999)) && beaten.is_over(at(6000)) && beaten.is_over(at(4999)));
        assert_eq!(loads(&mut beaten), [(2, 150, at(5700))]);
        assert!(!beaten.add(place, course(1), size(100), at(5800)));
        assert_eq!(loads(&mut beaten), []);
    }

    #[test]
    fn both_directions_go_one_way_and_have_sums_of_their_own() {
        let (there, back) = (ends(1), back(1));
        assert_ne!(there, back);
        for first in [there, back] {
            let mut beaten = Beaten::new();
            let goal = Goal {
                sent: first == there,
                flow: Slot::default(),
                peer: Slot::default(),
            };
            let course = Course::of(first);
            beaten.keep(course, beaten.places(&course), goal);
            for (ends, len) in [(there, 100), (back, 7), (there, 100)] {
                let course = Course::of(ends);
                let place = beaten.find(&course, beaten.places(&course)).unwrap();
                assert_eq!(beaten.goal(place, &course).unwrap().sent, ends == there);
                assert!(beaten.add(place, course, size(len), Duration::ZERO));
            }
            beaten.settle(|load| {
                let bytes = [load.sent, load.received].map(|sum| (sum.packets, sum.bytes));
                assert_eq!(bytes, [(2, 200), (1, 7)]);
            });
        }
    }

    #[test]
    fn the_way_gone_last_need_not_be_sought() {
        let at = Duration::from_millis;
        let mut beaten = Beaten::new();
        beaten.begin(at(5000));
        for port in [1, 2] {
            let place = keep(&mut beaten, port).unwrap();
            assert!(beaten.add(place, course(port), size(100), at(5100)));
        }
        let mut again = |port, ms| beaten.add_to_newest(course(port), size(1), at(ms));
        assert!(again(2, 5200) && !again(1, 5200) && !again(2, 6000) && again(2, 5300));
        let sums: Vec<_> = loads(&mut beaten).iter().map(|load| load.1).collect();
        assert_eq!(sums, [100, 102]);
        assert!(!beaten.add_to_newest(course(2), size(1), at(5300)));
    }

    #[test]
    fn a_way_in_use_is_not_taken_over() {
        let mut beaten = Beaten::new();
        for port in 0..u16::MAX {
            if let Some(place) = keep(&mut beaten, port) {
                assert!(beaten.add(place, course(port), size(1), Duration::ZERO));
            }
        }
        let loads = loads(&mut beaten);
        assert!(loads.len() > PLACES / 2 && loads.iter().all(|load| load.0 == 1));
    }
}
