//! Topic `status`: whether an agent is there (retained; the will says `offline`, `lost`).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{event::Host, time::Timestamp};

/// An agent's hello or farewell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// When it was written; in a will, when the agent connected.
    #[serde(rename = "@timestamp")]
    pub timestamp: Timestamp,
    /// Online or offline.
    pub event: StatusEvent,
    /// The PC.
    pub host: Host,
    /// The agent.
    pub agent: Agent,
    /// Reason, connection, journals.
    pub lab: StatusLab,
}

/// The action of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusEvent {
    /// Online or offline.
    pub action: Presence,
}

/// Whether an agent is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// It is connected.
    Online,
    /// It has gone.
    Offline,
}

/// The agent (ECS `agent`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Its version.
    pub version: String,
}

/// What ECS has no field for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusLab {
    /// Why it is written.
    pub reason: Reason,
    /// The connection it belongs to; an `offline` that names another than the last `online` counts for nothing.
    pub connection: Uuid,
    /// The address it had before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_ip: Option<IpAddr>,
    /// What the agent cannot see: `no-capture` …
    #[serde(default)]
    pub degraded: Vec<String>,
    /// The journals it has, oldest first.
    #[serde(default)]
    pub journals: Vec<JournalRange>,
}

/// Why a status is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The agent has started.
    Started,
    /// The connection came back.
    Reconnected,
    /// The PC has another address.
    AddressChanged,
    /// A journal was begun, refused or dropped.
    JournalsChanged,
    /// The agent sees less or more than before.
    DegradedChanged,
    /// The agent was stopped.
    Stopped,
    /// The PC shuts down.
    Shutdown,
    /// The connection broke: only the broker says so, by the will.
    Lost,
    /// What another version says.
    #[serde(other)]
    Other,
}

/// The numbers that a journal holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalRange {
    /// The journal.
    pub journal: Uuid,
    /// Its first event still on the PC.
    pub first: u64,
    /// Its last event; `first - 1` while it is empty.
    pub last: u64,
}
