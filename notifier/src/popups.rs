//! Which alerts pop up on the desktop, as what, and how many.
//!
//! Info stays on the console. An incident that goes on replaces its own pop-up; the ids that the desktop gave
//! are kept for the last 64 incidents. At most five pop up at once and one a second after that; the rest is
//! summed up in one pop-up of its own. When the desktop does not answer it is left alone for half a minute.
//!
//! The body may be markup, so foreign text in it is escaped where the desktop says that it reads markup; the
//! summary is our own text and never markup.
//!
//! Times are since the start of the program.

use std::{collections::VecDeque, time::Duration};

use labwatch_contract::alert::{Alert, Severity};

use crate::{incidents::budget::Budget, line::time};

/// Most incidents whose pop-up can be replaced.
const MAX_REMEMBERED: usize = 64;
/// How long a desktop that did not answer is left alone.
const LEAVE_ALONE: Duration = Duration::from_secs(30);
/// The incident of the summary.
const SUMMARY: &str = "held-back";

/// One pop-up to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Popup {
    /// Its incident, for [`Popups::shown`].
    pub incident: String,
    /// The desktop's id of the pop-up it takes the place of.
    pub replaces: Option<u32>,
    /// One line, plain text.
    pub summary: String,
    /// The message; markup where [`Popups::new`] was told so.
    pub body: String,
    /// How grave it is; never info. What is critical stays until it is dismissed.
    pub severity: Severity,
    /// How many alerts it stands for.
    alerts: u64,
}

/// The pop-ups of one desktop.
#[derive(Debug)]
pub struct Popups {
    markup: bool,
    remembered: VecDeque<(String, u32)>,
    budget: Budget,
    /// Alerts that did not pop up, and the gravest of them.
    held: u64,
    gravest: Severity,
    quiet_until: Duration,
    answers: bool,
}

impl Popups {
    /// No pop-up yet; `markup` when the desktop reads the body as markup, `answers` when it has answered.
    #[must_use]
    pub fn new(markup: bool, answers: bool) -> Self {
        Self {
            markup,
            remembered: VecDeque::new(),
            budget: Budget::new(5, Duration::from_secs(1)),
            held: 0,
            gravest: Severity::Technical,
            quiet_until: Duration::ZERO,
            answers,
        }
    }

    /// The pop-up of an alert, if it is to be shown now.
    pub fn handle(&mut self, alert: &Alert, now: Duration) -> Option<Popup> {
        let severity = alert.event.severity;
        if severity == Severity::Info {
            return None;
        }
        if now < self.ready_at() {
            self.hold(1, severity);
            return None;
        }
        self.budget.spend(now);
        let place = alert
            .host
            .as_ref()
            .map_or("Lab".into(), |host| host.ip.to_string());
        let seat = alert.lab.seat.as_ref();
        let seat = seat.map(|seat| format!("{seat} · ")).unwrap_or_default();
        let summary = format!("{seat}{place}: {}", alert.rule.name);
        let body = format!(
            "{} · {}",
            time(alert.lab.last, alert.timestamp),
            alert.message
        );
        Some(self.popup(&alert.lab.id, summary, &body, severity))
    }

    /// Alerts that were lost on the way here; they count as held back.
    pub fn missed(&mut self, count: u64) {
        if count > 0 {
            self.hold(count, Severity::Warning);
        }
    }

    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        (self.held > 0).then(|| self.ready_at())
    }

    /// The summary of what was held back, once it can be shown.
    pub fn handle_timeout(&mut self, now: Duration) -> Option<Popup> {
        if self.held == 0 || now < self.ready_at() {
            return None;
        }
        self.budget.spend(now);
        let body = match self.held {
            1 => "One more alert: see the console.".into(),
            held => format!("{held} more alerts: see the console."),
        };
        let popup = self.popup(SUMMARY, "Lab: more alerts".into(), &body, self.gravest);
        let alerts = std::mem::take(&mut self.held);
        self.gravest = Severity::Technical;
        Some(Popup { alerts, ..popup })
    }

    /// The desktop has shown the pop-up of an incident; true when it had not answered before.
    pub fn shown(&mut self, incident: String, id: u32) -> bool {
        self.remembered.retain(|(known, _)| *known != incident);
        if self.remembered.len() == MAX_REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back((incident, id));
        !std::mem::replace(&mut self.answers, true)
    }

    /// The desktop has not shown a pop-up; true when it had answered before.
    pub fn failed(&mut self, popup: &Popup, now: Duration) -> bool {
        self.hold(popup.alerts, popup.severity);
        self.quiet_until = now + LEAVE_ALONE;
        std::mem::replace(&mut self.answers, false)
    }

    fn ready_at(&self) -> Duration {
        self.budget.ready_at().max(self.quiet_until)
    }

    fn hold(&mut self, alerts: u64, severity: Severity) {
        self.held = self.held.saturating_add(alerts);
        self.gravest = self.gravest.max(severity);
    }

    fn popup(&self, incident: &str, summary: String, body: &str, severity: Severity) -> Popup {
        let known = self.remembered.iter().find(|(known, _)| known == incident);
        Popup {
            incident: incident.into(),
            replaces: known.map(|(_, id)| *id),
            summary,
            body: if self.markup {
                escape(body)
            } else {
                body.into()
            },
            severity,
            alerts: 1,
        }
    }
}

/// Text as markup that shows it literally (Desktop Notifications 1.2, section "Markup").
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
