//! Events: numbered, journalled, recorded. One JSON object a line; field names of ECS 9, the rest under `lab`.
//!
//! A sensor says what happened as an [`Occurrence`]; the journal gives it a number and its place in the chain
//! and thereby makes it an [`Event`]. The field sets of the topics stand in a file each: [`usb`], [`report`],
//! [`contact`], [`interface`]. Fields and actions that this version does not know are kept.
//!
//! [`Head`] reads of a payload only what the recorder needs to put it in order.

pub mod contact;
pub mod interface;
pub mod report;
pub mod usb;

use std::{collections::BTreeMap, fmt, net::IpAddr};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{chain::Digest, scope::Scope, status::JournalRange, time::Timestamp, topic::Leaf};

/// What happened, as it stands in `event.action`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Action {
    /// A device was there at the start.
    DevicePresent,
    /// A device came.
    DeviceConnected,
    /// A device went.
    DeviceDisconnected,
    /// A volume was mounted at the start.
    VolumePresent,
    /// A volume was mounted.
    VolumeMounted,
    /// A volume was unmounted.
    VolumeUnmounted,
    /// A volume may be written to now, or no longer.
    VolumeRemounted,
    /// A volume's device was pulled while it was mounted.
    VolumeRemoved,
    /// A medium lay in a reader or drive at the start.
    MediaPresent,
    /// A medium was put into a reader or drive, or a disk that is not on USB was plugged in.
    MediaInserted,
    /// Such a medium or disk was taken out.
    MediaRemoved,
    /// Everything that is there, told at each connection to the broker.
    Inventory,
    /// The kernel dropped notices; what a rescan found follows.
    EventsLost,
    /// Events of this PC's journals that the recorder had not confirmed will never come.
    EventsDropped,
    /// Who talked to whom, and how much.
    TrafficReport,
    /// First packet of a conversation with a machine of the local networks.
    IntranetAccess,
    /// First contact with an internet peer in this interval.
    InternetAccess,
    /// Conversations beyond 50 in 10 s, summed.
    ConversationBurst,
    /// A network interface came.
    InterfaceUp,
    /// A network interface went.
    InterfaceDown,
    /// An interface's addresses changed.
    AddressChanged,
    /// The default route changed.
    RouteChanged,
    /// A moment in which packets were not seen.
    CaptureGap,
    /// An action of another version, kept as it came.
    Other(String),
}

impl Action {
    const NAMES: [(&'static str, Self); 23] = [
        ("device-present", Self::DevicePresent),
        ("device-connected", Self::DeviceConnected),
        ("device-disconnected", Self::DeviceDisconnected),
        ("volume-present", Self::VolumePresent),
        ("volume-mounted", Self::VolumeMounted),
        ("volume-unmounted", Self::VolumeUnmounted),
        ("volume-remounted", Self::VolumeRemounted),
        ("volume-removed", Self::VolumeRemoved),
        ("media-present", Self::MediaPresent),
        ("media-inserted", Self::MediaInserted),
        ("media-removed", Self::MediaRemoved),
        ("inventory", Self::Inventory),
        ("events-lost", Self::EventsLost),
        ("events-dropped", Self::EventsDropped),
        ("traffic-report", Self::TrafficReport),
        ("intranet-access", Self::IntranetAccess),
        ("internet-access", Self::InternetAccess),
        ("conversation-burst", Self::ConversationBurst),
        ("interface-up", Self::InterfaceUp),
        ("interface-down", Self::InterfaceDown),
        ("address-changed", Self::AddressChanged),
        ("route-changed", Self::RouteChanged),
        ("capture-gap", Self::CaptureGap),
    ];

    /// The text in `event.action`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Other(name) => name,
            known => Self::NAMES
                .iter()
                .find(|(_, action)| action == known)
                .map_or("", |(name, _)| name),
        }
    }
}

impl From<String> for Action {
    fn from(name: String) -> Self {
        let known = Self::NAMES.into_iter().find(|(known, _)| *known == name);
        known.map_or(Self::Other(name), |(_, action)| action)
    }
}

