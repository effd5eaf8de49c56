//! PCs that fell silent together: one finding, and one when they are back.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use labwatch_contract::time::Timestamp;

use super::{Seen, pc::Cause, words};
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
            say: None,
            said: false,
        }
    }

    pub(super) fn finding(&self, at: Timestamp) -> Finding {
        words::many(&self.missing, self.first, self.cause, at)
    }

    /// One of them is back; whether all are.
    pub(super) fn returned(&mut self, address: IpAddr, now: Duration) -> bool {
        self.missing.remove(&address);
        self.say.get_or_insert(now + STRAGGLERS);
        self.missing.is_empty()
    }

    pub(super) fn all_back(&self, seen: Seen) -> Finding {
        let away = seen.now.saturating_sub(self.since);
        words::all_back(self.size, self.first, away, seen.at)
    }

    /// Who is still missing, once most had time to come back.
    pub(super) fn stragglers(&mut self, now: Duration, at: Timestamp) -> Option<Finding> {
        let due = self.say.is_some_and(|say| now >= say) && !self.said;
        if !due || self.missing.is_empty() {
            return None;
        }
        self.said = true;
        Some(words::stragglers(&self.missing, self.size, self.first, at))
    }
}
