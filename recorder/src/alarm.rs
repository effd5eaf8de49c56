//! The alert `recorder-disk`: nothing is acknowledged, because nothing can be written.
//!
//! Opened and resolved by the recorder itself, retained, so that whoever comes later sees it. One that an earlier run
//! left open is resolved as soon as it is seen while everything is well. A writer that does not come back from the
//! disk cannot say so itself: it is looked after. Pure; `now` is an argument.

use std::time::Duration;

use labwatch_contract::{
    alert::{Alert, AlertAction, AlertEvent, AlertLab, Rule, Severity},
    text::harmless,
    time::Timestamp,
};

/// Its id, and that of its rule.
pub(crate) const ID: &str = "recorder-disk";

/// A writer that is longer at the disk hangs.
const HANGS: Duration = Duration::from_secs(10);

/// Whether the alert is open, and since when.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    since: Option<Timestamp>,
    /// Whether it was opened because the writer hangs, and not by its own word.
    hangs: bool,
}

impl Alarm {
    /// Whether the disk takes nothing.
    pub(crate) fn is_open(&self) -> bool {
        self.since.is_some()
    }

    /// The disk takes nothing, for this reason.
    pub(crate) fn open(&mut self, why: &str, now: Timestamp) -> Alert {
        let since = *self.since.get_or_insert(now);
        self.hangs = false;
        let message = format!(
            "The recorder cannot write, PCs keep their events: {}",
            harmless(why)
        );
        alert(AlertAction::Opened, message, since, now)
    }

    /// The writer has been at the disk for so long: whether that changes anything.
    pub(crate) fn look_after(&mut self, busy: Duration, now: Timestamp) -> Option<Alert> {
        if busy >= HANGS && !self.is_open() {
            let alert = self.open("the disk has not answered for 10 s", now);
            self.hangs = true;
            Some(alert)
        } else if busy < HANGS && self.hangs {
            Some(self.resolve(now))
        } else {
            None
        }
    }

    /// It takes again.
    pub(crate) fn resolve(&mut self, now: Timestamp) -> Alert {
        let since = self.since.take().unwrap_or(now);
        self.hangs = false;
        alert(
            AlertAction::Resolved,
            "The recorder writes again.".to_owned(),
            since,
            now,
        )
    }

    /// The answer to an alert of this id as the broker kept it, if it is no longer true.
    pub(crate) fn correct(&mut self, payload: &[u8], now: Timestamp) -> Option<Alert> {
        let kept: Alert = serde_json::from_slice(payload).ok()?;
        let open = kept.event.action != AlertAction::Resolved;
        (open && !self.is_open()).then(|| self.resolve(now))
    }
}

fn alert(action: AlertAction, message: String, first: Timestamp, now: Timestamp) -> Alert {
    Alert {
        timestamp: now,
        event: AlertEvent {
            action,
            severity: Severity::Technical,
        },
        rule: Rule {
            id: ID.to_owned(),
            name: "Recorder's disk".to_owned(),
        },
        message,
        host: None,
        lab: AlertLab {
            id: ID.to_owned(),
            seat: None,
            object: "recorder".to_owned(),
            count: 1,
            first,
            last: now,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_that_hangs_opens_the_alert_once_and_one_in_trouble_resolves_its_own() {
        let now = "2026-11-22T09:31:05.123Z".parse().unwrap();
        let (short, long) = (Duration::from_secs(9), Duration::from_secs(11));
        let mut alarm = Alarm::default();
        assert_eq!(alarm.look_after(short, now), None);
        let opened = alarm.look_after(long, now).unwrap();
        assert!(opened.message.contains("not answered for 10 s"));
        assert_eq!(alarm.look_after(long, now), None);
        let resolved = alarm.look_after(short, now).unwrap();
        assert_eq!(resolved.event.action, AlertAction::Resolved);
        assert_eq!(alarm.look_after(short, now), None);
        // The writer is back and says what is wrong.
        alarm.look_after(long, now);
        alarm.open("no room", now);
        assert_eq!(alarm.look_after(short, now), None);
        assert!(alarm.is_open());
    }

    #[test]
    fn what_an_earlier_run_left_open_is_resolved_and_what_is_true_is_not() {
        let now = "2026-11-22T09:31:05.123Z".parse().unwrap();
        let mut alarm = Alarm::default();
        let opened = serde_json::to_vec(&alarm.open("no room\u{1b}[2J", now)).unwrap();
        assert!(!String::from_utf8_lossy(&opened).contains("\\u001b"));
        assert_eq!(alarm.correct(&opened, now), None);
        let resolved = alarm.resolve(now);
        assert_eq!(resolved.event.action, AlertAction::Resolved);
        assert!(Alarm::default().correct(&opened, now).is_some());
        let resolved = serde_json::to_vec(&resolved).unwrap();
        assert_eq!(Alarm::default().correct(&resolved, now), None);
        assert_eq!(Alarm::default().correct(b"{", now), None);
    }
}
