//! Frames of one interface, through libpcap's ring.
//!
//! The kernel hands over a block of frames when it is full or [`BLOCK_TIME`] old, so an idle interface wakes nobody and a busy one at
//! most 20 times a second and once a full block. The handle never blocks; one call of [`Capture::read`] takes at most
//! [`BATCH`] frames. Only the first [`SNAPLEN`] bytes of a frame are copied: headers, and DNS answers as far as
//! they matter. Promiscuous mode stays off. What the ring could not hold is counted ([`Capture::take_drops`]).

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use labwatch_contract::time::Timestamp;
use pcap::Active;
use tokio::io::{Interest, unix::AsyncFd};

use super::{packet::LinkType, surroundings::Interface};
use crate::ready::register;

/// Milliseconds after which the kernel hands over a block that is not full.
const BLOCK_TIME: i32 = 50;
const BATCH: usize = 512;
const SNAPLEN: i32 = 512;
/// Bytes; the ring counts as the agent's memory, once an interface.
const RING: i32 = 2 * 1024 * 1024;
const BETWEEN_STATISTICS: Duration = Duration::from_secs(1);

/// An open capture.
pub(super) struct Capture {
    index: u32,
    name: String,
    link: LinkType,
    handle: AsyncFd<pcap::Capture<Active>>,
    /// Of all frames read, whole lengths.
    bytes: u64,
    /// What the interface's own counters said when the capture was opened, and at the last report.
    counter_at_open: Option<u64>,
    counter_at_report: Option<u64>,
    drops: Drops,
}

/// Frames lost by the ring. The kernel's figure is 32 bits wide and wraps.
struct Drops {
    kernel: u32,
    untold: u64,
    asked: Instant,
}

/// A frame as it comes out of the ring.
pub(super) struct Captured<'a> {
    pub(super) link: LinkType,
    pub(super) bytes: &'a [u8],
    pub(super) len: u32,
    pub(super) time: Option<Timestamp>,
}

impl Capture {
    pub(super) fn open(interface: &Interface) -> anyhow::Result<Self> {
        let name = interface.shown.name.clone();
        let handle = pcap::Capture::from_device(name.as_str())?
            .promisc(false)
            .snaplen(SNAPLEN)
            .timeout(BLOCK_TIME)
            .buffer_size(RING)
            .open()?
            .setnonblock()?;
        let dlt = handle.get_datalink();
        let link = LinkType::from_dlt(dlt.0).with_context(|| {
            format!(
                "cannot read link type {}",
                dlt.get_name().unwrap_or_else(|_| dlt.0.to_string())
            )
        })?;
        let handle = register(handle, Interest::READABLE)?;
        Ok(Self {
            index: interface.index,
            name,
            link,
            handle,
            bytes: 0,
            counter_at_open: None,
            counter_at_report: None,
            drops: Drops {
                kernel: 0,
                untold: 0,
                asked: Instant::now(),
            },
        })
    }

    pub(super) fn index(&self) -> u32 {
        self.index
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where the interface's own counters stand as the capture begins.
    pub(super) fn set_counter(&mut self, counter: Option<u64>) {
        self.counter_at_open = counter;
        self.counter_at_report = counter;
    }

    /// All that the interface has counted since the capture was opened has been read.
    pub(super) fn agrees_with(&self, counter: Option<u64>) -> bool {
        let grown = counter
            .zip(self.counter_at_open)
            .map(|(now, open)| now.wrapping_sub(open));
        grown.is_none_or(|grown| grown == self.bytes)
    }

    /// What the interface's counter has grown by since the last call.
    pub(super) fn take_counter(&mut self, counter: Option<u64>) -> Option<u64> {
        let before = std::mem::replace(&mut self.counter_at_report, counter);
        counter
            .zip(before)
            .map(|(now, before)| now.wrapping_sub(before))
    }

    /// Reads what is there, at most [`BATCH`] frames; when fewer came, waits for the kernel again.
    ///
    /// # Errors
    /// When the interface has gone or went down: the capture is of no more use.
    pub(super) fn read(&mut self, mut each: impl FnMut(Captured<'_>)) -> io::Result<()> {
        let (link, bytes) = (self.link, &mut self.bytes);
        let read = self.handle.try_io_mut(Interest::READABLE, |handle| {
            let frames = handle.dispatch(Some(BATCH), |packet| {
                *bytes += u64::from(packet.header.len);
                each(Captured {
                    link,
                    bytes: packet.data,
                    len: packet.header.len,
                    time: time(&packet),
                });
            });
            match frames {
                Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
                Ok(_) => Ok(()),
                Err(error) => Err(io::Error::other(error)),
            }
        });
        match read {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        if self.drops.asked.elapsed() >= BETWEEN_STATISTICS {
            self.ask_for_drops();
        }
        Ok(())
    }

    /// Frames lost since the last call.
    pub(super) fn take_drops(&mut self) -> u64 {
        self.ask_for_drops();
        std::mem::take(&mut self.drops.untold)
    }

    /// Frames lost that [`Capture::take_drops`] has not told yet, as far as is known.
    pub(super) fn untold_drops(&self) -> u64 {
        self.drops.untold
    }

    fn ask_for_drops(&mut self) {
        self.drops.asked = Instant::now();
        if let Ok(statistics) = self.handle.get_mut().stats() {
            self.drops.untold += u64::from(statistics.dropped.wrapping_sub(self.drops.kernel));
            self.drops.kernel = statistics.dropped;
        }
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> bool {
        matches!(self.handle.poll_read_ready(context), Poll::Ready(Ok(_)))
    }
}

fn time(packet: &pcap::Packet<'_>) -> Option<Timestamp> {
    let moment = packet.header.ts;
    let seconds_ms = moment.tv_sec.checked_mul(1000)?;
    Timestamp::from_unix_ms(seconds_ms.checked_add(moment.tv_usec / 1000)?)
}

/// The position of a capture that has frames, looking from `first` on; waits until there is one.
pub(super) async fn readable(captures: &[Capture], first: usize) -> usize {
    poll_fn(|context| {
        let count = captures.len();
        let mut positions = (first..count).chain(0..first.min(count));
        let ready = positions.find(|&at| {
            captures
                .get(at)
                .is_some_and(|one| one.poll_readable(context))
        });
        ready.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}
