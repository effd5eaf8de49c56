//! A lab in virtual time, for rules that remember: what several messages make together.

use labwatch_contract::{policy::Policy, topic::Root};

use super::*;
use crate::{inbox::Inbox, policy::file};

/// A lab whose messages come at times of the test's choice.
pub(super) struct Lab {
    pub(super) inbox: Inbox,
    second: i64,
}

impl Lab {
    pub(super) fn new() -> Self {
        Self {
            inbox: Inbox::new(Root::default()),
            second: 0,
        }
    }

    pub(super) fn with_policy(text: &str) -> Self {
        let mut lab = Self::new();
        lab.set_policy(text);
        lab
    }

    pub(super) fn set_policy(&mut self, text: &str) -> Vec<Finding> {
        let (now, at) = (self.now(), self.at());
        self.inbox.set_policy(policy(text), now, at)
    }

    pub(super) fn now(&self) -> Duration {
        Duration::from_secs(self.second.unsigned_abs())
    }

    pub(super) fn at(&self) -> Timestamp {
        let start: Timestamp = "2026-11-22T09:31:05Z".parse().unwrap();
        Timestamp::from_unix_ms(start.unix_ms() + self.second * 1000).unwrap()
    }

    /// The finding of a message `after` seconds; none or one.
    #[track_caller]
    pub(super) fn hear(
        &mut self,
        after: i64,
        ip: &str,
        leaf: &str,
        payload: &[u8],
    ) -> Option<Finding> {
        let mut found = self.hear_all(after, ip, leaf, payload);
        assert!(found.len() <= 1, "{found:#?}");
        found.pop()
    }

    /// All findings of a message.
    pub(super) fn hear_all(
        &mut self,
        after: i64,
        ip: &str,
        leaf: &str,
        payload: &[u8],
    ) -> Vec<Finding> {
        self.second += after;
        let at = self.at();
        let payload = lab::with(payload, "/@timestamp", json!(at.to_string()));
        let seen = Seen {
            at,
            now: self.now(),
            retained: false,
        };
        self.inbox
            .handle(&format!("lab/{ip}/{leaf}"), &payload, seen)
    }

    pub(super) fn contact(&mut self, ip: &str, payload: &[u8]) -> Option<Finding> {
        self.hear(1, ip, "net/intranet", payload)
    }

    /// What is told while time passes and these PCs beat.
    pub(super) fn pass(&mut self, seconds: i64, beating: &[&str]) -> Vec<Finding> {
        let mut told = Vec::new();
        for second in 0..seconds {
            for ip in beating.iter().filter(|_| second % 2 == 0) {
                told.extend(self.hear(0, ip, "health", &lab::health(ip, json!({}))));
            }
            for half in 0..2 {
                let now = self.now() + Duration::from_millis(500 * half);
                told.extend(self.inbox.handle_timeout(now, self.at()).findings);
            }
            self.second += 1;
        }
        told
    }

    pub(super) fn online(&mut self, ip: &str) {
        let hello = lab::status(ip, "online", "started", 1);
        self.hear(1, ip, "status", &hello).unwrap();
    }
}

fn policy(text: &str) -> Policy {
    file::read(text, |_| Err("no file".into())).unwrap()
}
