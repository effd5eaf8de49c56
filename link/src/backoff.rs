//! How long to wait before the next try: doubled after each failure, with jitter, bounded.
//!
//! Every wait but the first is drawn between half and all of the current bound, so that 3,000 agents do not
//! come back to a restarted broker in one instant. Pure: the random number is an argument.

use std::time::Duration;

/// The bound of the second wait.
const FIRST: Duration = Duration::from_millis(500);
/// No wait is longer: what fails must be visible within 8 s of the moment it works again.
const LONGEST: Duration = Duration::from_secs(5);

/// The waits between tries.
#[derive(Debug, Clone)]
pub struct Backoff {
    bound: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { bound: FIRST }
    }
}

impl Backoff {
    /// The next wait, with a random number between 0 and 1; at most 5 s.
    pub fn wait(&mut self, random: f64) -> Duration {
        let bound = self.bound;
        self.bound = (bound * 2).min(LONGEST);
        let share = if random.is_finite() {
            random.clamp(0.0, 1.0)
        } else {
            1.0
        };
        bound / 2 + (bound / 2).mul_f64(share)
    }

    /// After a success: the next failure waits briefly again.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_grow_up_to_five_seconds_and_start_again_after_a_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..6).map(|_| backoff.wait(1.0).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.wait(0.0).as_millis(), 250);
    }

    proptest! {
        #[test]
        fn no_random_number_makes_a_wait_of_zero_or_beyond_the_bound(randoms: Vec<f64>) {
            let mut backoff = Backoff::default();
            for random in randoms {
                let wait = backoff.wait(random);
                prop_assert!(wait >= FIRST / 2 && wait <= LONGEST);
            }
        }
    }
}
