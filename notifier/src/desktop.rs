//! The desktop: pop-ups over D-Bus (Desktop Notifications 1.2), shown by a task of its own.
//!
//! Each call has its own time-out, because a notification daemon that is stopped would hold it for 40 s; the
//! queue in front is bounded and what does not fit is counted into the next summary. A desktop that does not
//! answer is said once in the log, and once when it answers again. With `on` it must answer at the start.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use labwatch_contract::alert::{Alert, Severity};
use notify_rust::{Notification, Timeout, Urgency, get_capabilities};
use tokio::{
    sync::mpsc,
    task::spawn_blocking,
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
}

/// The way to the desktop and the task that shows.
pub(crate) fn desktop() -> (Desktop, Screen) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let missed = Arc::new(AtomicU64::new(0));
    (
        Desktop {
            alerts: sender,
            missed: Arc::clone(&missed),
        },
        Screen {
            alerts: receiver,
            missed,
        },
    )
}

impl Screen {
    /// Shows what comes until nothing more can come. Fails only with `on`, when no desktop answers at the start.
    pub(crate) async fn run(mut self, choice: settings::Desktop) -> anyhow::Result<()> {
        let start = Instant::now();
        let mut popups = match capabilities().await {
            Ok(capabilities) => {
                info!("alerts pop up on the desktop");
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
                () = until(wake.map(|wake| start + wake)) => popups.handle_timeout(start.elapsed()),
            };
            if let Some(popup) = popup {
                tell(&mut popups, popup, start).await;
            }
        }
    }
}

/// Shows one pop-up and remembers how that went.
async fn tell(popups: &mut Popups, popup: Popup, start: Instant) {
    match show(&popup).await {
        Ok(id) => {
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

/// The id that the desktop gave the pop-up.
async fn show(popup: &Popup) -> anyhow::Result<u32> {
    let mut notification = notification(popup);
    if let Some(id) = popup.replaces {
        notification.id(id);
    }
    let shown = timeout(ANSWER, notification.show_async()).await;
    Ok(shown.context("no answer in time")??.id())
}

fn notification(popup: &Popup) -> Notification {
    let (urgency, icon, stay) = match popup.severity {
        Severity::Critical => (Urgency::Critical, "dialog-error", Timeout::Never),
        Severity::Warning => (Urgency::Normal, "dialog-warning", Timeout::Default),
        Severity::Info | Severity::Technical => {
            (Urgency::Low, "dialog-information", Timeout::Default)
        }
    };
    Notification::new()
        .appname("Labwatch")
        .summary(&popup.summary)
        .body(&popup.body)
        .icon(icon)
        .urgency(urgency)
        .timeout(stay)
        .finalize()
}
