//! The board while the notifier runs: what others did, what was open before we came, our user's own acknowledgements.

use std::{env, time::Duration};

use labwatch_contract::time::Timestamp;
use labwatch_link::session::Message;
use tracing::warn;

use super::{Watch, at};
use crate::{
    board::{Acknowledged, Memory},
    rules,
};

impl Watch {
    /// A message of the board.
    pub(super) fn pinned(&mut self, message: &Message) {
        match self.board.read(message) {
            Ok(Some(acknowledged)) => self.acknowledged(&acknowledged),
            Ok(None) => {}
            Err(error) => self.inbox.refuse(&error),
        }
    }

    /// Somebody has dealt with an incident: it is repeated no more, and everybody is told who did.
    pub(super) fn acknowledged(&mut self, acknowledged: &Acknowledged) {
        let Acknowledged {
            incident,
            verdict,
            line,
        } = acknowledged;
        self.incidents.handle_ack(incident, *verdict);
        if let Some(line) = line {
            self.show(line);
        }
    }

    /// What happened before we came, as far as it can still be known.
    pub(super) fn remember(&mut self, memory: &Memory, at: Timestamp, now: Duration) {
        for (alert, verdict) in &memory.open {
            self.incidents.resume(alert, *verdict, now);
        }
        if let Some(before) = &memory.before {
            let gone = self.inbox.succeed(before, at);
            self.file(gone, now);
        }
        let away = memory.before.as_ref();
        let away = away.and_then(|before| rules::notifier::away(before, at));
        let own = away
            .into_iter()
            .chain(rules::notifier::still_open(memory, at));
        let own = self.inbox.dress_all(own, at);
        self.file(own, now);
    }

    /// Somebody has clicked on a pop-up that it was seen.
    pub(super) fn seen(&self, incident: &str) {
        let user = env::var("USER").unwrap_or_else(|_| "desktop".into());
        let ack = self.board.acknowledge(incident, &user, at());
        if ack.is_none_or(|ack| self.publisher.try_publish(ack).is_err()) {
            warn!(
                "{incident} could not be acknowledged: it is not on the board, or the broker is away"
            );
        }
    }

    /// Says that nobody watches any more, so that the next one knows since when.
    pub(super) fn last_word(&self) {
        // A broker that is away cannot be told; the last mark stands.
        let _ = self
            .board
            .mark(at(), self.inbox.seen(), true)
            .map(|mark| self.publisher.try_publish(mark));
    }
}
