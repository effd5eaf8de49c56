//! Heartbeats that wait to be read together: nearly all that comes in a quiet lab, and nothing in them is urgent.
//!
//! One after the other each would find the caches cold, and reading it would cost several times as much. So they wait, each
//! with the moment it came, until one comes [`WAIT`] after the first; where none comes, the clock ends it after
//! [`LONGEST_WAIT`]. Waking for the clock as well would cost as much again. Whatever else comes is read after them, so the
//! order stays. Bounded: [`MOST`] wait.

use std::time::Duration;

use labwatch_contract::{time::Timestamp, topic::Leaf};
use labwatch_link::session::Message;

/// A quarter of the time between two heartbeats of a PC, so its silence is judged as before.
const WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
const MOST: usize = 256;

/// The heartbeats that wait, and when each came.
#[derive(Debug, Default)]
pub(super) struct Beats(Vec<(Message, Timestamp, Duration)>);

impl Beats {
    /// Whether this is a heartbeat, and there is room for it.
    pub(super) fn takes(&self, message: &Message) -> bool {
        let leaf = message.topic.rsplit('/').next();
        self.0.len() < MOST && leaf == Some(Leaf::Health.text())
    }

    /// Keeps a message that came at `at`, `now` after the start.
    pub(super) fn hold(&mut self, message: Message, at: Timestamp, now: Duration) {
        self.0.push((message, at, now));
    }

    /// Whether the first has waited long enough.
    pub(super) fn are_due(&self, now: Duration) -> bool {
        let first = self.0.first();
        first.is_some_and(|(_, _, came)| now >= *came + WAIT)
    }

    /// When [`Self::release`] wants to be called, though no further one comes.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.0.first().map(|(_, _, came)| *came + LONGEST_WAIT)
    }

    /// All that wait, the first to come first.
    pub(super) fn release(&mut self) -> Vec<(Message, Timestamp, Duration)> {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use labwatch_link::QoS;

    use super::*;

    fn message(topic: &str) -> Message {
        Message {
            topic: topic.into(),
            payload: Vec::new().into(),
            qos: QoS::AtMostOnce,
            retain: false,
        }
    }

    #[test]
    fn only_heartbeats_wait() {
        let beats = Beats::default();
        assert!(beats.takes(&message("lab/10.0.0.1/health")));
        for topic in [
            "lab/10.0.0.1/usb",
            "lab/10.0.0.1/status",
            "lab/alerts/x",
            "",
        ] {
            assert!(!beats.takes(&message(topic)), "{topic}");
        }
    }

    #[test]
    fn heartbeats_wait_for_one_half_a_second_later_and_keep_their_order_and_moments() {
        let at = Timestamp::from_unix_ms(0).unwrap();
        let mut beats = Beats::default();
        assert_eq!(beats.poll_timeout(), None);
        assert!(!beats.are_due(Duration::MAX));
        for second in [1, 2] {
            let topic = format!("lab/10.0.0.{second}/health");
            beats.hold(message(&topic), at, Duration::from_secs(second));
        }
        assert_eq!(beats.poll_timeout(), Some(Duration::from_secs(2)));
        let due = [1499, 1500].map(|ms| beats.are_due(Duration::from_millis(ms)));
        assert_eq!(due, [false, true]);
        let read = beats.release().into_iter();
        let read: Vec<_> = read
            .map(|(beat, _, came)| (beat.topic, came.as_secs()))
            .collect();
        let expected = [
            ("lab/10.0.0.1/health".into(), 1),
            ("lab/10.0.0.2/health".into(), 2),
        ];
        assert_eq!(read, expected);
        assert_eq!(beats.poll_timeout(), None);
    }

    #[test]
    fn only_so_many_heartbeats_wait() {
        let at = Timestamp::from_unix_ms(0).unwrap();
        let mut beats = Beats::default();
        let beat = message("lab/10.0.0.1/health");
        while beats.takes(&beat) {
            beats.hold(beat.clone(), at, Duration::ZERO);
        }
        assert_eq!(beats.release().len(), MOST);
    }
}
