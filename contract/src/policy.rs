//! Topic `policy/agents`: the part of the exam's policy that agents need. No student and no seat stands in it.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What an agent is told of the exam.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentPolicy {
    /// When the exam is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Networks that count as local beside those the PC is on.
    pub local_networks: Vec<IpNet>,
}

/// From when to when an exam goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its first moment.
    pub start: Timestamp,
    /// Its last moment.
    pub end: Timestamp,
}
