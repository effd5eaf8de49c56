//! How often something may be done: so many at once, then one per interval (GCRA, ITU-T I.371).
//!
//! Times are since the start of the program and never go back.

use std::time::Duration;

/// What is left of an allowance.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    interval: Duration,
    slack: Duration,
    /// When the next one would be due if they came evenly.
    due: Duration,
}

impl Budget {
    /// `at_once` in one moment, then one per `interval`.
    pub(crate) const fn new(at_once: u32, interval: Duration) -> Self {
        Self {
            interval,
            slack: interval.saturating_mul(at_once.saturating_sub(1)),
            due: Duration::ZERO,
        }
    }

    /// When the next one is allowed; not after `now` when it is allowed now.
    pub(crate) fn ready_at(&self) -> Duration {
        self.due.saturating_sub(self.slack)
    }

    /// Whether one is allowed now.
    pub(crate) fn is_ready(&self, now: Duration) -> bool {
        self.ready_at() <= now
    }

    /// Uses one up.
    pub(crate) fn spend(&mut self, now: Duration) {
        self.due = self.due.max(now).saturating_add(self.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_then_one_per_interval() {
        let mut budget = Budget::new(3, Duration::from_secs(1));
        let mut spent = 0;
        for tenth in 0..50 {
            let now = Duration::from_secs(100) + Duration::from_millis(100 * tenth);
            while budget.is_ready(now) {
                budget.spend(now);
                spent += 1;
            }
            if tenth == 0 {
                assert_eq!(spent, 3);
                assert_eq!(budget.ready_at(), Duration::from_secs(101));
            }
        }
        assert_eq!(spent, 3 + 4);
    }
}
