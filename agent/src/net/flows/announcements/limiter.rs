//! How many new conversations of one scope are told one by one; what is beyond becomes one sum, told when its window is over.

use std::{collections::VecDeque, time::Duration};

use labwatch_contract::{
    event::{Action, Interval, LabFields, Occurrence, contact::Burst},
    scope::Scope,
};

use super::Opening;
use crate::net::Moment;

/// So many new conversations within [`WINDOW`] are told one by one.
pub const BURST: usize = 50;
/// The time over which a burst is counted, and after which its sum is told.
pub const WINDOW: Duration = Duration::from_secs(10);

/// So many peers and ports stand in the sum of a burst.
const MOST_LISTED: usize = 100;
/// So many programs, as in a report.
const MOST_PROGRAMS: usize = 16;

/// Counts what is told one by one, and sums what is beyond.
#[derive(Debug)]
pub(super) struct Limiter {
    most: usize,
    told: VecDeque<Duration>,
    sum: Option<Sum>,
}

#[derive(Debug)]
struct Sum {
    since: Moment,
    burst: Burst,
}

impl Limiter {
    /// Tells at most so many within [`WINDOW`].
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            told: VecDeque::new(),
            sum: None,
        }
    }

    pub(super) fn admit(&mut self, opening: &Opening, now: Moment) -> bool {
        while self
            .told
            .front()
            .is_some_and(|&told| now.uptime.saturating_sub(told) >= WINDOW)
        {
            self.told.pop_front();
        }
        if self.told.len() < self.most {
            self.told.push_back(now.uptime);
            return true;
        }
        let sum = self.sum.get_or_insert_with(|| Sum {
            since: now,
            burst: Burst::default(),
        });
        sum.burst.count += 1;
        list(&mut sum.burst.peers, opening.peer(), MOST_LISTED);
        if let Some(port) = opening.conversation.service_port {
            list(&mut sum.burst.ports, port, MOST_LISTED);
        }
        false
    }

    pub(super) fn note_program(&mut self, name: Option<String>) {
        if let (Some(sum), Some(name)) = (&mut self.sum, name) {
            list(&mut sum.burst.processes, name, MOST_PROGRAMS);
        }
    }

    pub(super) fn due(&self) -> Option<Duration> {
        self.sum.as_ref().map(|sum| sum.since.uptime + WINDOW)
    }

    pub(super) fn take_sum(&mut self, scope: Scope, now: Moment) -> Option<Occurrence> {
        self.due().filter(|&due| due <= now.uptime)?;
        let Sum { since, burst } = self.sum.take()?;
        let interval = Interval {
            start: since.time,
            end: now.time,
        };
        Some(burst_occurrence(scope, burst, interval))
    }
}

fn burst_occurrence(scope: Scope, burst: Burst, interval: Interval) -> Occurrence {
    let lab = LabFields {
        scope: Some(scope),
        burst: Some(burst),
        ..LabFields::default()
    };
    Occurrence::of_interval(interval, Action::ConversationBurst, lab)
}

fn list<T: PartialEq>(listed: &mut Vec<T>, value: T, most: usize) {
    if listed.len() < most && !listed.contains(&value) {
        listed.push(value);
    }
}
