//! One incident: what it is about, how often it came, when it is to be told again, and when it is over.
//!
//! A finding of a rule that the incident has not been told by, or one that turns it (it ends, it begins again), is told at
//! once while there is credit; the same again waits for the cool-down. A critical one is told again and again until
//! somebody acknowledges it.

use std::time::Duration;

use labwatch_contract::{
    alert::{Alert, AlertAction, Severity, Verdict},
    chain::Digest,
    text::harmless,
    time::Timestamp,
};

use super::{Notice, budget::Budget};
use crate::rules::{Course, Finding, Rule};

/// The first wait before the same is told again, where the policy says no other; it doubles up to the longest.
pub(super) const COOL_DOWN: Duration = Duration::from_secs(10);
const LONGEST_COOL_DOWN: Duration = Duration::from_secs(600);
/// What is critical and nobody has acknowledged is told again after this; the wait doubles up to the longest.
const REMIND: Duration = Duration::from_secs(60);
/// An incident without a finding for so long is over.
pub(super) const OVER: Duration = Duration::from_secs(1200);
/// So many changes are told at once whatever the cool-down, and one more per interval.
const CHANGES: u32 = 6;
const CHANGE_EVERY: Duration = Duration::from_secs(30);
/// Most rules by which one incident remembers to have been told.
const MOST_RULES: usize = 16;

#[derive(Debug)]
pub(super) struct Incident {
    finding: Finding,
    count: u64,
    /// How many of them came since the last was told; none when it is told only to remind or to say that it is over.
    untold: u64,
    first: Timestamp,
    seen: Duration,
    told: Option<Told>,
    /// Rules by which it has been told since it began.
    rules: Vec<&'static str>,
    cool_down: Duration,
    /// How long until the next reminder.
    remind: Duration,
    changes: Budget,
    acknowledged: Option<Verdict>,
    /// It has been quiet for long enough to be over.
    quiet: bool,
    /// When it is to be told; `None` when there is nothing to tell.
    due: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    at: Duration,
    rule: &'static str,
    ended: bool,
}

impl Incident {
    pub(super) fn new(finding: Finding, now: Duration, cool_down: Duration) -> Self {
        Self {
            first: finding.time,
            finding,
            count: 1,
            untold: 1,
            seen: now,
            told: None,
            rules: Vec::new(),
            cool_down,
            remind: REMIND,
            changes: Budget::new(CHANGES, CHANGE_EVERY),
            acknowledged: None,
            quiet: false,
            due: Some(now),
        }
    }

    /// One that a notifier before told as `alert`, and that somebody has perhaps dealt with.
    pub(super) fn resumed(
        alert: &Alert,
        rule: Rule,
        acknowledged: Option<Verdict>,
        now: Duration,
    ) -> Self {
        let finding = Finding {
            rule,
            severity: alert.event.severity,
            host: alert.host.clone(),
            seat: alert.lab.seat.clone(),
            object: alert.lab.object.clone(),
            message: harmless(without_count(&alert.message)),
            time: alert.lab.last,
        };
        let mut incident = Self {
            count: alert.lab.count,
            untold: 0,
            first: alert.lab.first,
            told: Some(Told {
                at: now,
                rule: rule.id,
                ended: false,
            }),
            rules: vec![rule.id],
            acknowledged,
            due: None,
            ..Self::new(finding, now, COOL_DOWN)
        };
        incident.due = incident.needs_somebody().then(|| now + incident.remind);
        incident
    }

    /// What had come before, as a notifier before told it.
    pub(super) fn follow(&mut self, alert: &Alert) {
        self.count = self.count.saturating_add(alert.lab.count);
        self.first = self.first.min(alert.lab.first);
    }

    /// Whether a finding belongs to it; the PC is the caller's to compare.
    pub(super) fn is_of(&self, finding: &Finding) -> bool {
        self.finding.rule.subject == finding.rule.subject && self.finding.object == finding.object
    }

    /// Whether it has this id.
    pub(super) fn has_id(&self, wanted: &str) -> bool {
        id(&self.finding) == wanted
    }

    /// One more finding; when it is due for telling.
    pub(super) fn again(
        &mut self,
        finding: Finding,
        now: Duration,
        cool_down: Duration,
    ) -> Duration {
        if self.is_over(now) {
            *self = Self::new(finding, now, cool_down);
            return now;
        }
        self.count = self.count.saturating_add(1);
        self.untold = self.untold.saturating_add(1);
        self.seen = now;
        self.quiet = false;
        self.finding = finding;
        let wait = match self.told {
            None => Duration::ZERO,
            Some(told) if self.may_change(told, now) => Duration::ZERO,
            Some(told) => (told.at + self.patience()).saturating_sub(now),
        };
        let due = self.due.unwrap_or(now + wait).min(now + wait);
        self.due = Some(due);
        due
    }

    /// Somebody has looked: no more reminders, and the same again waits as long as anything does.
    pub(super) fn acknowledge(&mut self, verdict: Verdict) {
        self.acknowledged = Some(verdict);
        if self.untold == 0 && !self.quiet {
            self.due = None;
        }
    }

