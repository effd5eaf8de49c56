//! Which conversations are told, and as whose.

use super::*;

#[test]
fn the_first_packet_of_a_conversation_is_told_with_both_ends() {
    let mut lab = Lab::new();
    let told = lab.told(5, tcp("192.168.0.7:40000", "192.168.0.8:80", SYN));
    assert_eq!(told.len(), 1);
    assert_eq!(line(&told[0]), "egress 192.168.0.7:40000 > 192.168.0.8:80");
    assert_eq!(
        (told[0].action.clone(), told[0].time),
        (Action::IntranetAccess, at(5).time)
    );
    let network = told[0].fields.network.clone().unwrap();
    assert_eq!(
        (network.transport.as_str(), network.protocol.as_deref()),
        ("tcp", Some("http"))
    );
    assert_eq!(told[0].fields.lab.scope, Some(Scope::Intranet));
    assert_eq!(told[0].fields.lab.attribution, Some(Attribution::None));
    assert_eq!(
        lab.told(6, tcp("192.168.0.8:80", "192.168.0.7:40000", SYN_ACK)),
        []
    );
    assert_eq!(
        lab.told(7, tcp("192.168.0.7:40001", "192.168.0.8:80", SYN)),
        []
    );
    let other = lab.told(8, tcp("192.168.0.7:40002", "192.168.0.8:22", SYN));
    assert_eq!(line(&other[0]), "egress 192.168.0.7:40002 > 192.168.0.8:22");
}

#[test]
fn who_comes_to_us_is_told_as_ingress() {
    let told = Lab::new().told(0, tcp("192.168.0.8:40000", "192.168.0.7:80", SYN));
    assert_eq!(line(&told[0]), "ingress 192.168.0.8:40000 > 192.168.0.7:80");
}

#[test]
fn what_was_already_running_is_told_with_the_service_as_destination() {
    for (packet, expected) in [
        (
            tcp("192.168.0.8:22", "192.168.0.7:40000", ACK),
            "egress 192.168.0.7:40000 > 192.168.0.8:22",
        ),
        (
            tcp("192.168.0.7:8000", "192.168.0.8:50000", ACK),
            "ingress 192.168.0.8:50000 > 192.168.0.7:8000",
        ),
        (
            tcp("192.168.0.8:80", "192.168.0.7:900", SYN_ACK),
            "egress 192.168.0.7:900 > 192.168.0.8:80",
        ),
        (
            tcp("192.168.0.7:40000", "192.168.0.8:50000", ACK),
            "ingress 192.168.0.8:50000 > 192.168.0.7:40000",
        ),
        (
            udp("192.168.0.8:5004", "192.168.0.7:50000"),
            "egress 192.168.0.7:50000 > 192.168.0.8:5004",
        ),
        (
            udp("192.168.0.8:40000", "192.168.0.7:50000"),
            "ingress 192.168.0.8:40000 > 192.168.0.7:50000",
        ),
    ] {
        let told = Lab::new().told(0, packet);
        assert_eq!(line(&told[0]), expected);
    }
}

#[test]
fn once_all_is_seen_the_first_datagram_tells_who_opened() {
    let told = Lab::new().told(60_000, udp("192.168.0.8:53", "192.168.0.7:50000"));
    assert_eq!(line(&told[0]), "ingress 192.168.0.8:53 > 192.168.0.7:50000");
}

#[test]
fn a_connection_whose_beginning_was_not_seen_is_said_to_be_already_open() {
    let reason = |packet| {
        let told = Lab::new().told(0, packet).remove(0);
        told.fields.lab.reason
    };
    let (own, peer) = ("192.168.0.7:40000", "192.168.0.8:80");
    assert_eq!(reason(tcp(own, peer, ACK)).as_deref(), Some(ALREADY_OPEN));
    for packet in [tcp(own, peer, SYN), tcp(peer, own, SYN_ACK), udp(own, peer)] {
        assert_eq!(reason(packet), None);
    }
}

#[test]
fn frames_counted_late_open_nothing_again_and_are_counted_once() {
    let mut lab = Lab::new();
    let count = |lab: &mut Lab, ms, packet| {
        let frame = Frame {
            len: 100,
            content: Content::Ip(packet),
        };
        lab.flows.handle_frame(&frame, 1, at(ms));
        lab.outputs()
    };
    let syn = tcp("192.168.0.7:40000", "192.168.0.8:80", SYN);
    let internet = tcp("192.168.0.7:40000", "203.0.113.5:443", SYN);
    for packet in [syn, internet] {
        let frame = Frame {
            len: 100,
            content: Content::Ip(packet),
        };
        lab.flows.handle_opening(&frame, 1, at(9_900));
        assert_eq!(lab.time(12_000).len(), 1);
    }
    assert_eq!(lab.report(12_000).lab.peers.unwrap(), []);
    assert_eq!(count(&mut lab, 9_900, syn), []);
    assert_eq!(count(&mut lab, 9_900, internet), []);
    assert_eq!(lab.time(20_000), []);
    let peers = lab.report(20_000).lab.peers.unwrap();
    assert_eq!(peers.iter().map(|peer| peer.sent_bytes).sum::<u64>(), 200);
}

