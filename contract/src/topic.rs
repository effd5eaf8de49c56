//! The MQTT topics: from text to a [`Topic`] and back.
//!
//! A topic is read by splitting at `/`. The first level is the [`Root`], the second an IP address or one of
//! the words `policy`, `alerts`, `checkpoint`. Only the one way of writing an address counts (RFC 5952, no
//! zone, an IPv4-mapped address as its IPv4 one), so that two texts never name one PC. Anything else is an
//! error: a topic that was parsed holds no wildcard, no NUL, no empty level and no path.

use std::{fmt, net::IpAddr, str::FromStr};

/// Longest text that is looked at, in bytes; MQTT allows 65,535.
const MAX_TOPIC: usize = 256;
/// Longest name of a root or alert, in bytes.
const MAX_NAME: usize = 128;

/// Why a text is no topic of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Longer than any topic of ours.
    #[error("the topic is longer than {MAX_TOPIC} bytes")]
    TooLong,
    /// The first level is another root.
    #[error("the topic is not under the root")]
    OtherRoot,
    /// The second level is neither an address in its one true form nor a known word.
    #[error("the second level is no IP address as RFC 5952 writes it")]
    NoAddress,
    /// The levels below are none of ours.
    #[error("no such topic")]
    Unknown,
    /// A root or an alert's id with characters outside `A-Z a-z 0-9 . _ -`.
    #[error("a name is 1 to {MAX_NAME} letters, digits, `.`, `_` or `-`")]
    BadName,
}

/// One level of a topic that people choose: letters, digits, `.`, `_`, `-`; 1 to 128 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl FromStr for Name {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(good) {
            return Err(TopicError::BadName);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first level of every topic; one root, one recorder, one notifier a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(Name);

impl Default for Root {
    fn default() -> Self {
        Self(Name("lab".to_owned()))
    }
}

impl FromStr for Root {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Root {
    /// The text of `topic` under this root.
    #[must_use]
    pub fn text(&self, topic: &Topic) -> String {
        format!("{self}/{topic}")
    }

    /// The filter that matches every topic under this root: `lab/#`.
    #[must_use]
    pub fn everything(&self) -> String {
        format!("{self}/#")
    }

    /// Reads a topic name (never a filter).
    ///
    /// # Errors
    /// A [`TopicError`] for whatever is no topic under this root; its text is not looked at beyond 256 bytes.
    pub fn parse(&self, text: &str) -> Result<Topic, TopicError> {
        if text.len() > MAX_TOPIC {
            return Err(TopicError::TooLong);
        }
        let below = text
            .strip_prefix(&self.0.0)
            .and_then(|rest| rest.strip_prefix('/'));
        let below = below.ok_or(TopicError::OtherRoot)?;
        let (second, rest) = below.split_once('/').unwrap_or((below, ""));
        match (second, rest) {
            ("policy", "") if below == "policy" => Ok(Topic::Policy),
            ("policy", "agents") => Ok(Topic::AgentPolicy),
            ("checkpoint", "") if below == "checkpoint" => Ok(Topic::Checkpoint),
            ("policy" | "checkpoint", _) => Err(TopicError::Unknown),
            ("alerts", id) => parse_alert(id),
            (address, leaf) => Ok(Topic::Pc(parse_address(address)?, leaf.parse()?)),
        }
    }
}

fn parse_alert(rest: &str) -> Result<Topic, TopicError> {
    match rest.split_once('/') {
        None => Ok(Topic::Alert(rest.parse()?)),
        Some((id, "ack")) => Ok(Topic::AlertAck(id.parse()?)),
        Some(_) => Err(TopicError::Unknown),
    }
}

fn parse_address(text: &str) -> Result<IpAddr, TopicError> {
    let address: IpAddr = text.parse().map_err(|_| TopicError::NoAddress)?;
    // Of an IPv4 address only the one way is read; of an IPv6 one there are many.
    match address {
        IpAddr::V4(_) => Ok(address),
        IpAddr::V6(_) if address.to_canonical().to_string() == text => Ok(address),
        IpAddr::V6(_) => Err(TopicError::NoAddress),
    }
}

/// A topic without its root.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A topic of the PC with this address.
    Pc(IpAddr, Leaf),
    /// `policy`: the exam in force, for staff.
    Policy,
    /// `policy/agents`: the part that agents need.
    AgentPolicy,
    /// `alerts/<id>`: an open incident.
    Alert(Name),
    /// `alerts/<id>/ack`: who has dealt with it, and how.
    AlertAck(Name),
    /// `checkpoint`: the signed summary of the record.
    Checkpoint,
}

