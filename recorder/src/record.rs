//! The lines of the record, one JSON object each.
//!
//! ```text
//! {"received":…,"topic":"lab/192.168.0.133/usb","payload":<byte for byte>}   an event, a policy, an alert
//! {"received":…,"note":{"action":"gap",…}}                                   the recorder's own word
//! {"received":…,"topic":…,"reason":…,"bytes":…,"payload":"…"}                quarantine, `payload_hex` if no text
//! ```
//!
//! A payload is put in as it came; whoever calls has made sure that it is JSON on a single line. Pure.

use std::{fmt::Display, io::Write as _, net::IpAddr};

use labwatch_contract::{
    checkpoint::FileHead,
    status::{JournalRange, Reason, Status},
    time::Timestamp,
    topic::{Root, Topic, TopicError},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ledger::Gap;

/// The line of a message whose payload is kept byte for byte, line feed included.
pub(crate) fn message_line(received: impl Display, topic: &str, payload: &[u8]) -> Vec<u8> {
    const HEAD: usize =
        r#"{"received":"2026-11-22T09:31:05.140Z","topic":"","payload":}"#.len() + 1;
    let mut line = Vec::with_capacity(HEAD + topic.len() + payload.len());
    // Writing to memory cannot fail. A parsed topic holds neither quotes nor backslashes: it is its own JSON text.
    let _ = write!(
        line,
        r#"{{"received":"{received}","topic":"{topic}","payload":"#
    );
    line.extend_from_slice(payload);
    line.extend_from_slice(b"}\n");
    line
}

/// The topic in a line, whatever the root was under which it came.
pub(crate) fn topic_of(text: &str) -> Result<Topic, TopicError> {
    let root = text.split('/').next().unwrap_or_default();
    root.parse::<Root>()?.parse(text)
}

/// The line of a note, line feed included.
pub(crate) fn note_line(received: Timestamp, note: &Note) -> Vec<u8> {
    #[derive(Serialize)]
    struct Line<'a> {
        received: Timestamp,
        note: &'a Note,
    }
    json_line(&Line { received, note })
}

/// `line` as JSON with a line feed.
pub(crate) fn json_line(line: &impl Serialize) -> Vec<u8> {
    // Only maps with keys that are no text can fail, and no line has one.
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text
}

/// What the recorder itself has to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub(crate) enum Note {
    /// Events that the agent no longer has and the recorder never received.
    Gap(Missing),
    /// From here on events arrive long after they happened.
    Late(Oddity),
    /// A wall clock was set.
    ClockJump(Jump),
    /// A journal goes on although another one was begun in the same boot: two programs speak as this PC.
    SecondJournal(Oddity),
    /// Another machine speaks under this address.
    OtherHost(Oddity),
    /// An agent is there.
    Online(Sighting),
    /// An agent has gone.
    Offline(Sighting),
    /// How far files of the record have come, for the checkpoint that follows.
    Heads {
        /// One a file.
        heads: Vec<FileHead>,
    },
    /// Files whose time was over.
    Retention {
        /// Everything in them was received before.
        before: Timestamp,
        /// Below the recorder's directory.
        files: Vec<String>,
    },
}

impl Note {
    /// The PC it is about.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Gap(missing) => Some(missing.ip),
            Self::ClockJump(Jump::Pc(oddity))
            | Self::Late(oddity)
            | Self::SecondJournal(oddity)
            | Self::OtherHost(oddity) => Some(oddity.ip),
            Self::Online(sighting) | Self::Offline(sighting) => Some(sighting.ip),
            Self::ClockJump(Jump::Own { .. }) | Self::Heads { .. } | Self::Retention { .. } => None,
        }
    }
}

/// Whose wall clock was set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Jump {
    /// The PC's: its wall clock and its time since boot have gone apart.
    Pc(Oddity),
    /// The recorder's own, so that times of receipt before and behind this line do not go together.
    Own {
        /// How far, in milliseconds; behind zero: back.
        ms: i64,
    },
}

/// Something about the event behind this line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Oddity {
    /// The PC.
    pub(crate) ip: IpAddr,
    /// The event's journal.
    pub(crate) journal: Uuid,
    /// Its number.
    pub(crate) sequence: u64,
    /// How much, in milliseconds: late, or how far the clock jumped (behind zero: back).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ms: Option<i64>,
}

