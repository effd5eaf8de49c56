//! What is bounded: scans, tables, the work of a tick.

use super::{super::conversations::CONNECTION, *};

#[test]
fn a_scan_is_told_fifty_times_and_then_as_a_sum() {
    let mut lab = Lab::new();
    let told: usize = (1..=200_u16)
        .map(|port| {
            lab.told(
                u64::from(port),
                tcp("192.168.0.7:40000", &format!("192.168.0.8:{port}"), SYN),
            )
            .len()
        })
        .sum();
    assert_eq!(told, BURST);
    assert_eq!(lab.flows.poll_timeout(), Some(at(51).uptime + WINDOW));
    assert_eq!(lab.time(10_050), []);
    let sums = lab.time(10_051);
    let burst = sums[0].fields.lab.burst.clone().unwrap();
    assert_eq!(
        (sums[0].action.clone(), burst.count),
        (Action::ConversationBurst, 150)
    );
    assert_eq!((burst.peers, burst.ports.len()), (vec![ip(NEIGHBOUR)], 100));
    assert_eq!(sums[0].fields.interval.unwrap().start, at(51).time);
    assert_eq!(
        lab.told(10_100, tcp("192.168.0.7:40000", "192.168.0.8:300", SYN))
            .len(),
        1
    );
}

#[test]
fn at_the_end_all_that_waits_is_told() {
    let mut lab = Lab::new();
    lab.frame(0, tcp("192.168.0.7:40000", "203.0.113.5:443", SYN));
    for port in 1..=60 {
        lab.frame(
            1,
            tcp("192.168.0.7:40000", &format!("192.168.0.8:{port}"), SYN),
        );
    }
    lab.flows.finish(at(2));
    let told = lab.outputs();
    let count = |action| told.iter().filter(|one| one.action == action).count();
    assert_eq!(count(Action::InternetAccess), 1);
    assert_eq!(count(Action::IntranetAccess), 50);
    assert_eq!(count(Action::ConversationBurst), 1);
    assert_eq!(told.last().unwrap().action, Action::TrafficReport);
}

#[test]
fn more_peers_than_the_table_holds_are_summed_and_make_room_at_the_report() {
    let mut lab = Lab::new();
    let beyond = 100_000 - MOST_PEERS;
    for number in 0..u32::try_from(MOST_PEERS + beyond).unwrap() {
        let peer = std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string();
        lab.frame(1, packet(47, &peer, "192.168.0.255"));
    }
    lab.flows.end_interval(at(10));
    let reports = lab.outputs();
    let first = &reports[0].fields.lab;
    assert_eq!(
        first.other_bytes,
        Some(100 * u64::try_from(beyond).unwrap())
    );
    assert!(first.reason.is_some());
    let peers: usize = reports
        .iter()
        .map(|report| report.fields.lab.peers.as_ref().unwrap().len())
        .sum();
    assert_eq!(peers, MOST_PEERS);
    lab.frame(11, udp("192.168.0.7:40000", "192.168.0.8:9"));
    assert_eq!(lab.report(12).lab.peers.unwrap().len(), 1);
}

#[test]
fn a_peer_that_is_silent_makes_room_at_once_and_one_that_is_not_stays() {
    let mut lab = Lab::new();
    let peer = |number: usize| -> String {
        let number = u32::try_from(number).unwrap();
        std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string()
    };
    for number in 0..MOST_PEERS {
        lab.frame(1, packet(47, &peer(number), "192.168.0.255"));
    }
    lab.flows.end_interval(at(10));
    lab.outputs();
    lab.frame(11, packet(47, &peer(0), "192.168.0.255"));
    lab.frame(12, packet(47, &peer(MOST_PEERS), "192.168.0.255"));
    lab.frame(13, packet(47, &peer(0), "192.168.0.255"));
    let lab = lab.report(14).lab;
    let told = lab.peers.unwrap();
    let bytes: Vec<_> = told
        .iter()
        .map(|one| (one.received_bytes, one.total_received_bytes))
        .collect();
    assert_eq!(
        (bytes, lab.other_bytes),
        (vec![(200, 300), (100, 100)], Some(0))
    );
}

#[test]
fn idle_flows_cost_a_tick_nothing() {
    let mut lab = Lab::new();
    for port in 1..10_000_u16 {
        lab.frame(1, udp(&format!("192.168.0.7:{port}"), "192.168.0.8:9"));
    }
    let looked_at: Vec<usize> = (1..=60)
        .map(|second| {
            lab.flows
                .conversations
                .forget_silent(at(second * 1000).uptime)
        })
        .collect();
    assert_eq!(looked_at.iter().sum::<usize>(), 0);
    let looked_at = lab.flows.conversations.forget_silent(at(60_001).uptime);
    assert_eq!(looked_at, 1, "the conversation");
    let later = at(1).uptime + CONNECTION;
    assert_eq!(lab.flows.conversations.forget_silent(later), 9_999);
    assert!(lab.flows.conversations.is_empty());
}

#[test]
fn an_interface_that_closed_stands_in_one_more_report() {
    let mut lab = Lab::new();
    lab.frame(1, udp("192.168.0.7:40000", "192.168.0.8:9"));
    lab.flows.count(1, 3, Some(100));
    lab.flows.close_interface(1);
    let interfaces = lab.report(2).lab.interfaces.unwrap();
    let eth0 = &interfaces[0];
    assert_eq!(
        (
            eth0.name.as_str(),
            eth0.bytes,
            eth0.packets,
            eth0.dropped,
            eth0.counter_bytes
        ),
        ("eth0", 100, 1, 3, Some(100))
    );
    assert_eq!(lab.report(3).lab.interfaces.unwrap(), []);
}

#[test]
fn what_programs_say_is_summed_without_headers_and_refusals_are_not() {
    let mut lab = Lab::new();
    let says = |payload_len, packet: Packet<'static>| Packet {
        payload_len,
        ..packet
    };
    lab.frame(0, tcp("192.168.0.7:40000", "192.168.0.8:80", SYN));
    lab.frame(1, tcp("192.168.0.8:80", "192.168.0.7:40000", 0x14));
    lab.frame(2, says(9, udp("192.168.0.7:40000", "192.168.0.8:9999")));
    lab.frame(3, says(7, udp("192.168.0.8:5353", "224.0.0.251:5353")));
    let peer = lab.report(1000).lab.peers.unwrap().remove(0);
    assert_eq!(peer.ip, ip("192.168.0.8"));
    assert!(peer.sent_packets == 2 && peer.received_packets > 0);
    assert_eq!(
        (peer.sent_payload_bytes, peer.received_payload_bytes),
        (Some(9), Some(0))
    );
    lab.frame(1001, says(5, udp("192.168.0.8:9999", "192.168.0.7:40000")));
    let peer = lab.report(2000).lab.peers.unwrap().remove(0);
    assert_eq!(
        (peer.sent_payload_bytes, peer.received_payload_bytes),
        (Some(0), Some(5))
    );
}

#[test]
fn totals_go_on_over_the_reports() {
    let mut lab = Lab::new();
    let mut peer = |ms| -> PeerTotals {
        lab.frame(ms, udp("192.168.0.7:40000", "192.168.0.8:9999"));
        lab.report(ms).lab.peers.unwrap().remove(0)
    };
    assert_eq!(
        (peer(0).total_sent_bytes, peer(40_000).total_sent_bytes),
        (100, 200)
    );
}
