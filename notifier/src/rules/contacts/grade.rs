//! What comes of the local conversations of one PC, by its traffic reports: nothing, an exchange, a lasting one.
//!
//! Bounded: 64 peers; who has not answered makes room first, then the oldest. Those that a report does not name as active have
//! ended, and so have attempts that three in a row do not name at all.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

use labwatch_contract::event::report::PeerTotals;

use super::{EXCHANGE, SUSTAINED};
use crate::rules::{Finding, Rule, usb::size};

const MOST_PEERS: usize = 64;
const MOST_OBJECTS: usize = 8;
/// So many reports in a row with data both ways, or so many bytes, are a lasting exchange.
const REPORTS: u32 = 3;
const MANY_BYTES: u64 = 1_000_000;
/// So many reports in a row that do not name the peer of an attempt end it.
const MOST_IDLE: u32 = 3;

/// The local conversations of one PC that are no part of the exam.
#[derive(Debug, Default)]
pub(in crate::rules) struct Conversations {
    open: BTreeMap<IpAddr, Open>,
}

#[derive(Debug)]
struct Open {
    /// Its last finding.
    finding: Finding,
    /// What its last few findings were about: one PC may have several conversations with another.
    objects: VecDeque<String>,
    /// It was not told, and is when this PC has sent something.
    until_sent: bool,
    /// Reports since the one that named the peer last.
    idle: u32,
    /// Whether this report, as far as it has come, has data both ways.
    active: bool,
    reports: u32,
    bytes: u64,
}

impl Conversations {
    /// A conversation with a peer was told of.
    pub(super) fn remember(&mut self, peer: IpAddr, finding: &Finding) {
        self.remember_untold(peer, finding, false);
        if let Some(open) = self.open.get_mut(&peer) {
            (open.finding, open.until_sent) = (finding.clone(), false);
            if !open.objects.contains(&finding.object) {
                open.objects.truncate(MOST_OBJECTS - 1);
                open.objects.push_front(finding.object.clone());
            }
        }
    }

    /// Whether this conversation with a peer is among those told last.
    pub(super) fn was_told(&self, peer: IpAddr, object: &str) -> bool {
        let open = self.open.get(&peer);
        open.is_some_and(|open| open.objects.iter().any(|told| told == object))
    }

    /// A conversation that is no finding yet; whether it is one as soon as this PC sends something.
    pub(super) fn remember_untold(&mut self, peer: IpAddr, finding: &Finding, until_sent: bool) {
        if self.open.len() >= MOST_PEERS && !self.open.contains_key(&peer) {
            self.make_room();
        }
        self.open.entry(peer).or_insert_with(|| Open {
            finding: finding.clone(),
            objects: [finding.object.clone()].into(),
            until_sent,
            idle: 0,
            active: false,
            reports: 0,
            bytes: 0,
        });
    }

    fn make_room(&mut self) {
        let age = |(_, open): &(&IpAddr, &Open)| (open.reports > 0, open.finding.time);
        let oldest = self.open.iter().min_by_key(age);
        if let Some(peer) = oldest.map(|(peer, _)| *peer) {
            self.open.remove(&peer);
        }
    }

    /// What a report makes of the conversations; those it does not name have ended. A report in parts names each peer in one
    /// of them, so that only after the `last` one is known whom it does not name.
    pub(super) fn grade(
        &mut self,
        peers: &[PeerTotals],
        last: bool,
    ) -> Vec<(Rule, Finding, String)> {
        let active: BTreeMap<IpAddr, &PeerTotals> = peers
            .iter()
            .filter(|totals| is_exchange(totals))
            .map(|totals| (totals.ip.to_canonical(), totals))
            .collect();
        let mut graded = self.sent(peers);
        for totals in peers {
            if let Some(open) = self.open.get_mut(&totals.ip.to_canonical()) {
                open.idle = 0;
            }
        }
        for (peer, totals) in active {
            if let Some(open) = self.open.get_mut(&peer) {
                open.active = true;
                graded.extend(open.add(totals));
            }
        }
        if last {
            self.open.retain(|_, open| open.goes_on());
        }
        graded
    }

    /// What was not told until this PC sent something, which a report says now.
    fn sent(&mut self, peers: &[PeerTotals]) -> Vec<(Rule, Finding, String)> {
        let mut found = Vec::new();
        for totals in peers.iter().filter(|totals| said(totals).0 > 0) {
            let open = self.open.get_mut(&totals.ip.to_canonical());
            if let Some(open) = open
                && std::mem::take(&mut open.until_sent)
            {
                // What was answered as well is told as an exchange.
                let told = (said(totals).1 == 0)
                    .then(|| (open.finding.rule, open.finding.clone(), sums(totals)));
                found.extend(told);
            }
        }
        found
    }
}

/// Whether programs at both ends said something.
fn is_exchange(totals: &PeerTotals) -> bool {
    let (sent, received) = said(totals);
    sent > 0 && received > 0
}

/// What a program here said, and one there. Packets tell it only where nothing better was counted: a refusal is one as well.
fn said(totals: &PeerTotals) -> (u64, u64) {
    let sent = totals.sent_payload_bytes;
    let received = totals.received_payload_bytes;
    (
        sent.unwrap_or(totals.sent_packets),
        received.unwrap_or(totals.received_packets),
    )
}

impl Open {
    fn add(&mut self, totals: &PeerTotals) -> Option<(Rule, Finding, String)> {
        let was_sustained = self.is_sustained();
        let bytes = totals.sent_bytes.saturating_add(totals.received_bytes);
        self.bytes = self.bytes.saturating_add(bytes);
        self.reports = self.reports.saturating_add(1);
        let rule = match (self.is_sustained(), self.reports) {
            (true, _) if !was_sustained => SUSTAINED,
            (false, 1) => EXCHANGE,
            _ => return None,
        };
        Some((rule, self.finding.clone(), sums(totals)))
    }

    /// Whether it has not ended with a report that is complete now.
    fn goes_on(&mut self) -> bool {
        self.idle += 1;
        let active = std::mem::take(&mut self.active);
        active || self.reports == 0 && self.idle <= MOST_IDLE
    }

    fn is_sustained(&self) -> bool {
        self.reports >= REPORTS || self.bytes >= MANY_BYTES
    }
}

fn sums(totals: &PeerTotals) -> String {
    format!(
        "{} sent, {} received",
        size(totals.sent_bytes),
        size(totals.received_bytes)
    )
}