impl Topic {
    /// The topic of a PC; an IPv4-mapped address becomes its IPv4 one.
    #[must_use]
    pub fn pc(address: IpAddr, leaf: Leaf) -> Self {
        Self::Pc(address.to_canonical(), leaf)
    }

    /// Whether messages of this topic are retained by the broker.
    #[must_use]
    pub fn is_retained(&self) -> bool {
        !matches!(self, Self::Pc(_, leaf) if *leaf != Leaf::Status)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pc(address, leaf) => write!(f, "{}/{leaf}", address.to_canonical()),
            Self::Policy => f.write_str("policy"),
            Self::AgentPolicy => f.write_str("policy/agents"),
            Self::Alert(id) => write!(f, "alerts/{id}"),
            Self::AlertAck(id) => write!(f, "alerts/{id}/ack"),
            Self::Checkpoint => f.write_str("checkpoint"),
        }
    }
}

/// What stands below a PC's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leaf {
    /// `usb`: devices and volumes.
    Usb,
    /// `net`: the traffic report.
    Net,
    /// `net/intranet`: conversations with machines of the local networks.
    Intranet,
    /// `net/internet`: first contacts with internet peers.
    Internet,
    /// `net/interface`: network interfaces, addresses, routes.
    Interface,
    /// `status`: online or offline.
    Status,
    /// `health`: the heartbeat.
    Health,
    /// `ack`: the recorder's marks.
    Ack,
}

impl Leaf {
    /// Every leaf, in the order of the contract.
    pub const ALL: [Self; 8] = [
        Self::Usb,
        Self::Net,
        Self::Intranet,
        Self::Internet,
        Self::Interface,
        Self::Status,
        Self::Health,
        Self::Ack,
    ];

