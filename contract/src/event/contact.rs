//! Topics `net/intranet` and `net/internet`: who talked to whom (ECS `source`, `destination`, `network`, `process`).

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

/// One end of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its address.
    pub ip: IpAddr,
    /// Its port; none for ICMP and other protocols without ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Its name, where one is known. Foreign text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.ip, self.port) {
            (IpAddr::V6(ip), Some(port)) => write!(f, "[{ip}]:{port}"),
            (ip, Some(port)) => write!(f, "{ip}:{port}"),
            (ip, None) => write!(f, "{ip}"),
        }
    }
}

/// How they talk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// `tcp`, `udp`, `icmp`, `ipv6-icmp` …: IANA's keyword in lower case, or the number.
    pub transport: String,
    /// Who opened it, seen from this PC.
    pub direction: Direction,
    /// The application's protocol by its service port (`http`, `ssh`), where it is well known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
}

/// Who opened the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// This PC.
    Egress,
    /// The peer.
    Ingress,
    /// Not said, or said by another version.
    #[serde(other)]
    Unknown,
}

/// The program on this PC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// Its short name. Foreign text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its process id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Path of its executable. Foreign text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    /// Who runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
}

/// Who runs a program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct User {
    /// The login name, or the number where it has none.
    pub name: String,
}

/// How sure the program's name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attribution {
    /// The kernel showed this very socket and the process that has it open.
    Exact,
    /// Concluded: from tables of sockets, or because it ended when the socket was closed. `lab.reason` says so.
    Polled,
    /// The program is not known (its user may be), also what another version says.
    #[serde(other)]
    None,
}

/// How a peer's name was learned, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NameSource {
    /// TLS server name indication.
    Sni,
    /// The same in a QUIC Initial.
    Quic,
    /// `Host` of an HTTP request.
    Http,
    /// A DNS answer seen on the wire.
    Dns,
    /// A multicast DNS answer.
    Mdns,
    /// A link-local multicast answer.
    Llmnr,
    /// A reverse look-up by the agent.
    Reverse,
    /// No name, also what another version says.
    #[serde(other)]
    None,
}

/// What came beyond 50 new conversations within 10 s, summed (`lab.burst`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Burst {
    /// How many conversations were not reported one by one.
    pub count: u64,
    /// Their peers, at most 100 of them.
    pub peers: Vec<IpAddr>,
    /// Their service ports, at most 100 of them.
    pub ports: Vec<u16>,
    /// Names of the programs behind them, at most 16 and as far as they were found. Foreign text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<String>,
}
