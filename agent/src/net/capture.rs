//! Frames of one interface, through two of libpcap's rings.
//!
//! ```text
//! all frames, headers alone  --> blocks, handed over when full or BLOCK_TIME old --> counted
//! openings, by a BPF program --> handed over one by one, at once                 --> told
//! ```
//! Counting in batches costs next to nothing and is late; telling at once is dear for many frames and cheap for few. So
//! each has a handle of its own: [`openings`] for what begins a conversation or names a peer, and this one, which wakes nobody on an
//! idle interface and on a busy one once a block. No handle ever blocks; one call of [`Capture::read`] takes at most
//! [`BATCH`] frames. Promiscuous mode stays off. What the counting ring could not hold is counted ([`Capture::take_drops`]); what
//! the other could not hold is told later, when it is counted.

mod filter;
mod openings;

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use labwatch_contract::{scope::Networks, time::Timestamp};
use pcap::Active;
use tokio::io::{Interest, unix::AsyncFd};

use self::openings::Openings;
use super::{
    Moment,
    packet::{Captured, LinkType},
    surroundings::Interface,
};
use crate::ready::register;

/// Milliseconds after which the kernel hands over a block that is not full.
const BLOCK_TIME: i32 = 1000;
/// The longest time between a frame and [`Capture::read`] of it, where the reader keeps up; also after the interface has gone.
pub(super) const LONGEST_WAY: Duration = Duration::from_millis(1200);
const BATCH: usize = 2048;
/// Ethernet with two tags, IPv6 with an extension header, and TCP's flags; or IPv4 with all options.
const SNAPLEN: i32 = 128;
/// Bytes; the ring counts as the agent's memory, once an interface. Twelve blocks, some 14,000 frames.
const RING: i32 = 3 * 1024 * 1024;
const BETWEEN_STATISTICS: Duration = Duration::from_secs(1);

