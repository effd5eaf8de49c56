//! The retained messages: the last one of each topic that asked for it, for later subscribers.
//!
//! The front keeps them itself, because rumqttd's router cuts them at its in-flight window and never sends the
//! rest. An empty payload deletes. Bounded in number and bytes: what does not fit is not kept, and the caller
//! says so; a topic that is already kept can always be replaced by something no larger.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::packet::Qos;

/// Most topics with a retained message.
const MAX_TOPICS: usize = 16_384;
/// Most bytes of topics and payloads.
const MAX_BYTES: usize = 64 * 1024 * 1024;

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

/// No room for another retained message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

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
    /// [`Full`]: it is not kept, and the topic has no retained message any more.
    pub(crate) fn keep(&mut self, topic: &str, payload: Bytes, qos: Qos) -> Result<(), Full> {
        if let Some(old) = self.messages.remove(topic) {
            self.bytes -= size(topic, &old.payload);
        }
        if payload.is_empty() {
            return Ok(());
        }
        let bytes = self.bytes + size(topic, &payload);
        if bytes > MAX_BYTES || self.messages.len() >= MAX_TOPICS {
            return Err(Full);
        }
        self.bytes = bytes;
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
            Err(Full)
        );
        assert_eq!(
            store.keep("lab/alerts/1", "y".into(), Qos::AtLeastOnce),
            Ok(())
        );

        let mut store = RetainedStore::default();
        let large = Bytes::from(vec![b'x'; MAX_BYTES / 2]);
        assert_eq!(store.keep("lab/a", large.clone(), Qos::AtLeastOnce), Ok(()));
        assert_eq!(store.keep("lab/b", large, Qos::AtLeastOnce), Err(Full));
        assert_eq!(store.keep("lab/b", "x".into(), Qos::AtLeastOnce), Ok(()));
    }
}
