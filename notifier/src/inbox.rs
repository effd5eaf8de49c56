//! From an MQTT message to a [`Finding`]: topic, payload, rules, silence.
//!
//! Whatever is no topic of ours, no valid payload, belongs to another topic than it came by, or lacks the
//! fields of its action is refused: counted, never shown. Topics that no rule asks for are not read at all; the
//! recorder is who judges them.

use std::{net::IpAddr, time::Duration};

use labwatch_contract::{
    event::{Event, Fields, Head},
    status::Status,
    time::Timestamp,
    topic::{Leaf, Root, Topic},
};

use crate::{
    echo::PROBE_PORT,
    rules::{self, Finding},
    silence::{Seen, Silence},
};

/// At most so often it is said that messages were refused.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Reads messages under one root.
#[derive(Debug)]
pub struct Inbox {
    root: Root,
    /// Who is there, and who should be.
    pub silence: Silence,
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
    #[error("a status of another PC")]
    OtherPc,
    #[error("an event must not be retained")]
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
            refused: 0,
            said: None,
            broker_lost: false,
        }
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

    /// What is to be told of a message, if anything.
    pub fn handle(&mut self, topic: &str, payload: &[u8], seen: Seen) -> Option<Finding> {
        self.read(topic, payload, seen).unwrap_or_else(|refusal| {
            self.refuse(&refusal);
            None
        })
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

    fn read(
        &mut self,
        topic: &str,
        payload: &[u8],
        seen: Seen,
    ) -> Result<Option<Finding>, Refusal> {
        match self.root.parse(topic)? {
            Topic::Pc(address, Leaf::Status) => self.status(address, payload, seen),
            Topic::Pc(address, leaf @ (Leaf::Usb | Leaf::Intranet | Leaf::Interface)) => {
                self.silence.event(address, seen.now);
                self.event(address, leaf, payload, seen)
            }
            Topic::Pc(address, Leaf::Net | Leaf::Internet | Leaf::Health) if !seen.retained => {
                Ok(self.silence.sign_of_life(address, seen))
            }
            Topic::Pc(_, Leaf::Net | Leaf::Internet | Leaf::Health) => Err(Refusal::Retained),
            Topic::Pc(_, Leaf::Ack)
            | Topic::Policy
            | Topic::AgentPolicy
            | Topic::Alert(_)
            | Topic::AlertAck(_)
            | Topic::Checkpoint => Ok(None),
        }
    }

    fn status(
        &mut self,
        address: IpAddr,
        payload: &[u8],
        seen: Seen,
    ) -> Result<Option<Finding>, Refusal> {
        if payload.is_empty() {
            // Somebody of the staff cleared what was retained.
            return Ok(None);
        }
        let status: Status = serde_json::from_slice(payload)?;
        if status.host.ip.to_canonical() != address {
            return Err(Refusal::OtherPc);
        }
        Ok(self.silence.status(address, &status, seen))
    }

    fn event(
        &self,
        address: IpAddr,
        leaf: Leaf,
        payload: &[u8],
        seen: Seen,
    ) -> Result<Option<Finding>, Refusal> {
        if seen.retained {
            return Err(Refusal::Retained);
        }
        Head::from_payload(payload)?.check_topic(leaf)?;
        let event = Event::from_payload(payload)?;
        if self.is_own_probe(&event) {
            return Ok(None);
        }
        Ok(rules::judge(address, &event)?)
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
