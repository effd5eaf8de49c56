//! When the log says that messages were refused or missed.
//!
//! A hostile or broken sender can refuse itself a thousand times a second. The log tells the first at once, and
//! then once in [`INTERVAL`] how many there were. Pure; `now` is an argument.

use labwatch_contract::time::Timestamp;

use crate::intake::Tally;

/// Milliseconds between two lines of the log.
const INTERVAL: u64 = 60_000;

/// What the log has said.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    told: Tally,
    last: Option<Timestamp>,
}

/// What somebody should look at, counted since the last time it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct News {
    /// Messages in quarantine.
    pub(crate) refused: u64,
    /// Those of them that were not kept because it is full.
    pub(crate) overflow: u64,
    /// Notes of missing events.
    pub(crate) gaps: u64,
    /// Messages that nobody sends again, and that the disk did not take.
    pub(crate) untaken: u64,
}

impl Notices {
    /// What is to be told now, if anything.
    pub(crate) fn due(&mut self, tally: Tally, now: Timestamp) -> Option<News> {
        let news = News {
            refused: tally.refused - self.told.refused,
            overflow: tally.overflow - self.told.overflow,
            gaps: tally.gaps - self.told.gaps,
            untaken: tally.untaken - self.told.untaken,
        };
        let quiet = self
            .last
            .is_some_and(|last| now.unix_ms().abs_diff(last.unix_ms()) < INTERVAL);
        if quiet || (news.refused == 0 && news.gaps == 0 && news.untaken == 0) {
            return None;
        }
        self.told = tally;
        self.last = Some(now);
        Some(news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_unix_ms(minutes * 60_000).unwrap()
    }

    #[test]
    fn the_first_is_told_at_once_and_the_rest_once_a_minute() {
        let mut notices = Notices::default();
        let mut tally = Tally::default();
        assert_eq!(notices.due(tally, at(60)), None);
        tally.refused = 1;
        let told = |refused| News {
            refused,
            overflow: 0,
            gaps: 0,
            untaken: 0,
        };
        assert_eq!(notices.due(tally, at(60)), Some(told(1)));
        tally.refused = 1000;
        assert_eq!(notices.due(tally, at(60)), None);
        assert_eq!(notices.due(tally, at(61)), Some(told(999)));
        assert_eq!(notices.due(tally, at(62)), None);
    }

    #[test]
    fn a_clock_set_back_does_not_silence_the_log() {
        let mut notices = Notices::default();
        let mut tally = Tally {
            gaps: 1,
            ..Tally::default()
        };
        assert!(notices.due(tally, at(60)).is_some());
        tally.gaps = 2;
        assert!(notices.due(tally, at(0)).is_some());
    }

    #[test]
    fn recorded_events_and_duplicates_are_no_news() {
        let tally = Tally {
            events: 5,
            duplicates: 5,
            ..Tally::default()
        };
        assert_eq!(Notices::default().due(tally, at(60)), None);
    }
}
