//! Frames of one interface, through two of libpcap's rings.
//!
//! ```text
//! all frames, headers alone  --> blocks, handed over when full or BLOCK_TIME old --> counted
//! openings, by a BPF program --> handed over one by one, at once                 --> told
//! ```
//! Counting in batches costs next to nothing and is late; telling at once is dear for many frames and cheap for few. So
//! each has a handle of its own: [`openings`] for what begins a conversation or names a peer, and this one, which wakes
//! nobody on an idle interface and on a busy one once a block. No handle ever blocks; one call of [`Capture::read`] takes
//! at most [`BATCH`] frames. Promiscuous mode stays off. What the counting ring could not hold is counted
//! ([`Capture::take_drops`]); what the other could not hold is told later, when it is counted.

mod filter;
mod openings;

use std::{
    io,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use labwatch_contract::{scope::Networks, time::Timestamp};
use pcap::Active;

use self::openings::Openings;
use super::{
    Moment,
    packet::{Captured, Frame, LinkType},
    poller::{Poller, Source},
    surroundings::Interface,
};

/// Milliseconds after which the kernel hands over a block that is not full.
const BLOCK_TIME: i32 = 1000;
/// The longest time between a frame and [`Capture::read`] of it, where the reader keeps up; also after the interface has gone.
pub(super) const LONGEST_WAY: Duration = Duration::from_millis(1200);
const BATCH: usize = 2048;
/// Ethernet with two tags, IPv4 with all its options, and TCP up to its flags.
const SNAPLEN: i32 = 14 + 2 * 4 + 60 + 14;
/// Bytes; the ring counts as the agent's memory, once an interface. Twelve blocks, some 16,000 frames.
const RING: i32 = 3 * 1024 * 1024;
const BETWEEN_STATISTICS: Duration = Duration::from_secs(1);

/// An open capture.
pub(super) struct Capture {
    index: u32,
    name: String,
    link: LinkType,
    handle: pcap::Capture<Active>,
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
    /// Opens both handles; `poller` waits for them from then on.
    pub(super) fn open(
        interface: &Interface,
        networks: &Networks,
        poller: &Poller,
    ) -> anyhow::Result<Self> {
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
        poller.add(&handle, Source::Frames(interface.index))?;
        poller.add(&openings, Source::Openings(interface.index))?;
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

    /// Other networks, other openings.
    pub(super) fn set_networks(&mut self, networks: &Networks) {
        self.openings.set_networks(networks);
    }

    /// Reads what may have to be told at once; true when there was something.
    ///
    /// # Errors
    /// When the interface has gone or went down: the capture is of no more use.
    pub(super) fn read_openings(
        &mut self,
        now: Moment,
        each: impl FnMut(&Frame<'_>, Moment),
    ) -> io::Result<bool> {
        self.openings.read(now, each)
    }

    /// Says what [`Capture::read_openings`] has brought: frames or none, of which some opened something or none.
    pub(super) fn set_pace(&mut self, came: bool, opened: bool, now: Duration, poller: &Poller) {
        let was_heard = self.openings.due().is_none();
        let is_heard = self.openings.set_pace(came, opened, now);
        if is_heard != was_heard {
            poller.set_heard(&self.openings, Source::Openings(self.index), is_heard);
        }
    }

    /// When openings are to be read although nothing rang, on the clock of [`Moment::uptime`].
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

    /// Is waited for no more.
    pub(super) fn leave(&self, poller: &Poller) {
        poller.remove(&self.handle);
        poller.remove(&self.openings);
    }

    /// Reads what is there, [`BATCH`] frames at most.
    ///
    /// # Errors
    /// When the interface has gone or went down: the capture is of no more use.
    pub(super) fn read(
        &mut self,
        now: Moment,
        mut each: impl FnMut(&Captured<'_>, Moment),
    ) -> io::Result<()> {
        let mut counted = Counted::new(self.link, &mut self.bytes, now);
        dispatch(&mut self.handle, BATCH, |one| counted.take(&one, &mut each))?;
        if self.drops.asked.elapsed() >= BETWEEN_STATISTICS {
            self.ask_for_drops();
        }
        Ok(())
    }

    /// Reads what is left of an interface that has gone or went down; the error that says so is passed over.
    pub(super) fn read_rest(&mut self, now: Moment, mut each: impl FnMut(&Captured<'_>, Moment)) {
        let mut counted = Counted::new(self.link, &mut self.bytes, now);
        let handle = &mut self.handle;
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
        if let Ok(statistics) = self.handle.stats() {
            self.drops.untold += u64::from(statistics.dropped.wrapping_sub(self.drops.kernel));
            self.drops.kernel = statistics.dropped;
        }
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
