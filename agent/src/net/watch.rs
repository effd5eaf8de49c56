//! The loop around the network's state machine: captures, the kernel's bell, the clock, answers from the threads.
//!
//! One task owns everything; the work of one turn is bounded. When the receiver of events is slow the loop waits for it, the
//! ring fills, and what it cannot hold is counted as dropped: nothing is lost without a figure. Without the privilege to
//! capture the loop goes on (interfaces are still reported), says `no-capture` and tries again.

mod interfaces;
mod reports;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use chrono::Utc;
use ipnet::IpNet;
use labwatch_contract::{event::Occurrence, time::Timestamp};
use tokio::sync::{mpsc, watch as latest};
use tokio_util::sync::CancellationToken;

use super::{
    Moment,
    capture::{self, Capture, Ready},
    clock_bell::ClockBell,
    flows::{Flows, Output, Owner, Ticket},
    gaps::Gaps,
    links::{self, Bell},
    lookup::{self, Lookup},
    processes::{self, Processes},
    surroundings::{Surroundings, glimpses::Glimpses},
};
use crate::degraded::Degraded;

/// Files that no bell rings for (the resolver's) are read so often.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// An interface that could not be captured is tried again after this.
const RETRY: Duration = Duration::from_secs(30);
/// At the end, between two looks for the last frames.
const BETWEEN_SETTLE: Duration = Duration::from_millis(20);
/// Longest wait for the receiver of the last report.
const FAREWELL: Duration = Duration::from_secs(1);

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

/// Watches the network until `stop`, and sends what happens to `occurrences`.
///
/// `broker` is where the broker listens, as soon as that is known. Runs within a current-thread runtime with I/O and time enabled.
///
/// # Errors
/// When the system refuses what the network side cannot do without: a netlink socket, threads, the list of interfaces.
pub async fn watch(
    settings: NetSettings,
    mut broker: latest::Receiver<Option<SocketAddr>>,
    occurrences: mpsc::Sender<Occurrence>,
    health: NetHealth,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let bell = Bell::new()?;
    let clock_bell = ClockBell::new()?;
    let (processes, mut owners) = processes::start()?;
    let (lookup, mut names) = lookup::start()?;
    let mut outside = Outside {
        processes,
        lookup,
        occurrences,
    };
    let mut local_networks = settings.local_networks.clone();
    let mut watch = Watch::new(settings, *broker.borrow_and_update(), health);
    watch.look()?;
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => break,
            () = watch.deliver(&mut outside) => {}
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            news = bell.rung() => watch.handle_news(news),
            () = clock_bell.rung() => watch.notice_sleep(watch.clock.now()),
            Ok(()) = broker.changed() => watch.set_broker(*broker.borrow()),
            Ok(()) = local_networks.changed() => watch.apply_networks(),
            Some((ticket, owner)) = owners.recv() => watch.handle_owner(ticket, owner),
            Some((ip, name)) = names.recv() => watch.flows.handle_name(ip, name, watch.clock.now()),
            () = tokio::time::sleep(watch.until_next()) => watch.handle_timeout(),
            ready = capture::ready(&watch.captures, watch.turn) => match ready {
                Ready::Openings(at) => watch.read_openings(at),
                Ready::Frames(at) => watch.read(at),
            },
        }
    }
    watch.read_last().await;
    watch.finish();
    let _ = tokio::time::timeout(FAREWELL, watch.deliver(&mut outside)).await;
    Ok(())
}

/// Where outputs go.
struct Outside {
    processes: Processes,
    lookup: Lookup,
    occurrences: mpsc::Sender<Occurrence>,
}

#[derive(Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn now(self) -> Moment {
        Moment {
            uptime: self.0.elapsed(),
            time: Utc::now().into(),
        }
    }
}

struct Watch {
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
    /// Whose turn it is to be read first.
    turn: usize,
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
    fn new(settings: NetSettings, broker: Option<SocketAddr>, health: NetHealth) -> Self {
        let clock = Clock(Instant::now());
        Self {
            report_at: settings.report_every,
            settings,
            broker,
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
            turn: 0,
            drops_told: 0,
            look_at: LOOK_EVERY,
            looked: Duration::ZERO,
            looked_time: clock.now().time,
            reported_time: clock.now().time,
            told_unread: HashMap::new(),
            settle_since: None,
        }
    }

    async fn deliver(&mut self, outside: &mut Outside) {
        while self.flows.has_output() {
            // Room first: a wait that is given up takes no event with it.
            let room = outside.occurrences.reserve().await;
            match (self.flows.poll_output(), room) {
                (Some(Output::Occurrence(occurrence)), Ok(room)) => room.send(*occurrence),
                (Some(Output::FindOwner(ticket, socket)), _) => {
                    outside.processes.ask(ticket, socket)
                }
                (Some(Output::FindName(ip)), _) => outside.lookup.ask(ip),
                // Without a receiver the agent is about to end, by `stop`.
                (Some(Output::Occurrence(_)), Err(_)) | (None, _) => {}
            }
        }
    }

    fn until_next(&self) -> Duration {
        let own = [self.look_at, self.report_at];
        let openings = self.captures.iter().filter_map(Capture::openings_due);
        let next = own
            .into_iter()
            .chain(self.flows.poll_timeout())
            .chain(openings)
            .chain(self.ending.iter().map(|(_, until)| *until))
            .min()
            .unwrap_or_default();
        next.saturating_sub(self.clock.now().uptime)
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

    fn handle_owner(&mut self, ticket: Ticket, owner: Owner) {
        self.flows.handle_owner(ticket, owner, self.clock.now());
    }

    fn read(&mut self, at: usize) {
        self.turn = at + 1;
        let Self {
            flows,
            captures,
            clock,
            ..
        } = self;
        let Some(capture) = captures.get_mut(at) else {
            return;
        };
        let mut counting = flows.counting(capture.index());
        let read = capture.read(clock.now(), |frame, now| counting.handle(frame, now));
        drop(counting);
        if let Err(error) = read {
            self.lose(at, &error);
        }
        self.tell_health();
        if self.settle_since.is_some() {
            self.report_when_settled(self.clock.now().uptime);
        }
    }

    fn read_openings(&mut self, at: usize) {
        let Self {
            flows,
            captures,
            clock,
            ..
        } = self;
        let Some(capture) = captures.get_mut(at) else {
            return;
        };
        let now = clock.now();
        let index = capture.index();
        let openings = capture.openings();
        let read = openings.read(now, |frame, now| flows.handle_opening(frame, index, now));
        match read {
            Ok(came) => openings.set_pace(came, flows.has_output(), now.uptime),
            Err(error) => self.lose(at, &error),
        }
    }

    fn read_rested_openings(&mut self, now: Duration) {
        // From the end: one that is lost takes its place with it.
        for at in (0..self.captures.len()).rev() {
            let due = self.captures.get(at).and_then(Capture::openings_due);
            if due.is_some_and(|due| due <= now) {
                self.read_openings(at);
            }
        }
    }

    fn lose(&mut self, at: usize, error: &std::io::Error) {
        if let Some(capture) = self.captures.get(at) {
            tracing::info!("the capture on {} has ended: {error}", capture.name());
            self.close(at);
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
