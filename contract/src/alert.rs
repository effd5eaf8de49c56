//! Topics `alerts/<id>` and `alerts/<id>/ack`: open incidents, and who has dealt with them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::time::Timestamp;

/// An incident, as `--json` prints it and `alerts/<id>` retains it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// When this was written.
    #[serde(rename = "@timestamp")]
    pub timestamp: Timestamp,
    /// What became of the incident, and how grave it is.
    pub event: AlertEvent,
    /// The rule that raised it.
    pub rule: Rule,
    /// One line for people; foreign text in it has been made harmless.
    pub message: String,
    /// The PC; none for what concerns the whole lab.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<AlertHost>,
    /// What ECS has no field for.
    pub lab: AlertLab,
}

/// The action of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertEvent {
    /// What became of the incident.
    pub action: AlertAction,
    /// How grave it is.
    pub severity: Severity,
}

/// What became of an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertAction {
    /// It is new.
    Opened,
    /// It goes on.
    Updated,
    /// It is over.
    Resolved,
}

/// How grave an incident is, gravest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something broke; nobody's fault.
    Technical,
    /// Good to know.
    Info,
    /// Look at it.
    Warning,
    /// Go there now.
    Critical,
}

/// The rule that raised an alert (ECS `rule`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// A stable word: `usb-storage`.
    pub id: String,
    /// The same for people.
    pub name: String,
}

/// The PC of an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertHost {
    /// Its address.
    pub ip: IpAddr,
    /// Its host name. Foreign text.
    #[serde(default)]
    pub name: String,
}

/// What ECS has no field for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertLab {
    /// The incident.
    pub id: String,
    /// The seat, where the policy names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seat: Option<String>,
    /// What it is about: a device's port, a peer's address.
    pub object: String,
    /// How many events it holds.
    pub count: u64,
    /// The first of them.
    pub first: Timestamp,
    /// The last of them.
    pub last: Timestamp,
}

/// Who has dealt with an incident, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertAck {
    /// When.
    #[serde(rename = "@timestamp")]
    pub timestamp: Timestamp,
    /// Who.
    pub user: AckUser,
    /// How.
    pub lab: AckLab,
}

/// Who acknowledged (ECS `user`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckUser {
    /// A name as people say it.
    pub name: String,
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckLab {
    /// What it was.
    pub verdict: Verdict,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What an incident was, in the invigilator's eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Somebody looked.
    Seen,
    /// It was nothing.
    FalseAlarm,
    /// Something broke.
    Technical,
    /// It will have to be talked about.
    Suspected,
}

/// What is not to be shown for a while: topic `alerts/mute-<target>`, retained. It is recorded like any alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mute {
    /// When.
    #[serde(rename = "@timestamp")]
    pub timestamp: Timestamp,
    /// Who.
    pub user: AckUser,
    /// What, and until when.
    pub lab: MuteLab,
}

/// What is muted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MuteLab {
    /// A PC's address, or a rule's id.
    pub target: String,
    /// From then on it is shown again.
    pub until: Timestamp,
}

/// What the id of a mute begins with, in place of an incident's.
pub const MUTE_PREFIX: &str = "mute-";

/// The id under which a notifier says that it watches, see [`Watching`].
pub const WATCHING: &str = "watching";

/// That a notifier watches, or has stopped: an alert with rule `watching`, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watching {
    /// Says when, and whether it was the last word.
    #[serde(flatten)]
    pub alert: Alert,
    /// What it has judged, so that the next one takes what is sent again for a repeat.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<SeenRun>,
}

/// Events of one journal, without a hole, that were judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenRun {
    /// The PC by whose topic they came.
    pub ip: IpAddr,
    /// Their journal.
    pub journal: Uuid,
    /// The first of them.
    pub first: u64,
    /// The last of them.
    pub last: u64,
    /// The first 16 hex digits of the last one's digest.
    pub digest: String,
}
