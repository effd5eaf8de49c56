//! What events say happened, and the topic that follows from it.
//!
//! The action alone determines the topic, but for a burst, which goes where its conversations would have gone.
//! An action of another version is kept as it came and has no topic of its own.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{scope::Scope, topic::Leaf};

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
    pub(super) const NAMES: [(&'static str, Self); 23] = [
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

/// The topic of an action; that of a burst depends on its scope. `None` for an unknown action.
pub(super) fn leaf(action: &Action, scope: Option<Scope>) -> Option<Leaf> {
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
