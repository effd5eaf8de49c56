//! Counting the frames of one read: plain packets wait for each other, all else is counted at once, in the order of the frames.
//!
//! Of many peers each packet concerns memory of its own, which has to come from far. So [`TOGETHER`] packets ask for theirs
//! before the first of them is counted. When the counting ends (it is dropped), none waits any more; meanwhile nobody else
//! gets at the [`Flows`].
//!
//! A packet that is but one more of its flow goes the [beaten way](super::beaten), and is summed up there until its second
//! is over; so a flow that has to give way in a full table is missed at the first packet of the next second. No sum depends
//! on that.

use std::time::Duration;

use labwatch_contract::{event::contact::Direction, scope::Scope};

use super::{
    Flows,
    beaten::{Course, Goal, Places, Size, Sum},
    totals::Share,
};
use crate::net::{
    Moment,
    packet::{self, Captured, Ends, Plain},
};

/// So many packets wait for each other at most.
pub(super) const TOGETHER: usize = 32;

/// A plain packet that is to be counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) plain: Plain,
    pub(super) course: Course,
    pub(super) places: Places,
    pub(super) size: Size,
    pub(super) at: Moment,
}

/// See [`Flows::counting`].
#[derive(Debug)]
pub struct Counting<'a> {
    flows: &'a mut Flows,
    interface: u32,
    /// Of the plain frames, whole lengths.
    packets: u64,
    bytes: u64,
}

impl<'a> Counting<'a> {
    pub(super) fn new(flows: &'a mut Flows, interface: u32) -> Self {
        Self {
            flows,
            interface,
            packets: 0,
            bytes: 0,
        }
    }
}

impl Counting<'_> {
    /// Counts a frame. What it opens and was not taken in as an opening before is told.
    #[inline]
    pub fn handle(&mut self, captured: &Captured<'_>, now: Moment) {
        let Some(plain) = Plain::read(captured) else {
            self.flows.count_waiting(self.interface);
            let frame = packet::parse(captured.link, captured.bytes, captured.len);
            self.flows.handle_frame(&frame, self.interface, now);
            return;
        };
        self.packets += 1;
        self.bytes += u64::from(captured.len);
        let size = Size {
            len: captured.len,
            payload: plain.payload_len,
        };
        let course = Course::of(plain.ends);
        if self.flows.goes_on_at_once(&plain.ends, course, size, now) {
            return;
        }
        let places = self.flows.beaten.places(&course);
        self.flows.waiting.push(Waiting {
            plain,
            course,
            places,
            size,
            at: now,
        });
        if self.flows.waiting.len() >= TOGETHER {
            self.flows.count_waiting(self.interface);
        }
    }
}

impl Flows {
    fn count_waiting(&mut self, interface: u32) {
        let mut waiting = std::mem::take(&mut self.waiting);
        for one in &waiting {
            self.beaten.reach_for(one.places);
        }
        for one in &waiting {
            if let Some(goal) = self.beaten.to_walk(&one.course, one.places) {
                self.conversations.reach_for(goal.flow);
                self.totals.reach_for(goal.peer);
            }
        }
        for one in waiting.drain(..) {
            self.handle_plain(&one, interface);
        }
        self.waiting = waiting;
    }

    fn handle_plain(&mut self, waiting: &Waiting, interface: u32) {
        let Waiting {
            plain, size, at, ..
        } = waiting;
        self.end_second(at.uptime);
        if !self.goes_on(waiting)
            && let Some(goal) = self.handle_packet(&plain.packet(), size.len, interface, *at)
        {
            self.beaten.keep(waiting.course, waiting.places, goal);
        }
    }

    /// What was summed up in another second than that of this frame is brought to where it belongs.
    #[inline]
    pub(super) fn end_second(&mut self, frame: Duration) {
        if self.beaten.is_over(frame) {
            self.settle();
            self.beaten.begin(frame);
        }
    }

    /// Counts a packet of the flow of the one before it. It overtakes those that wait: they are of other flows, and of no sum
    /// it is asked in which order it was made.
    #[inline]
    fn goes_on_at_once(&mut self, ends: &Ends, course: Course, size: Size, now: Moment) -> bool {
        !self.may_be_answer(ends) && self.beaten.add_to_newest(course, size, now.uptime)
    }

    #[inline]
    fn may_be_answer(&self, ends: &Ends) -> bool {
        ends.is_udp() && self.discovery.was_asked_from(ends.destination_port())
    }

    /// Counts a packet that is but one more of its flow; false, and nothing is counted, where there may be more to it.
    #[inline]
    fn goes_on(&mut self, waiting: &Waiting) -> bool {
        let Waiting { course, size, .. } = *waiting;
        let place = self.beaten.find(&course, waiting.places);
        place
            .filter(|_| !self.may_be_answer(&waiting.plain.ends))
            .is_some_and(|place| {
                let now = waiting.at.uptime;
                self.beaten.add(place, course, size, now) || self.goes_on_to(place, waiting)
            })
    }

    fn goes_on_to(&mut self, place: usize, waiting: &Waiting) -> bool {
        let Waiting { course, size, .. } = waiting;
        let (ends, now) = (&waiting.plain.ends, waiting.at.uptime);
        let Some(Goal { flow, peer, sent }) = self.beaten.goal(place, course) else {
            return false;
        };
        let Some(flow) = self.conversations.go_on(flow, 1, now) else {
            return false;
        };
        if flow.scope == Scope::Internet && !self.totals.is_contacted(peer, now) {
            return false;
        }
        let service_port = match sent == (flow.direction == Direction::Egress) {
            true => ends.destination_port(),
            false => ends.source_port(),
        };
        let share = Share {
            sent,
            packets: 1,
            bytes: size.len.into(),
            payload: size.payload.into(),
            scope: Some(flow.scope),
            service_port: Some(service_port),
        };
        let is_counted = self.totals.add_to_known(peer, &share, now);
        if is_counted {
            self.beaten.open(place);
        }
        is_counted
    }

    /// Brings what has been summed up on the way to where it belongs. Their first packet has noted scope and port.
    pub(super) fn settle(&mut self) {
        self.beaten.settle(|load| {
            let packets = load.sent.packets.saturating_add(load.received.packets);
            self.conversations.go_on(load.flow, packets, load.last);
            for (sent, sum) in [(true, load.sent), (false, load.received)] {
                if sum != Sum::default() {
                    let share = share(sent, sum);
                    self.totals
                        .add_to_known_or_overflow(load.peer, &share, load.last);
                }
            }
        });
    }
}

fn share(sent: bool, sum: Sum) -> Share {
    Share {
        sent,
        packets: sum.packets.into(),
        bytes: sum.bytes.into(),
        payload: sum.payload.into(),
        scope: None,
        service_port: None,
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        self.flows.count_waiting(self.interface);
        let totals = &mut self.flows.totals;
        totals.add_frames(self.interface, self.packets, self.bytes);
    }
}
