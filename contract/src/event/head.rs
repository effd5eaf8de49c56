//! The head of an event: what the recorder needs to put a payload in its place, read without reading the rest.

use std::net::IpAddr;

use super::{Action, Place, action::leaf, wire};
use crate::{time::Timestamp, topic::Leaf};

/// What puts an event in its place; read from a payload without reading the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// When it happened, by the PC's clock.
    pub time: Timestamp,
    /// What happened.
    pub action: Action,
    /// Where it stands.
    pub place: Place,
    /// The address it says it is about.
    pub host_ip: IpAddr,
    /// The PC's hashed machine id; empty where it says none.
    pub host_id: String,
    /// The boot that it happened in; empty where it says none.
    pub boot_id: String,
    /// Milliseconds since that PC's boot.
    pub uptime_ms: u64,
    leaf: Option<Leaf>,
}

/// Why a payload is no event of the topic it came by.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// Not JSON, or a field of the envelope is missing or of another type.
    #[error("no event: {0}")]
    Json(#[from] serde_json::Error),
    /// A line feed or carriage return would break the line format of the files.
    #[error("the payload is not a single line")]
    NotOneLine,
    /// JSON is UTF-8.
    #[error("the payload is not UTF-8")]
    NotUtf8,
    /// The first number is 1.
    #[error("event.sequence is 0")]
    SequenceZero,
    /// A known action came by another topic.
    #[error("{0} does not belong to this topic")]
    WrongTopic(Action),
}

impl Head {
    /// Reads the head of a payload.
    ///
    /// # Errors
    /// [`HeadError`] for whatever cannot be put in its place. Unknown fields and actions are no error.
    pub fn from_payload(payload: &[u8]) -> Result<Self, HeadError> {
        if payload.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            return Err(HeadError::NotOneLine);
        }
        // Checked as a whole: serde_json looks at no bytes of a text that it skips.
        let text = str::from_utf8(payload).map_err(|_| HeadError::NotUtf8)?;
        let head: wire::Head = serde_json::from_str(text)?;
        if head.event.sequence == 0 {
            return Err(HeadError::SequenceZero);
        }
        Ok(Self {
            time: head.timestamp,
            leaf: leaf(&head.event.action, head.lab.scope),
            action: head.event.action,
            place: Place {
                journal: head.lab.journal,
                sequence: head.event.sequence,
                prev: head.lab.prev,
            },
            host_ip: head.host.ip.to_canonical(),
            host_id: head.host.id,
            boot_id: head.host.boot.id,
            uptime_ms: head.lab.uptime_ms,
        })
    }

    /// The topic's leaf by the action (and scope); `None` for an unknown action.
    #[must_use]
    pub fn leaf(&self) -> Option<Leaf> {
        self.leaf
    }

    /// Checks that the payload belongs to the topic it came by. The address is not compared: an agent whose
    /// address has changed sends what it saw under the old one by its new topic.
    ///
    /// # Errors
    /// [`HeadError::WrongTopic`].
    pub fn check_topic(&self, leaf: Leaf) -> Result<(), HeadError> {
        match self.leaf {
            Some(own) if own != leaf => Err(HeadError::WrongTopic(self.action.clone())),
            _ => Ok(()),
        }
    }
}