impl From<Action> for String {
    fn from(action: Action) -> Self {
        action.name().to_owned()
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

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
    /// The topic it goes to: the action's, and for a burst that of its scope. `None` for an unknown action.
    #[must_use]
    pub fn leaf(&self) -> Option<Leaf> {
        leaf(&self.action, self.fields.lab.scope)
    }
}

fn leaf(action: &Action, scope: Option<Scope>) -> Option<Leaf> {
    match action {
        Action::DevicePresent
        | Action::DeviceConnected
        | Action::DeviceDisconnected
        | Action::VolumePresent
        | Action::VolumeMounted
        | Action::VolumeUnmounted
        | Action::VolumeRemounted
        | Action::VolumeRemoved
        | Action::MediaPresent
        | Action::MediaInserted
        | Action::MediaRemoved
        | Action::Inventory
        | Action::EventsLost
        | Action::EventsDropped => Some(Leaf::Usb),
        Action::TrafficReport => Some(Leaf::Net),
        Action::IntranetAccess => Some(Leaf::Intranet),
        Action::InternetAccess => Some(Leaf::Internet),
        Action::ConversationBurst if scope == Some(Scope::Internet) => Some(Leaf::Internet),
        Action::ConversationBurst => Some(Leaf::Intranet),
        Action::InterfaceUp
        | Action::InterfaceDown
        | Action::AddressChanged
        | Action::RouteChanged
        | Action::CaptureGap => Some(Leaf::Interface),
        Action::Other(_) => None,
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

/// The JSON of an event: ECS splits between `event` and `lab` what belongs together here.
mod wire {
    use super::{
        Action, Boot, Deserialize, Digest, Fields, Host, Interval, IpAddr, LabFields, Occurrence,
        Place,
    };
    use super::{Scope, Serialize, Timestamp, Uuid};

    #[derive(Clone, Serialize, Deserialize)]
    pub(super) struct Event {
        #[serde(rename = "@timestamp")]
        timestamp: Timestamp,
        event: EventFields,
        host: Host,
        lab: Lab,
        #[serde(flatten)]
        fields: Fields,
    }

    #[derive(Clone, Serialize, Deserialize)]
    struct EventFields {
        action: Action,
        sequence: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        start: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        end: Option<Timestamp>,
    }

    #[derive(Clone, Serialize, Deserialize)]
    struct Lab {
        journal: Uuid,
        prev: Digest,
        uptime_ms: u64,
        #[serde(flatten)]
        fields: LabFields,
    }

    impl From<super::Event> for Event {
        fn from(event: super::Event) -> Self {
            let Place {
                journal,
                sequence,
                prev,
            } = event.place;
            let Occurrence {
                time,
                action,
                mut fields,
            } = event.occurrence;
            let (start, end) = fields
                .interval
                .map(|interval| (interval.start, interval.end))
                .unzip();
            let lab = std::mem::take(&mut fields.lab);
            Self {
                timestamp: time,
                event: EventFields {
                    action,
                    sequence,
                    start,
                    end,
                },
                host: event.host,
                lab: Lab {
                    journal,
                    prev,
                    uptime_ms: event.uptime_ms,
                    fields: lab,
                },
                fields,
            }
        }
    }

    impl From<Event> for super::Event {
        fn from(event: Event) -> Self {
            let EventFields {
                action,
                sequence,
                start,
                end,
            } = event.event;
            let Lab {
                journal,
                prev,
                uptime_ms,
                fields: lab,
            } = event.lab;
            let interval = start.zip(end).map(|(start, end)| Interval { start, end });
            let fields = Fields {
                interval,
                lab,
                ..event.fields
            };
            Self {
                occurrence: Occurrence {
                    time: event.timestamp,
                    action,
                    fields,
                },
                place: Place {
                    journal,
                    sequence,
                    prev,
                },
                host: event.host,
                uptime_ms,
            }
        }
    }

    #[derive(Deserialize)]
    pub(super) struct Head {
        #[serde(rename = "@timestamp")]
        pub(super) timestamp: Timestamp,
        pub(super) event: HeadEvent,
        pub(super) host: HeadHost,
        pub(super) lab: HeadLab,
    }

    #[derive(Deserialize)]
    pub(super) struct HeadEvent {
        pub(super) action: Action,
        pub(super) sequence: u64,
    }

    #[derive(Deserialize)]
    pub(super) struct HeadHost {
        pub(super) ip: IpAddr,
        #[serde(default)]
        pub(super) id: String,
        #[serde(default)]
        pub(super) boot: Boot,
    }

    #[derive(Deserialize)]
    pub(super) struct HeadLab {
        pub(super) journal: Uuid,
        pub(super) prev: Digest,
        pub(super) uptime_ms: u64,
        #[serde(default)]
        pub(super) scope: Option<Scope>,
    }
}

#[cfg(test)]
mod tests;
