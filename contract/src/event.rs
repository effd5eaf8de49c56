//! Events: numbered, journalled, recorded. One JSON object a line; field names of ECS 9, the rest under `lab`.
//!
//! A sensor says what happened as an [`Occurrence`]; the journal gives it a number and its place in the chain
//! and thereby makes it an [`Event`]. The field sets of the topics stand in a file each: [`usb`], [`report`],
//! [`contact`], [`interface`]. Fields and actions that this version does not know are kept.
//!
//! [`Head`] reads of a payload only what the recorder needs to put it in order.

mod action;
pub mod contact;
mod head;
pub mod interface;
pub mod report;
pub mod usb;
mod wire;

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use self::action::leaf;
pub use self::{
    action::Action,
    head::{Head, HeadError},
};
use crate::{chain::Digest, scope::Scope, status::JournalRange, time::Timestamp, topic::Leaf};

/// What a sensor saw, before it has a number.
#[derive(Debug, Clone, PartialEq)]
pub struct Occurrence {
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    pub action: Action,
    /// With which details.
    pub fields: Fields,
}

impl Occurrence {
    /// What an interval has brought; it is told at its end.
    #[must_use]
    pub fn of_interval(interval: Interval, action: Action, lab: LabFields) -> Self {
        let fields = Fields {
            interval: Some(interval),
            lab,
            ..Fields::default()
        };
        Self {
            time: interval.end,
            action,
            fields,
        }
    }

    /// The topic it goes to: the action's, and for a burst that of its scope. `None` for an unknown action.
    #[must_use]
    pub fn leaf(&self) -> Option<Leaf> {
        leaf(&self.action, self.fields.lab.scope)
    }
}

/// The field sets of all topics; each event carries those of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Fields {
    /// ECS `device`: a USB device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<usb::Device>,
    /// ECS `volume`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<usb::Volume>,
    /// ECS `source`: who opened the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<contact::Endpoint>,
    /// ECS `destination`: the other end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<contact::Endpoint>,
    /// ECS `network`: transport, protocol, direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<contact::Network>,
    /// ECS `process`: the program on this PC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<contact::Process>,
    /// ECS `event.start` and `event.end`: the interval of a report or burst.
    #[serde(skip)]
    pub interval: Option<Interval>,
    /// What ECS has no field for.
    #[serde(skip)]
    pub lab: LabFields,
    /// Fields of another version, kept as they came.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// From when to when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Its first moment.
    pub start: Timestamp,
    /// Its last moment.
    pub end: Timestamp,
}

/// What ECS has no field for: the part of `lab` that depends on the action.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LabFields {
    /// Where and how a USB device is plugged in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usb: Option<usb::UsbPort>,
    /// Options of a mount, as `/proc/self/mountinfo` writes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_options: Option<String>,
    /// What a volume is made of, and which one it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<usb::Origin>,
    /// Everything that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inventory: Option<usb::Inventory>,
    /// Sums per network interface of a report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interfaces: Option<Vec<report::InterfaceTotals>>,
    /// Sums per peer of a report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peers: Option<Vec<report::PeerTotals>>,
    /// Bytes without an IP peer (ARP and the like) of a report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_bytes: Option<u64>,
    /// Which part of a split report this is, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<u32>,
    /// How many parts a split report has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<u32>,
    /// Where the peer is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// How sure the program's name is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribution: Option<contact::Attribution>,
    /// How the peer's name was learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_source: Option<contact::NameSource>,
    /// The sum of a burst.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<contact::Burst>,
    /// A network interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<interface::Interface>,
    /// Numbers of journals that will never come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<Vec<JournalRange>>,
    /// Why, in words, where an event needs it (a capture gap, lost notices).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Fields of another version, kept as they came.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// The PC that an event is about (ECS `host`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The address of the topic.
    pub ip: IpAddr,
    /// Its host name.
    #[serde(default)]
    pub name: String,
    /// Its machine id, hashed so that the real one stays on the PC.
    #[serde(default)]
    pub id: String,
    /// The MAC of the interface with `ip`: `2c-6e-85-00-b6-3a`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The running system.
    #[serde(default)]
    pub boot: Boot,
}

/// The running system (ECS `host.boot`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// `/proc/sys/kernel/random/boot_id`; new at each boot.
    #[serde(default)]
    pub id: String,
}

/// Where an event stands: its journal, its number, the digest of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The journal, one an agent start.
    pub journal: Uuid,
    /// The number in the journal, from 1, without holes.
    pub sequence: u64,
    /// SHA-256 of the payload before.
    pub prev: Digest,
}

/// A whole event, as it is published and stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "wire::Event", into = "wire::Event")]
pub struct Event {
    /// What happened.
    pub occurrence: Occurrence,
    /// Where it stands.
    pub place: Place,
    /// On which PC.
    pub host: Host,
    /// Milliseconds since that PC's boot, by its monotonic clock.
    pub uptime_ms: u64,
}

impl Event {
    /// The payload: one line of JSON without the line feed.
    ///
    /// # Errors
    /// Only when a value in [`Fields::unknown`] cannot be written.
    pub fn to_payload(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// When it is no JSON object with the fields of the envelope, or a known field is of another type.
    pub fn from_payload(payload: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(payload)
    }

    /// The topic's leaf by the action (and scope).
    #[must_use]
    pub fn leaf(&self) -> Option<Leaf> {
        self.occurrence.leaf()
    }
}

#[cfg(test)]
mod tests;
