//! Topics `policy` and `policy/agents`: the exam in force.
//!
//! [`Policy`] is for staff and holds seats and students; [`AgentPolicy`] is the part that agents need, and neither
//! student nor seat stands in it. Both are retained, so that whoever comes later knows what counts.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{alert::Severity, time::Timestamp};

/// The exam in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// The exam's name; empty when nobody gave it one.
    pub exam: String,
    /// When the exam is; always, without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Networks that count as local beside those the PCs are on.
    pub local_networks: Vec<IpNet>,
    /// Who sits where.
    pub seats: Vec<Seat>,
    /// Conversations that are part of the exam.
    pub allowed: Vec<Allowed>,
    /// Names that must not be contacted; each with all names below it, lower case.
    pub denied: Vec<String>,
    /// How grave a rule's findings are, by the rule's id, where that is not as the rule has it.
    pub severities: BTreeMap<String, Level>,
    /// Seconds before the same is told again, by the rule's id.
    pub cool_downs: BTreeMap<String, u64>,
}

impl Policy {
    /// What agents are told of it.
    #[must_use]
    pub fn for_agents(&self) -> AgentPolicy {
        AgentPolicy {
            window: self.window,
            local_networks: self.local_networks.clone(),
        }
    }
}

/// A place in the room, the PC on it and who sits there. Each field but the first may be unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seat {
    /// What stands on the desk: `A-07`.
    pub seat: String,
    /// The PC's host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The PC's MAC: `2c-6e-85-00-b6-3a`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The PC's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// Who sits there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub student: Option<String>,
}

/// A conversation that is part of the exam. What is not given may be anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Allowed {
    /// The machine that is asked, or the peer; one address as a network of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<IpNet>,
    /// Its name, with all names below it, lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Service ports; any, when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// `tcp`, `udp`, `icmp` …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// The short name of the program on this PC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

/// How grave a rule's findings are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Not told at all; the record has them.
    Off,
    /// Something broke; nobody's fault.
    Technical,
    /// Good to know.
    Info,
    /// Look at it.
    Warning,
    /// Go there now.
    Critical,
}

impl Level {
    /// The severity of an alert; none for [`Level::Off`].
    #[must_use]
    pub fn severity(self) -> Option<Severity> {
        match self {
            Self::Off => None,
            Self::Technical => Some(Severity::Technical),
            Self::Info => Some(Severity::Info),
            Self::Warning => Some(Severity::Warning),
            Self::Critical => Some(Severity::Critical),
        }
    }
}

/// Most networks that a policy may call local.
pub const MAX_LOCAL_NETWORKS: usize = 256;

/// Whether a network can be one of a site: what is wider would make the internet local.
#[must_use]
pub fn is_of_a_site(network: &IpNet) -> bool {
    match network {
        IpNet::V4(network) => network.prefix_len() >= 8,
        IpNet::V6(network) => network.prefix_len() >= 32,
    }
}

/// What an agent cannot go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// More than [`MAX_LOCAL_NETWORKS`].
    #[error("{0} local networks, at most {MAX_LOCAL_NETWORKS} go")]
    TooMany(usize),
    /// See [`is_of_a_site`].
    #[error("{0} is wider than any site (/8, IPv6 /32)")]
    TooWide(IpNet),
    /// It ends before it starts.
    #[error("the window ends before it starts")]
    Window,
}

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

impl AgentPolicy {
    /// Whether an agent can go by it.
    ///
    /// # Errors
    /// The first thing that is [`Unfit`].
    pub fn check(&self) -> Result<(), Unfit> {
        let networks = &self.local_networks;
        if networks.len() > MAX_LOCAL_NETWORKS {
            return Err(Unfit::TooMany(networks.len()));
        }
        if let Some(wide) = networks.iter().find(|network| !is_of_a_site(network)) {
            return Err(Unfit::TooWide(*wide));
        }
        match self.window {
            Some(Window { start, end }) if start >= end => Err(Unfit::Window),
            _ => Ok(()),
        }
    }
}

/// From when to when an exam goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its first moment.
    pub start: Timestamp,
    /// Its last moment.
    pub end: Timestamp,
}

impl Window {
    /// Whether a moment is within it.
    #[must_use]
    pub fn contains(&self, time: Timestamp) -> bool {
        self.start <= time && time <= self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_told_neither_seats_nor_students_nor_names() {
        let policy = Policy {
            exam: "Networks 1".into(),
            local_networks: vec!["10.20.0.0/16".parse().unwrap()],
            seats: vec![Seat {
                seat: "A-07".into(),
                student: Some("Alice".into()),
                ..Seat::default()
            }],
            ..Policy::default()
        };
        let told = serde_json::to_string(&policy.for_agents()).unwrap();
        assert_eq!(told, r#"{"local_networks":["10.20.0.0/16"]}"#);
        let all = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&all).unwrap(), policy);
    }
}
