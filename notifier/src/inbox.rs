//! From an MQTT message to [`Finding`]s: topic, payload, rules, roll.
//!
//! Whatever is no topic of ours, no valid payload, belongs to another topic than it came by, or lacks the
//! fields of its action is refused: counted, never shown. Topics that no rule asks for are not read at all; the
//! recorder is who judges them.

use std::{net::IpAddr, time::Duration};

use labwatch_contract::{
    event::{Event, Head},
    health::Health,
    policy::Policy,
    status::Status,
    time::Timestamp,
    topic::{Leaf, Root, Topic},
};

use crate::rules::{
    self, Finding, Rules,
    presence::{Roll, Seen},
};

/// At most so often it is said that messages were refused.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Reads messages under one root.
#[derive(Debug)]
pub struct Inbox {
    root: Root,
    roll: Roll,
    rules: Rules,
    refused: u64,
    said: Option<(u64, Duration)>,
    broker_lost: bool,
}

/// Why a message was refused; only counted and logged.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Topic(#[from] labwatch_contract::topic::TopicError),
    #[error(transparent)]
    Head(#[from] labwatch_contract::event::HeadError),
    #[error("no payload of its topic: {0}")]
    Payload(#[from] serde_json::Error),
    #[error("a status or heartbeat of another PC")]
    OtherPc,
    #[error("an event or heartbeat must not be retained")]
    Retained,
    #[error(transparent)]
    Incomplete(#[from] rules::Incomplete),
}

impl Inbox {
    /// An inbox for the topics under `root`, with an empty roll.
    #[must_use]
    pub fn new(root: Root) -> Self {
        Self {
            root,
            roll: Roll::default(),
            rules: Rules::default(),
            refused: 0,
            said: None,
            broker_lost: false,
        }
    }

    /// Judges by another policy from now on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.rules.set_policy(policy);
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        self.rules.policy()
    }

    /// The broker has accepted us; news only when it had been lost.
    pub fn connected(&mut self, at: Timestamp) -> Option<Finding> {
        std::mem::take(&mut self.broker_lost).then(|| rules::broker::back(at))
    }

    /// The broker is lost.
    pub fn disconnected(&mut self, reason: &str, at: Timestamp) -> Finding {
        self.broker_lost = true;
        rules::broker::lost(reason, at)
    }

    /// What is to be told of a message.
    pub fn handle(&mut self, topic: &str, payload: &[u8], seen: Seen) -> Vec<Finding> {
        self.read(topic, payload, seen).unwrap_or_else(|refusal| {
            tracing::debug!("message refused: {refusal}");
            self.refused = self.refused.saturating_add(1);
            Vec::new()
        })
    }

    /// How many messages have been refused, when it is time to say so: more of them than last time, and not
    /// more often than once a minute. `now` is the time since the start.
    pub fn refusals_to_say(&mut self, now: Duration) -> Option<u64> {
        let due = self
            .said
            .is_none_or(|(count, at)| count < self.refused && now.saturating_sub(at) >= SAY_EVERY);
        if self.refused == 0 || !due {
            return None;
        }
        self.said = Some((self.refused, now));
        Some(self.refused)
    }

    fn read(&mut self, topic: &str, payload: &[u8], seen: Seen) -> Result<Vec<Finding>, Refusal> {
        match self.root.parse(topic)? {
            Topic::Pc(address, Leaf::Status) => self.status(address, payload, seen),
            Topic::Pc(address, Leaf::Health) => self.health(address, payload, seen),
            Topic::Pc(address, leaf) if leaf.carries_events() => {
                self.event(address, leaf, payload, seen)
            }
            Topic::Pc(..)
            | Topic::Policy
            | Topic::AgentPolicy
            | Topic::Alert(_)
            | Topic::AlertAck(_)
            | Topic::Checkpoint => Ok(Vec::new()),
        }
    }

    fn status(
        &mut self,
        address: IpAddr,
        payload: &[u8],
        seen: Seen,
    ) -> Result<Vec<Finding>, Refusal> {
        if payload.is_empty() {
            // Somebody of the staff cleared what was retained.
            return Ok(Vec::new());
        }
        let status: Status = serde_json::from_slice(payload)?;
        if status.host.ip.to_canonical() != address {
            return Err(Refusal::OtherPc);
        }
        let mut findings = self.rules.handle_status(address, &status, seen);
        let presence = self.roll.handle(address, &status, seen);
        findings.extend(presence.and_then(|finding| self.rules.dress(finding, seen.at)));
        Ok(findings)
    }

    fn health(
        &mut self,
        address: IpAddr,
        payload: &[u8],
        seen: Seen,
    ) -> Result<Vec<Finding>, Refusal> {
        if seen.retained {
            return Err(Refusal::Retained);
        }
        let health: Health = serde_json::from_slice(payload)?;
        if health.host.ip.to_canonical() != address {
            return Err(Refusal::OtherPc);
        }
        Ok(self.rules.handle_health(address, &health, seen.at))
    }

    fn event(
        &mut self,
        address: IpAddr,
        leaf: Leaf,
        payload: &[u8],
        seen: Seen,
    ) -> Result<Vec<Finding>, Refusal> {
        if seen.retained {
            return Err(Refusal::Retained);
        }
        Head::from_payload(payload)?.check_topic(leaf)?;
        let event = Event::from_payload(payload)?;
        Ok(self.rules.handle_event(address, &event, seen.at)?)
    }
}

#[cfg(test)]
mod tests;
