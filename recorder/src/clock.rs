//! Whether the recorder's own clock goes on as time does.
//!
//! The wall clock says when something was received, as it is: also after somebody has set it. That it was set, or that
//! the machine slept, shows beside the monotonic clock, and becomes a note. Slow corrections are followed. Pure; both
//! clocks are arguments.

use std::time::Instant;

use labwatch_contract::time::Timestamp;

/// Clocks are read one after the other, and the one is corrected slowly.
const JUMP_MS: i64 = 2_000;

/// Both clocks when they were last read.
#[derive(Debug)]
pub(crate) struct Clock {
    wall: Timestamp,
    monotonic: Instant,
}

impl Clock {
    /// A clock that reads this now.
    pub(crate) fn new(wall: Timestamp, monotonic: Instant) -> Self {
        Self { wall, monotonic }
    }

    /// What the wall clock said last.
    pub(crate) fn wall(&self) -> Timestamp {
        self.wall
    }

    /// The clocks read this now; by how many milliseconds the wall clock has jumped since, behind zero: back.
    pub(crate) fn read(&mut self, wall: Timestamp, monotonic: Instant) -> Option<i64> {
        let passed = monotonic.saturating_duration_since(self.monotonic);
        let passed = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
        let shown = wall.unix_ms().saturating_sub(self.wall.unix_ms());
        *self = Self { wall, monotonic };
        let jump = shown.saturating_sub(passed);
        (jump.saturating_abs() > JUMP_MS).then_some(jump)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn wall(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_800_000_000_000 + ms).unwrap()
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "some moment to count from")]
    fn a_clock_that_is_set_is_told_once_and_one_that_drifts_is_not() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut clock = Clock::new(wall(0), start);
        assert_eq!(clock.read(wall(61_000), at(60)), None);
        assert_eq!(clock.read(wall(122_000), at(120)), None);
        assert_eq!(
            clock.read(wall(123_000 - 3_600_000), at(121)),
            Some(-3_600_000)
        );
        assert_eq!(clock.wall(), wall(123_000 - 3_600_000));
        assert_eq!(clock.read(wall(124_000 - 3_600_000), at(122)), None);
        assert_eq!(clock.read(wall(125_000), at(123)), Some(3_600_000));
    }
}
