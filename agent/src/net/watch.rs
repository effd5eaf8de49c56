//! The loop around the network's state machine: captures, the kernel's bell, the clock, answers from other threads.
//!
//! One thread owns everything; the work of one turn is bounded. When the receiver of events is slow the thread waits for it, the
//! ring fills, and what it cannot hold is counted as dropped: nothing is lost without a figure. Without the privilege to
//! capture the loop goes on (interfaces are still reported), says `no-capture` and tries again.

mod interfaces;
mod outside;
mod reports;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use chrono::Utc;
use ipnet::IpNet;
use labwatch_contract::{event::Occurrence, time::Timestamp};
use tokio::sync::{mpsc, oneshot, watch as latest};
use tokio_util::sync::CancellationToken;

use self::outside::Outside;
use super::{
    Moment,
    capture::Capture,
    clock_bell::ClockBell,
    flows::Flows,
    gaps::Gaps,
    links::{self, Bell},
    poller::{Poller, Source, Waker},
    surroundings::{Surroundings, glimpses::Glimpses},
};
use crate::degraded::Degraded;

/// Files that no bell rings for (the resolver's) are read so often.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// An interface that could not be captured is tried again after this.
const RETRY: Duration = Duration::from_secs(30);
/// At the end, between two looks for the last frames.
const BETWEEN_SETTLE: Duration = Duration::from_millis(20);

/// What the network side is told.
#[derive(Debug, Clone)]
pub struct NetSettings {
    /// Interfaces to capture; none named: every one that is up, loopback excepted.
    pub interfaces: Vec<String>,
    /// Networks that count as local beside those the PC is on; they may change.
    pub local_networks: latest::Receiver<Vec<IpNet>>,
    /// Time between two traffic reports.
    pub report_every: Duration,
}

/// How well the network side sees.
#[derive(Debug, Clone, Default)]
pub struct NetHealth {
    /// Frames that the kernel could not hand over, since the start.
    pub dropped: Arc<AtomicU64>,
    /// `no-capture` is noted while an interface that should be captured is not.
    pub degraded: Degraded,
}

/// The thread that watches the network, from [`start`] on.
#[derive(Debug)]
pub struct Watching {
    waker: Waker,
    ended: oneshot::Receiver<anyhow::Result<()>>,
    broker: latest::Receiver<Option<SocketAddr>>,
    local_networks: latest::Receiver<Vec<IpNet>>,
    stop: CancellationToken,
}

/// Watches the network until `stop`, on a thread of its own, and sends what happens to `occurrences`. Returns when the interfaces
/// that are there are captured: what happens from then on is seen.
///
/// `broker` is where the broker listens, as soon as that is known.
///
/// # Errors
/// When the system refuses what the network side cannot do without: a netlink socket, threads, the list of interfaces.
pub async fn start(
    settings: NetSettings,
    broker: latest::Receiver<Option<SocketAddr>>,
    occurrences: mpsc::Sender<Occurrence>,
    health: NetHealth,
    stop: CancellationToken,
) -> anyhow::Result<Watching> {
    let poller = Poller::new()?;
    let (began, has_begun) = oneshot::channel();
    let (told, ended) = oneshot::channel();
    let watching = Watching {
        waker: poller.waker(),
        ended,
        broker: broker.clone(),
        local_networks: settings.local_networks.clone(),
        stop: stop.clone(),
    };
    let mut outside = Outside::start(&watching.waker, occurrences, broker, stop)?;
    let run = move || {
        let mut watch = Watch::new(settings, health, poller)?;
        watch.begin(&mut outside)?;
        // Nobody waits any more where the agent has been ended at once; the same at the end.
        let _ = began.send(());
        watch.run(outside)
    };
    thread::Builder::new()
        .name("network".into())
        .spawn(move || told.send(run()).ok())
        .context("cannot start the thread that watches the network")?;
    match has_begun.await {
        Ok(()) => Ok(watching),
        // It has ended, and says why.
        Err(_) => Err(watching.ended().await.err().context(DIED)?),
    }
}