/// Numbers of a journal, both ends included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Missing {
    /// The PC.
    pub(crate) ip: IpAddr,
    /// The journal.
    pub(crate) journal: Uuid,
    /// The first number.
    pub(crate) from: u64,
    /// The last number.
    pub(crate) to: u64,
}

impl Missing {
    /// What `gap` says of the PC with this address.
    pub(crate) fn of(ip: IpAddr, gap: Gap) -> Self {
        let Gap { journal, from, to } = gap;
        Self {
            ip,
            journal,
            from,
            to,
        }
    }
}

/// What an agent's status said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sighting {
    /// The PC.
    pub(crate) ip: IpAddr,
    /// Why it was said.
    pub(crate) reason: Reason,
    /// The connection it is about.
    pub(crate) connection: Uuid,
    /// When it was written, by the PC's clock; in a will, when the agent connected.
    #[serde(rename = "@timestamp")]
    pub(crate) timestamp: Timestamp,
    /// The agent's version. Foreign text.
    pub(crate) version: String,
    /// The journals it has.
    pub(crate) journals: Vec<JournalRange>,
    /// What it cannot see. Foreign text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) degraded: Vec<String>,
    /// The address it had before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) previous_ip: Option<IpAddr>,
    /// Whether the broker had kept it: it happened before the recorder listened.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) retained: bool,
}

impl Sighting {
    /// What `status` says of the PC with this address.
    pub(crate) fn of(ip: IpAddr, status: Status, retained: bool) -> Self {
        Self {
            ip,
            reason: status.lab.reason,
            connection: status.lab.connection,
            timestamp: status.timestamp,
            version: status.agent.version,
            journals: status.lab.journals,
            degraded: status.lab.degraded,
            previous_ip: status.lab.previous_ip,
            retained,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn received() -> Timestamp {
        "2026-11-22T09:31:05.140Z".parse().unwrap()
    }

    #[test]
    fn a_payload_stands_in_its_line_byte_for_byte() {
        let payload = br#" {"b":1.50,"a":"\u00e9 \/", "b":2}	"#;
        let line = message_line(received(), "lab/192.168.0.133/usb", payload);
        let expected = [
            br#"{"received":"2026-11-22T09:31:05.140Z","topic":"lab/192.168.0.133/usb","payload":"#
                .as_slice(),
            payload,
            b"}\n",
        ];
        assert_eq!(line, expected.concat());
        assert!(serde_json::from_slice::<Value>(&line).is_ok());
    }

    #[test]
    fn a_jump_of_the_recorders_own_clock_names_no_pc_and_is_read_back() {
        let note = Note::ClockJump(Jump::Own { ms: -3_600_000 });
        let text = serde_json::to_string(&note).unwrap();
        assert_eq!(text, r#"{"action":"clock-jump","ms":-3600000}"#);
        assert_eq!(serde_json::from_str::<Note>(&text).unwrap(), note);
        let pc = Note::ClockJump(Jump::Pc(Oddity {
            ip: "192.168.0.133".parse().unwrap(),
            journal: Uuid::from_u128(7),
            sequence: 4,
            ms: Some(9_000),
        }));
        let text = serde_json::to_string(&pc).unwrap();
        assert_eq!(serde_json::from_str::<Note>(&text).unwrap(), pc);
    }

    #[test]
    fn a_note_says_what_is_missing_of_which_journal() {
        let missing = Missing {
            ip: "192.168.0.133".parse().unwrap(),
            journal: Uuid::from_u128(7),
            from: 2,
            to: 4,
        };
        let line = note_line(received(), &Note::Gap(missing));
        let written: Value = serde_json::from_slice(&line).unwrap();
        let expected = json!({
            "received": "2026-11-22T09:31:05.140Z",
            "note": {
                "action": "gap",
                "ip": "192.168.0.133",
                "journal": "00000000-0000-0000-0000-000000000007",
                "from": 2,
                "to": 4,
            },
        });
        assert_eq!(written, expected);
        assert!(line.ends_with(b"}\n"));
    }
}
