//! From an event, status or heartbeat to [`Finding`]s: which rule it meets, how grave that is, and the line that says so.
//!
//! One file per matter: `usb`, `network` (interfaces), `contacts` (who talks to whom in the lab), `names` (what must not be
//! contacted), `identity`, `seat`, `condition` (of the PC), `broker`, `notifier`; what silence means stands in
//! [`crate::silence`]. A rule says what happened, who, what, where and by which program; it never says what it means.
//! Everything foreign in a finding (names of hosts, devices, programs, domains) has been made harmless, so what comes after
//! may print it as it is.
//!
//! The policy has the last word: what it allows is no finding, and it says how grave a rule is and when the exam is. What
//! no rule asks for gives nothing. An event without the fields of its action is [`Incomplete`], for the
//! caller to count. What is remembered of PCs is bounded.

mod begin;
pub(crate) mod broker;
mod condition;
mod contacts;
mod finding;
mod identity;
mod names;
mod network;
pub(crate) mod notifier;
pub(crate) mod policy;
mod seat;
mod usb;

use std::{collections::HashMap, net::IpAddr};

use labwatch_contract::{
    alert::{AlertHost, Severity},
    event::{Action, Event, Fields, Host},
    health::Health,
    policy::{Level, Policy},
    status::{Presence, Status},
    text::harmless,
    time::Timestamp,
    topic::Leaf,
};

pub(crate) use self::finding::who;
pub use self::finding::{Course, Finding, Rule};
use self::{
    begin::Lasting, condition::Condition, contacts::Contacts, finding::Verdict,
    identity::Identities, network::Links,
};
use crate::{
    policy::Rulebook,
    silence::{self, Seen},
};

/// Most PCs of which something is remembered.
const MAX_PCS: usize = 4096;

/// The ids of all rules, for whoever writes a policy.
pub fn ids() -> impl Iterator<Item = &'static str> {
    all().map(|rule| rule.id)
}

/// The rule with this id; none where another version had it.
pub(crate) fn rule(id: &str) -> Option<Rule> {
    all().find(|rule| rule.id == id).copied()
}

fn all() -> impl Iterator<Item = &'static Rule> {
    [
        usb::RULES,
        network::RULES,
        contacts::RULES,
        contacts::scan::RULES,
        names::RULES,
        identity::RULES,
        seat::RULES,
        condition::RULES,
        silence::RULES,
        broker::RULES,
        notifier::RULES,
        policy::RULES,
    ]
    .into_iter()
    .flatten()
}

