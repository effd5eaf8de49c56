//! The policy file while the notifier runs: what its thread finds is taken or refused, and published.

use std::time::Duration;

use labwatch_contract::{policy::Policy, time::Timestamp, topic::Topic};
use tracing::{info, warn};

use super::{Watch, at};
use crate::{board::message_of, policy::source::Look, rules};

/// A look that takes longer does not come back soon.
const PATIENCE: Duration = Duration::from_secs(10);

/// The policy file, and by when its thread must have looked again.
pub(super) struct PolicyFile {
    /// Since the start; `None` once it was said that it has not.
    due: Option<Duration>,
}

impl PolicyFile {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            due: Some(now + PATIENCE),
        }
    }

    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }
}

impl Watch {
    /// What a look at the policy file has found.
    pub(super) fn looked(&mut self, look: Look) {
        let (at, now) = (at(), self.now());
        let Some(file) = &mut self.policy else {
            return;
        };
        let was_away = file.due.replace(now + PATIENCE).is_none();
        let finding = match look {
            None if was_away => {
                info!("the policy file is within reach again");
                rules::policy::reached(at)
            }
            None => return,
            Some(Ok(policy)) => {
                info!("the policy has changed and is in force");
                self.set_policy(policy);
                self.publish_policy();
                rules::policy::in_force(&self.inbox.policy().exam, at)
            }
            Some(Err(why)) => {
                warn!("the policy has changed and is refused, the old one stays: {why}");
                rules::policy::refused(&why, at)
            }
        };
        let findings = self.inbox.dress_all([finding], at);
        self.file(findings, now);
    }

    /// Says so when the thread that looks has not come back in time.
    pub(super) fn miss_look(&mut self, at: Timestamp, now: Duration) {
        let overdue = |file: &&mut PolicyFile| file.due.is_some_and(|due| due <= now);
        let Some(file) = self.policy.as_mut().filter(overdue) else {
            return;
        };
        file.due = None;
        warn!("the policy file is out of reach, the old policy stays");
        let findings = self.inbox.dress_all([rules::policy::unreachable(at)], at);
        self.file(findings, now);
    }

    pub(super) fn set_policy(&mut self, policy: Policy) {
        let (at, now) = (at(), self.now());
        self.incidents.set_cool_downs(policy.cool_downs.clone());
        let released = self.inbox.set_policy(policy, now, at);
        self.file(released, now);
    }

    /// Publishes the policy, where there is a file, to staff, and its part without seats to the agents.
    pub(super) fn publish_policy(&self) {
        if self.policy.is_none() {
            return;
        }
        let policy = self.inbox.policy();
        let messages = [
            message_of(&self.root.text(&Topic::Policy), policy),
            message_of(&self.root.text(&Topic::AgentPolicy), &policy.for_agents()),
        ];
        for message in messages.into_iter().flatten() {
            if let Err(error) = self.publisher.try_publish(message) {
                // With the next connection it goes out again.
                warn!("the policy could not be published: {error}");
            }
        }
    }
}
