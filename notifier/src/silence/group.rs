//! PCs that fell silent together: one finding, and one when they are back.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use labwatch_contract::time::Timestamp;

use super::{Seats, Seen, pc::Cause, words};
use crate::rules::Finding;

/// How long after the first came back those who did not are told.
const STRAGGLERS: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(super) struct Group {
    /// Its name; never used twice.
    pub(super) number: u64,
    missing: BTreeSet<IpAddr>,
    first: IpAddr,
    size: usize,
    cause: Cause,
    /// When the first of them was last heard.
    since: Duration,
    /// How long the one that came back last was away.
    away: Duration,
    /// When those still missing are told.
    say: Option<Duration>,
    said: bool,
}

impl Group {
    pub(super) fn new(number: u64, members: Vec<IpAddr>, cause: Cause, since: Duration) -> Self {
        Self {
            number,
            size: members.len(),
            first: members
                .first()
                .copied()
                .unwrap_or(IpAddr::from([0_u8, 0, 0, 0])),
            missing: members.into_iter().collect(),
            cause,
            since,
            away: Duration::ZERO,
            say: None,
            said: false,
        }
    }

    pub(super) fn finding(&self, seats: &Seats, at: Timestamp) -> Finding {
        let missing = words::names(&self.missing, seats);
        words::many(self.size, &missing, self.first, self.cause, at)
    }

    /// One of them is back; whether all are.
    pub(super) fn returned(&mut self, address: IpAddr, seen: Seen) -> bool {
        self.missing.remove(&address);
        self.away = seen.now.saturating_sub(self.since);
        self.say.get_or_insert(seen.now + STRAGGLERS);
        self.missing.is_empty()
    }

    /// One of them is not missed any more; whether that was the last.
    pub(super) fn released(&mut self, address: IpAddr) -> bool {
        self.missing.remove(&address);
        self.size = self.size.saturating_sub(1);
        self.missing.is_empty()
    }

    /// Nobody of them is missing any more.
    pub(super) fn all_back(&self, at: Timestamp) -> Finding {
        words::all_back(self.size, self.first, self.away, at)
    }

    /// When [`Self::stragglers`] has something to say.
    pub(super) fn due(&self) -> Option<Duration> {
        self.say.filter(|_| !self.said)
    }

    /// Who is still missing, once most had time to come back.
    pub(super) fn stragglers(
        &mut self,
        seats: &Seats,
        now: Duration,
        at: Timestamp,
    ) -> Option<Finding> {
        self.due().filter(|due| now >= *due)?;
        self.said = true;
        let missing = words::names(&self.missing, seats);
        let count = (self.missing.len(), self.size);
        (!self.missing.is_empty()).then(|| words::stragglers(count, &missing, self.first, at))
    }
}
