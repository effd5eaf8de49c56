//! Scans: one PC that tries one machine after the other, or has very many conversations at once.
//!
//! Bounded: 64 recent attempts for each PC.

use std::{
    collections::{BTreeSet, VecDeque},
    net::IpAddr,
    time::Duration,
};

use labwatch_contract::{
    alert::Severity,
    event::{Occurrence, contact::Direction},
    scope::Scope,
    time::Timestamp,
};

use crate::rules::{Incomplete, Rule, Verdict, some};

const SCAN: Rule = Rule::new("scan", "conversation-burst", "Very many conversations");
const SLOW_SCAN: Rule = Rule::new("scan", "intranet-scan", "Many machines tried");
pub(in crate::rules) const RULES: &[Rule] = &[SCAN, SLOW_SCAN];

const MOST_RECENT: usize = 64;
/// So many machines within [`SCAN_WINDOW`] are a scan.
const SCANNED: usize = 10;
const SCAN_WINDOW: Duration = Duration::from_secs(60);

/// Machines that the PC opened a conversation to, and when.
#[derive(Debug, Default)]
pub(in crate::rules) struct Tried {
    recent: VecDeque<(Timestamp, IpAddr)>,
}

impl Tried {
    /// Whether the PC tries one machine after the other; if so, which, the newest first.
    pub(super) fn scans(&mut self, peer: IpAddr, time: Timestamp) -> Option<Vec<IpAddr>> {
        self.recent
            .retain(|(tried, _)| time.since(*tried) < SCAN_WINDOW);
        if self.recent.len() == MOST_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((time, peer));
        let mut seen = BTreeSet::new();
        let newest = self.recent.iter().rev().map(|(_, peer)| *peer);
        let peers: Vec<IpAddr> = newest.filter(|peer| seen.insert(*peer)).collect();
        (peers.len() >= SCANNED).then_some(peers)
    }
}

/// What the rules say of the sum of a burst; in the internet many at once are a web page.
pub(in crate::rules) fn burst(occurrence: &Occurrence) -> Result<Option<Verdict>, Incomplete> {
    let fields = &occurrence.fields;
    if fields.lab.scope == Some(Scope::Internet) {
        return Ok(None);
    }
    let burst = fields.lab.burst.as_ref().ok_or(Incomplete("lab.burst"))?;
    let direction = fields.network.as_ref().map(|network| network.direction);
    let (who, object) = if direction == Some(Direction::Ingress) {
        ("was contacted in", "ingress")
    } else {
        ("had", "egress")
    };
    let seconds = fields
        .interval
        .map(|interval| interval.end.since(interval.start).as_secs());
    Ok(Some(Verdict {
        rule: SCAN,
        severity: Severity::Warning,
        object: object.into(),
        text: format!(
            "network accessed: {who} {} more conversations within {} s, peers {}, ports {}: many for one program",
            burst.count,
            seconds.unwrap_or(10),
            some(&burst.peers),
            some(&burst.ports),
        ),
    }))
}

pub(super) fn slow_scan(peers: &[IpAddr]) -> Verdict {
    Verdict {
        rule: SLOW_SCAN,
        severity: Severity::Warning,
        object: "egress".into(),
        text: format!(
            "network accessed: tried {} machines within {} s: {}",
            peers.len(),
            SCAN_WINDOW.as_secs(),
            some(peers)
        ),
    }
}