    /// The levels below the address.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Usb => "usb",
            Self::Net => "net",
            Self::Intranet => "net/intranet",
            Self::Internet => "net/internet",
            Self::Interface => "net/interface",
            Self::Status => "status",
            Self::Health => "health",
            Self::Ack => "ack",
        }
    }

    /// Whether its payloads are numbered, journalled and recorded events.
    #[must_use]
    pub fn carries_events(self) -> bool {
        matches!(
            self,
            Self::Usb | Self::Net | Self::Intranet | Self::Internet | Self::Interface
        )
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl FromStr for Leaf {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        Self::ALL
            .into_iter()
            .find(|leaf| leaf.text() == text)
            .ok_or(TopicError::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Topic, TopicError> {
        Root::default().parse(text)
    }

    #[test]
    fn every_topic_has_a_channel_in_the_asyncapi_document() {
        let document = include_str!("../../docs/asyncapi.yaml");
        let id: Name = "id".parse().unwrap();
        let of_the_lab = [
            Topic::Policy,
            Topic::AgentPolicy,
            Topic::Alert(id.clone()),
            Topic::AlertAck(id),
            Topic::Checkpoint,
        ];
        let of_a_pc = Leaf::ALL.map(|leaf| Topic::pc(IpAddr::from([10, 0, 0, 1]), leaf));
        for topic in of_a_pc.into_iter().chain(of_the_lab) {
            let text = Root::default().text(&topic);
            let address = text
                .replacen("lab/", "{root}/", 1)
                .replace("10.0.0.1", "{ip}")
                .replace("/id", "/{id}");
            let channel = format!("address: '{address}'");
            assert!(document.contains(&channel), "{channel}");
        }
    }

    #[test]
    fn every_topic_of_the_contract_is_read_and_written() {
        for text in [
            "lab/192.168.0.133/usb",
            "lab/192.168.0.133/net",
            "lab/192.168.0.133/net/intranet",
            "lab/192.168.0.133/net/internet",
            "lab/192.168.0.133/net/interface",
            "lab/2001:db8::1/status",
            "lab/fe80::1/health",
            "lab/10.0.0.1/ack",
            "lab/policy",
            "lab/policy/agents",
            "lab/alerts/recorder-disk",
            "lab/alerts/recorder-disk/ack",
            "lab/checkpoint",
        ] {
            assert_eq!(Root::default().text(&parse(text).unwrap()), text);
        }
    }

    #[test]
    fn hostile_topics_are_refused() {
        let long = format!("lab/10.0.0.1/{}", "a".repeat(64 * 1024));
        for text in [
            "lab/../net",
            "lab/1.2.3/usb",
            "lab//usb",
            "lab/+/usb",
            "lab/#",
            "lab/10.0.0.1/#",
            "lab/10.0.0.1\0/usb",
            "lab/10.0.0.1/usb\0",
            "lab/10.0.0.1/usb/",
            "lab/10.0.0.1/usb/../../etc",
            "lab/10.0.0.1/",
            "lab/10.0.0.1",
            "lab/010.0.0.1/usb",
            "lab/fe80::1%eth0/usb",
            "lab/FE80::1/usb",
            "lab/0:0:0:0:0:0:0:1/usb",
            "lab/::ffff:10.0.0.1/usb",
            "lab/policy/",
            "lab/policy/agents/x",
            "lab/checkpoint/",
            "lab/alerts",
            "lab/alerts/",
            "lab/alerts/a b",
            "lab/alerts/../x",
            "lab/alerts/a/ack/ack",
            "lab",
            "lab/",
            "",
            "/",
            "/lab/10.0.0.1/usb",
            "lab2/10.0.0.1/usb",
            "LAB/10.0.0.1/usb",
            "$SYS/broker",
            long.as_str(),
        ] {
            assert!(parse(text).is_err(), "{text:.80}");
        }
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_one() {
        let topic = Topic::pc("::ffff:10.0.0.1".parse().unwrap(), Leaf::Usb);
        assert_eq!(Root::default().text(&topic), "lab/10.0.0.1/usb");
    }

    #[test]
    fn only_status_policy_alerts_and_checkpoints_are_retained() {
        let retained = |text: &str| parse(text).unwrap().is_retained();
        for text in [
            "lab/10.0.0.1/status",
            "lab/policy",
            "lab/alerts/a",
            "lab/alerts/a/ack",
            "lab/checkpoint",
        ] {
            assert!(retained(text), "{text}");
        }
        for text in [
            "lab/10.0.0.1/usb",
            "lab/10.0.0.1/net/intranet",
            "lab/10.0.0.1/health",
            "lab/10.0.0.1/ack",
        ] {
            assert!(!retained(text), "{text}");
        }
    }

    #[test]
    fn another_root_is_one_plain_level() {
        assert!("room-12.b".parse::<Root>().is_ok());
        for text in ["", "a/b", "+", "#", "a b", "$SYS"] {
            assert!(text.parse::<Root>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_is_written_back(text in "(lab/)?[ -~/\\PC]{0,60}") {
            if let Ok(topic) = parse(&text) {
                prop_assert_eq!(Root::default().text(&topic), text);
            }
        }

        #[test]
        fn every_address_has_one_topic(address: IpAddr, leaf in prop::sample::select(Leaf::ALL.to_vec())) {
            let topic = Topic::pc(address, leaf);
            prop_assert_eq!(parse(&Root::default().text(&topic)), Ok(topic));
        }
    }
}