/// An open capture.
pub(super) struct Capture {
    index: u32,
    name: String,
    link: LinkType,
    handle: AsyncFd<pcap::Capture<Active>>,
    openings: Openings,
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

impl Capture {
    pub(super) fn open(interface: &Interface, networks: &Networks) -> anyhow::Result<Self> {
        let name = interface.shown.name.clone();
        let mut handle = pcap::Capture::from_device(name.as_str())?
            .promisc(false)
            .snaplen(SNAPLEN)
            .timeout(BLOCK_TIME)
            .buffer_size(RING)
            .open()?
            .setnonblock()?;
        // Without a program the kernel copies whole frames, and a block is full after four of 64 KiB.
        handle.filter("", true)?;
        let dlt = handle.get_datalink();
        let link = LinkType::from_dlt(dlt.0).with_context(|| {
            format!(
                "cannot read link type {}",
                dlt.get_name().unwrap_or_else(|_| dlt.0.to_string())
            )
        })?;
        let openings = Openings::open(&name, link, networks)?;
        let handle = register(handle, Interest::READABLE)?;
        Ok(Self {
            index: interface.index,
            name,
            link,
            handle,
            openings,
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

    /// The interface has another name now.
    pub(super) fn set_name(&mut self, name: &str) {
        if self.name != name {
            self.name = name.to_owned();
        }
    }

    /// The frames that are told at once.
    pub(super) fn openings(&mut self) -> &mut Openings {
        &mut self.openings
    }

    /// When [`Capture::openings`] are to be read although nothing rang, on the clock of [`Moment::uptime`].
    pub(super) fn openings_due(&self) -> Option<Duration> {
        self.openings.due()
    }

    /// Where the interface's own counters stand as the capture begins.
    pub(super) fn set_counter(&mut self, counter: Option<u64>) {
        self.counter_at_open = counter;
        self.counter_at_report = counter;
    }

    /// What the interface has counted since the capture was opened beyond what has been read; negative when it counted less.
    /// `None` where it has no counters.
    pub(super) fn unread(&self, counter: Option<u64>) -> Option<i64> {
        let grown = counter?.wrapping_sub(self.counter_at_open?);
        Some(grown.wrapping_sub(self.bytes).cast_signed())
    }

    /// What the interface's counter said at the last [`Capture::take_counter`].
    pub(super) fn counter_at_report(&self) -> Option<u64> {
        self.counter_at_report
    }

    /// What the interface's counter has grown by since the last call.
    pub(super) fn take_counter(&mut self, counter: Option<u64>) -> Option<u64> {
        let before = std::mem::replace(&mut self.counter_at_report, counter);
        counter
            .zip(before)
            .map(|(now, before)| now.wrapping_sub(before))
    }

    /// Reads what is there, some [`BATCH`] frames at most; when that was all, waits for the kernel again.
    ///
    /// # Errors
    /// When the interface has gone or went down: the capture is of no more use.
    pub(super) fn read(
        &mut self,
        now: Moment,
        mut each: impl FnMut(&Captured<'_>, Moment),
    ) -> io::Result<()> {
        let mut counted = Counted::new(self.link, &mut self.bytes, now);
        let read = self.handle.try_io_mut(Interest::READABLE, |handle| {
            let mut count = 0;
            while count < BATCH {
                match dispatch(handle, BATCH, |one| counted.take(&one, &mut each))? {
                    0 => return Err(io::ErrorKind::WouldBlock.into()),
                    more => count += more,
                }
            }
            Ok(())
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

    /// Reads what is left of an interface that has gone or went down; the error that says so is passed over.
    pub(super) fn read_rest(&mut self, now: Moment, mut each: impl FnMut(&Captured<'_>, Moment)) {
        let mut counted = Counted::new(self.link, &mut self.bytes, now);
        let handle = self.handle.get_mut();
        let mut nothing = 0;
        while nothing < 2 {
            match dispatch(handle, BATCH, |one| counted.take(&one, &mut each)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => nothing += 1,
            }
        }
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

/// Frames on their way out of the ring.
struct Counted<'a> {
    link: LinkType,
    bytes: &'a mut u64,
    stamps: Stamps,
}

impl<'a> Counted<'a> {
    fn new(link: LinkType, bytes: &'a mut u64, now: Moment) -> Self {
        let stamps = Stamps::new(now);
        Self {
            link,
            bytes,
            stamps,
        }
    }

    #[inline]
    fn take(&mut self, captured: &pcap::Packet<'_>, each: &mut impl FnMut(&Captured<'_>, Moment)) {
        *self.bytes += u64::from(captured.header.len);
        let frame = Captured {
            link: self.link,
            bytes: captured.data,
            len: captured.header.len,
        };
        each(&frame, self.stamps.moment(captured.header));
    }
}

fn dispatch(
    handle: &mut pcap::Capture<Active>,
    most: usize,
    each: impl FnMut(pcap::Packet<'_>),
) -> io::Result<usize> {
    handle.dispatch(Some(most), each).map_err(io::Error::other)
}

/// The moments at which frames came, by the kernel's stamps. Those of one millisecond are worked out once.
struct Stamps {
    now: Moment,
    now_ms: i64,
    last_ms: i64,
    last: Moment,
}

impl Stamps {
    /// Older than this a frame is not: the clock has been set.
    const OLDEST_MS: i64 = 10_000;

    fn new(now: Moment) -> Self {
        let now_ms = now.time.unix_ms();
        Self {
            now,
            now_ms,
            last_ms: now_ms,
            last: now,
        }
    }

    #[inline]
    fn moment(&mut self, header: &pcap::PacketHeader) -> Moment {
        let seconds_ms = header.ts.tv_sec.saturating_mul(1000);
        let ms = seconds_ms.saturating_add(header.ts.tv_usec / 1000);
        if ms != self.last_ms {
            let age = self.now_ms.saturating_sub(ms).clamp(0, Self::OLDEST_MS);
            let age = Duration::from_millis(age.unsigned_abs());
            self.last_ms = ms;
            self.last = Moment {
                uptime: self.now.uptime.saturating_sub(age),
                time: Timestamp::from_unix_ms(ms).unwrap_or(self.now.time),
            };
        }
        self.last
    }
}

/// What there is to read of which capture, by its position.
pub(super) enum Ready {
    Openings(usize),
    Frames(usize),
}

/// Waits until a capture has something, looking from `first` on; openings go first.
pub(super) async fn ready(captures: &[Capture], first: usize) -> Ready {
    poll_fn(|context| {
        let count = captures.len();
        let order = || (first..count).chain(0..first.min(count));
        let mut find = |is_ready: fn(&Capture, &mut Context<'_>) -> bool| {
            order().find(|&at| captures.get(at).is_some_and(|one| is_ready(one, context)))
        };
        let openings = find(|one, context| one.openings.poll_readable(context));
        let ready = openings
            .map(Ready::Openings)
            .or_else(|| find(Capture::poll_readable).map(Ready::Frames));
        ready.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}
