//! The roll: which agents are there, from the retained and live messages of topic `status`.
//!
//! An `offline` that names another connection than the last `online` counts for nothing: it is the will of a
//! connection that has been followed by another. A retained status says who was there before we were; it is
//! told without alarm, and a PC that had gone by then is not told at all. The roll is bounded; a PC beyond it is
//! told all the same, only not remembered.

use std::{collections::HashMap, net::IpAddr};

use labwatch_contract::{
    alert::{AlertHost, Severity},
    status::{Presence, Reason, Status},
    text::harmless,
    time::Timestamp,
};
use uuid::Uuid;

use super::{Finding, Rule, some};

/// What its incidents are about.
pub(super) const SUBJECT: &str = "agent";
const CAME: Rule = Rule::ending(SUBJECT, "agent-online", "PC connected");
const WENT: Rule = Rule::lasting(SUBJECT, "agent-offline", "PC gone");
const PARTLY_BLIND: Rule =
    Rule::lasting(SUBJECT, "agent-degraded", "Agent does not see everything");
pub(super) const RULES: &[Rule] = &[CAME, WENT, PARTLY_BLIND];

/// Most PCs that are remembered.
const MAX_PCS: usize = 4096;

/// Who is there.
#[derive(Debug, Default)]
pub struct Roll {
    pcs: HashMap<IpAddr, Entry>,
}

/// How a status came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When, by our clock.
    pub at: Timestamp,
    /// Whether it was written before we came.
    pub retained: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    connection: Uuid,
    online: bool,
    degraded: bool,
}

impl Roll {
    /// What is new in a status of the PC with this address.
    pub fn handle(&mut self, address: IpAddr, status: &Status, seen: Seen) -> Option<Finding> {
        let known = self.pcs.get(&address).copied();
        let entry = Entry {
            connection: status.lab.connection,
            online: status.event.action == Presence::Online,
            degraded: !status.lab.degraded.is_empty(),
        };
        let stale = known.is_some_and(|known| known.connection != entry.connection);
        if known == Some(entry) || (!entry.online && stale) {
            return None;
        }
        if known.is_some() || self.pcs.len() < MAX_PCS {
            self.pcs.insert(address, entry);
        }
        match status.event.action {
            Presence::Online => came(address, status, known, seen.retained),
            Presence::Offline if seen.retained && known.is_none() => None,
            Presence::Offline => Some(went(address, status, seen.at)),
        }
    }
}

fn came(address: IpAddr, status: &Status, known: Option<Entry>, retained: bool) -> Option<Finding> {
    let was_there =
        known.is_some_and(|known| known.online && known.connection == status.lab.connection);
    let blind = some(
        &status
            .lab
            .degraded
            .iter()
            .map(|word| harmless(word))
            .collect::<Vec<_>>(),
    );
    if was_there && blind.is_empty() {
        return None;
    }
    let (rule, severity) = match (blind.as_str(), retained) {
        ("", _) => (CAME, Severity::Info),
        (_, true) => (PARTLY_BLIND, Severity::Info),
        (_, false) => (PARTLY_BLIND, Severity::Technical),
    };
    let mut text = format!("connected{}", how(status, retained));
    if !blind.is_empty() {
        text += &format!(", does not see everything: {blind}");
    }
    Some(finding(address, status, rule, severity, &text))
}

/// ` again`, ` since 09:12:04Z`, ` (formerly 192.168.0.7)`.
fn how(status: &Status, retained: bool) -> String {
    if retained {
        return format!(" since {}", status.timestamp.utc().format("%H:%M:%SZ"));
    }
    match (status.lab.reason, status.lab.previous_ip) {
        (Reason::AddressChanged, Some(previous)) => format!(" (formerly {previous})"),
        (Reason::Reconnected, _) => " again".into(),
        _ => String::new(),
    }
}

fn went(address: IpAddr, status: &Status, seen_at: Timestamp) -> Finding {
    let (severity, why) = match status.lab.reason {
        Reason::Stopped => (Severity::Warning, "its agent was stopped"),
        Reason::Shutdown => (Severity::Info, "it was shut down"),
        Reason::Lost => (
            Severity::Warning,
            "the connection was lost (cable, power, network or agent)",
        ),
        _ => (Severity::Warning, "it did not say why"),
    };
    let found = finding(address, status, WENT, severity, &format!("gone: {why}"));
    // A will was written when the PC connected; when it is published, that is the news.
    let is_will = status.lab.reason == Reason::Lost;
    let time = if is_will { seen_at } else { found.time };
    Finding { time, ..found }
}

fn finding(
    address: IpAddr,
    status: &Status,
    rule: Rule,
    severity: Severity,
    text: &str,
) -> Finding {
    let name = harmless(&status.host.name);
    let version = harmless(&status.agent.version);
    let known_as = match name.as_str() {
        "" => String::new(),
        name => format!("{name}, "),
    };
    Finding {
        rule,
        severity,
        host: Some(AlertHost { ip: address, name }),
        seat: None,
        object: "agent".into(),
        // The address stands right before the word, as it always did: `192.168.0.133 connected`.
        message: format!("{address} {text} ({known_as}agent {version})"),
        time: status.timestamp,
    }
}
