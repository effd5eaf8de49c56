//! The service: takes messages from the broker, tells alerts to console and desktop, until it is told to stop.

use std::{
    env,
    io::{IsTerminal as _, stdout},
    time::Duration,
};

use anyhow::{Context as _, bail};
use chrono::Utc;
use labwatch_contract::{
    policy::Policy,
    time::Timestamp,
    topic::{Root, Topic},
};
use labwatch_link::{
    QoS, service,
    session::{Incoming, Message, Publisher, SessionSettings, session},
};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::{
    console::Console,
    desktop::{Desktop, desktop, until},
    inbox::Inbox,
    incidents::{Incidents, Notice},
    line::Style,
    policy::source::{LOOK_EVERY, Source},
    rules::{self, Finding, presence::Seen},
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
        root: settings.connection.root.clone(),
        inbox: Inbox::new(settings.connection.root),
        incidents: Incidents::default(),
        policy: None,
        publisher,
        console,
        desktop,
    };
    if let Some((source, policy)) = settings.policy {
        watch.policy = Some((source, Instant::now() + LOOK_EVERY));
        watch.set_policy(policy);
    }
    let result = watch.follow(&mut incoming, &mut tasks, &stop).await;
    stop.cancel();
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
        // The policy and its part for agents, twice.
        outgoing_queue: 4,
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
    /// The policy file, and when it is looked at again.
    policy: Option<(Source, Instant)>,
    publisher: Publisher,
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
            let look = self.policy.as_ref().map(|(_, look)| *look);
            tokio::select! {
                message = incoming.recv() => match message {
                    Some(message) => self.take(message),
                    None => return Ok(()),
                },
                () = until(wake.map(|wake| self.start + wake)) => self.wake(),
                () = until(look) => self.look(),
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
        let findings = match incoming {
            Incoming::Connected(_) => {
                self.publish_policy();
                self.inbox.connected(at).into_iter().collect()
            }
            Incoming::Disconnected { reason } => vec![self.inbox.disconnected(&reason, at)],
            Incoming::Message(message) => {
                let seen = Seen {
                    at,
                    retained: message.retain,
                };
                self.inbox.handle(&message.topic, &message.payload, seen)
            }
        };
        self.file(findings);
        if let Some(refused) = self.inbox.refusals_to_say(self.now()) {
            warn!("{refused} messages so far were no valid event or status and were not shown");
        }
    }

    fn file(&mut self, findings: Vec<Finding>) {
        let now = self.now();
        for finding in findings {
            let notices = self.incidents.handle(finding, now);
            self.tell(notices);
        }
    }

    /// Looks whether the policy file has changed.
    fn look(&mut self) {
        let Some((source, look)) = &mut self.policy else {
            return;
        };
        *look = Instant::now() + LOOK_EVERY;
        let at = Timestamp::from(Utc::now());
        let finding = match source.look() {
            None => return,
            Some(Ok(policy)) => {
                info!("the policy has changed and is in force");
                self.set_policy(policy);
                self.publish_policy();
                rules::policy::in_force(&self.inbox.policy().exam, at)
            }
            Some(Err(why)) => {
                warn!("the policy has changed and is refused, the old one stays: {why}");
                rules::policy::refused(&why, at)
            }
        };
        self.file(vec![finding]);
    }

    fn set_policy(&mut self, policy: Policy) {
        self.incidents.set_cool_downs(policy.cool_downs.clone());
        self.inbox.set_policy(policy);
    }

    /// Publishes the policy, where there is a file, to staff, and its part without seats to the agents.
    fn publish_policy(&self) {
        if self.policy.is_none() {
            return;
        }
        let policy = self.inbox.policy();
        let payloads = [
            (Topic::Policy, serde_json::to_vec(policy)),
            (Topic::AgentPolicy, serde_json::to_vec(&policy.for_agents())),
        ];
        for (topic, payload) in payloads {
            let published = payload.map_err(anyhow::Error::from).and_then(|payload| {
                let message = Message {
                    topic: self.root.text(&topic),
                    payload: payload.into(),
                    qos: QoS::AtLeastOnce,
                    retain: true,
                };
                Ok(self.publisher.try_publish(message)?)
            });
            if let Err(error) = published {
                // With the next connection it goes out again.
                warn!("the policy could not be published: {error}");
            }
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
        drop(self.publisher);
        self.console.finish().await;
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}
