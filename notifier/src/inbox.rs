//! From an MQTT message to [`Finding`]s: topic, payload, rules, silence.
//!
//! Whatever is no topic of ours, no valid payload, belongs to another topic than it came by, or lacks the
//! fields of its action is refused: counted, never shown. Topics that no rule asks for are not read at all; the
//! recorder is who judges them.

use std::{net::IpAddr, time::Duration};

use labwatch_contract::{
    event::{Event, Fields, Head},
    health::Health,
    policy::Policy,
    status::Status,
    time::Timestamp,
    topic::{Leaf, Root, Topic},
};

use crate::{
    echo::PROBE_PORT,
    rules::{self, Finding, Rules},
    silence::{Seen, Silence, Step},
};

/// At most so often it is said that messages were refused.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Reads messages under one root.
#[derive(Debug)]
pub struct Inbox {
    root: Root,
    /// Who is there, and who should be.
    pub silence: Silence,
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
    /// An inbox for the topics under `root`, with nobody there yet.
    #[must_use]
    pub fn new(root: Root) -> Self {
        Self {
            root,
            silence: Silence::default(),
            rules: Rules::default(),
            refused: 0,
            said: None,
            broker_lost: false,
        }
    }

    /// Judges by another policy from `now` on, the time since the start; who has a seat is expected.
    pub fn set_policy(&mut self, policy: Policy, now: Duration) {
        let seats = policy.seats.iter().filter_map(|seat| seat.ip);
        self.silence.expect(seats, now);
        self.rules.set_policy(policy);
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        self.rules.policy()
    }

    /// The broker has accepted us `now` after the start; news only when it had been lost.
    pub fn connected(&mut self, at: Timestamp, now: Duration) -> Option<Finding> {
        self.silence.connected(now);
        std::mem::take(&mut self.broker_lost).then(|| rules::broker::back(at))
    }

    /// The broker is lost.
    pub fn disconnected(&mut self, reason: &str, at: Timestamp) -> Finding {
        self.broker_lost = true;
        self.silence.disconnected();
        rules::broker::lost(reason, at)
    }

    /// What is to be told of a message.
    pub fn handle(&mut self, topic: &str, payload: &[u8], seen: Seen) -> Vec<Finding> {
        self.read(topic, payload, seen).unwrap_or_else(|refusal| {
            self.refuse(&refusal);
            Vec::new()
        })
    }

    /// Who is silent by `now`, and who is to be probed; `at` is now by the wall clock.
    pub fn handle_timeout(&mut self, now: Duration, at: Timestamp) -> Step {
        let Step { findings, probes } = self.silence.handle_timeout(now, at);
        Step {
            findings: self.rules.dress_all(findings, at),
            probes,
        }
    }

    /// Who had gone before we came, and after the moment when somebody last watched; `at` is now.
    pub fn gone_since(&mut self, watched: Timestamp, at: Timestamp) -> Vec<Finding> {
        let gone = self.silence.gone_since(watched);
        self.rules.dress_all(gone, at)
    }

    /// Counts a message that cannot be read.
    pub fn refuse(&mut self, why: &impl std::error::Error) {
        tracing::debug!("message refused: {why}");
        self.refused = self.refused.saturating_add(1);
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
            Topic::Pc(_, Leaf::Ack)
            | Topic::Policy
            | Topic::AgentPolicy
            | Topic::Alert(_)
            | Topic::AlertAck(_)
            | Topic::Checkpoint => Ok(Vec::new()),
            Topic::Pc(address, leaf) => self.said(address, leaf, payload, seen),
        }
    }

    /// Whatever a PC says is a sign that it lives; then the rules read it, if they can.
    fn said(
        &mut self,
        address: IpAddr,
        leaf: Leaf,
        payload: &[u8],
        seen: Seen,
    ) -> Result<Vec<Finding>, Refusal> {
        if seen.retained {
            return Err(Refusal::Retained);
        }
        let sign = match leaf {
            Leaf::Net | Leaf::Internet | Leaf::Health => self.silence.sign_of_life(address, seen),
            _ => {
                self.silence.event(address, seen.now);
                None
            }
        };
        let read = match leaf {
            Leaf::Health => self.health(address, payload, seen),
            _ => self.event(address, leaf, payload, seen),
        };
        // Its return is told even where what it says cannot be read.
        let read = read.unwrap_or_else(|refusal| {
            self.refuse(&refusal);
            Vec::new()
        });
        let mut findings = self.rules.dress_all(sign, seen.at);
        findings.extend(read);
        Ok(findings)
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
        let presence = self.silence.status(address, &status, seen);
        findings.extend(self.rules.dress_all(presence, seen.at));
        Ok(findings)
    }

    fn health(
        &mut self,
        address: IpAddr,
        payload: &[u8],
        seen: Seen,
    ) -> Result<Vec<Finding>, Refusal> {
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
        Head::from_payload(payload)?.check_topic(leaf)?;
        let event = Event::from_payload(payload)?;
        if self.is_own_probe(&event) {
            return Ok(Vec::new());
        }
        Ok(self.rules.handle_event(address, &event, seen.at)?)
    }

    /// Whether an event tells of a probe that we sent ourselves.
    fn is_own_probe(&self, event: &Event) -> bool {
        let Fields {
            source,
            destination,
            network,
            ..
        } = &event.occurrence.fields;
        let (Some(source), Some(network)) = (source, network) else {
            return false;
        };
        let port = destination.as_ref().and_then(|end| end.port);
        let is_probe = port == Some(PROBE_PORT) || network.transport.contains("icmp");
        is_probe && self.silence.is_own(source.ip)
    }
}

#[cfg(test)]
mod tests;
