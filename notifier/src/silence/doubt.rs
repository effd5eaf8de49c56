//! A PC in doubt: the probes sent since, and what came back.
//!
//! A probe without an answer within 700 ms is missed; the next one goes out with the next tick.

use std::time::Duration;

const ANSWER: Duration = Duration::from_millis(700);

/// What the probes have shown since the doubt began.
#[derive(Debug, Clone, Default)]
pub(super) struct Doubt {
    /// The probe that is out.
    asked: Option<Duration>,
    /// The last probe that came to an end: answered or missed.
    last: Option<bool>,
    answers: u32,
    missed: u32,
    /// When the first probe went out that nothing has been answered since.
    mute_since: Option<Duration>,
}

impl Doubt {
    /// Whether a probe is to go out now.
    pub(super) fn ask(&mut self, now: Duration) -> bool {
        if let Some(asked) = self.asked {
            if now < asked + ANSWER {
                return false;
            }
            self.missed = self.missed.saturating_add(1);
            self.last = Some(false);
            self.mute_since.get_or_insert(asked);
        }
        self.asked = Some(now);
        true
    }

    pub(super) fn answered(&mut self) {
        self.asked = None;
        self.last = Some(true);
        self.mute_since = None;
        self.answers = self.answers.saturating_add(1);
    }

    /// Whether it answers by now; `None` before the first probe came to an end.
    pub(super) fn answers(&self) -> Option<bool> {
        self.last
    }

    /// Whether at least two probes were answered and none was missed.
    pub(super) fn always_answered(&self) -> bool {
        self.missed == 0 && self.answers >= 2
    }

    /// How long nothing has been answered.
    pub(super) fn mute_for(&self, now: Duration) -> Duration {
        self.mute_since
            .map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }
}
