//! The mark that a notifier watches: when it did so last, and what it had judged by then.

use labwatch_contract::{
    alert::{
        Alert, AlertAction, AlertEvent, AlertLab, Rule, SeenRun, Severity, WATCHING, Watching,
    },
    time::Timestamp,
};
use labwatch_link::session::Message;

use super::{Board, message_of};

/// What the notifier before left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    /// When it last said that it watches.
    pub watched: Timestamp,
    /// Whether that was its last word.
    pub in_order: bool,
    /// What it had judged.
    pub seen: Vec<SeenRun>,
}

impl Board {
    /// That a notifier watches and has judged `seen`, or, as its last word, that it watches no more.
    #[must_use]
    pub fn mark(&self, at: Timestamp, seen: Vec<SeenRun>, last: bool) -> Option<Message> {
        let action = if last {
            AlertAction::Resolved
        } else {
            AlertAction::Updated
        };
        let message = if last {
            "a notifier has stopped watching"
        } else {
            "a notifier watches"
        };
        let alert = Alert {
            timestamp: at,
            event: AlertEvent {
                action,
                severity: Severity::Info,
            },
            rule: Rule {
                id: WATCHING.into(),
                name: "Notifier".into(),
            },
            message: message.into(),
            host: None,
            lab: AlertLab {
                id: WATCHING.into(),
                seat: None,
                object: "lab".into(),
                count: 1,
                first: at,
                last: at,
            },
        };
        message_of(&self.topic(WATCHING), &Watching { alert, seen })
    }
}
