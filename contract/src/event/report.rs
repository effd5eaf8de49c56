//! Topic `net`: the traffic of an interval, per interface and per peer.
//!
//! Bytes are whole frames as handed to the capture, link layer included. Over one report (all its parts)
//! the peers' bytes and `lab.other_bytes` together equal the interfaces' bytes exactly.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::contact::NameSource;
use crate::scope::Scope;

/// What went over one network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InterfaceTotals {
    /// `eth0`.
    pub name: String,
    /// `2c-6e-85-00-b6-3a`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Its addresses.
    pub ip: Vec<IpAddr>,
    /// Frames captured, both directions.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that the kernel could not hand over.
    pub dropped: u64,
    /// What the interface's own counters grew by, both directions, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counter_bytes: Option<u64>,
}

/// What went between this PC and one peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerTotals {
    /// The peer.
    pub ip: IpAddr,
    /// Its name, where one is known. Foreign text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How the name was learned.
    #[serde(default = "no_name")]
    pub name_source: NameSource,
    /// Where it is.
    pub scope: Scope,
    /// Bytes to it in this interval.
    pub sent_bytes: u64,
    /// Bytes from it in this interval.
    pub received_bytes: u64,
    /// Frames to it in this interval.
    pub sent_packets: u64,
    /// Frames from it in this interval.
    pub received_packets: u64,
    /// Of the bytes to it what programs said: by UDP, TCP or a ping, without headers. So a refusal is nothing, nor is what went
    /// to a group. `None` where that was not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_payload_bytes: Option<u64>,
    /// The same of the bytes from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_payload_bytes: Option<u64>,
    /// Bits per second to it.
    #[serde(default)]
    pub sent_bps: Rates,
    /// Bits per second from it.
    #[serde(default)]
    pub received_bps: Rates,
    /// Bytes to it since the agent's start.
    #[serde(default)]
    pub total_sent_bytes: u64,
    /// Bytes from it since the agent's start.
    #[serde(default)]
    pub total_received_bytes: u64,
    /// Service ports, at most 16.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// Programs on this PC, at most 16. Foreign text.
    #[serde(default)]
    pub processes: Vec<String>,
}

fn no_name() -> NameSource {
    NameSource::None
}

/// Bits per second over the last 2, 10 and 40 seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    /// Over the last 2 s.
    #[serde(rename = "2s")]
    pub over_2s: u64,
    /// Over the last 10 s.
    #[serde(rename = "10s")]
    pub over_10s: u64,
    /// Over the last 40 s.
    #[serde(rename = "40s")]
    pub over_40s: u64,
}
