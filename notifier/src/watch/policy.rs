//! The policy file while the notifier runs: looked at, taken or refused, and published.

use std::time::Duration;

use labwatch_contract::{policy::Policy, time::Timestamp, topic::Topic};
use tracing::{info, warn};

use super::{Watch, at};
use crate::{board::message_of, policy::source::LOOK_EVERY, rules};

impl Watch {
    /// Looks whether the policy file has changed, when that is due.
    pub(super) fn look(&mut self, at: Timestamp, now: Duration) {
        let due = self.policy.as_mut().filter(|(_, look)| *look <= now);
        let Some((source, look)) = due else {
            return;
        };
        *look = now + LOOK_EVERY;
        let finding = match source.look() {
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
