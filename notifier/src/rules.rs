//! From an event or status to a [`Finding`]: which rule it meets, how grave that is, and the line that says so.
//!
//! One file per sensor: `usb`, `network`, `broker`, `notifier`; what silence means stands in [`crate::silence`]. A rule says what happened, who, what, where and by
//! which program; it never says what it means. Everything foreign in a finding (names of hosts, devices,
//! programs, domains) has been made harmless, so what comes after may print it as it is.
//!
//! What no rule asks for (traffic reports, internet contacts, actions of another version) gives nothing. An
//! event without the fields of its action is [`Incomplete`], for the caller to count.

pub(crate) mod broker;
mod network;
pub(crate) mod notifier;
mod usb;

use std::net::IpAddr;

use labwatch_contract::{
    alert::{AlertHost, Severity},
    event::{Action, Event},
    text::harmless,
    time::Timestamp,
};

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// A stable word: `usb-storage`.
    pub id: &'static str,
    /// The same for people.
    pub name: &'static str,
    /// What incidents are about: rules of one subject, PC and object are one incident (a stick came, a stick went).
    pub subject: &'static str,
}

impl Rule {
    /// Whether what it tells ends the incident: a PC is there again, the broker is.
    pub(crate) fn resolves(self) -> bool {
        matches!(
            self.id,
            "agent-online" | "agent-moved" | "agents-back" | "broker-back"
        )
    }

    pub(crate) const fn new(subject: &'static str, id: &'static str, name: &'static str) -> Self {
        Self { id, name, subject }
    }
}

/// What a rule says of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// How grave it is.
    pub severity: Severity,
    /// The PC, its name made harmless; none for what concerns the whole lab.
    pub host: Option<AlertHost>,
    /// What it is about, within the rule's subject: a device and its port, a peer and its port. Harmless.
    pub object: String,
    /// One line for people, complete in itself. Harmless.
    pub message: String,
    /// When it happened, by the PC's clock.
    pub time: Timestamp,
}

/// The event lacks a field that its action must carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is missing")]
pub struct Incomplete(pub &'static str);

/// What the rules say of an event that came by the topic of the PC at `address`; `None` when none of them asks
/// for it. The topic says who it was, because the broker vouches for it; the address in the payload may be one
/// that the PC had before, or a neighbour's.
///
/// # Errors
/// [`Incomplete`] when a field is missing that the action must carry.
pub fn judge(address: IpAddr, event: &Event) -> Result<Option<Finding>, Incomplete> {
    let verdict = match event.occurrence.action {
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
        | Action::EventsLost => usb::judge(&event.occurrence)?,
        Action::IntranetAccess
        | Action::ConversationBurst
        | Action::InterfaceUp
        | Action::InterfaceDown
        | Action::AddressChanged
        | Action::RouteChanged
        | Action::CaptureGap => network::judge(&event.occurrence, event.host.ip)?,
        Action::TrafficReport
        | Action::InternetAccess
        | Action::Inventory
        | Action::EventsDropped
        | Action::Other(_) => None,
    };
    Ok(verdict.map(|verdict| verdict.about(address, event)))
}

/// A finding without the PC.
struct Verdict {
    rule: Rule,
    severity: Severity,
    object: String,
    text: String,
}

impl Verdict {
    fn about(self, address: IpAddr, event: &Event) -> Finding {
        let host = AlertHost {
            ip: address,
            name: harmless(&event.host.name),
        };
        let mut message = format!("{}: {}", who(&host), self.text);
        let then = event.host.ip.to_canonical();
        if then != address {
            message += &format!(", as it says under its earlier address {then}");
        }
        Finding {
            rule: self.rule,
            severity: self.severity,
            object: self.object,
            message,
            host: Some(host),
            time: event.occurrence.time,
        }
    }
}

/// `192.168.0.133 (pc-33)`.
pub(crate) fn who(host: &AlertHost) -> String {
    match host.name.as_str() {
        "" => host.ip.to_string(),
        name => format!("{} ({name})", host.ip),
    }
}

/// The first few of many, and how many more there are: `22, 80, 443 and 9 more`.
pub(crate) fn some<T: ToString>(things: &[T]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = things.iter().take(SHOWN).map(T::to_string).collect();
    match things.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
pub(crate) mod tests;