    /// The notice of its last finding; from now on it cools down.
    pub(super) fn tell(&mut self, now: Duration) -> Notice {
        let action = self.action();
        match self.told {
            None => {}
            Some(_) if self.untold == 0 => self.remind = (self.remind * 2).min(LONGEST_COOL_DOWN),
            Some(told) if self.may_change(told, now) => self.changes.spend(now),
            Some(_) => {
                self.cool_down = (self.cool_down * 2).min(LONGEST_COOL_DOWN.max(self.cool_down))
            }
        }
        let notice = self.notice(action);
        if action == AlertAction::Resolved {
            self.rules.clear();
            self.acknowledged = None;
            self.remind = REMIND;
        }
        let rule = self.finding.rule.id;
        if self.rules.len() < MOST_RULES && !self.rules.contains(&rule) {
            self.rules.push(rule);
        }
        self.told = Some(Told {
            at: now,
            rule,
            ended: action == AlertAction::Resolved,
        });
        self.untold = 0;
        self.due = self.needs_somebody().then(|| now + self.remind);
        notice
    }

    /// How long the same again waits.
    fn patience(&self) -> Duration {
        match self.acknowledged {
            Some(_) => LONGEST_COOL_DOWN,
            None => self.cool_down,
        }
    }

    fn action(&self) -> AlertAction {
        match self.told {
            _ if self.quiet || self.ends() => AlertAction::Resolved,
            Some(told) if !told.ended => AlertAction::Updated,
            _ => AlertAction::Opened,
        }
    }

    fn notice(&self, action: AlertAction) -> Notice {
        let severity = if self.quiet {
            Severity::Info
        } else {
            self.finding.severity
        };
        Notice {
            action,
            severity,
            rule: self.finding.rule,
            host: self.finding.host.clone(),
            seat: self.finding.seat.clone(),
            message: self.message(),
            id: id(&self.finding),
            object: self.finding.object.clone(),
            count: self.count,
            first: self.first,
            last: self.finding.time,
        }
    }

    fn ends(&self) -> bool {
        self.finding.rule.course == Course::Ending
    }

    /// Whether it is told until it is acknowledged.
    fn needs_somebody(&self) -> bool {
        let critical = self.finding.severity == Severity::Critical;
        critical && self.acknowledged.is_none() && !self.ends() && !self.quiet
    }

    /// Whether the last finding says something else than what was told, and may be told at once.
    fn may_change(&self, told: Told, now: Duration) -> bool {
        let turns = told.ended != self.ends();
        (turns || !self.rules.contains(&self.finding.rule.id)) && self.changes.is_ready(now)
    }

    /// The last finding's line, and how many there were, where that is not plain from the lines before.
    fn message(&self) -> String {
        let Finding { message, rule, .. } = &self.finding;
        let since = self.first.utc().format("%H:%M:%SZ");
        if self.quiet {
            let minutes = OVER.as_secs() / 60;
            return format!(
                "{message} (over: no more for {minutes} min, {} since {since})",
                events(self.count)
            );
        }
        if self.untold == 0 {
            return format!(
                "{message} (not acknowledged, {} since {since})",
                events(self.count)
            );
        }
        let same_again = self.told.is_some_and(|told| told.rule == rule.id);
        if self.untold == 1 && !same_again {
            return message.clone();
        }
        format!("{message} ({} since {since})", events(self.count))
    }

    /// Gives up telling what has waited for too long; what needs somebody is tried again later.
    pub(super) fn give_up(&mut self, now: Duration) {
        self.due = self.needs_somebody().then(|| now + self.remind);
    }

    /// Notes that it has been quiet for long enough, if it was told and that is news to whoever read it.
    pub(super) fn settle(&mut self, now: Duration) {
        let is_news = self.told.is_some_and(|told| !told.ended)
            && self.finding.rule.course == Course::Passing
            && self.finding.severity > Severity::Info;
        if is_news && !self.quiet && self.due.is_none() && self.seen + OVER < now {
            self.quiet = true;
            self.due = Some(now);
        }
    }

    /// Whether nothing is to be told of it any more, and nothing of it goes on.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        let lasts = self.finding.rule.course == Course::Lasting;
        self.due.is_none() && !lasts && self.seen + OVER < now
    }

    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    /// When something of it has to be looked at.
    pub(super) fn wake(&self) -> Option<Duration> {
        let passes = self.finding.rule.course == Course::Passing;
        let quiet = passes.then(|| self.seen + OVER + Duration::from_millis(1));
        self.due.or(quiet)
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

fn events(count: u64) -> String {
    match count {
        1 => "1 event".into(),
        count => format!("{count} events"),
    }
}

/// A told message without the count that it was told with.
fn without_count(message: &str) -> &str {
    match message.rsplit_once(" (") {
        Some((text, count)) if count.contains(" since ") && count.ends_with("Z)") => text,
        _ => message,
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
