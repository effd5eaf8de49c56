//! The retained messages: the last one of each topic that asked for it, for later subscribers.
//!
//! The front keeps them itself, because rumqttd's router cuts them at its in-flight window and never sends the
//! rest. An empty payload deletes. Bounded in number and bytes: what does not fit is not kept, what is there stays, and
//! the caller says so; a topic that is already kept can always be replaced by something no larger. PCs retain their
//! statuses alone, small ones, and these fill half of the room at most: the rest is staff's.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::packet::Qos;

/// Most topics with a retained message.
const MAX_TOPICS: usize = 16_384;
/// Most bytes of topics and payloads.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Most bytes of a status; an agent's names 64 journals and is a third of it.
const MAX_STATUS: usize = 16 * 1024;

/// A retained message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Retained {
    /// The topic.
    pub(crate) topic: Bytes,
    /// The payload, never empty.
    pub(crate) payload: Bytes,
    /// The QoS it was published with.
    pub(crate) qos: Qos,
}

/// Why a message is not retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unkept {
    /// Others have all the room.
    #[error("there is no room for another retained message")]
    Full,
    /// Too many bytes for a status.
    #[error("it is larger than a status may be")]
    Large,
}

/// All retained messages.
#[derive(Debug, Default)]
pub(crate) struct RetainedStore {
    messages: BTreeMap<String, Retained>,
    bytes: usize,
}

impl RetainedStore {
    /// Keeps a message in place of its topic's last one; an empty payload only deletes that.
    ///
    /// # Errors
    /// [`Unkept`]: it is not kept, and what the topic had before still is.
    pub(crate) fn keep(&mut self, topic: &str, payload: Bytes, qos: Qos) -> Result<(), Unkept> {
        let is_status = topic.ends_with("/status");
        if is_status && payload.len() > MAX_STATUS {
            return Err(Unkept::Large);
        }
        let old = self.messages.get(topic);
        let old = old.map_or(0, |old| size(topic, &old.payload));
        let others = self.bytes - old;
        if payload.is_empty() {
            self.messages.remove(topic);
            self.bytes = others;
            return Ok(());
        }
        let new = size(topic, &payload);
        let share = if is_status { 2 } else { 1 };
        let fits = others + new <= MAX_BYTES / share
            && (old > 0 || self.messages.len() < MAX_TOPICS / share);
        if !fits && new > old {
            return Err(Unkept::Full);
        }
        self.bytes = others + new;
        let message = Retained {
            topic: Bytes::copy_from_slice(topic.as_bytes()),
            payload,
            qos,
        };
        self.messages.insert(topic.to_owned(), message);
        Ok(())
    }

    /// Every retained message whose topic matches the filter.
    pub(crate) fn matching(&self, filter: &str) -> Vec<Retained> {
        if let Some(message) = self.messages.get(filter) {
            return vec![message.clone()];
        }
        let matches = |topic: &str| rumqttd::protocol::matches(topic, filter);
        self.messages
            .iter()
            .filter(|(topic, _)| matches(topic))
            .map(|(_, message)| message.clone())
            .collect()
    }
}

fn size(topic: &str, payload: &Bytes) -> usize {
    topic.len() + payload.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payloads(store: &RetainedStore, filter: &str) -> Vec<Bytes> {
        let messages = store.matching(filter).into_iter();
        messages.map(|message| message.payload).collect()
    }

    #[test]
    fn the_last_message_of_each_topic_is_kept_and_an_empty_one_deletes() {
        let mut store = RetainedStore::default();
        for (topic, payload) in [
            ("lab/a/status", &b"1"[..]),
            ("lab/a/status", b"2"),
            ("lab/b/status", b"3"),
            ("lab/policy", b"4"),
            ("lab/policy", b""),
        ] {
            store.keep(topic, payload.into(), Qos::AtLeastOnce).unwrap();
        }
        assert_eq!(payloads(&store, "lab/#"), ["2", "3"]);
        assert_eq!(payloads(&store, "lab/b/status"), ["3"]);
        assert_eq!(payloads(&store, "lab/policy"), [""; 0]);
        assert_eq!(store.bytes, 2 * "lab/a/status1".len());
    }

    #[test]
    fn it_is_bounded_in_number_and_bytes() {
        let mut store = RetainedStore::default();
        for number in 0..MAX_TOPICS {
            let topic = format!("lab/alerts/{number}");
            store.keep(&topic, "x".into(), Qos::AtLeastOnce).unwrap();
        }
        assert_eq!(
            store.keep("lab/more", "x".into(), Qos::AtLeastOnce),
            Err(Unkept::Full)
        );
        assert_eq!(
            store.keep("lab/alerts/1", "y".into(), Qos::AtLeastOnce),
            Ok(())
        );

        let mut store = RetainedStore::default();
        let large = Bytes::from(vec![b'x'; MAX_BYTES / 2]);
        assert_eq!(store.keep("lab/a", large.clone(), Qos::AtLeastOnce), Ok(()));
        assert_eq!(
            store.keep("lab/b", large, Qos::AtLeastOnce),
            Err(Unkept::Full)
        );
        assert_eq!(store.keep("lab/b", "x".into(), Qos::AtLeastOnce), Ok(()));
    }

    #[test]
    fn what_is_kept_stays_when_its_successor_does_not_fit() {
        let mut store = RetainedStore::default();
        let mut keep = |topic: &str, bytes: usize| {
            let payload = Bytes::from(vec![b'x'; bytes]);
            store.keep(topic, payload, Qos::AtLeastOnce)
        };
        assert_eq!(keep("lab/a", MAX_BYTES - 100), Ok(()));
        assert_eq!(keep("lab/b", 1), Ok(()));
        assert_eq!(keep("lab/b", 1_000), Err(Unkept::Full));
        assert_eq!(
            keep("lab/10.0.0.1/status", MAX_STATUS + 1),
            Err(Unkept::Large)
        );
        assert_eq!(payloads(&store, "lab/b"), ["x"]);
    }

    #[test]
    fn statuses_leave_half_of_the_room_to_staff() {
        let mut store = RetainedStore::default();
        let status = Bytes::from(vec![b'x'; MAX_STATUS]);
        let kept = (0..MAX_TOPICS).take_while(|number| {
            let topic = format!("lab/fd00::{number:x}/status");
            store.keep(&topic, status.clone(), Qos::AtLeastOnce).is_ok()
        });
        assert!(kept.count() >= 2_000);
        for alert in 0..1_000 {
            let topic = format!("lab/alerts/{alert}");
            assert_eq!(store.keep(&topic, status.clone(), Qos::AtLeastOnce), Ok(()));
        }
        let known = store.keep("lab/fd00::1/status", "offline".into(), Qos::AtLeastOnce);
        assert_eq!(known, Ok(()));
    }
}
