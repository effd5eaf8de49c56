//! Topic `health`: the heartbeat, every 2 s.

use serde::{Deserialize, Serialize};

use crate::{event::Host, time::Timestamp};

/// How often an agent sends it, in seconds.
pub const HEARTBEAT_SECONDS: u64 = 2;

/// A heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// When it was measured.
    #[serde(rename = "@timestamp")]
    pub timestamp: Timestamp,
    /// Always `heartbeat`.
    pub event: HealthEvent,
    /// The PC.
    pub host: Host,
    /// The figures.
    pub lab: HealthLab,
}

/// The action of a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthEvent {
    /// Always `heartbeat`.
    pub action: String,
}

/// Figures of the PC and its agent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthLab {
    /// Load of all cores, 0 to 100.
    pub cpu_percent: f32,
    /// Memory in use, 0 to 100.
    pub memory_used_percent: f32,
    /// Fill of the file system with the journal, 0 to 100.
    pub disk_used_percent: f32,
    /// Load average over a minute.
    pub load_1m: f64,
    /// Frames that the kernel could not hand over, since the agent's start.
    pub capture_dropped: u64,
    /// Events in the journal that are not known to be safe at the recorder.
    pub backlog_events: u64,
    /// Milliseconds since boot.
    pub uptime_ms: u64,
    /// What the agent cannot see: `no-capture` …
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<String>,
}
