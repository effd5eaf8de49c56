//! The handle for frames that have to be told at once.
//!
//! Its BPF program ([`filter`]) lets only openings through, and in immediate mode the kernel wakes the agent for each. Where they
//! open nothing new (the thousandth connection to one server, chatter of groups), waking for each would be dear: after such a
//! frame the handle rests, longer each time up to [`LONGEST_REST`], and is then read without having rung. So a frame
//! that does open something is told at once in quiet times and within [`LONGEST_REST`] in loud ones. The ring is small: what it
//! cannot hold is told when it is counted.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use labwatch_contract::scope::Networks;
use pcap::Active;
use tracing::warn;

use super::{Stamps, dispatch, filter};
use crate::net::{
    Moment,
    packet::{self, Frame, LinkType},
};

/// A TLS ClientHello with post-quantum keys, as a card that segments by itself hands it over. With what the kernel puts before
/// it a frame fills one page; a few bytes more, and it would take two.
const SNAPLEN: i32 = 4000;
/// Bytes; some 128 frames of the longest kind.
const RING: i32 = 512 * 1024;
const BATCH: usize = 256;
const SHORTEST_REST: Duration = Duration::from_millis(10);
/// The longest that an opening waits.
const LONGEST_REST: Duration = Duration::from_millis(120);

/// An open capture of openings.
pub(super) struct Openings {
    link: LinkType,
    filter: String,
    handle: pcap::Capture<Active>,
    pace: Pace,
    /// While it rests.
    due: Option<Duration>,
}

impl AsFd for Openings {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Openings {
    pub(super) fn open(name: &str, link: LinkType, networks: &Networks) -> anyhow::Result<Self> {
        let mut handle = pcap::Capture::from_device(name)?
            .promisc(false)
            .snaplen(SNAPLEN)
            .immediate_mode(true)
            .buffer_size(RING)
            .open()?
            .setnonblock()?;
        let filter = filter::openings(networks);
        handle.filter(&filter, true)?;
        Ok(Self {
            link,
            filter,
            handle,
            pace: Pace::default(),
            due: None,
        })
    }

    /// Other networks, other openings. Frames of the moment of change are told when they are counted.
    pub(super) fn set_networks(&mut self, networks: &Networks) {
        let wanted = filter::openings(networks);
        if wanted == self.filter {
            return;
        }
        match self.handle.filter(&wanted, true) {
            Ok(()) => self.filter = wanted,
            Err(error) => warn!("openings are still chosen by the networks before: {error}"),
        }
    }

    /// When it is to be read although nothing rang.
    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Reads what is there; true when there was something.
    ///
    /// # Errors
    /// When the interface has gone or went down.
    pub(super) fn read(
        &mut self,
        now: Moment,
        mut each: impl FnMut(&Frame<'_>, Moment),
    ) -> io::Result<bool> {
        let (link, mut stamps) = (self.link, Stamps::new(now));
        let each = |captured: pcap::Packet<'_>| {
            let frame = packet::parse(link, captured.data, captured.header.len);
            each(&frame, stamps.moment(captured.header));
        };
        Ok(dispatch(&mut self.handle, BATCH, each)? > 0)
    }

    /// Says what a read has brought; false: the kernel need not ring, it is read again when it is [`Openings::due`].
    pub(super) fn set_pace(&mut self, came: bool, opened: bool, now: Duration) -> bool {
        let rest = self.pace.next(came, opened);
        self.due = rest.map(|rest| now + rest);
        self.due.is_none()
    }
}

/// How long to rest.
#[derive(Default)]
struct Pace(Duration);

impl Pace {
    /// After a read that brought frames or none, of which some opened something or none: how long to rest, or `None` to be rung for.
    fn next(&mut self, came: bool, opened: bool) -> Option<Duration> {
        if opened {
            self.0 = Duration::ZERO;
        } else if came {
            self.0 = (self.0 * 2).clamp(SHORTEST_REST, LONGEST_REST);
            return Some(self.0);
        } else {
            self.0 /= 2;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn frames_that_open_nothing_are_read_less_and_less_often_up_to_a_limit() {
        let mut pace = Pace::default();
        let rests: Vec<_> = (0..6).map(|_| pace.next(true, false).unwrap()).collect();
        assert_eq!(rests, [10, 20, 40, 80, 120, 120].map(|ms| MS * ms));
    }

    #[test]
    fn an_opening_or_quiet_lets_the_kernel_ring_again() {
        let mut pace = Pace(LONGEST_REST);
        assert_eq!(pace.next(false, false), None);
        assert_eq!(pace.next(true, false), Some(LONGEST_REST));
        assert_eq!(pace.next(true, true), None);
        assert_eq!(pace.next(true, false), Some(SHORTEST_REST));
    }
}
