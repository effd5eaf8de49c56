//! The service: takes messages from the broker, tells alerts to console and desktop, until it is told to stop.

mod alarm;
mod beats;
mod board;
mod policy;

use std::{
    env,
    io::{self, IsTerminal as _, stdout},
    net::IpAddr,
    num::NonZeroU64,
    pin::pin,
    time::Duration,
};

use anyhow::{Context as _, bail};
use chrono::Utc;
use labwatch_contract::{alert::Alert, policy::Policy, time::Timestamp, topic::Root};
use labwatch_link::{
    service,
    session::{Incoming, Publisher, SessionSettings, session},
};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use self::{alarm::Alarm, beats::Beats, policy::PolicyFile};
use crate::{
    board::{Admission, Board},
    command::{Command, command},
    console::Console,
    desktop::{Desktop, desktop},
    inbox::Inbox,
    incidents::{Incidents, Notice},
    line::Style,
    policy::source::{Look, Source},
    prober::{Asker, Probed, prober},
    rules::Finding,
    settings::{self, Settings},
    silence::{Seen, Step},
};

/// Room for messages while one is worked on.
const INCOMING: usize = 1024;
/// Posts, marks and the policy that may wait for the broker; more than the board and it give at once.
const OUTGOING: usize = 64;
/// Pop-ups that were dealt with at the desktop.
const SEEN: usize = 16;
/// Nanoseconds that a timer may ring late, 50 ms; nothing is told by a timer to which that matters. See
/// PR_SET_TIMERSLACK(2const).
const TIMER_SLACK: Option<NonZeroU64> = NonZeroU64::new(50_000_000);

/// Watches the lab until `stop`. Fails when nobody can be told any more: stdout is closed and there are no
/// pop-ups, or pop-ups were demanded and no desktop answers.
///
/// # Errors
/// As said; in words for people.
pub async fn run(settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    rest_longer();
    let mut tasks = JoinSet::new();
    let console = Console::start(stdout(), style(settings.json), settings.bell)
        .context("the console's thread cannot start")?;
    let pops_up = settings.desktop != settings::Desktop::Off;
    let (desktop, screen, seen) = desktop(SEEN);
    let desktop = pops_up.then_some(desktop);
    if pops_up {
        tasks.spawn(screen.run(settings.desktop));
    }
    let (command, runner) = settings.exec.clone().map(command).unzip();
    if let Some(runner) = runner {
        tasks.spawn(infallible(runner.run(stop.clone())));
    }
    let (asker, prober, probed) = prober();
    tasks.spawn(infallible(prober.run()));
    let (session, publisher, incoming) = session(session_settings(&settings), (), stop.clone());
    tasks.spawn(infallible(session.run()));
    service::ready();
    let mut watch = Watch {
        start: Instant::now(),
        root: settings.connection.root.clone(),
        inbox: Inbox::new(settings.connection.root.clone()),
        incidents: Incidents::default(),
        board: Board::new(settings.connection.root),
        policy: None,
        beats: Beats::default(),
        publisher,
        asker,
        muted: 0,
        console,
        desktop,
        command,
    };
    let (looks, looked) = mpsc::channel(1);
    watch
        .prepare(settings.expect, settings.policy, looks)
        .context("the thread that looks at the policy cannot start")?;
    let sources = Sources {
        incoming,
        probed,
        seen,
        looked,
    };
    let result = watch.follow(sources, &mut tasks, &stop).await;
    watch.last_word();
    stop.cancel();
    watch.finish().await;
    while tasks.join_next().await.is_some() {}
    result
}

/// Lets this thread's timers ring late, so that most of them ring with the next message: to wake costs more than what is
/// done then.
fn rest_longer() {
    // Without it all is as before, but dearer.
    let _ = rustix::thread::set_current_timer_slack(TIMER_SLACK);
}

async fn infallible(task: impl Future<Output = ()>) -> anyhow::Result<()> {
    task.await;
    Ok(())
}

/// What the service listens to.
struct Sources {
    incoming: mpsc::Receiver<Incoming>,
    probed: mpsc::Receiver<Probed>,
    seen: mpsc::Receiver<String>,
    looked: mpsc::Receiver<Look>,
}

fn session_settings(settings: &Settings) -> SessionSettings {
    let root = &settings.connection.root;
    let id = Uuid::new_v4().simple().to_string();
    SessionSettings {
        filters: vec![root.everything()],
        // At most 23 characters: any broker takes it.
        client_id: format!("notifier-{id:.12}"),
        connection: settings.connection.clone(),
        outgoing_queue: OUTGOING,
        incoming_queue: INCOMING,
    }
}

/// Colour only on a terminal that can, and that was not asked to do without (no-color.org).
fn style(json: bool) -> Style {
    let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || env::var_os("TERM").is_some_and(|term| term == "dumb");
    match (json, stdout().is_terminal() && !refused) {
        (true, _) => Style::Json,
        (false, true) => Style::Coloured,
        (false, false) => Style::Plain,
    }
}

struct Watch {
    start: Instant,
    root: Root,
    inbox: Inbox,
    incidents: Incidents,
    board: Board,
    policy: Option<PolicyFile>,
    /// Heartbeats that have not been read yet.
    beats: Beats,
    publisher: Publisher,
    asker: Asker,
    /// Alerts that were not shown because staff muted them, since that was last logged.
    muted: u64,
    console: Console,
    desktop: Option<Desktop>,
    command: Option<Command>,
}

