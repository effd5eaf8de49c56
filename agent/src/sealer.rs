//! From an occurrence to an event: its number, its place in the chain, its bytes.
//!
//! Numbers start at 1 in each journal and have no holes; `prev` of a journal's first event is the digest of the last
//! event of the journal before. What cannot be written takes no number. Pure.

use bytes::Bytes;
use labwatch_contract::{
    chain::Digest,
    event::{Event, Host, Occurrence, Place},
    time::Timestamp,
    topic::Leaf,
};
use uuid::Uuid;

/// An event with its number, as its bytes go to journal and broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The topic below the PC's address.
    pub leaf: Leaf,
    /// Journal, number and the digest of the event before.
    pub place: Place,
    /// One line of JSON without line feed.
    pub payload: Bytes,
}

/// Why an occurrence became no event.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The action has no topic.
    #[error("{0} has no topic")]
    NoTopic(String),
    /// It cannot be written as JSON.
    #[error("not written: {0}")]
    Json(#[from] serde_json::Error),
}

/// What happened waits for a name, or in a queue, for less than this until it is an event.
const LONGEST_WAY_MS: u64 = 10_000;

/// Milliseconds since boot at which something happened at `time`, when they are `uptime_ms` at the moment `now`. Both
/// of an event's clocks then tell of one moment, and what has waited looks like no jump of the wall clock. A `time` that
/// cannot be right any more says nothing: the clock has jumped meanwhile.
#[must_use]
pub fn uptime_at(time: Timestamp, now: Timestamp, uptime_ms: u64) -> u64 {
    let ago = u64::try_from(now.unix_ms().saturating_sub(time.unix_ms())).unwrap_or_default();
    if ago <= LONGEST_WAY_MS {
        uptime_ms.saturating_sub(ago)
    } else {
        uptime_ms
    }
}

/// Gives the numbers of one journal after another.
#[derive(Debug)]
pub struct Sealer {
    journal: Uuid,
    last: u64,
    prev: Digest,
}

impl Sealer {
    /// A new journal that follows on `prev`, the digest of the last event before it.
    #[must_use]
    pub fn new(journal: Uuid, prev: Digest) -> Self {
        Self {
            journal,
            last: 0,
            prev,
        }
    }

    /// Goes on in another journal; the chain goes on too.
    pub fn begin(&mut self, journal: Uuid) {
        *self = Self::new(journal, self.prev);
    }

    /// Numbers an occurrence. Nothing is numbered when it fails, so that no hole appears.
    ///
    /// # Errors
    /// [`SealError`] for an occurrence that no topic carries.
    pub fn seal(
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
        let event = Event {
            occurrence,
            place,
            host: host.clone(),
            uptime_ms,
        };
        let payload = Bytes::from(event.to_payload()?);
        self.last += 1;
        self.prev = Digest::of(&payload);
        Ok(Sealed {
            leaf,
            place,
            payload,
        })
    }

    /// Gives the event sealed last, which its journal could not take, the first number of another journal.
    ///
    /// # Errors
    /// As [`Self::seal`]; none in practice, for it was sealed once.
    pub fn seal_again(&mut self, refused: &Sealed, journal: Uuid) -> Result<Sealed, SealError> {
        let event = Event::from_payload(&refused.payload)?;
        *self = Self::new(journal, refused.place.prev);
        self.seal(event.occurrence, &event.host, event.uptime_ms)
    }
}

#[cfg(test)]
mod tests {
    use labwatch_contract::event::{Action, Boot, Fields, Head};

    use super::*;

    #[test]
    fn an_event_that_waited_has_the_uptime_of_its_moment_unless_the_clock_jumped() {
        let at =
            |seconds: i64| Timestamp::from_unix_ms(1_800_000_000_000 + seconds * 1000).unwrap();
        assert_eq!(uptime_at(at(0), at(2), 60_000), 58_000);
        assert_eq!(uptime_at(at(0), at(0), 60_000), 60_000);
        assert_eq!(uptime_at(at(0), at(3600), 60_000), 60_000);
        assert_eq!(uptime_at(at(0), at(-3600), 60_000), 60_000);
        assert_eq!(uptime_at(at(0), at(9), 5_000), 0);
    }

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

    fn place(sealed: &Sealed) -> Place {
        let place = Head::from_payload(&sealed.payload).unwrap().place;
        assert_eq!(place, sealed.place);
        place
    }

    #[test]
    fn numbers_have_no_holes_and_each_event_names_the_one_before() {
        let mut sealer = Sealer::new(Uuid::from_u128(1), Digest::ZERO);
        let mut prev = Digest::ZERO;
        let mut seal = |sealer: &mut Sealer, journal, sequence| {
            let unknown = occurrence(Action::Other("x".into()));
            assert!(sealer.seal(unknown, &host(), 0).is_err());
            let sealed = sealer.seal(occurrence(Action::EventsLost), &host(), 0);
            let sealed = sealed.unwrap();
            let expected = Place {
                journal: Uuid::from_u128(journal),
                sequence,
                prev,
            };
            assert_eq!(place(&sealed), expected);
            prev = Digest::of(&sealed.payload);
        };
        for sequence in 1..=3 {
            seal(&mut sealer, 1, sequence);
        }
        sealer.begin(Uuid::from_u128(2));
        seal(&mut sealer, 2, 1);
    }

    #[test]
    fn an_event_that_its_journal_could_not_take_becomes_the_first_of_another() {
        let mut sealer = Sealer::new(Uuid::from_u128(1), Digest::ZERO);
        let lost = occurrence(Action::EventsLost);
        let first = sealer.seal(lost.clone(), &host(), 7).unwrap();
        let second = sealer.seal(lost.clone(), &host(), 8).unwrap();
        let again = sealer.seal_again(&second, Uuid::from_u128(2)).unwrap();
        let expected = Place {
            journal: Uuid::from_u128(2),
            sequence: 1,
            prev: Digest::of(&first.payload),
        };
        assert_eq!(place(&again), expected);
        let event = Event::from_payload(&again.payload).unwrap();
        assert_eq!((event.occurrence, event.uptime_ms), (lost.clone(), 8));
        let next = sealer.seal(lost, &host(), 9).unwrap();
        assert_eq!(place(&next).prev, Digest::of(&again.payload));
    }
}
