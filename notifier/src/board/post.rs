//! One incident on the board, and who has dealt with it.

use std::time::Duration;

use labwatch_contract::{
    alert::{Alert, AlertAck, AlertAction, AlertEvent, Severity, Verdict},
    text::harmless,
    time::Timestamp,
};

use super::Admission;

/// An incident that was quiet for so long is another one when it comes again.
const CONTINUES: Duration = Duration::from_secs(1200);

#[derive(Debug)]
pub(super) struct Post {
    pub(super) alert: Alert,
    pub(super) ack: Option<AlertAck>,
    /// What it was about when it was acknowledged.
    dealt_with: Option<(String, Severity, Timestamp)>,
    /// The acknowledgement belongs to an earlier incident and is to be taken down.
    pub(super) ack_is_over: bool,
    /// Whether it stood there before this notifier came.
    pub(super) from_before: bool,
    /// Whether it did, and we have not heard of it since.
    remembered: bool,
    /// Whether it is to be written.
    pub(super) waiting: bool,
    /// Whether the broker has it.
    pub(super) confirmed: bool,
    /// When it was last changed, as far as we saw.
    pub(super) since: Duration,
}

impl Post {
    pub(super) fn new(alert: Alert, now: Duration) -> Self {
        Self {
            alert,
            ack: None,
            dealt_with: None,
            ack_is_over: false,
            from_before: false,
            remembered: false,
            waiting: false,
            confirmed: false,
            since: now,
        }
    }

    pub(super) fn of_others(alert: Alert, retained: bool) -> Self {
        Self {
            from_before: retained,
            remembered: retained,
            confirmed: true,
            ..Self::new(alert, Duration::ZERO)
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.alert.event.action != AlertAction::Resolved
    }

    /// Whether another notifier has just written what we would.
    pub(super) fn says(&self, alert: &Alert) -> bool {
        let known = &self.alert;
        let same = known.rule == alert.rule && known.event == alert.event;
        same && known.lab.count >= alert.lab.count && known.lab.last >= alert.lab.last
    }

    pub(super) fn admission(&mut self, alert: &Alert) -> Admission {
        let known = &self.alert;
        let is_old = alert.lab.last <= known.lab.last && alert.rule == known.rule;
        if std::mem::take(&mut self.remembered) && is_old && self.is_open() {
            return Admission::Known;
        }
        if self.covers(alert) {
            return Admission::Acknowledged;
        }
        Admission::Tell
    }

    /// Whether what was acknowledged holds this alert: a repetition, or, where it was nothing or a defect,
    /// the same again.
    fn covers(&self, alert: &Alert) -> bool {
        let (Some(ack), Some((rule, severity, last))) = (&self.ack, &self.dealt_with) else {
            return false;
        };
        let settled = matches!(ack.lab.verdict, Verdict::FalseAlarm | Verdict::Technical);
        let nothing_since = alert.lab.last <= *last || settled;
        let same = *rule == alert.rule.id && *severity >= alert.event.severity;
        let continues = !self.is_another(alert);
        self.is_open() && same && nothing_since && continues
    }

    fn is_another(&self, alert: &Alert) -> bool {
        alert.event.action == AlertAction::Opened
            && (!self.is_open() || alert.timestamp.since(self.alert.timestamp) > CONTINUES)
    }

    pub(super) fn update(&mut self, alert: &Alert, now: Duration) {
        if self.is_another(alert) && self.ack.take().is_some() {
            self.dealt_with = None;
            self.ack_is_over = true;
        }
        self.alert = alert.clone();
        self.since = now;
    }

    pub(super) fn acknowledge(&mut self, ack: AlertAck) {
        let Alert {
            rule, event, lab, ..
        } = &self.alert;
        self.dealt_with = Some((rule.id.clone(), event.severity, lab.last));
        self.ack = Some(ack);
        self.ack_is_over = false;
    }

    /// The line that says so.
    pub(super) fn ack_line(&self, ack: &AlertAck) -> Alert {
        let note = ack.lab.note.as_deref().map(harmless);
        let note = note.map_or(String::new(), |note| format!(" ({note})"));
        let message = format!(
            "acknowledged by {} as {}{note}: {}",
            harmless(&ack.user.name),
            verdict(ack.lab.verdict),
            harmless(&self.alert.message)
        );
        let host = self.alert.host.clone().map(|mut host| {
            host.name = harmless(&host.name);
            host
        });
        Alert {
            timestamp: ack.timestamp,
            event: AlertEvent {
                action: AlertAction::Updated,
                severity: Severity::Info,
            },
            message,
            host,
            ..self.alert.clone()
        }
    }
}

/// A verdict as people read it.
pub(crate) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Seen => "seen",
        Verdict::FalseAlarm => "false alarm",
        Verdict::Technical => "technical",
        Verdict::Suspected => "suspected",
    }
}
