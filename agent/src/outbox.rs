//! From an occurrence to the event that leaves the PC: its number, its place in the chain, its turn.
//!
//! ```text
//! Occurrence --seal--> Sealed --(journal)--> queue --pop--> broker
//! ```
//!
//! Numbers start at 1 in each journal and have no holes; `prev` of the first event is the digest of the last one
//! of the journal before. The queue holds what was not yet handed to the connection, at most [`QUEUE`] events:
//! beyond that the oldest leaves the memory, stays in the journal, and is counted.

use std::collections::VecDeque;

use labwatch_contract::{
    chain::Digest,
    event::{Event, Host, Occurrence, Place},
    status::JournalRange,
    topic::Leaf,
};
use uuid::Uuid;

/// Events that wait in memory while the broker is away.
const QUEUE: usize = 4096;

/// An event with its number, as its bytes go to journal and broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// The topic below the PC's address.
    pub(crate) leaf: Leaf,
    /// One line of JSON without line feed.
    pub(crate) payload: Vec<u8>,
}

/// Why an occurrence became no event.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    /// The action has no topic.
    #[error("{0} has no topic")]
    NoTopic(String),
    /// It cannot be written as JSON.
    #[error("not written: {0}")]
    Json(#[from] serde_json::Error),
}

/// The numbers of one journal, and what waits to be sent.
#[derive(Debug)]
pub(crate) struct Outbox {
    journal: Uuid,
    last: u64,
    prev: Digest,
    queue: VecDeque<Sealed>,
    dropped: u64,
}

impl Outbox {
    /// A new journal that follows on `prev`, the digest of the last event before it.
    #[must_use]
    pub(crate) fn new(journal: Uuid, prev: Digest) -> Self {
        Self {
            journal,
            last: 0,
            prev,
            queue: VecDeque::new(),
            dropped: 0,
        }
    }

    /// Goes on in another journal; the chain goes on too.
    pub(crate) fn begin(&mut self, journal: Uuid) {
        self.journal = journal;
        self.last = 0;
    }

    /// Numbers an occurrence. Nothing is numbered when it fails, so that no hole appears.
    ///
    /// # Errors
    /// [`SealError`] for an occurrence that no topic carries.
    pub(crate) fn seal(
        &mut self,
        occurrence: Occurrence,
        host: &Host,
        uptime_ms: u64,
    ) -> Result<Sealed, SealError> {
        let action = &occurrence.action;
        let leaf = occurrence
            .leaf()
            .ok_or_else(|| SealError::NoTopic(action.to_string()))?;
        let place = Place {
            journal: self.journal,
            sequence: self.last + 1,
            prev: self.prev,
        };
        let payload = Event {
            occurrence,
            place,
            host: host.clone(),
            uptime_ms,
        }
        .to_payload()?;
        self.last += 1;
        self.prev = Digest::of(&payload);
        Ok(Sealed { leaf, payload })
    }

    /// Takes an event that stands in the journal to be sent.
    pub(crate) fn push(&mut self, event: Sealed) {
        if self.queue.len() == QUEUE {
            self.queue.pop_front();
            self.dropped += 1;
        }
        self.queue.push_back(event);
    }

    /// The event whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<Sealed> {
        self.queue.pop_front()
    }

    /// Whether nothing waits.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Events of this run that the broker was not given.
    #[must_use]
    pub(crate) fn backlog(&self) -> u64 {
        u64::try_from(self.queue.len())
            .unwrap_or(u64::MAX)
            .saturating_add(self.dropped)
    }

    /// The numbers given in the present journal.
    #[must_use]
    pub(crate) fn range(&self) -> JournalRange {
        JournalRange {
            journal: self.journal,
            first: 1,
            last: self.last,
        }
    }
}

#[cfg(test)]
mod tests {
    use labwatch_contract::event::{Action, Boot, Fields, Head};
    use proptest::prelude::*;

    use super::*;

    fn host() -> Host {
        let ip = [10, 0, 0, 1].into();
        Host {
            ip,
            name: "pc".into(),
            id: "id".into(),
            mac: None,
            boot: Boot::default(),
        }
    }

    fn occurrence(action: Action) -> Occurrence {
        Occurrence {
            time: "2026-11-22T09:31:05Z".parse().unwrap(),
            action,
            fields: Fields::default(),
        }
    }

    #[test]
    fn numbers_have_no_holes_and_each_event_names_the_one_before() {
        let mut outbox = Outbox::new(Uuid::from_u128(1), Digest::ZERO);
        let mut prev = Digest::ZERO;
        for sequence in 1..=3 {
            assert!(
                outbox
                    .seal(occurrence(Action::Other("x".into())), &host(), 0)
                    .is_err()
            );
            let sealed = outbox
                .seal(occurrence(Action::EventsLost), &host(), 0)
                .unwrap();
            let place = Head::from_payload(&sealed.payload).unwrap().place;
            assert_eq!(
                place,
                Place {
                    journal: Uuid::from_u128(1),
                    sequence,
                    prev
                }
            );
            prev = Digest::of(&sealed.payload);
        }
        outbox.begin(Uuid::from_u128(2));
        let sealed = outbox
            .seal(occurrence(Action::EventsLost), &host(), 0)
            .unwrap();
        let place = Head::from_payload(&sealed.payload).unwrap().place;
        assert_eq!(
            place,
            Place {
                journal: Uuid::from_u128(2),
                sequence: 1,
                prev
            }
        );
    }

    proptest! {
        #[test]
        fn the_queue_is_bounded_and_what_left_it_is_counted(pushed in 0_usize..3 * QUEUE) {
            let mut outbox = Outbox::new(Uuid::nil(), Digest::ZERO);
            for number in 0..pushed {
                outbox.push(Sealed { leaf: Leaf::Usb, payload: number.to_string().into_bytes() });
            }
            prop_assert!(outbox.queue.len() <= QUEUE);
            prop_assert_eq!(outbox.backlog(), u64::try_from(pushed).unwrap());
            let first = outbox.pop().map(|event| event.payload);
            prop_assert_eq!(first, pushed.checked_sub(1).map(|_| pushed.saturating_sub(QUEUE).to_string().into_bytes()));
        }
    }
}
