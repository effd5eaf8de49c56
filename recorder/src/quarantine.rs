//! What was no valid event: kept for whoever wants to know who sent it, within a cap.
//!
//! Anybody may send anything. A message that is refused is kept with its reason, its topic and its payload cut to
//! a bound; when all that is kept (from earlier starts too) has reached the cap, further ones are only counted.
//! Pure: the bytes kept at the start are told by the store.

use labwatch_contract::{chain::hex, time::Timestamp};
use serde::Serialize;

use crate::record::json_line;

/// Bytes of lines that are kept in all.
pub(crate) const CAP: u64 = 64 * 1024 * 1024;
/// Characters of a topic or reason that are kept; a reason may quote the payload.
const MAX_TEXT: usize = 256;
/// Bytes of a payload that are kept.
const MAX_PAYLOAD: usize = 4096;

/// How much is kept.
#[derive(Debug)]
pub(crate) struct Quarantine {
    kept: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    received: Timestamp,
    topic: String,
    reason: String,
    /// Of the whole payload.
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hex: Option<String>,
}

impl Quarantine {
    /// `kept` bytes are there already.
    pub(crate) fn new(kept: u64) -> Self {
        Self { kept }
    }

    /// The line to keep of a message; `None` when the cap is reached.
    pub(crate) fn take(
        &mut self,
        topic: &str,
        payload: &[u8],
        reason: &str,
        received: Timestamp,
    ) -> Option<Vec<u8>> {
        if self.kept >= CAP {
            return None;
        }
        let text = text_of(payload);
        let line = json_line(&Line {
            received,
            topic: topic.chars().take(MAX_TEXT).collect(),
            reason: reason.chars().take(MAX_TEXT).collect(),
            bytes: payload.len(),
            payload: text,
            payload_hex: text
                .is_none()
                .then(|| hex(payload.get(..MAX_PAYLOAD).unwrap_or(payload))),
        });
        self.kept += u64::try_from(line.len()).unwrap_or(u64::MAX);
        Some(line)
    }
}

/// The payload's beginning as text, if that is what it is.
fn text_of(payload: &[u8]) -> Option<&str> {
    let (head, whole) = match payload.split_at_checked(MAX_PAYLOAD) {
        Some((head, _)) => (head, false),
        None => (payload, true),
    };
    match str::from_utf8(head) {
        Ok(text) => Some(text),
        // A character that the cut went through.
        Err(error) if !whole && error.error_len().is_none() => {
            str::from_utf8(head.get(..error.valid_up_to())?).ok()
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn received() -> Timestamp {
        "2026-11-22T09:31:05.140Z".parse().unwrap()
    }

    fn kept(topic: &str, payload: &[u8]) -> Value {
        let line = Quarantine::new(0).take(topic, payload, "no event", received());
        serde_json::from_slice(&line.unwrap()).unwrap()
    }

    #[test]
    fn a_text_is_kept_as_text_and_other_bytes_as_hex() {
        let text = kept("lab/../net", b"hello\n\x1b[2J");
        assert_eq!(text["topic"], "lab/../net");
        assert_eq!(text["reason"], "no event");
        assert_eq!(text["payload"], "hello\n\x1b[2J");
        let bytes = kept("lab/x", b"\xff\x00");
        assert_eq!(bytes["payload_hex"], "ff00");
        assert_eq!(bytes.get("payload"), None);
    }

    #[test]
    fn long_topics_and_payloads_are_cut_and_their_length_is_kept() {
        let line = kept(&"t".repeat(65_535), "é".repeat(100_001).as_bytes());
        assert_eq!(line["bytes"], 200_002);
        assert_eq!(line["topic"].as_str().unwrap().len(), MAX_TEXT);
        assert_eq!(line["payload"].as_str().unwrap().len(), MAX_PAYLOAD);
        let odd = kept("t", format!("x{}", "é".repeat(MAX_PAYLOAD)).as_bytes());
        assert_eq!(odd["payload"].as_str().unwrap().len(), MAX_PAYLOAD - 1);
    }

    #[test]
    fn no_more_is_kept_than_the_cap() {
        let mut quarantine = Quarantine::new(CAP - 1);
        assert!(quarantine.take("t", b"x", "no event", received()).is_some());
        assert!(quarantine.take("t", b"x", "no event", received()).is_none());
    }

    proptest! {
        #[test]
        fn whatever_comes_is_one_line_of_json(topic: String, payload: Vec<u8>) {
            let line = Quarantine::new(0).take(&topic, &payload, "no event", received()).unwrap();
            prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            prop_assert!(serde_json::from_slice::<Value>(&line).is_ok());
        }
    }
}
