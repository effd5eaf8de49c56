//! The end of an interval: its sums, names and programs become traffic reports.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{Flows, conversations::Conversations};
use crate::net::{
    Moment,
    report::{self, Traffic},
};

impl Flows {
    /// Ends the interval: its traffic reports become outputs, and the next interval begins.
    pub fn end_interval(&mut self, now: Moment) {
        self.settle();
        let taken = self.totals.take(&self.networks, now.uptime);
        let remarks = std::mem::take(&mut self.remarks);
        let programs = programs(&mut self.conversations, &self.own);
        let mut traffic = Traffic {
            start: self.interval_start.time,
            end: now.time,
            interfaces: taken.interfaces,
            peers: taken.peers,
            other_bytes: taken.other_bytes,
            overflow_bytes: taken.overflow_bytes,
            remarks,
        };
        for peer in &mut traffic.peers {
            if let Some(name) = self.names.get(peer.ip) {
                peer.name = Some(name.domain.clone());
                peer.name_source = name.source;
            }
            let programs = programs.get(&peer.ip).into_iter().flatten();
            peer.processes = programs
                .take(report::MOST_PROGRAMS)
                .map(|&name| name.to_owned())
                .collect();
        }
        self.interval_start = now;
        self.announcements.begin_interval(now.uptime);
        report::occurrences(traffic)
            .into_iter()
            .for_each(|one| self.tell(one));
    }
}

/// The programs that took part in the interval's conversations, by peer.
fn programs<'a>(
    conversations: &'a mut Conversations,
    own: &[IpAddr],
) -> BTreeMap<IpAddr, BTreeSet<&'a str>> {
    let mut programs = BTreeMap::<_, BTreeSet<_>>::new();
    for (conversation, name) in conversations.take_programs() {
        let is_own = own.contains(&conversation.source);
        let peer = if is_own {
            conversation.destination
        } else {
            conversation.source
        };
        programs.entry(peer).or_default().insert(name);
    }
    programs
}
