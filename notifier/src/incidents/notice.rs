//! What is to be told: an incident, or the summary of what could not be told.

use std::{collections::BTreeMap, time::Duration};

use labwatch_contract::{
    alert::{self, Alert, AlertAction, AlertEvent, AlertHost, AlertLab, Severity},
    time::Timestamp,
};

use crate::rules::{Course, Rule, who};

const HELD_BACK: Rule = Rule {
    id: "held-back",
    name: "More alerts than lines",
    subject: "held-back",
    course: Course::Passing,
};

/// An alert that has not been written yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whether the incident is new, goes on or is over.
    pub action: AlertAction,
    /// How grave it is.
    pub severity: Severity,
    /// The rule of the last finding.
    pub rule: Rule,
    /// The PC; none for what concerns the whole lab.
    pub host: Option<AlertHost>,
    /// What stands on its desk.
    pub seat: Option<String>,
    /// One harmless line for people.
    pub message: String,
    /// The incident; one level of a topic.
    pub id: String,
    /// What it is about.
    pub object: String,
    /// How many findings it holds.
    pub count: u64,
    /// When the first of them happened, by the PC's clock.
    pub first: Timestamp,
    /// When the last of them happened.
    pub last: Timestamp,
}

impl Notice {
    /// The alert, written at `written` by our clock.
    #[must_use]
    pub fn into_alert(self, written: Timestamp) -> Alert {
        Alert {
            timestamp: written,
            event: AlertEvent {
                action: self.action,
                severity: self.severity,
            },
            rule: alert::Rule {
                id: self.rule.id.into(),
                name: self.rule.name.into(),
            },
            message: self.message,
            host: self.host,
            lab: AlertLab {
                id: self.id,
                seat: self.seat,
                object: self.object,
                count: self.count,
                first: self.first,
                last: self.last,
            },
        }
    }
}

/// What is due but waits for the budget.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    by_severity: BTreeMap<Severity, u64>,
    pcs: u64,
    host: Option<AlertHost>,
    /// When something of it, or the next one due, can be told.
    pub(super) next: Option<Duration>,
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.pcs == 0
    }

    /// Adds what waits of one PC.
    pub(super) fn add(
        &mut self,
        host: Option<&AlertHost>,
        waiting: impl Iterator<Item = Severity>,
    ) {
        let before = self.total();
        for severity in waiting {
            *self.by_severity.entry(severity).or_default() += 1;
        }
        if self.total() > before {
            self.pcs += 1;
            self.host = host.cloned();
        }
    }

    pub(super) fn wake_at(&mut self, time: Duration) {
        self.next = Some(self.next.map_or(time, |next| next.min(time)));
    }

    fn total(&self) -> u64 {
        self.by_severity.values().sum()
    }

    /// The line that says so. `latest` is when the last finding happened.
    pub(super) fn notice(&self, given_up: u64, latest: Timestamp) -> Notice {
        let gravest = self.by_severity.keys().next_back().copied();
        let host = self.host.clone().filter(|_| self.pcs == 1);
        let place = match &host {
            Some(host) => who(host),
            None => format!("{} PCs", self.pcs),
        };
        let mut texts = Vec::new();
        if !self.is_empty() {
            texts.push(format!(
                "{} more alerts wait ({})",
                self.total(),
                self.counts()
            ));
        }
        if given_up > 0 {
            texts.push(format!("{given_up} were too many to show"));
        }
        Notice {
            action: AlertAction::Updated,
            severity: gravest.unwrap_or(Severity::Technical),
            rule: HELD_BACK,
            host,
            seat: None,
            message: format!("{place}: {}; the record holds them all", texts.join(", ")),
            id: HELD_BACK.id.into(),
            object: "lines".into(),
            count: self.total() + given_up,
            first: latest,
            last: latest,
        }
    }

    /// `3 critical, 120 warning`, the gravest first.
    fn counts(&self) -> String {
        let counts = self.by_severity.iter().rev();
        let counts = counts.map(|(severity, count)| format!("{count} {}", word(*severity)));
        counts.collect::<Vec<_>>().join(", ")
    }
}

/// A severity as people read it.
pub(crate) fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Technical => "technical",
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}
