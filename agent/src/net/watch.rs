//! The loop around the network's state machine: captures, the kernel's bell, the clock, answers from the threads.
//!
//! One task owns everything; the work of one turn is bounded. When the receiver of events is slow the loop waits for it, the
//! ring fills, and what it cannot hold is counted as dropped: nothing is lost without a figure. Without the privilege to
//! capture the loop goes on (interfaces are still reported), says `no-capture` and tries again.

use std::{
    collections::HashMap,
    fmt::Display,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::Utc;
use ipnet::IpNet;
use labwatch_contract::{
    event::{Action, Occurrence},
    scope::Networks,
    time::Timestamp,
};
use tokio::sync::{mpsc, watch as latest};
use tokio_util::sync::CancellationToken;

use super::{
    Moment,
    capture::{self, Capture, LONGEST_WAY, Ready},
    flows::{Flows, Output, Owner, Ticket},
    gaps::{self, Gap, Gaps},
    links::{self, Bell},
    lookup::{self, Lookup},
    processes::{self, Processes},
    report,
    surroundings::{self, Interface, Surroundings},
};
use crate::degraded::Degraded;

/// Files that no bell rings for (the resolver's) are read so often.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// However often the bell rings.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// Sleep is noticed so soon after it, and no later.
const BETWEEN_CLOCKS: Duration = Duration::from_secs(2);
/// An interface that could not be captured is tried again after this.
const RETRY: Duration = Duration::from_secs(30);
/// A report waits so long for a moment in which frames read and the interfaces' counters agree.
const SETTLE: Duration = LONGEST_WAY;
const BETWEEN_SETTLE: Duration = Duration::from_millis(20);
/// Longest wait for the receiver of the last report.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the network side is told.
#[derive(Debug, Clone)]
pub struct NetSettings {
    /// Interfaces to capture; none named: every one that is up, loopback excepted.
    pub interfaces: Vec<String>,
    /// Networks that count as local beside those the PC is on.
    pub local_networks: Vec<IpNet>,
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

/// Word for an interface that cannot be captured.
const NO_CAPTURE: &str = "no-capture";

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
    let (processes, mut owners) = processes::start()?;
    let (lookup, mut names) = lookup::start()?;
    let mut outside = Outside {
        processes,
        lookup,
        occurrences,
    };
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
            () = bell.rung() => watch.look_soon(),
            Ok(()) = broker.changed() => watch.set_broker(*broker.borrow()),
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
    settle_until: Option<Duration>,
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
            settle_until: None,
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
        let own = [
            self.look_at,
            self.report_at,
            self.clock.now().uptime + BETWEEN_CLOCKS,
        ];
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
        let index = capture.index();
        let read = capture.read(clock.now(), |frame, now| {
            flows.handle_frame(frame, index, now);
        });
        if let Err(error) = read {
            self.lose(at, &error);
        }
        self.tell_health();
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

    // Interfaces.

    fn look_soon(&mut self) {
        self.look_at = self.look_at.min(self.looked + BETWEEN_LOOKS);
    }

    fn look(&mut self) -> anyhow::Result<()> {
        let here = links::look()?;
        let now = self.clock.now();
        let is_first = self.looked == Duration::ZERO;
        for mut change in self.here.changes(&here, now.time) {
            if is_first {
                change.fields.lab.reason = Some("there at the start".to_owned());
            }
            self.flows.tell(change);
        }
        (self.looked, self.look_at) = (now.uptime, now.uptime + LOOK_EVERY);
        if !is_first {
            self.notice_newcomers(&here);
        }
        self.looked_time = now.time;
        self.here = here;
        if is_first {
            self.warn_of_absent();
        }
        self.apply_networks();
        self.match_captures(now);
        self.tell_health();
        Ok(())
    }

    /// An interface that came since the last look has been blind since then at the longest, and its counters began at nothing.
    fn notice_newcomers(&mut self, here: &Surroundings) {
        let is_new = |new: &&Interface| {
            let mut known = self.here.interfaces.iter();
            known.all(|old| old.index != new.index)
        };
        for new in here.interfaces.iter().filter(is_new) {
            self.gaps.blind(new.index, Some(0), self.looked_time);
        }
    }

    fn warn_of_absent(&self) {
        let is_here = |name: &str| {
            self.here
                .interfaces
                .iter()
                .any(|one| one.shown.name == name)
        };
        for name in self
            .settings
            .interfaces
            .iter()
            .filter(|name| !is_here(name))
        {
            tracing::warn!("{name} is not up; its traffic is seen as soon as it is");
        }
    }

    fn set_broker(&mut self, broker: Option<SocketAddr>) {
        self.broker = broker;
        self.apply_networks();
    }

    fn apply_networks(&mut self) {
        let networks = self.networks();
        for capture in &mut self.captures {
            capture.openings().set_networks(&networks);
        }
        self.flows.set_surroundings(&self.here, networks);
    }

    fn networks(&self) -> Networks {
        let named = &self.settings.local_networks;
        self.here.networks(named, self.broker)
    }

    /// Opens what should be captured and is not, closes what is gone.
    fn match_captures(&mut self, now: Moment) {
        let named = &self.settings.interfaces;
        let is_wanted = |one: &&Interface| named.is_empty() || named.contains(&one.shown.name);
        let wanted: Vec<Interface> = self
            .here
            .interfaces
            .iter()
            .filter(is_wanted)
            .cloned()
            .collect();
        let is_gone = |capture: &Capture| wanted.iter().all(|one| one.index != capture.index());
        while let Some(at) = self.captures.iter().position(is_gone) {
            self.close(at);
        }
        if now.uptime >= self.retry_at {
            self.failed.clear();
        }
        self.failed
            .retain(|index, _| wanted.iter().any(|one| one.index == *index));
        for interface in &wanted {
            if self
                .captures
                .iter()
                .any(|capture| capture.index() == interface.index)
            {
                self.flows.open_interface(interface);
            } else if !self.failed.contains_key(&interface.index) {
                self.open(interface, now);
            }
        }
    }

    fn open(&mut self, interface: &Interface, now: Moment) {
        let (name, index) = (&interface.shown.name, interface.index);
        let gap = match Capture::open(interface, &self.networks()) {
            Ok(mut capture) => {
                tracing::info!("capturing on {name}");
                let counter = links::counters().get(name).copied();
                capture.set_counter(counter);
                self.captures.push(capture);
                self.flows.open_interface(interface);
                self.flows.set_blind_until(now);
                self.gaps.opened(index, counter, now.time)
            }
            Err(error) => {
                let why = format!("traffic over {name} is not seen: {error:#}");
                let gap = self.gaps.failed(index, &why, now.time);
                self.failed.insert(index, why);
                self.retry_at = now.uptime + RETRY;
                gap
            }
        };
        if let Some(gap) = gap {
            self.tell_gap(index, gap);
        }
    }

    fn close(&mut self, at: usize) {
        let mut capture = self.captures.swap_remove(at);
        let counter = links::counters().get(capture.name()).copied();
        let grown = capture.take_counter(counter);
        self.flows.count(capture.index(), 0, grown);
        let now = self.clock.now();
        self.gaps.blind(capture.index(), counter, now.time);
        self.ending.push((capture, now.uptime + LONGEST_WAY));
    }

    fn end_captures(&mut self, now: Duration) {
        let over: Vec<(Capture, Duration)> = self
            .ending
            .extract_if(.., |(_, until)| *until <= now)
            .collect();
        for (mut capture, _) in over {
            let (flows, index) = (&mut self.flows, capture.index());
            capture.read_rest(self.clock.now(), |frame, now| {
                flows.handle_frame(frame, index, now);
            });
            let counter = capture.counter_at_report();
            self.count(&mut capture, counter);
            let is_open_again = self.captures.iter().any(|one| one.index() == index);
            if !is_open_again {
                self.flows.close_interface(index);
                self.told_unread.remove(&index);
            }
        }
    }

    /// Waits for the last blocks, where the counters say that there are some.
    async fn read_last(&mut self) {
        let deadline = self.clock.now().uptime + LONGEST_WAY;
        let is_over = |watch: &Self| watch.is_settled() && watch.ending.is_empty();
        while !is_over(self) && self.clock.now().uptime < deadline {
            for at in (0..self.captures.len()).rev() {
                self.read(at);
            }
            self.end_captures(self.clock.now().uptime);
            tokio::time::sleep(BETWEEN_SETTLE).await;
        }
        self.end_captures(Duration::MAX);
    }

    // Reports.

    fn report_when_settled(&mut self, now: Duration) {
        let until = *self.settle_until.get_or_insert(now + SETTLE);
        if now < until && !self.is_settled() {
            self.report_at = now + BETWEEN_SETTLE;
            return;
        }
        self.settle_until = None;
        self.report_at = now + self.settings.report_every;
        self.report();
    }

    /// All that the interfaces have counted has been read, but for what is known to differ.
    fn is_settled(&self) -> bool {
        let counters = links::counters();
        let mut captures = self.captures.iter();
        captures.all(|capture| {
            let unread = capture.unread(counters.get(capture.name()).copied());
            let known = self.told_unread.get(&capture.index());
            unread.is_none_or(|unread| unread == 0 || Some(&unread) == known)
        })
    }

    fn report(&mut self) {
        self.count_all();
        let now = self.clock.now();
        self.reported_time = now.time;
        self.flows.end_interval(now);
        self.tell_health();
    }

    fn finish(&mut self) {
        self.count_all();
        self.flows.finish(self.clock.now());
    }

    fn count_all(&mut self) {
        let counters = links::counters();
        let mut captures = std::mem::take(&mut self.captures);
        for capture in &mut captures {
            let counter = counters.get(capture.name()).copied();
            self.count(capture, counter);
        }
        self.captures = captures;
    }

    fn count(&mut self, capture: &mut Capture, counter: Option<u64>) {
        let drops = capture.take_drops();
        self.drops_told += drops;
        self.tell_difference(capture, counter);
        self.flows
            .count(capture.index(), drops, capture.take_counter(counter));
        if drops > 0 {
            let reason = format!("the kernel dropped {drops} frames");
            let now = self.clock.now().time;
            self.tell_gap(capture.index(), gaps::gap(self.reported_time, now, reason));
        }
    }

    /// A difference that stays the same is said once.
    fn tell_difference(&mut self, capture: &Capture, counter: Option<u64>) {
        let unread = capture.unread(counter).unwrap_or_default();
        let told = self.told_unread.insert(capture.index(), unread);
        if told.unwrap_or_default() != unread {
            self.flows
                .remark(report::difference(capture.name(), unread));
        }
    }

    fn tell_gap(&mut self, index: u32, Gap { interval, reason }: Gap) {
        let Some(interface) = self.here.interfaces.iter().find(|one| one.index == index) else {
            return;
        };
        let mut gap = surroundings::occurrence(Action::CaptureGap, interface, interval.end);
        gap.fields.interval = Some(interval);
        gap.fields.lab.reason = Some(reason);
        self.flows.tell(gap);
    }

    fn tell_health(&self) {
        let untold: u64 = self.captures.iter().map(Capture::untold_drops).sum();
        self.health
            .dropped
            .store(self.drops_told + untold, Ordering::Relaxed);
        let why = self.failed.values().next();
        let degraded = &self.health.degraded;
        degraded.note(NO_CAPTURE, why.map(|why| -> &dyn Display { why }));
    }
}
