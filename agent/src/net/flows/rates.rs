//! Rates of a peer over the last 2, 10 and 40 seconds, by its bytes of each second.
//!
//! The second that runs is two numbers; of those before a table is kept, once there are any. A frame of the past (one that
//! is read late) counts for the second that runs: no byte is lost by a clock that stands still or goes back.

use std::time::Duration;

use labwatch_contract::event::report::Rates;

/// Seconds that the longest rate looks back, and the one that is running.
const SECONDS: usize = 41;

/// Bytes by second, sent and received.
#[derive(Debug, Default)]
pub(super) struct Seconds {
    /// The one that runs, since the agent's start.
    running: u64,
    bytes: [u32; 2],
    before: Option<Box<Table>>,
}

/// Of the seconds before the running one; slot = second modulo [`SECONDS`].
#[derive(Debug)]
struct Table([[u32; 2]; SECONDS]);

impl Seconds {
    #[inline]
    pub(super) fn add(&mut self, is_sent: bool, more: u64, now: Duration) {
        if now.as_secs() > self.running {
            self.begin(now.as_secs());
        }
        let [sent, received] = &mut self.bytes;
        let bytes = if is_sent { sent } else { received };
        *bytes = bytes.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
    }

    #[cold]
    fn begin(&mut self, second: u64) {
        let over = std::mem::take(&mut self.bytes);
        if over != [0, 0] || self.before.is_some() {
            let table = self
                .before
                .get_or_insert_with(|| Box::new(Table([[0; 2]; SECONDS])));
            table.set(self.running, over);
            let silent = self.running + 1..second;
            silent
                .take(SECONDS)
                .for_each(|second| table.set(second, [0, 0]));
        }
        self.running = second;
    }

    /// Bits per second up to now, sent and received. The second in which a window begins counts by the part that lies within it.
    pub(super) fn rates(&self, now: Duration) -> (Rates, Rates) {
        (
            self.rates_of(now, |[sent, _]| sent),
            self.rates_of(now, |[_, received]| received),
        )
    }

    fn rates_of(&self, now: Duration, direction: impl Fn([u32; 2]) -> u32) -> Rates {
        let this = now.as_secs();
        let outside = u64::from(now.subsec_millis());
        let at = |second: Option<u64>| u64::from(direction(self.at(second)));
        let over = |seconds: u64| {
            let full: u64 = (0..seconds).map(|back| at(this.checked_sub(back))).sum();
            let first = at(this.checked_sub(seconds)) * (1000 - outside) / 1000;
            (full + first) * 8 / seconds
        };
        Rates {
            over_2s: over(2),
            over_10s: over(10),
            over_40s: over(40),
        }
    }

    fn at(&self, second: Option<u64>) -> [u32; 2] {
        let age = second.and_then(|second| self.running.checked_sub(second));
        match (age, &self.before) {
            (Some(0), _) => self.bytes,
            (Some(age), Some(table)) if usize::try_from(age).is_ok_and(|age| age < SECONDS) => {
                table.get(self.running - age)
            }
            _ => [0, 0],
        }
    }
}

impl Table {
    fn set(&mut self, second: u64, bytes: [u32; 2]) {
        if let Some(slot) = self.0.get_mut(slot_of(second)) {
            *slot = bytes;
        }
    }

    fn get(&self, second: u64) -> [u32; 2] {
        self.0.get(slot_of(second)).copied().unwrap_or_default()
    }
}

fn slot_of(second: u64) -> usize {
    usize::try_from(second).map_or(0, |second| second % SECONDS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rates_of(frames: &[(u64, u32)], now_ms: u64) -> (u64, u64, u64) {
        let mut seconds = Seconds::default();
        for &(ms, len) in frames {
            seconds.add(true, u64::from(len), Duration::from_millis(ms));
        }
        let (sent, received) = seconds.rates(Duration::from_millis(now_ms));
        assert_eq!(received, Rates::default());
        (sent.over_2s, sent.over_10s, sent.over_40s)
    }

    #[test]
    fn rates_look_back_over_2_10_and_40_seconds() {
        assert_eq!(rates_of(&[(0, 1000)], 500), (4000, 800, 200));
        assert_eq!(rates_of(&[(0, 1000)], 5_000), (0, 800, 200));
        assert_eq!(rates_of(&[(0, 1000)], 39_999), (0, 0, 200));
        assert_eq!(rates_of(&[(0, 1000)], 41_000), (0, 0, 0));
        assert_eq!(rates_of(&[(0, 1000)], 1_000_000), (0, 0, 0));
    }

    #[test]
    fn the_second_in_which_a_window_begins_counts_by_its_part() {
        assert_eq!(rates_of(&[(10_000, 1000)], 12_250).0, 3000);
    }

    #[test]
    fn what_is_older_than_the_table_is_forgotten_when_its_slot_comes_round() {
        let second = 1000;
        assert_eq!(
            rates_of(&[(0, 5000), (41 * second, 1000)], 41 * second),
            (4000, 800, 200)
        );
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_loses_no_byte() {
        assert_eq!(
            rates_of(&[(3000, 1000), (1000, 1000)], 3000),
            (8000, 1600, 400)
        );
    }

    proptest! {
        #[test]
        fn rates_are_those_of_all_frames_by_second(frames in prop::collection::vec((0_u64..100, 0_u32..2000), 0..60), now in 0_u64..150) {
            let mut frames = frames;
            frames.sort_unstable();
            let second = |&(second, len): &(u64, u32)| (second * 1000, len);
            let told: Vec<_> = frames.iter().filter(|(at, _)| *at <= now).map(second).collect();
            let within = |seconds: u64| -> u64 {
                let bytes = frames.iter().filter(|(at, _)| *at <= now && *at + seconds >= now);
                bytes.map(|(_, len)| u64::from(*len)).sum::<u64>() * 8 / seconds
            };
            prop_assert_eq!(rates_of(&told, now * 1000), (within(2), within(10), within(40)));
        }
    }
}