/// Why there is no word from the thread.
const DIED: &str = "the thread that watches the network has died";

impl Watching {
    /// Until `stop`; meanwhile the thread is told that there is news for it.
    ///
    /// # Errors
    /// When the thread cannot go on.
    pub async fn ended(mut self) -> anyhow::Result<()> {
        let mut is_told_to_stop = false;
        loop {
            tokio::select! {
                end = &mut self.ended => return end.context(DIED)?,
                Ok(()) = self.broker.changed() => {}
                Ok(()) = self.local_networks.changed() => {}
                () = self.stop.cancelled(), if !is_told_to_stop => is_told_to_stop = true,
            }
            self.waker.wake();
        }
    }
}

#[derive(Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn now(self) -> Moment {
        Moment {
            uptime: self.uptime(),
            time: Utc::now().into(),
        }
    }

    fn uptime(self) -> Duration {
        self.0.elapsed()
    }
}

struct Watch {
    poller: Poller,
    bell: Bell,
    clock_bell: ClockBell,
    settings: NetSettings,
    broker: Option<SocketAddr>,
    health: NetHealth,
    clock: Clock,
    flows: Flows,
    here: Surroundings,
    glimpses: Glimpses,
    captures: Vec<Capture>,
    /// Captures that are over, but whose last block has not come yet, and until when it is waited for.
    ending: Vec<(Capture, Duration)>,
    gaps: Gaps,
    /// Interfaces that could not be captured and why, and when to try again.
    failed: HashMap<u32, String>,
    retry_at: Duration,
    drops_told: u64,
    look_at: Duration,
    looked: Duration,
    /// The same moment on the wall, and that of the last report.
    looked_time: Timestamp,
    reported_time: Timestamp,
    /// Differences between captures and counters that have been told, by interface.
    told_unread: HashMap<u32, i64>,
    report_at: Duration,
    /// When the report was due that now waits for its last frames.
    settle_since: Option<Duration>,
}

impl Watch {
    fn new(settings: NetSettings, health: NetHealth, poller: Poller) -> anyhow::Result<Self> {
        let clock = Clock(Instant::now());
        let (bell, clock_bell) = (Bell::new()?, ClockBell::new()?);
        poller.add(&bell, Source::Notices)?;
        poller.add(&clock_bell, Source::Clock)?;
        Ok(Self {
            poller,
            bell,
            clock_bell,
            report_at: settings.report_every,
            settings,
            broker: None,
            health,
            clock,
            flows: Flows::new(clock.now()),
            here: Surroundings::default(),
            glimpses: Glimpses::default(),
            captures: Vec::new(),
            ending: Vec::new(),
            gaps: Gaps::default(),
            failed: HashMap::new(),
            retry_at: RETRY,
            drops_told: 0,
            look_at: LOOK_EVERY,
            looked: Duration::ZERO,
            looked_time: clock.now().time,
            reported_time: clock.now().time,
            told_unread: HashMap::new(),
            settle_since: None,
        })
    }

    /// Opens what there is to capture.
    fn begin(&mut self, outside: &mut Outside) -> anyhow::Result<()> {
        self.hear(outside);
        self.look()
    }

    fn run(mut self, mut outside: Outside) -> anyhow::Result<()> {
        let mut ready = Vec::new();
        while !outside.is_over() {
            outside.deliver(&mut self.flows);
            let (due, now) = (self.next_due(), self.clock.uptime());
            if due <= now {
                self.handle_timeout();
                continue;
            }
            let waited = self.poller.wait(due - now, &mut ready);
            waited.context("cannot wait for the network")?;
            for source in ready.drain(..) {
                self.handle(source, &mut outside);
            }
        }
        self.read_last();
        self.finish();
        outside.deliver(&mut self.flows);
        Ok(())
    }