#[test]
fn a_conversation_is_new_again_after_a_minute_of_silence() {
    let mut lab = Lab::new();
    let again = |lab: &mut Lab, ms| {
        lab.told(ms, udp("192.168.0.7:40000", "192.168.0.8:9999"))
            .len()
    };
    assert_eq!(again(&mut lab, 0), 1);
    assert_eq!(again(&mut lab, 59_999), 0);
    assert_eq!(again(&mut lab, 119_998), 0);
    assert_eq!(again(&mut lab, 179_998), 1);
    lab.time(1_100_000);
    assert_eq!(
        lab.flows.poll_timeout(),
        None,
        "nothing is left to wait for"
    );
}

#[test]
fn a_connection_that_goes_on_after_a_silence_was_opened_by_whom_it_was() {
    let mut lab = Lab::new();
    let syn = tcp("192.168.0.7:45000", "192.168.0.8:50000", SYN);
    assert_eq!(lab.told(0, syn).len(), 1);
    let told = lab.told(200_000, tcp("192.168.0.8:50000", "192.168.0.7:45000", ACK));
    assert_eq!(
        told.iter().map(line).collect::<Vec<_>>(),
        ["egress 192.168.0.7:45000 > 192.168.0.8:50000"]
    );
    assert_eq!(
        told[0].fields.lab.reason, None,
        "it was seen from its beginning"
    );
}

#[test]
fn a_tuple_used_again_in_the_other_direction_is_another_conversation() {
    let mut lab = Lab::new();
    assert_eq!(
        lab.told(0, tcp("192.168.0.7:5000", "192.168.0.8:6000", SYN))
            .len(),
        1
    );
    let told = lab.told(1, tcp("192.168.0.8:6000", "192.168.0.7:5000", SYN));
    assert_eq!(
        line(&told[0]),
        "ingress 192.168.0.8:6000 > 192.168.0.7:5000"
    );
}

#[test]
fn a_syn_that_comes_again_begins_no_other_flow() {
    let Flows {
        own,
        conversations,
        networks,
        ..
    } = &mut Lab::new().flows;
    let before = [7, 7, 8].map(|sequence| {
        let syn = Packet {
            sequence,
            ..tcp("192.168.0.7:40000", "192.168.0.8:80", SYN)
        };
        let seen = Sighting::new(&syn, own);
        let belonging = conversations.handle(&seen, networks, Duration::ZERO);
        belonging.packets_before
    });
    assert_eq!(before, [0, 1, 0]);
}

#[test]
fn pings_are_told_and_error_notices_are_not() {
    let mut lab = Lab::new();
    assert_eq!(lab.told(0, icmp(NEIGHBOUR, OWN, 3)), []);
    let told = lab.told(1, icmp(OWN, NEIGHBOUR, 0));
    assert_eq!(line(&told[0]), "ingress 192.168.0.8 > 192.168.0.7");
    assert_eq!(lab.told(2, icmp(NEIGHBOUR, OWN, 8)), []);
    assert_eq!(lab.told(3, icmp(OWN, NEIGHBOUR, 8)).len(), 1);
    assert!(lab.asked.is_empty(), "ICMP has no socket to ask for");
}

#[test]
fn infrastructure_groups_fragments_and_others_traffic_raise_nothing() {
    let mut lab = Lab::new();
    let fragment = Packet {
        fragment: true,
        ..packet(protocol::UDP, NEIGHBOUR, OWN)
    };
    for packet in [
        udp("192.168.0.7:40000", "192.168.0.1:53"),
        tcp("192.168.0.7:40000", BROKER, SYN),
        udp("0.0.0.0:68", "255.255.255.255:67"),
        udp("192.168.0.8:137", "192.168.0.255:137"),
        udp("192.168.0.7:5353", "224.0.0.251:5353"),
        udp("192.168.0.7:9999", "239.1.2.3:9999"),
        udp("[fe80::1]:546", "[ff02::1:2]:547"),
        tcp("192.168.0.8:40000", "192.168.0.9:80", SYN),
        fragment,
    ] {
        assert_eq!(lab.told(0, packet), [], "{packet:?}");
    }
    assert_eq!(lab.time(10_000), []);
    let peers = lab.report(10_000).lab.peers.unwrap();
    let bytes: u64 = peers
        .iter()
        .map(|peer| peer.sent_bytes + peer.received_bytes)
        .sum();
    assert_eq!(bytes, 900, "their bytes are counted all the same");
}

#[test]
fn those_who_come_to_a_broker_on_this_pc_raise_nothing() {
    let mut lab = Lab::new();
    for broker in ["127.0.0.1:1883", "192.168.0.7:1883"] {
        let networks = Networks {
            broker: broker.parse().ok(),
            ..lab.flows.networks.clone()
        };
        lab.flows.networks = networks;
        assert_eq!(
            lab.told(0, tcp("192.168.0.8:40000", "192.168.0.7:1883", SYN)),
            []
        );
    }
}
