//! The JSON of an event: ECS splits between `event` and `lab` what belongs together in [`Event`](super::Event).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Action, Boot, Fields, Host, Interval, LabFields, Occurrence, Place};
use crate::{chain::Digest, scope::Scope, time::Timestamp};

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
