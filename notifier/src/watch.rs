//! The service: takes messages from the broker, tells alerts to console and desktop, until it is told to stop.

use std::{
    env,
    io::{IsTerminal as _, stdout},
    time::Duration,
};

use anyhow::{Context as _, bail};
use chrono::Utc;
use labwatch_contract::time::Timestamp;
use labwatch_link::{
    service,
    session::{Incoming, SessionSettings, session},
};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use crate::{
    console::Console,
    desktop::{Desktop, desktop, until},
    inbox::Inbox,
    incidents::{Incidents, Notice},
    line::Style,
    rules::presence::Seen,
    settings::{self, Settings},
};

/// Room for messages while one is worked on.
const INCOMING: usize = 1024;

/// Watches the lab until `stop`. Fails when nobody can be told any more: stdout is closed and there are no
/// pop-ups, or pop-ups were demanded and no desktop answers.
///
/// # Errors
/// As said; in words for people.
pub async fn run(settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    let console = Console::start(stdout(), style(settings.json), settings.bell)
        .context("the console's thread cannot start")?;
    let pops_up = settings.desktop != settings::Desktop::Off;
    let (desktop, screen) = desktop();
    let desktop = pops_up.then_some(desktop);
    if pops_up {
        tasks.spawn(screen.run(settings.desktop));
    }
    let (session, publisher, mut incoming) = session(session_settings(&settings), (), stop.clone());
    tasks.spawn(async {
        session.run().await;
        Ok(())
    });
    service::ready();
    let mut watch = Watch {
        start: Instant::now(),
        inbox: Inbox::new(settings.connection.root),
        incidents: Incidents::default(),
        console,
        desktop,
    };
    let result = watch.follow(&mut incoming, &mut tasks, &stop).await;
    stop.cancel();
    drop(publisher);
    watch.finish().await;
    while tasks.join_next().await.is_some() {}
    result
}

fn session_settings(settings: &Settings) -> SessionSettings {
    let root = &settings.connection.root;
    let id = Uuid::new_v4().simple().to_string();
    SessionSettings {
        filters: vec![root.everything()],
        // At most 23 characters: any broker takes it.
        client_id: format!("notifier-{id:.12}"),
        connection: settings.connection.clone(),
        outgoing_queue: 1,
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
    inbox: Inbox,
    incidents: Incidents,
    console: Console,
    desktop: Option<Desktop>,
}

impl Watch {
    /// Takes what comes and tells what is due, until `stop` or until a task fails.
    async fn follow(
        &mut self,
        incoming: &mut mpsc::Receiver<Incoming>,
        tasks: &mut JoinSet<anyhow::Result<()>>,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let closed = self.console.closed();
        loop {
            let wake = self.incidents.poll_timeout();
            tokio::select! {
                message = incoming.recv() => match message {
                    Some(message) => self.take(message),
                    None => return Ok(()),
                },
                () = until(wake.map(|wake| self.start + wake)) => self.wake(),
                Some(ended) = tasks.join_next() => ended.context("a task failed")??,
                () = closed.cancelled(), if self.desktop.is_none() => {
                    bail!("stdout is closed and there are no pop-ups: nobody can be told");
                }
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    fn take(&mut self, incoming: Incoming) {
        let at = Timestamp::from(Utc::now());
        let finding = match incoming {
            Incoming::Connected(_) => self.inbox.connected(at),
            Incoming::Disconnected { reason } => Some(self.inbox.disconnected(&reason, at)),
            Incoming::Message(message) => {
                let seen = Seen {
                    at,
                    retained: message.retain,
                };
                self.inbox.handle(&message.topic, &message.payload, seen)
            }
        };
        let now = self.now();
        if let Some(finding) = finding {
            let notices = self.incidents.handle(finding, now);
            self.tell(notices);
        }
        if let Some(refused) = self.inbox.refusals_to_say(now) {
            warn!("{refused} messages so far were no valid event or status and were not shown");
        }
    }

    fn wake(&mut self) {
        let notices = self.incidents.handle_timeout(self.now());
        self.tell(notices);
    }

    fn tell(&self, notices: Vec<Notice>) {
        let written = Timestamp::from(Utc::now());
        for notice in notices {
            let alert = notice.into_alert(written);
            self.console.show(&alert);
            if let Some(desktop) = &self.desktop {
                desktop.show(&alert);
            }
        }
    }

    async fn finish(self) {
        drop(self.desktop);
        self.console.finish().await;
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}