    fn handle(&mut self, source: Source, outside: &mut Outside) {
        match source {
            Source::Waker => self.hear(outside),
            Source::Notices => {
                let news = self.bell.hear();
                self.handle_news(news);
            }
            Source::Clock => {
                self.clock_bell.hear();
                self.notice_sleep(self.clock.now());
            }
            Source::Openings(index) => self.read_openings(index),
            Source::Frames(index) => self.read(index),
        }
    }

    /// Takes in what other threads have.
    fn hear(&mut self, outside: &mut Outside) {
        if let Some(broker) = outside.new_broker() {
            self.set_broker(broker);
        }
        if self
            .settings
            .local_networks
            .has_changed()
            .unwrap_or_default()
        {
            self.settings.local_networks.mark_unchanged();
            self.apply_networks();
        }
        for (ticket, owner) in outside.owners() {
            self.flows.handle_owner(ticket, owner, self.clock.now());
        }
        for (ip, name) in outside.names() {
            self.flows.handle_name(ip, name, self.clock.now());
        }
    }

    /// When [`Watch::handle_timeout`] is due.
    fn next_due(&self) -> Duration {
        let own = [self.look_at, self.report_at];
        let openings = self.captures.iter().filter_map(Capture::openings_due);
        own.into_iter()
            .chain(self.flows.poll_timeout())
            .chain(openings)
            .chain(self.ending.iter().map(|(_, until)| *until))
            .min()
            .unwrap_or_default()
    }

    fn handle_timeout(&mut self) {
        let now = self.clock.now();
        self.flows.handle_timeout(now);
        self.notice_sleep(now);
        self.read_rested_openings(now.uptime);
        self.end_captures(now.uptime);
        if now.uptime >= self.look_at
            && let Err(error) = self.look()
        {
            tracing::warn!("{error:#}; trying again");
            self.look_at = now.uptime + LOOK_EVERY;
        }
        if now.uptime >= self.report_at {
            self.report_when_settled(now.uptime);
        }
    }

    fn read(&mut self, index: u32) {
        let Self {
            flows,
            captures,
            clock,
            ..
        } = self;
        let Some(capture) = captures.iter_mut().find(|one| one.index() == index) else {
            return;
        };
        let mut counting = flows.counting(index);
        let read = capture.read(clock.now(), |frame, now| counting.handle(frame, now));
        drop(counting);
        if let Err(error) = read {
            self.lose(index, &error);
        }
        self.tell_health();
        if self.settle_since.is_some() {
            self.report_when_settled(self.clock.now().uptime);
        }
    }

    fn read_openings(&mut self, index: u32) {
        let Self {
            flows,
            captures,
            clock,
            poller,
            ..
        } = self;
        let Some(capture) = captures.iter_mut().find(|one| one.index() == index) else {
            return;
        };
        let now = clock.now();
        let read = capture.read_openings(now, |frame, now| flows.handle_opening(frame, index, now));
        match read {
            Ok(came) => capture.set_pace(came, flows.has_output(), now.uptime, poller),
            Err(error) => self.lose(index, &error),
        }
    }

    fn read_rested_openings(&mut self, now: Duration) {
        let is_due = |one: &&Capture| one.openings_due().is_some_and(|due| due <= now);
        let rested = self.captures.iter().filter(is_due);
        let rested: Vec<u32> = rested.map(Capture::index).collect();
        for index in rested {
            self.read_openings(index);
        }
    }

    fn lose(&mut self, index: u32, error: &std::io::Error) {
        let lost = self.captures.iter().position(|one| one.index() == index);
        if let Some(capture) = lost.map(|at| self.captures.swap_remove(at)) {
            tracing::info!("the capture on {} has ended: {error}", capture.name());
            self.close(capture);
            self.look_soon();
        }
    }

    fn notice_sleep(&mut self, now: Moment) {
        if let Some(gap) = self.gaps.woke(links::sleep_so_far(), now.time) {
            let captured: Vec<u32> = self.captures.iter().map(Capture::index).collect();
            for index in captured {
                self.tell_gap(index, gap.clone());
            }
            self.flows.set_blind_until(now);
            self.look_soon();
        }
    }
}
