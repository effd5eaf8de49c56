//! Rules on who a PC says it is: machine id, boot id, journal. The broker vouches for addresses, not for what stands in a
//! payload.
//!
//! Told are another machine id under an address that was in use a moment ago, one machine id under two addresses at the
//! same time, a PC that was restarted, an agent that was started again in the same boot, and two agents that speak in turn
//! for one PC. Not told are an address that passes on while its PC is away, a move to another address, and what an earlier
//! journal still has to deliver (its events are older than the newer journal's first). Ids are hashes; PCs that were copied
//! with their machine id share one, which is technical. Bounded: 4,096 addresses and as many ids.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use labwatch_contract::{
    alert::{AlertHost, Severity},
    event::{Event, Host},
    status::{Presence, Reason, Status},
    text::harmless,
    time::Timestamp,
};
use uuid::Uuid;

use super::{Finding, Rule, who};
use crate::silence::Seen;

const OTHER_PC: Rule = Rule::new(
    "identity",
    "identity-address",
    "Another PC under this address",
);
const TWO_ADDRESSES: Rule = Rule::new(
    "identity",
    "identity-two-addresses",
    "One PC under two addresses",
);
const TWO_AGENTS: Rule = Rule::new("identity", "identity-journal", "Two agents for one PC");
const STARTED_AGAIN: Rule = Rule::new("journal", "agent-restarted", "Agent started again");
const REBOOTED: Rule = Rule::new("boot", "pc-restarted", "PC restarted");
pub(super) const RULES: &[Rule] = &[OTHER_PC, TWO_ADDRESSES, TWO_AGENTS, STARTED_AGAIN, REBOOTED];

const MOST: usize = super::MAX_PCS;
/// A PC that was heard within this time is taken to be still there.
const STILL_THERE: Duration = Duration::from_secs(60);
/// Before this a PC that comes back with another boot was restarted rather than away.
const AWAY: Duration = Duration::from_secs(1800);
/// So many changes of address within [`STILL_THERE`] are two PCs in turn, fewer a move.
const IN_TURN: usize = 3;
/// Events of two journals are at the same time when the older one's is so much after the newer one's first.
const OVERLAP_MS: u64 = 5000;

/// Who was heard under which address.
#[derive(Debug, Default)]
pub(super) struct Identities {
    by_address: HashMap<IpAddr, Entry>,
    by_id: HashMap<String, Whereabouts>,
}

#[derive(Debug)]
struct Entry {
    id: String,
    boot: String,
    mac: Option<String>,
    heard: Timestamp,
    /// Whether it said goodbye, or was only known from before our time.
    left: bool,
    /// Whether its agent said that it was started, and no event of the journal that it began came since.
    started: bool,
    journal: Option<Journal>,
}

#[derive(Debug, Clone, Copy)]
struct Journal {
    id: Uuid,
    /// Uptime of its first event that came to us.
    first_ms: u64,
    before: Option<Uuid>,
}

#[derive(Debug)]
struct Whereabouts {
    now: IpAddr,
    /// When the id turned up under another address, and which.
    moves: VecDeque<(Timestamp, IpAddr)>,
}

impl Identities {
    /// What is wrong with who an event says it is of.
    pub(super) fn handle_event(
        &mut self,
        address: IpAddr,
        event: &Event,
        at: Timestamp,
    ) -> Vec<Finding> {
        let mut findings = self.handle_host(address, &event.host, at);
        if let Some(entry) = self.by_address.get_mut(&address) {
            findings.extend(entry.follow(address, event));
        }
        findings
    }

    /// The same of a status. A retained one says who was there before our time.
    pub(super) fn handle_status(
        &mut self,
        address: IpAddr,
        status: &Status,
        seen: Seen,
    ) -> Vec<Finding> {
        let findings = match (status.event.action, seen.retained) {
            (Presence::Online, false) => self.handle_host(address, &status.host, seen.at),
            _ => Vec::new(),
        };
        let ended = status.event.action == Presence::Offline && status.lab.reason != Reason::Lost;
        if let Some(entry) = self.by_address.get_mut(&address).filter(|_| ended) {
            entry.left = true;
        }
        let started =
            status.event.action == Presence::Online && status.lab.reason == Reason::Started;
        if let Some(entry) = self.by_address.get_mut(&address) {
            entry.started |= started && !seen.retained;
        }
        findings
    }

    /// The same of a host heard live.
    pub(super) fn handle_host(
        &mut self,
        address: IpAddr,
        host: &Host,
        at: Timestamp,
    ) -> Vec<Finding> {
        if host.id.is_empty() || host.ip.to_canonical() != address {
            return Vec::new();
        }
        let mut findings: Vec<Finding> = self.elsewhere(address, host, at).into_iter().collect();
        if let Some(known) = self.by_address.get_mut(&address) {
            findings.extend(known.compare(address, host, at));
        } else if self.by_address.len() < MOST {
            self.by_address.insert(address, Entry::new(host, at));
        }
        findings
    }