impl Watch {
    /// Who is expected, and the policy to begin with, whose file is looked at from now on.
    fn prepare(
        &mut self,
        expected: Vec<IpAddr>,
        policy: Option<(Source, Policy)>,
        looks: mpsc::Sender<Look>,
    ) -> io::Result<()> {
        let now = self.now();
        self.inbox.expect(expected, now);
        if let Some((source, policy)) = policy {
            self.policy = Some(PolicyFile::new(now));
            self.set_policy(policy);
            source.follow(looks)?;
        }
        Ok(())
    }

    /// Takes what comes and tells what is due, until `stop` or until a task fails.
    async fn follow(
        &mut self,
        mut sources: Sources,
        tasks: &mut JoinSet<anyhow::Result<()>>,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let closed = self.console.closed();
        let (mut closed, mut stopped) = (pin!(closed.cancelled()), pin!(stop.cancelled()));
        let no_popups = self.desktop.is_none();
        let mut alarm = Alarm::default();
        loop {
            alarm.set(self.poll_timeout().map(|wake| self.start + wake));
            tokio::select! {
                message = sources.incoming.recv() => match message {
                    Some(message) => self.take(message),
                    None => return Ok(()),
                },
                Some(probed) = sources.probed.recv() => match probed {
                    Probed::From(own) => self.inbox.silence.asked_from(own),
                    Probed::Answered(address) => self.inbox.silence.answered(address),
                },
                Some(incident) = sources.seen.recv() => self.seen(&incident),
                () = alarm.rings() => self.wake(sources.incoming.len() > INCOMING / 2),
                Some(look) = sources.looked.recv() => self.looked(look),
                Some(ended) = tasks.join_next() => ended.context("a task failed")??,
                () = &mut closed, if no_popups => {
                    bail!("stdout is closed and there are no pop-ups: nobody can be told");
                }
                () = &mut stopped => return Ok(()),
            }
        }
    }

    fn poll_timeout(&self) -> Option<Duration> {
        let times = [
            self.incidents.poll_timeout(),
            self.inbox.silence.poll_timeout(),
            self.board.poll_timeout(),
            self.policy.as_ref().and_then(PolicyFile::due),
            self.beats.poll_timeout(),
        ];
        times.into_iter().flatten().min()
    }

    fn take(&mut self, incoming: Incoming) {
        let (at, now) = (at(), self.now());
        match incoming {
            Incoming::Message(message) if self.beats.takes(&message) => {
                self.beats.hold(message, at, now);
                if self.beats.are_due(now) {
                    self.read_beats();
                }
            }
            other => {
                self.read_beats();
                self.read(other, at, now);
            }
        }
    }

    /// Reads the heartbeats that have waited, in the order they came.
    fn read_beats(&mut self) {
        for (message, at, now) in self.beats.release() {
            self.read(Incoming::Message(message), at, now);
        }
    }

    /// What came, and when.
    fn read(&mut self, incoming: Incoming, at: Timestamp, now: Duration) {
        let findings = match incoming {
            Incoming::Connected(_) => {
                self.board.connected(now);
                self.publish_policy();
                self.inbox.connected(at, now).into_iter().collect()
            }
            Incoming::Disconnected { reason } => {
                self.board.disconnected();
                self.inbox.disconnected(&reason, at).into_iter().collect()
            }
            Incoming::Message(message) => {
                let seen = Seen {
                    at,
                    now,
                    retained: message.retain,
                };
                self.pinned(&message);
                self.inbox.handle(&message.topic, &message.payload, seen)
            }
        };
        self.file(findings, now);
        if let Some(refused) = self.inbox.refusals_to_say(now) {
            warn!("{refused} messages so far were no valid event or status and were not shown");
        }
    }

    /// What is due; `behind` when more messages wait than can be read at once, so that nobody can be called silent.
    fn wake(&mut self, behind: bool) {
        self.read_beats();
        let (at, now) = (at(), self.now());
        self.miss_look(at, now);
        if behind {
            self.inbox.silence.paused(now);
        }
        let Step { findings, probes } = self.inbox.handle_timeout(now, at);
        for address in probes {
            self.asker.ask(address);
        }
        self.file(findings, now);
        if let Some(memory) = self.board.settle(now) {
            self.remember(&memory, at, now);
        }
        let notices = self.incidents.handle_timeout(now);
        self.tell(notices);
        for message in self.board.handle_timeout(now, at, || self.inbox.seen()) {
            if self.publisher.try_publish(message).is_err() {
                debug!("no room for a post on the board");
            }
        }
        if let muted @ 1.. = std::mem::take(&mut self.muted) {
            info!("{muted} alerts were not shown: their PC or rule is muted");
        }
    }

    fn file(&mut self, findings: impl IntoIterator<Item = Finding>, now: Duration) {
        for finding in findings {
            let notices = self.incidents.handle(finding, now);
            self.tell(notices);
        }
    }

    fn tell(&mut self, notices: Vec<Notice>) {
        let (written, now) = (at(), self.now());
        for notice in notices {
            let alert = notice.into_alert(written);
            match self.board.admit(&alert, now) {
                Admission::Tell => self.show(&alert),
                Admission::Muted => self.muted = self.muted.saturating_add(1),
                Admission::Known | Admission::Acknowledged => {}
            }
        }
    }

    fn show(&self, alert: &Alert) {
        self.console.show(alert);
        if let Some(desktop) = &self.desktop {
            desktop.show(alert);
        }
        if let Some(command) = &self.command {
            command.run(alert);
        }
    }

    async fn finish(self) {
        drop((self.desktop, self.command, self.publisher, self.asker));
        self.console.finish().await;
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

fn at() -> Timestamp {
    Utc::now().into()
}
