//! Moments in which packets went by unseen: what becomes a `capture-gap` event, with from and to.
//!
//! An interface is blind from the end of a capture, or from the moment it came, until a capture is open. That is a gap only
//! if its own counters have grown meanwhile, or if it could not be captured at all. Sleep is told by the clock that counts
//! it (CLOCK_BOOTTIME) running ahead of the one that does not (CLOCK_MONOTONIC); both have to be read together and late
//! reads do no harm.

use std::{collections::HashMap, time::Duration};

use labwatch_contract::{event::Interval, time::Timestamp};

/// Interfaces that are remembered after their capture ended.
const MOST_BLIND: usize = 256;
/// Less is no sleep but two clocks read one after the other.
const SHORTEST_SLEEP: Duration = Duration::from_millis(500);

/// A moment in which packets may not have been seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// From when to when.
    pub interval: Interval,
    /// Why, in words.
    pub reason: String,
}

/// What the captures did not see.
#[derive(Debug, Default)]
pub struct Gaps {
    blind: HashMap<u32, Blind>,
    ahead: Option<Duration>,
}

#[derive(Debug)]
struct Blind {
    since: Timestamp,
    counter: Option<u64>,
    /// Why there is no capture, where there should be one.
    failed: Option<String>,
}

impl Gaps {
    /// An interface, by its index, that came at `since` or whose capture has ended then, with what its own counters said
    /// (bytes). A second call before [`Gaps::opened`] changes nothing.
    pub fn blind(&mut self, interface: u32, counter: Option<u64>, since: Timestamp) {
        let blind = Blind {
            since,
            counter,
            failed: None,
        };
        if self.blind.len() < MOST_BLIND {
            self.blind.entry(interface).or_insert(blind);
        }
    }

    /// An interface could not be captured. The gap as far as it is known; only the first time.
    pub fn failed(&mut self, interface: u32, why: &str, now: Timestamp) -> Option<Gap> {
        self.blind(interface, None, now);
        let blind = self.blind.get_mut(&interface)?;
        if blind.failed.is_some() {
            return None;
        }
        blind.failed = Some(why.to_owned());
        Some(gap(blind.since, now, why.to_owned()))
    }

    /// An interface is captured from now on. The gap that is over, where there was one.
    pub fn opened(&mut self, interface: u32, counter: Option<u64>, now: Timestamp) -> Option<Gap> {
        let blind = self.blind.remove(&interface)?;
        let grown = counter
            .zip(blind.counter)
            .map(|(now, before)| now.wrapping_sub(before));
        let reason = match (blind.failed, grown) {
            (Some(why), _) => format!("seen again; before: {why}"),
            (None, Some(0)) => return None,
            (None, Some(bytes)) => format!("{bytes} bytes went by before it was captured"),
            (None, None) => "it was not captured".to_owned(),
        };
        Some(gap(blind.since, now, reason))
    }

    /// Forgets interfaces that have gone for good: one that comes again has another index.
    pub fn forget_gone(&mut self, is_here: impl Fn(u32) -> bool) {
        self.blind.retain(|interface, _| is_here(*interface));
    }

    /// Whether the PC has slept since the last call: `ahead` is how far CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC.
    pub fn woke(&mut self, ahead: Duration, now: Timestamp) -> Option<Gap> {
        let before = self.ahead.replace(ahead).unwrap_or(ahead);
        let slept = ahead.saturating_sub(before);
        let reason = || format!("the PC slept for {} s", slept.as_secs().max(1));
        (slept >= SHORTEST_SLEEP).then(|| gap(now.earlier(slept), now, reason()))
    }
}

/// A gap from when to when, and why.
#[must_use]
pub fn gap(start: Timestamp, end: Timestamp, reason: String) -> Gap {
    let interval = Interval { start, end };
    Gap { interval, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(ms).unwrap()
    }

    #[test]
    fn interfaces_that_come_and_go_leave_room_for_the_next() {
        let mut gaps = Gaps::default();
        for index in 1..1000 {
            gaps.blind(index, Some(0), at(0));
            gaps.forget_gone(|here| here == index + 1);
        }
        gaps.blind(1000, Some(0), at(0));
        assert!(gaps.opened(1000, Some(7), at(9)).is_some());
    }

    #[test]
    fn an_interface_over_which_nothing_went_meanwhile_had_no_gap() {
        let mut gaps = Gaps::default();
        gaps.blind(1, Some(100), at(0));
        assert_eq!(gaps.opened(1, Some(100), at(9)), None);
        assert_eq!(gaps.opened(1, Some(100), at(9)), None);
    }

    #[test]
    fn bytes_that_went_by_are_a_gap_from_the_first_blind_moment() {
        let mut gaps = Gaps::default();
        gaps.blind(1, Some(100), at(3));
        gaps.blind(1, Some(150), at(5));
        let found = gaps.opened(1, Some(170), at(9)).unwrap();
        assert_eq!(found.interval.start, at(3));
        assert_eq!(found.interval.end, at(9));
        assert!(found.reason.starts_with("70 bytes"));
    }

    #[test]
    fn an_interface_that_cannot_be_captured_is_told_once_and_when_it_is_over() {
        let mut gaps = Gaps::default();
        let told = gaps.failed(1, "no right", at(3)).unwrap();
        assert_eq!(told.reason, "no right");
        assert_eq!(gaps.failed(1, "no right", at(5)), None);
        let over = gaps.opened(1, None, at(9)).unwrap();
        assert_eq!((over.interval.start, over.interval.end), (at(3), at(9)));
    }

    #[test]
    fn sleep_is_a_gap_of_its_length() {
        let mut gaps = Gaps::default();
        let ahead = Duration::from_secs;
        assert_eq!(gaps.woke(ahead(100), at(0)), None, "slept before the start");
        assert_eq!(gaps.woke(ahead(100), at(1)), None);
        let slept = gaps.woke(ahead(160), at(100_000)).unwrap();
        assert_eq!(slept.interval.start, at(40_000));
        assert_eq!(slept.reason, "the PC slept for 60 s");
        assert_eq!(gaps.woke(ahead(160), at(100_001)), None);
    }

    #[test]
    fn interfaces_that_never_come_back_are_not_kept_without_end() {
        let mut gaps = Gaps::default();
        (0..10_000).for_each(|index| gaps.blind(index, None, at(0)));
        assert_eq!(gaps.blind.len(), MOST_BLIND);
    }
}
