//! The desktop: pop-ups over D-Bus (Desktop Notifications 1.2), shown by a task of its own.
//!
//! Each call has its own time-out, because a notification daemon that is stopped would hold it for 40 s; the
//! queue in front is bounded and what does not fit is counted into the next summary. Where the desktop has actions, a
//! pop-up can be answered with `Seen`; the connection that showed it listens, for the last 16 of them. A desktop that does not
//! answer is said once in the log, and once when it answers again. With `on` it must answer at the start.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use labwatch_contract::alert::{Alert, Severity};
use notify_rust::{
    Notification, NotificationHandle, NotificationResponse, Timeout, Urgency, get_capabilities,
};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet, spawn_blocking},
    time::{Instant, sleep_until, timeout},
};
use tracing::{info, warn};

use crate::{
    popups::{Popup, Popups},
    settings,
};

/// How long the desktop may take for one pop-up.
const ANSWER: Duration = Duration::from_secs(3);
/// Room for alerts while it takes its time.
const QUEUE: usize = 64;
/// Most pop-ups that can be answered.
const MAX_LISTENERS: usize = 16;
/// The answer: somebody has seen it.
const SEEN: &str = "seen";

/// The way to the desktop.
pub(crate) struct Desktop {
    alerts: mpsc::Sender<Alert>,
    missed: Arc<AtomicU64>,
}

impl Desktop {
    /// Queues an alert, never waits.
    pub(crate) fn show(&self, alert: &Alert) {
        if self.alerts.try_send(alert.clone()).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The other end of the queue; [`Screen::run`] it.
pub(crate) struct Screen {
    alerts: mpsc::Receiver<Alert>,
    missed: Arc<AtomicU64>,
    seen: mpsc::Sender<String>,
}

/// The way to the desktop, the task that shows, and the incidents that somebody says to have seen, of which
/// `seen` may wait.
pub(crate) fn desktop(seen: usize) -> (Desktop, Screen, mpsc::Receiver<String>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (seen, incidents) = mpsc::channel(seen);
    let missed = Arc::new(AtomicU64::new(0));
    (
        Desktop {
            alerts: sender,
            missed: Arc::clone(&missed),
        },
        Screen {
            alerts: receiver,
            missed,
            seen,
        },
        incidents,
    )
}

impl Screen {
    /// Shows what comes until nothing more can come. Fails only with `on`, when no desktop answers at the start.
    pub(crate) async fn run(mut self, choice: settings::Desktop) -> anyhow::Result<()> {
        let start = Instant::now();
        let mut listeners = Listeners::default();
        let mut popups = match capabilities().await {
            Ok(capabilities) => {
                info!("alerts pop up on the desktop");
                listeners.wanted = capabilities.iter().any(|word| word == "actions");
                Popups::new(capabilities.iter().any(|word| word == "body-markup"), true)
            }
            Err(error) if choice == settings::Desktop::On => {
                return Err(error.context("--desktop on, but no desktop answers"));
            }
            Err(error) => {
                info!("no desktop answers, alerts stand on the console: {error:#}");
                // Most desktops read markup, and escaped text harms none.
                Popups::new(true, false)
            }
        };
        loop {
            popups.missed(self.missed.swap(0, Ordering::Relaxed));
            let wake = popups.poll_timeout();
            let popup = tokio::select! {
                alert = self.alerts.recv() => match alert {
                    Some(alert) => popups.handle(&alert, start.elapsed()),
                    None => return Ok(()),
                },
                Some(incident) = listeners.next() => {
                    // A queue of clicks that nobody takes is none to wait for.
                    let _ = incident.map(|incident| self.seen.try_send(incident));
                    None
                }
                () = until(wake.map(|wake| start + wake)) => popups.handle_timeout(start.elapsed()),
            };
            if let Some(popup) = popup {
                tell(&mut popups, popup, start, &mut listeners).await;
            }
        }
    }
}

/// Shows one pop-up and remembers how that went.
async fn tell(popups: &mut Popups, popup: Popup, start: Instant, listeners: &mut Listeners) {
    match show(&popup, listeners.wanted).await {
        Ok(handle) => {
            let id = handle.id();
            listeners.add(popup.incident.clone(), handle);
            if popups.shown(popup.incident, id) {
                info!("the desktop answers: alerts pop up");
            }
        }
        Err(error) => {
            if popups.failed(&popup, start.elapsed()) {
                warn!("no pop-ups, the desktop does not answer: {error:#}");
            }
        }
    }
}

/// Waits for a time; for ever without one.
pub(crate) async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// What the desktop can do; the call blocks, so it waits in a thread that the end of the service leaves behind.
async fn capabilities() -> anyhow::Result<Vec<String>> {
    let answer = timeout(ANSWER, spawn_blocking(get_capabilities)).await;
    Ok(answer.context("no answer in time")???)
}

/// The pop-up, once the desktop has given it an id.
async fn show(popup: &Popup, actions: bool) -> anyhow::Result<NotificationHandle> {
    let mut notification = notification(popup);
    if actions {
        notification.action(SEEN, "Seen");
    }
    if let Some(id) = popup.replaces {
        notification.id(id);
    }
    let shown = timeout(ANSWER, notification.show_async()).await;
    Ok(shown.context("no answer in time")??)
}

/// Who waits for somebody to answer a pop-up; the desktop tells only the connection that showed it.
#[derive(Default)]
struct Listeners {
    wanted: bool,
    /// The incidents of the tasks, oldest first.
    order: VecDeque<(String, AbortHandle)>,
    tasks: JoinSet<Option<String>>,
}

impl Listeners {
    fn add(&mut self, incident: String, handle: NotificationHandle) {
        if !self.wanted {
            return;
        }
        // The pop-up takes the place of its incident's last one.
        let replaced = self.order.iter().position(|(known, _)| *known == incident);
        let full = (self.order.len() == MAX_LISTENERS).then_some(0);
        if let Some((_, oldest)) = replaced.or(full).and_then(|index| self.order.remove(index)) {
            oldest.abort();
        }
        let id = incident.clone();
        let task = self.tasks.spawn(async move {
            let mut seen = None;
            let listening = handle.wait_for_action_async(|response| {
                if matches!(response, NotificationResponse::Action(action) if action == SEEN) {
                    seen = Some(id);
                }
            });
            listening.await;
            seen
        });
        self.order.push_back((incident, task));
    }

    /// The next pop-up that is done with: its incident when somebody says to have seen it.
    async fn next(&mut self) -> Option<Option<String>> {
        let done = self.tasks.join_next().await?;
        self.order.retain(|(_, task)| !task.is_finished());
        // Aborted, or the bus has gone: nobody has seen anything.
        Some(done.ok().flatten())
    }
}

fn notification(popup: &Popup) -> Notification {
    let (urgency, icon, stay, sound) = match popup.severity {
        Severity::Critical => (
            Urgency::Critical,
            "dialog-error",
            Timeout::Never,
            "dialog-error",
        ),
        Severity::Warning => (
            Urgency::Normal,
            "dialog-warning",
            Timeout::Default,
            "dialog-warning",
        ),
        Severity::Info | Severity::Technical => (
            Urgency::Low,
            "dialog-information",
            Timeout::Default,
            "message",
        ),
    };
    Notification::new()
        .appname("Labwatch")
        .summary(&popup.summary)
        .body(&popup.body)
        .icon(icon)
        .urgency(urgency)
        .sound_name(sound)
        .timeout(stay)
        .finalize()
}
