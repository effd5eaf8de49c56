//! From a line of a file to what it says.
//!
//! A line is a record, a note or a quarantined message (see [`crate::record`]), or the bare payload of an event as
//! a PC's own journal holds it. Bounded: what is not understood is kept as an excerpt. Pure.

use std::net::IpAddr;

use labwatch_contract::{
    alert::{Alert, AlertAck},
    event::{Action, Event, Head},
    text::harmless,
    time::Timestamp,
    topic::Topic,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::record::{Note, topic_of};

/// What a line says.
#[derive(Debug)]
pub(crate) struct Entry {
    /// When it was received; in a journal, when it happened.
    pub(crate) time: Timestamp,
    /// The PC whose record it is: the sender's address, which the topic names and nobody else can use.
    pub(crate) ip: Option<IpAddr>,
    /// The address that an event says it is about, where it is another one.
    pub(crate) about: Option<IpAddr>,
    /// The rest.
    pub(crate) content: Content,
}

/// The kinds of lines.
#[derive(Debug)]
pub(crate) enum Content {
    /// An event.
    Event(Box<Event>),
    /// An event with known fields of unknown form.
    OddEvent(Action, String),
    /// The recorder's own word.
    Note(Note),
    /// A note of another version.
    OtherNote(String),
    /// An alert.
    Alert(Box<Alert>),
    /// Who has dealt with an alert: the topic and what was said.
    AlertAck(String, Box<AlertAck>),
    /// Another retained message of the lab: its topic and an excerpt.
    Paper(String, String),
    /// What was no valid event.
    Quarantined(Quarantined),
}

/// What was no valid event; all texts are harmless.
#[derive(Debug)]
pub(crate) struct Quarantined {
    /// Its topic.
    pub(crate) topic: String,
    /// Why.
    pub(crate) reason: String,
    /// Length of its payload.
    pub(crate) bytes: u64,
    /// The beginning of it.
    pub(crate) excerpt: String,
}

/// A line of the recorder, as it is written.
#[derive(Deserialize)]
struct Line<'a> {
    received: Timestamp,
    #[serde(default)]
    topic: String,
    #[serde(default, borrow)]
    payload: Option<&'a RawValue>,
    #[serde(default, borrow)]
    note: Option<&'a RawValue>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    bytes: u64,
    #[serde(default)]
    payload_hex: Option<String>,
}

/// Reads a line without its line feed.
///
/// # Errors
/// Why it is neither a line of the recorder nor an event.
pub(crate) fn read(line: &[u8]) -> Result<Entry, String> {
    let text = str::from_utf8(line).map_err(|error| error.to_string())?;
    match serde_json::from_str::<Line<'_>>(text) {
        Ok(line) => read_line(&line),
        Err(error) => event(text, None).ok_or_else(|| error.to_string()),
    }
}

fn read_line(line: &Line<'_>) -> Result<Entry, String> {
    let payload = line.payload.map_or("null", RawValue::get);
    if let Some(reason) = &line.reason {
        return Ok(quarantined(line, reason, payload));
    }
    if let Some(note) = line.note {
        return Ok(read_note(line.received, note.get()));
    }
    if let Some(event) = event(payload, Some(line.received)) {
        return Ok(sent_by(&line.topic, event));
    }
    if line.topic.is_empty() {
        return Err("neither topic nor note".to_owned());
    }
    Ok(paper(line.received, &line.topic, payload))
}

/// An event as it was received: a payload may name any address.
fn sent_by(topic: &str, event: Entry) -> Entry {
    match topic_of(topic) {
        Ok(Topic::Pc(sender, _)) => Entry {
            ip: Some(sender),
            about: event.ip.filter(|about| *about != sender),
            ..event
        },
        _ => event,
    }
}

fn read_note(time: Timestamp, text: &str) -> Entry {
    match serde_json::from_str::<Note>(text) {
        Ok(note) => Entry {
            time,
            ip: note.ip(),
            about: None,
            content: Content::Note(note),
        },
        Err(_) => Entry {
            time,
            ip: None,
            about: None,
            content: Content::OtherNote(harmless(text)),
        },
    }
}

fn event(payload: &str, received: Option<Timestamp>) -> Option<Entry> {
    let head = Head::from_payload(payload.as_bytes()).ok()?;
    let content = match Event::from_payload(payload.as_bytes()) {
        Ok(event) => Content::Event(Box::new(event)),
        Err(_) => Content::OddEvent(head.action, harmless(payload)),
    };
    Some(Entry {
        time: received.unwrap_or(head.time),
        ip: Some(head.host_ip),
        about: None,
        content,
    })
}

fn paper(time: Timestamp, topic: &str, payload: &str) -> Entry {
    let alert = serde_json::from_str::<Alert>(payload);
    let ack = serde_json::from_str::<AlertAck>(payload);
    let (ip, content) = match (alert, ack) {
        (Ok(alert), _) => (
            alert.host.as_ref().map(|host| host.ip),
            Content::Alert(Box::new(alert)),
        ),
        (_, Ok(ack)) => (None, Content::AlertAck(harmless(topic), Box::new(ack))),
        _ => (None, Content::Paper(harmless(topic), paper_words(payload))),
    };
    Entry {
        time,
        ip,
        about: None,
        content,
    }
}

fn paper_words(payload: &str) -> String {
    match payload {
        "null" => "taken back".to_owned(),
        payload => harmless(payload),
    }
}

fn quarantined(line: &Line<'_>, reason: &str, payload: &str) -> Entry {
    let text = serde_json::from_str::<String>(payload).ok();
    let excerpt = text
        .or_else(|| line.payload_hex.as_ref().map(|hex| format!("hex {hex}")))
        .unwrap_or_default();
    Entry {
        time: line.received,
        ip: None,
        about: None,
        content: Content::Quarantined(Quarantined {
            topic: harmless(&line.topic),
            reason: harmless(reason),
            bytes: line.bytes,
            excerpt: harmless(&excerpt),
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_neither_record_nor_event_is_refused() {
        for line in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"received":"yesterday"}"#,
            r#"{"received":"2026-11-22T09:31:05.140Z"}"#,
            r#"{"received":"2026-11-22T09:31:05.140Z","payload":{"event"#,
        ] {
            assert!(read(line.as_bytes()).is_err(), "{line}");
        }
        assert!(read(b"{\"received\":\"\xff\"}").is_err());
    }

    #[test]
    fn notes_of_another_version_are_shown_as_they_are() {
        let line =
            br#"{"received":"2026-11-22T09:31:05.140Z","note":{"action":"clock-jump","by_ms":9}}"#;
        let entry = read(line).unwrap();
        assert!(matches!(entry.content, Content::OtherNote(text) if text.contains("clock-jump")));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(line: Vec<u8>) {
            let _ = read(&line);
        }

        #[test]
        fn no_line_of_the_right_shape_panics(payload in "[\\x00-\\x7f]{0,20}|\\PC{0,20}", field in "payload|note|reason|topic") {
            let value = serde_json::to_string(&payload).unwrap();
            let line = format!(r#"{{"received":"2026-11-22T09:31:05.140Z","{field}":{value}}}"#);
            let _ = read(line.as_bytes());
        }
    }
}
