//! The handle for frames that have to be told at once.
//!
//! Its BPF program ([`filter`]) lets only openings through, and in immediate mode the kernel wakes the agent for each. Where they
//! open nothing new (the thousandth connection to one server, chatter of groups), waking for each would be dear: after such a
//! frame the handle rests, longer each time up to [`LONGEST_REST`], and is then read without having rung. So a frame
//! that does open something is told at once in quiet times and within [`LONGEST_REST`] in loud ones. The ring is small: what it
//! cannot hold is told when it is counted.

use std::{
    io,
    task::{Context, Poll},
    time::Duration,
};

use labwatch_contract::scope::Networks;
use pcap::Active;
use tokio::io::{Interest, unix::AsyncFd};
use tracing::warn;

use super::{Stamps, dispatch, filter};
use crate::{
    net::{
        Moment,
        packet::{self, Frame, LinkType},
    },
    ready::register,
};

/// A TLS ClientHello with post-quantum keys, as a card that segments by itself hands it over. With what the kernel puts before
/// it a frame fills one page; a few bytes more, and it would take two.
const SNAPLEN: i32 = 4000;
/// Bytes; some 128 frames of the longest kind.
const RING: i32 = 512 * 1024;
const BATCH: usize = 256;
const SHORTEST_REST: Duration = Duration::from_millis(10);
/// The longest that an opening waits.
const LONGEST_REST: Duration = Duration::from_millis(80);

/// An open capture of openings.
pub(in crate::net) struct Openings {
    link: LinkType,
    filter: String,
    /// `None` once the system has refused to wait for it again; what it would tell is told when it is counted.
    handle: Option<Handle>,
    pace: Pace,
    due: Option<Duration>,
}

enum Handle {
    /// The kernel rings.
    Armed(AsyncFd<pcap::Capture<Active>>),
    /// It does not.
    Resting(pcap::Capture<Active>),
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
            handle: Some(Handle::Armed(register(handle, Interest::READABLE)?)),
            pace: Pace::default(),
            due: None,
        })
    }

    /// Other networks, other openings. Frames of the moment of change are told when they are counted.
    pub(in crate::net) fn set_networks(&mut self, networks: &Networks) {
        let wanted = filter::openings(networks);
        if wanted == self.filter {
            return;
        }
        let handle = match &mut self.handle {
            Some(Handle::Armed(handle)) => handle.get_mut(),
            Some(Handle::Resting(handle)) => handle,
            None => return,
        };
        match handle.filter(&wanted, true) {
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
    pub(in crate::net) fn read(
        &mut self,
        now: Moment,
        mut each: impl FnMut(&Frame<'_>, Moment),
    ) -> io::Result<bool> {
        let (link, mut stamps) = (self.link, Stamps::new(now));
        let each = |captured: pcap::Packet<'_>| {
            let frame = packet::parse(link, captured.data, captured.header.len);
            each(&frame, stamps.moment(captured.header));
        };
        let read = |handle: &mut pcap::Capture<Active>| match dispatch(handle, BATCH, each)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(true),
        };
        let read = match &mut self.handle {
            Some(Handle::Armed(handle)) => handle.try_io_mut(Interest::READABLE, read),
            Some(Handle::Resting(handle)) => read(handle),
            None => Ok(false),
        };
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            read => read,
        }
    }

    /// Says what a read has brought; decides whether the kernel rings for the next frame.
    pub(in crate::net) fn set_pace(&mut self, came: bool, opened: bool, now: Duration) {
        let rest = self.pace.next(came, opened);
        self.due = rest.map(|rest| now + rest);
        let is_resting = rest.is_some();
        self.handle = match self.handle.take() {
            Some(Handle::Armed(handle)) if is_resting => Some(Handle::Resting(handle.into_inner())),
            Some(Handle::Resting(handle)) if !is_resting => register(handle, Interest::READABLE)
                .inspect_err(|error| warn!("openings are told late: {error}"))
                .ok()
                .map(Handle::Armed),
            unchanged => unchanged,
        };
    }

    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> bool {
        match &self.handle {
            Some(Handle::Armed(handle)) => {
                matches!(handle.poll_read_ready(context), Poll::Ready(Ok(_)))
            }
            _ => false,
        }
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
        assert_eq!(rests, [10, 20, 40, 80, 80, 80].map(|ms| MS * ms));
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
