//! Traffic reports: the sums of an interval as events of the topic `net`, in as many parts as the largest payload asks for.
//!
//! `lab.interfaces` and `lab.other_bytes` stand in the first part only; the peers are spread over all parts, those with the most
//! bytes first. So over all parts of a report peers + other = interfaces, exactly. Where more peers came than the table
//! holds, the bytes of those beyond it are part of `lab.other_bytes`, and `lab.reason` says so; it also says where captured
//! bytes and an interface's own counters differ.

use labwatch_contract::{
    MAX_PAYLOAD,
    event::{
        Action, Interval, LabFields, Occurrence,
        report::{InterfaceTotals, PeerTotals},
    },
    time::Timestamp,
};

/// So many programs are listed of a peer.
pub const MOST_PROGRAMS: usize = 16;

/// Room for the envelope (host, chain, times) that the journal puts around a report.
const ENVELOPE: usize = 4096;

/// The sums of an interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    /// The interval's first moment.
    pub start: Timestamp,
    /// Its last moment.
    pub end: Timestamp,
    /// Per interface.
    pub interfaces: Vec<InterfaceTotals>,
    /// Per peer, in the order in which they are to be listed.
    pub peers: Vec<PeerTotals>,
    /// Bytes of frames without an IP peer.
    pub other_bytes: u64,
    /// Bytes of peers beyond the table's bound.
    pub overflow_bytes: u64,
    /// What else has to be said of it, in words.
    pub remarks: Vec<String>,
}

/// The events of an interval; at least one.
#[must_use]
pub fn occurrences(traffic: Traffic) -> Vec<Occurrence> {
    let Traffic {
        start,
        end,
        interfaces,
        peers,
        other_bytes,
        overflow_bytes,
        mut remarks,
    } = traffic;
    if overflow_bytes > 0 {
        remarks.push(overflow_reason(overflow_bytes));
    }
    let reason = (!remarks.is_empty()).then(|| remarks.join("; "));
    let first_room = (MAX_PAYLOAD - ENVELOPE).saturating_sub(json_len(&interfaces));
    let parts = split(peers, first_room);
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    let mut interfaces = Some(interfaces);
    let numbered = (1..=count).zip(parts);
    let occurrence = |(part, peers)| {
        let interfaces = interfaces.take();
        let is_first = interfaces.is_some();
        let lab = LabFields {
            interfaces,
            peers: Some(peers),
            other_bytes: is_first.then_some(other_bytes + overflow_bytes),
            part: (count > 1).then_some(part),
            parts: (count > 1).then_some(count),
            reason: reason.clone().filter(|_| is_first),
            ..LabFields::default()
        };
        Occurrence::of_interval(Interval { start, end }, Action::TrafficReport, lab)
    };
    numbered.map(occurrence).collect()
}

fn overflow_reason(bytes: u64) -> String {
    format!("{bytes} bytes of other_bytes belong to more peers than can be listed")
}

/// Says that an interface's own counters and what was captured differ, by `unread` bytes since the capture began.
#[must_use]
pub fn difference(interface: &str, unread: i64) -> String {
    let bytes = unread.unsigned_abs();
    match unread {
        0 => format!("{interface}: captured and counted bytes agree again"),
        1.. => format!(
            "{interface}: {bytes} bytes that it has counted are not captured (on their way, or dropped)"
        ),
        _ => format!(
            "{interface}: {bytes} bytes more are captured than it has counted (its card counts otherwise)"
        ),
    }
}

fn split(peers: Vec<PeerTotals>, first_room: usize) -> Vec<Vec<PeerTotals>> {
    let mut parts = vec![Vec::new()];
    let mut room = first_room;
    for peer in peers {
        let len = json_len(&peer) + 1;
        if len > room {
            parts.push(Vec::new());
            room = MAX_PAYLOAD - ENVELOPE;
        }
        room = room.saturating_sub(len);
        if let Some(part) = parts.last_mut() {
            part.push(peer);
        }
    }
    parts
}

fn json_len(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(0, |json| json.len())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use labwatch_contract::{
        chain::Digest,
        event::{Boot, Event, Host, Place, contact::NameSource, report::Rates},
        scope::Scope,
    };

    use super::*;

    fn peer(number: u32) -> PeerTotals {
        PeerTotals {
            ip: IpAddr::V4(Ipv4Addr::from(number)),
            name: Some("a-rather-long-name.of-some-host.example".into()),
            name_source: NameSource::Dns,
            scope: Scope::Internet,
            sent_bytes: 1,
            received_bytes: 2,
            sent_packets: 1,
            received_packets: 1,
            sent_payload_bytes: Some(0),
            received_payload_bytes: Some(0),
            sent_bps: Rates::default(),
            received_bps: Rates::default(),
            total_sent_bytes: 1,
            total_received_bytes: 2,
            ports: vec![443],
            processes: vec![],
        }
    }

    fn traffic(peers: u32) -> Traffic {
        let time = Timestamp::from_unix_ms(0).unwrap();
        Traffic {
            start: time,
            end: time,
            interfaces: vec![InterfaceTotals::default()],
            peers: (0..peers).map(peer).collect(),
            other_bytes: 7,
            overflow_bytes: 0,
            remarks: vec![],
        }
    }

    fn payload(occurrence: Occurrence) -> Vec<u8> {
        let place = Place {
            journal: uuid::Uuid::nil(),
            sequence: u64::MAX,
            prev: Digest::of(b""),
        };
        let host = Host {
            ip: Ipv4Addr::LOCALHOST.into(),
            name: "h".repeat(255),
            id: "i".repeat(64),
            mac: Some("2c-6e-85-00-b6-3a".into()),
            boot: Boot { id: "b".repeat(36) },
        };
        Event {
            occurrence,
            place,
            host,
            uptime_ms: u64::MAX,
        }
        .to_payload()
        .unwrap()
    }

    #[test]
    fn a_short_report_is_one_event_without_parts() {
        let [report] = &occurrences(traffic(3))[..] else {
            panic!()
        };
        assert_eq!(
            (report.fields.lab.part, report.fields.lab.parts),
            (None, None)
        );
        assert_eq!(report.fields.lab.other_bytes, Some(7));
    }

    #[test]
    fn a_long_report_is_split_below_the_largest_payload_and_loses_no_peer() {
        let reports = occurrences(traffic(3000));
        assert!(reports.len() > 1);
        let mut peers = 0;
        for (number, report) in (1..).zip(&reports) {
            let lab = &report.fields.lab;
            assert_eq!(
                (lab.part, lab.parts),
                (Some(number), u32::try_from(reports.len()).ok())
            );
            assert_eq!(
                (lab.interfaces.is_some(), lab.other_bytes.is_some()),
                (number == 1, number == 1)
            );
            peers += lab.peers.as_ref().unwrap().len();
            let payload = payload(report.clone());
            assert!(payload.len() <= MAX_PAYLOAD, "{}", payload.len());
        }
        assert_eq!(peers, 3000);
    }

    #[test]
    fn bytes_of_peers_beyond_the_table_are_said_to_be_in_other() {
        let mut traffic = traffic(1);
        traffic.overflow_bytes = 5;
        let lab = occurrences(traffic).remove(0).fields.lab;
        assert_eq!(lab.other_bytes, Some(12));
        assert!(lab.reason.unwrap().starts_with("5 bytes"));
    }
}