/// The event lacks a field that its action must carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is missing")]
pub struct Incomplete(pub &'static str);

/// The rules, the policy they go by, and what they must remember of each PC.
#[derive(Debug, Default)]
pub struct Rules {
    book: Rulebook,
    pcs: HashMap<IpAddr, Pc>,
    identities: Identities,
    lasting: Lasting,
}

/// What is remembered of a PC.
#[derive(Debug, Default)]
struct Pc {
    /// Its host name, harmless.
    name: String,
    seat: Option<String>,
    mismatch: Option<seat::Mismatch>,
    links: Links,
    contacts: Contacts,
    condition: Condition,
}

impl Rules {
    /// Goes by another policy from now on; what is remembered of the PCs stays.
    pub fn set_policy(&mut self, policy: Policy) {
        self.book = Rulebook::new(policy);
        for pc in self.pcs.values_mut() {
            pc.seat = None;
        }
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        self.book.policy()
    }

    /// What the rules say of an event that came at `at` by the topic of the PC at `address`. The topic says who it was,
    /// because the broker vouches for it; the address in the payload may be one that the PC had before, or a neighbour's.
    ///
    /// # Errors
    /// [`Incomplete`] when a field is missing that the action must carry.
    pub fn handle_event(
        &mut self,
        address: IpAddr,
        event: &Event,
        at: Timestamp,
    ) -> Result<Vec<Finding>, Incomplete> {
        self.meet(address, &event.host);
        let mut findings = self.identities.handle_event(address, event, at);
        findings.extend(self.sits(address, &event.host, at));
        findings.extend(self.judge(address, event)?);
        let findings = self.admit(findings, at);
        self.keep(address, event, at);
        Ok(findings)
    }

    fn judge(&mut self, address: IpAddr, event: &Event) -> Result<Vec<Finding>, Incomplete> {
        let verdict = match event.occurrence.leaf() {
            Some(Leaf::Usb) => usb::judge(&event.occurrence)?,
            Some(Leaf::Interface) => return self.link(address, event),
            Some(Leaf::Net) => return Ok(self.report(address, event)),
            _ if event.occurrence.action == Action::ConversationBurst => {
                contacts::scan::burst(&event.occurrence)?
            }
            Some(Leaf::Intranet) => return self.contact(address, event),
            Some(Leaf::Internet) => names::contact(&self.book, &event.occurrence)?,
            Some(Leaf::Status | Leaf::Health | Leaf::Ack) | None => None,
        };
        Ok(verdict
            .map(|verdict| verdict.about(address, event))
            .into_iter()
            .collect())
    }

    fn link(&mut self, address: IpAddr, event: &Event) -> Result<Vec<Finding>, Incomplete> {
        let verdicts = match self.pcs.get_mut(&address) {
            Some(pc) => pc.links.judge(&event.occurrence, address)?,
            None => Links::default().judge(&event.occurrence, address)?,
        };
        let about = |verdict: Verdict| verdict.about(address, event);
        Ok(verdicts.into_iter().map(about).collect())
    }

    /// What the rules say of an agent's hello or farewell, beside who is there.
    pub fn handle_status(&mut self, address: IpAddr, status: &Status, seen: Seen) -> Vec<Finding> {
        self.meet(address, &status.host);
        let mut findings = self.identities.handle_status(address, status, seen);
        if status.event.action == Presence::Online {
            findings.extend(self.sits(address, &status.host, seen.at));
        }
        self.admit(findings, seen.at)
    }

    /// What the rules say of a heartbeat.
    pub fn handle_health(
        &mut self,
        address: IpAddr,
        health: &Health,
        at: Timestamp,
    ) -> Vec<Finding> {
        self.meet(address, &health.host);
        let mut findings = self.identities.handle_host(address, &health.host, at);
        findings.extend(self.sits(address, &health.host, at));
        let pc = self.pcs.get_mut(&address);
        let verdicts = pc.map(|pc| pc.condition.handle(&health.lab, at));
        findings.extend(verdicts.into_iter().flatten().map(|verdict| {
            let host = self.host(address);
            let message = format!("{}: {}", who(&host), verdict.text);
            verdict.into_finding(host, message, at)
        }));
        self.admit(findings, at)
    }

    /// A finding as the policy wants it: with its seat, as grave as the policy says, and no alarm outside the exam.
    /// `came` is when it came to us. `None` when it is not to be told.
    #[must_use]
    pub fn dress(&self, mut finding: Finding, came: Timestamp) -> Option<Finding> {
        let address = finding.host.as_ref().map(|host| host.ip);
        let pc = address.and_then(|address| self.pcs.get(&address));
        // A PC that was never heard has a seat all the same.
        let by_address = || Some(harmless(&self.book.seat_at(address?)?.seat));
        finding.seat = pc.and_then(|pc| pc.seat.clone()).or_else(by_address);
        finding.severity = self.severity(&finding)?;
        if self.book.is_in_force(finding.time, came) {
            return Some(finding);
        }
        let of_the_lab = finding.host.is_none() || finding.rule.subject == silence::SUBJECT;
        if finding.severity != Severity::Technical && !of_the_lab {
            return None;
        }
        finding.severity = finding.severity.min(Severity::Info);
        Some(finding)
    }

    /// How grave a finding is within the exam; `None` where its rule is off.
    fn severity(&self, finding: &Finding) -> Option<Severity> {
        let level = self.book.level(finding.rule.id);
        level.map_or(Some(finding.severity), Level::severity)
    }

    /// The same for several.
    #[must_use]
    pub fn dress_all(
        &self,
        findings: impl IntoIterator<Item = Finding>,
        came: Timestamp,
    ) -> Vec<Finding> {
        let dressed = findings
            .into_iter()
            .filter_map(|finding| self.dress(finding, came));
        dressed.collect()
    }

    /// Remembers a PC's name and seat. Bounded; a PC beyond it has neither in its alerts.
    fn meet(&mut self, address: IpAddr, host: &Host) {
        if self.pcs.len() >= MAX_PCS && !self.pcs.contains_key(&address) {
            return;
        }
        let pc = self.pcs.entry(address).or_default();
        if pc.name != host.name {
            pc.name = harmless(&host.name);
        }
        if pc.seat.is_none() {
            let seat = self.book.seat(address, host);
            pc.seat = seat.map(|seat| harmless(&seat.seat));
        }
    }

    fn host(&self, address: IpAddr) -> AlertHost {
        let name = self.pcs.get(&address).map(|pc| pc.name.clone());
        AlertHost {
            ip: address,
            name: name.unwrap_or_default(),
        }
    }

    /// A machine as people know it: `192.168.0.134 (pc-34, seat A-08)` for a watched PC, else its address.
    fn called(&self, address: IpAddr) -> String {
        let pc = self.pcs.get(&address);
        let name = pc.map(|pc| pc.name.clone()).filter(|name| !name.is_empty());
        let seat = pc.and_then(|pc| pc.seat.as_ref());
        let known = [name, seat.map(|seat| format!("seat {seat}"))];
        let known: Vec<String> = known.into_iter().flatten().collect();
        match known.as_slice() {
            [] => address.to_string(),
            known => format!("{address} ({})", known.join(", ")),
        }
    }
}

/// `: the journal was full`; nothing where the event gives no reason.
fn because(fields: &Fields) -> String {
    let reason = fields.lab.reason.as_deref();
    reason.map_or(String::new(), |reason| format!(": {}", harmless(reason)))
}

/// The first few of many, and how many more there are: `22, 80, 443 and 9 more`.
pub(crate) fn some<T: ToString>(things: &[T]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = things.iter().take(SHOWN).map(T::to_string).collect();
    match things.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
pub(crate) mod tests;
