//! From an MQTT message to [`Finding`]s: topic, payload, repeats, rules, silence.
//!
//! What an agent sends again is a sign of life and no more: it was judged when it came first (`repeats`).
//!
//! Whatever is no topic of ours, no valid payload, belongs to another topic than it came by, or lacks the
//! fields of its action is refused: counted, never shown. Topics that no rule asks for are not read at all; the
//! recorder is who judges them.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use labwatch_contract::{
    alert::SeenRun,
    event::{Event, Fields, Head},
    health::Health,
    policy::Policy,
    status::Status,
    text::harmless,
    time::Timestamp,
    topic::{Leaf, Root, Topic},
};

use crate::{
    board::Before,
    echo::PROBE_PORT,
    repeats::Repeats,
    rules::{self, Finding, Rules},
    silence::{Seats, Seen, Silence, Step},
};

/// At most so often it is said that messages were refused.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Reads messages under one root.
#[derive(Debug)]
pub struct Inbox {
    root: Root,
    /// Who is there, and who should be.
    pub silence: Silence,
    repeats: Repeats,
    rules: Rules,
    /// Who is expected whatever the policy says.
    expected: BTreeSet<IpAddr>,
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
            repeats: Repeats::default(),
            rules: Rules::default(),
            expected: BTreeSet::new(),
            refused: 0,
            said: None,
            broker_lost: false,
        }
    }

    /// PCs that should be there whatever the policy says, `now` after the start.
    pub fn expect(&mut self, addresses: impl IntoIterator<Item = IpAddr>, now: Duration) {
        self.expected
            .extend(addresses.into_iter().map(|address| address.to_canonical()));
        self.silence.expect(&self.expected, now);
    }

    /// Judges by another policy from now on: who has a seat is expected, who has none any more is not.
    pub fn set_policy(&mut self, policy: Policy, now: Duration, at: Timestamp) -> Vec<Finding> {
        let seats: Seats = policy
            .seats
            .iter()
            .filter_map(|seat| Some((seat.ip?.to_canonical(), harmless(&seat.seat))))
            .collect();
        let mut expected = self.expected.clone();
        expected.extend(seats.keys());
        self.rules.set_policy(policy);
        let released = self.silence.release(&expected, at);
        self.silence.expect(&expected, now);
        self.silence.set_seats(seats);
        self.dress_all(released, at)
    }

    /// Findings of our own as the policy wants them: as grave as it says, and no alarm outside the exam.
    #[must_use]
    pub fn dress_all(
        &self,
        findings: impl IntoIterator<Item = Finding>,
        at: Timestamp,
    ) -> Vec<Finding> {
        self.rules.dress_all(findings, at)
    }

    /// What was judged so far, for the next notifier.
    #[must_use]
    pub fn seen(&self) -> Vec<SeenRun> {
        self.repeats.seen()
    }

    /// What the notifier before us left: what it has judged is not judged again. Who had gone before we came, and after
    /// it last watched; `at` is now.
    pub fn succeed(&mut self, before: &Before, at: Timestamp) -> Vec<Finding> {
        self.repeats.adopt(&before.seen, before.watched);
        let gone = self.silence.gone_since(before.watched);
        self.dress_all(gone, at)
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        self.rules.policy()
    }

    /// The broker has accepted us `now` after the start; news only when it had been lost.
    pub fn connected(&mut self, at: Timestamp, now: Duration) -> Option<Finding> {
        self.silence.connected(now);
        let back = std::mem::take(&mut self.broker_lost).then(|| rules::broker::back(at));
        self.rules.dress(back?, at)
    }

    /// The broker is lost.
    pub fn disconnected(&mut self, reason: &str, at: Timestamp) -> Option<Finding> {
        self.broker_lost = true;
        self.silence.disconnected();
        self.rules.dress(rules::broker::lost(reason, at), at)
    }

    /// What is to be told of a message.
    pub fn handle(&mut self, topic: &str, payload: &[u8], seen: Seen) -> Vec<Finding> {
        let mut findings = self.rules.begin(seen.at);
        match self.read(topic, payload, seen) {
            Ok(read) => findings.extend(read),
            Err(refusal) => self.refuse(&refusal),
        }
        findings
    }

    /// Who is silent by `now`, and who is to be probed; `at` is now by the wall clock.
    pub fn handle_timeout(&mut self, now: Duration, at: Timestamp) -> Step {
        let step = self.silence.handle_timeout(now, at);
        let mut findings = self.rules.begin(at);
        findings.extend(self.rules.admit(step.findings, at));
        Step { findings, ..step }
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
        let mut findings = self.rules.admit(sign, seen.at);
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
        if let Some(from) = self.silence.moved_to(address) {
            self.repeats.moved(from, address);
        }
        findings.extend(self.rules.admit(presence, seen.at));
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
        let head = Head::from_payload(payload)?;
        head.check_topic(leaf)?;
        if self.repeats.handle(address, &head, payload, seen.at) {
            return Ok(Vec::new());
        }
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
