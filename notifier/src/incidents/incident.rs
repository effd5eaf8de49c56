//! One incident: what it is about, how often it came, when it is to be told again.

use std::time::Duration;

use labwatch_contract::{
    alert::{AlertAction, Severity},
    chain::Digest,
    time::Timestamp,
};

use super::{Notice, budget::Budget};
use crate::rules::{Finding, Rule};

/// The first wait before the same is told again; it doubles up to the longest.
const COOL_DOWN: Duration = Duration::from_secs(10);
const LONGEST_COOL_DOWN: Duration = Duration::from_secs(600);
/// An incident without a finding for so long is over.
const OVER: Duration = Duration::from_secs(1200);
/// So many changes are told at once whatever the cool-down, and one more per interval.
const CHANGES: u32 = 6;
const CHANGE_EVERY: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Incident {
    finding: Finding,
    count: u64,
    /// How many of them came since the last was told.
    untold: u64,
    first: Timestamp,
    seen: Duration,
    told: Option<Told>,
    cool_down: Duration,
    changes: Budget,
    /// When the last finding is to be told; `None` when it has been.
    due: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    at: Duration,
    rule: Rule,
}

impl Incident {
    pub(super) fn new(finding: Finding, now: Duration) -> Self {
        Self {
            first: finding.time,
            finding,
            count: 1,
            untold: 1,
            seen: now,
            told: None,
            cool_down: COOL_DOWN,
            changes: Budget::new(CHANGES, CHANGE_EVERY),
            due: Some(now),
        }
    }

    /// Whether a finding belongs to it; the PC is the caller's to compare.
    pub(super) fn is_of(&self, finding: &Finding) -> bool {
        self.finding.rule.subject == finding.rule.subject && self.finding.object == finding.object
    }

    /// One more finding; when it is due for telling.
    pub(super) fn again(&mut self, finding: Finding, now: Duration) -> Duration {
        if self.is_over(now) {
            *self = Self::new(finding, now);
            return now;
        }
        self.count = self.count.saturating_add(1);
        self.untold = self.untold.saturating_add(1);
        self.seen = now;
        self.finding = finding;
        let wait = match self.told {
            None => Duration::ZERO,
            Some(told) if self.may_change(told, now) => Duration::ZERO,
            Some(told) => (told.at + self.cool_down).saturating_sub(now),
        };
        let due = self.due.unwrap_or(now + wait).min(now + wait);
        self.due = Some(due);
        due
    }

    /// The notice of its last finding; from now on it cools down.
    pub(super) fn tell(&mut self, now: Duration) -> Notice {
        let action = match self.told {
            None => AlertAction::Opened,
            Some(_) if self.finding.rule.resolves() => AlertAction::Resolved,
            Some(_) => AlertAction::Updated,
        };
        match self.told {
            None => {}
            Some(told) if self.may_change(told, now) => self.changes.spend(now),
            Some(_) => self.cool_down = (self.cool_down * 2).min(LONGEST_COOL_DOWN),
        }
        let notice = self.notice(action);
        self.told = Some(Told {
            at: now,
            rule: self.finding.rule,
        });
        self.untold = 0;
        self.due = None;
        notice
    }

    fn notice(&self, action: AlertAction) -> Notice {
        Notice {
            action,
            severity: self.finding.severity,
            rule: self.finding.rule,
            host: self.finding.host.clone(),
            message: self.message(),
            id: id(&self.finding),
            object: self.finding.object.clone(),
            count: self.count,
            first: self.first,
            last: self.finding.time,
        }
    }

    /// Whether the last finding is another than the one told, and may be told at once.
    fn may_change(&self, told: Told, now: Duration) -> bool {
        told.rule != self.finding.rule && self.changes.is_ready(now)
    }

    /// The last finding's line, and how many there were, where that is not plain from the lines before.
    fn message(&self) -> String {
        let Finding { message, rule, .. } = &self.finding;
        let same_again = self.told.is_some_and(|told| told.rule == *rule);
        if self.untold == 1 && !same_again {
            return message.clone();
        }
        let since = self.first.utc().format("%H:%M:%SZ");
        format!("{message} ({} events since {since})", self.count)
    }

    pub(super) fn give_up(&mut self) {
        self.due = None;
    }

    pub(super) fn is_over(&self, now: Duration) -> bool {
        self.due.is_none() && self.seen + OVER < now
    }

    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    pub(super) fn last_seen(&self) -> Duration {
        self.seen
    }

    pub(super) fn severity(&self) -> Severity {
        self.finding.severity
    }
}

/// The same PC, subject and object always have the same id, also after a restart:
/// `192.168.0.133-usb-3f9a01c2d4e5`. It is one level of a topic, whatever the object's text is.
fn id(finding: &Finding) -> String {
    let digest = Digest::of(finding.object.as_bytes()).to_string();
    let place = match &finding.host {
        // No IPv6 address is written with a dot, so that two of them never become one.
        Some(host) => host.ip.to_string().replace(':', "."),
        None => "lab".into(),
    };
    format!("{place}-{}-{digest:.12}", finding.rule.subject)
}