    fn elsewhere(&mut self, address: IpAddr, host: &Host, at: Timestamp) -> Option<Finding> {
        let is_full = self.by_id.len() >= MOST;
        let Some(known) = self.by_id.get_mut(&host.id) else {
            if !is_full {
                let moves = VecDeque::new();
                let here = Whereabouts {
                    now: address,
                    moves,
                };
                self.by_id.insert(host.id.clone(), here);
            }
            return None;
        };
        if known.now == address {
            return None;
        }
        let before = std::mem::replace(&mut known.now, address);
        known
            .moves
            .retain(|(moved, _)| at.since(*moved) < STILL_THERE);
        known.moves.push_back((at, before));
        known.moves.truncate(MOST_MOVES);
        let others: BTreeSet<IpAddr> = known.moves.iter().map(|(_, ip)| *ip).collect();
        let others: Vec<&IpAddr> = others.iter().filter(|ip| **ip != address).collect();
        if known.moves.len() < IN_TURN {
            return None;
        }
        let (severity, why) = match others.len() {
            1 => (
                Severity::Warning,
                "one PC under two addresses, or two with one machine id",
            ),
            _ => (Severity::Technical, "copied PCs that share one machine id"),
        };
        let text = format!("says to be the same PC as {}: {why}", super::some(&others));
        // All that share an id are one incident.
        let mut finding = finding(TWO_ADDRESSES, severity, (address, host), &text, at);
        finding.object = harmless(&format!("machine id {}", host.id));
        finding.host = finding.host.filter(|_| severity != Severity::Technical);
        Some(finding)
    }
}

/// Most moves of one id that are remembered.
const MOST_MOVES: usize = 16;

impl Entry {
    fn new(host: &Host, heard: Timestamp) -> Self {
        Self {
            id: host.id.clone(),
            boot: host.boot.id.clone(),
            mac: host.mac.clone(),
            heard,
            left: false,
            started: false,
            journal: None,
        }
    }

    /// What is new, and takes it in.
    fn compare(&mut self, address: IpAddr, host: &Host, at: Timestamp) -> Option<Finding> {
        let quiet = at.since(self.heard);
        let found = if self.id != host.id {
            let text = format!(
                "another PC under this address: machine id {:.8} with {}, a moment ago {:.8} with {}",
                harmless(&host.id),
                card(host.mac.as_deref()),
                harmless(&self.id),
                card(self.mac.as_deref())
            );
            let conflict = !self.left && quiet < STILL_THERE;
            conflict.then(|| finding(OTHER_PC, Severity::Warning, (address, host), &text, at))
        } else if self.boot != host.boot.id && !host.boot.id.is_empty() {
            let severity = if self.left {
                Severity::Info
            } else {
                Severity::Warning
            };
            let text = "the PC was restarted: another boot than a moment ago";
            (quiet < AWAY).then(|| finding(REBOOTED, severity, (address, host), text, at))
        } else {
            self.heard = at;
            self.left = false;
            return None;
        };
        *self = Self::new(host, at);
        found
    }

    /// Follows the journal of the boot.
    fn follow(&mut self, address: IpAddr, event: &Event) -> Option<Finding> {
        if event.host.id != self.id || event.host.boot.id != self.boot {
            return None;
        }
        let (id, uptime_ms) = (event.place.journal, event.uptime_ms);
        let Some(current) = &mut self.journal else {
            self.started = false;
            self.journal = Some(Journal {
                id,
                first_ms: uptime_ms,
                before: None,
            });
            return None;
        };
        if current.id == id || uptime_ms < current.first_ms {
            return None;
        }
        let (about, at) = ((address, &event.host), event.occurrence.time);
        if current.before == Some(id) {
            let overlaps = uptime_ms > current.first_ms.saturating_add(OVERLAP_MS);
            let text = "two agents speak for this PC in turn: two journals at the same time";
            return overlaps.then(|| finding(TWO_AGENTS, Severity::Warning, about, text, at));
        }
        *current = Journal {
            id,
            first_ms: uptime_ms,
            before: Some(current.id),
        };
        // An agent also begins another journal when one is too large, refused or cannot be written.
        let text = "its agent was started again: a second journal in this boot";
        std::mem::take(&mut self.started)
            .then(|| finding(STARTED_AGAIN, Severity::Technical, about, text, at))
    }
}

fn card(mac: Option<&str>) -> String {
    mac.map_or("an unknown MAC".into(), |mac| {
        format!("MAC {}", harmless(mac))
    })
}

fn finding(
    rule: Rule,
    severity: Severity,
    (ip, host): (IpAddr, &Host),
    text: &str,
    time: Timestamp,
) -> Finding {
    let host = AlertHost {
        ip,
        name: harmless(&host.name),
    };
    Finding {
        rule,
        severity,
        message: format!("{}: {text}", who(&host)),
        host: Some(host),
        seat: None,
        object: rule.id.into(),
        time,
    }
}
