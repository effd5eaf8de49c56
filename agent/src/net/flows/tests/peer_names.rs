//! Names of peers.

use super::*;

#[test]
fn an_internet_peer_is_told_once_an_interval_by_name_or_after_two_seconds() {
    let mut lab = Lab::new();
    assert_eq!(
        lab.told(0, tcp("192.168.0.7:40000", "203.0.113.5:443", SYN)),
        []
    );
    assert_eq!(lab.looked_up, [ip(SERVER)]);
    assert_eq!(
        lab.told(100, tcp("192.168.0.7:40001", "203.0.113.5:80", SYN)),
        []
    );
    assert_eq!(lab.time(1999), []);
    let told = lab.time(2000);
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].action.clone(), told[0].fields.lab.name_source),
        (Action::InternetAccess, Some(NameSource::None))
    );
    assert_eq!(line(&told[0]), "egress 192.168.0.7:40000 > 203.0.113.5:443");

    lab.report(40_000);
    assert_eq!(
        lab.told(40_100, tcp("192.168.0.7:40000", "203.0.113.5:443", ACK)),
        []
    );
    lab.flows
        .handle_name(ip(SERVER), "www.example".into(), at(40_200));
    let told = lab.outputs();
    let by_look_up = (Some("www.example"), Some(NameSource::Reverse));
    assert_eq!(domain(&told[0]), by_look_up);
    assert_eq!(told[0].time, at(40_100).time);
    assert_eq!(lab.looked_up.len(), 1, "asked once only");
}

#[test]
fn a_name_heard_in_a_dns_answer_is_used_at_once() {
    let mut lab = Lab::new();
    lab.frame(0, udp("192.168.0.7:40000", "192.168.0.1:53"));
    lab.frame(
        1,
        Packet {
            payload: DNS_ANSWER,
            ..udp("192.168.0.1:53", "192.168.0.7:40000")
        },
    );
    let told = lab.told(2, tcp("192.168.0.7:40001", "203.0.113.5:22", SYN));
    let from_dns = (Some("www.example"), Some(NameSource::Dns));
    assert_eq!(domain(&told[0]), from_dns);
    let peers = lab.report(3).lab.peers.unwrap();
    let names: HashMap<_, _> = peers
        .iter()
        .map(|peer| (peer.ip, (peer.name.as_deref(), peer.scope)))
        .collect();
    assert_eq!(names[&ip(SERVER)], (Some("www.example"), Scope::Internet));
    assert_eq!(names[&ip(DNS_SERVER)], (None, Scope::Infrastructure));
}

/// The ClientHello of openssl's s_client, cut down to the name `exam.example`, in one record.
const HELLO: &[u8] =
    b"\x16\x03\x01\x00\x46\x01\x00\x00\x42\x03\x03................................\x00\
    \x00\x02\x13\x01\x01\x00\x00\x17\x00\x00\x00\x11\x00\x0f\x00\x00\x0cexam.example\xff\x01";

fn domain(event: &Occurrence) -> (Option<&str>, Option<NameSource>) {
    let destination = event.fields.destination.as_ref().unwrap();
    (destination.domain.as_deref(), event.fields.lab.name_source)
}

#[test]
fn what_a_conversation_says_itself_is_better_than_what_is_known_of_its_address() {
    let mut lab = Lab::new();
    lab.frame(0, udp("192.168.0.7:40000", "192.168.0.1:53"));
    let answer = Packet {
        payload: DNS_ANSWER,
        ..udp("192.168.0.1:53", "192.168.0.7:40000")
    };
    lab.frame(1, answer);
    let ends = ("192.168.0.7:40001", "203.0.113.5:443");
    assert_eq!(lab.told(10, tcp(ends.0, ends.1, SYN)), []);
    assert_eq!(lab.told(20, tcp(ends.1, ends.0, SYN_ACK)), []);
    let (first, second) = HELLO.split_at(60);
    let hello = |sequence, payload| Packet {
        sequence,
        payload,
        ..tcp(ends.0, ends.1, ACK)
    };
    assert_eq!(lab.told(30, hello(0, first)), []);
    let told = lab.told(31, hello(60, second));
    assert_eq!(
        domain(&told[0]),
        (Some("exam.example"), Some(NameSource::Sni))
    );
    assert_eq!(told[0].time, at(10).time);
    let peers = lab.report(40).lab.peers.unwrap();
    let server = peers.iter().find(|peer| peer.ip == ip(SERVER)).unwrap();
    assert_eq!(server.name.as_deref(), Some("exam.example"));
}

/// A connection from this port that says this name (12 letters), and what is told of it.
fn connection(lab: &mut Lab, ms: u64, port: u16, name: &str) -> Vec<Occurrence> {
    assert_eq!(name.len(), 12);
    let mut payload = HELLO.to_vec();
    let at = payload
        .windows(12)
        .position(|at| at == b"exam.example")
        .unwrap();
    payload[at..at + 12].copy_from_slice(name.as_bytes());
    let own = format!("192.168.0.7:{port}");
    let mut told = lab.told(ms, tcp(&own, "203.0.113.5:443", SYN));
    let hello = Packet {
        payload: payload.leak(),
        ..tcp(&own, "203.0.113.5:443", ACK)
    };
    told.extend(lab.told(ms + 1, hello));
    told
}

fn domains(told: &[Occurrence]) -> Vec<&str> {
    told.iter().filter_map(|one| domain(one).0).collect()
}

#[test]
fn each_name_that_one_address_serves_is_told_once_an_interval() {
    let mut lab = Lab::new();
    let told = connection(&mut lab, 10, 40_001, "exam.example");
    assert_eq!(domains(&told), ["exam.example"]);
    let told = connection(&mut lab, 20, 40_002, "chat.example");
    assert_eq!(domains(&told), ["chat.example"]);
    assert_eq!(connection(&mut lab, 30, 40_003, "exam.example"), []);
    assert_eq!(connection(&mut lab, 40, 40_004, "chat.example"), []);
    lab.report(1000);
    let told = connection(&mut lab, 1010, 40_005, "chat.example");
    assert_eq!(domains(&told), ["chat.example"]);
}

#[test]
fn no_flood_of_peers_hides_a_name() {
    let mut lab = Lab::new();
    for peer in 0..9000_u32 {
        let peer = std::net::Ipv4Addr::from(0x0808_0000 + peer);
        lab.told(1, udp("192.168.0.7:5000", &format!("{peer}:9")));
    }
    let told = connection(&mut lab, 10, 40_001, "chat.example");
    assert_eq!(domains(&told), ["chat.example"]);
}

#[test]
fn a_conversation_that_says_nothing_is_told_by_the_name_of_its_address() {
    let mut lab = Lab::new();
    let learn = |lab: &mut Lab, ms| {
        lab.flows
            .handle_name(ip(SERVER), "host.example".into(), at(ms));
    };
    assert_eq!(
        lab.told(0, tcp("192.168.0.7:40001", "203.0.113.5:443", SYN)),
        []
    );
    learn(&mut lab, 100);
    assert_eq!(lab.time(499), [], "a better name may come");
    let told = lab.time(500);
    assert_eq!(
        domain(&told[0]),
        (Some("host.example"), Some(NameSource::Reverse))
    );
}

#[test]
fn only_who_opens_a_conversation_names_its_peer_and_only_at_its_beginning() {
    let mut lab = Lab::new();
    let with_hello = |packet| Packet {
        payload: HELLO,
        ..packet
    };
    let (own, peer) = ("192.168.0.7:443", "203.0.113.5:40000");
    lab.told(0, tcp(peer, own, SYN));
    lab.told(1, with_hello(tcp(peer, own, ACK)));
    lab.told(2, with_hello(tcp(own, peer, ACK)));
    assert_eq!(domain(&lab.time(2000)[0]).0, None);
    let (own, peer) = ("192.168.0.7:40000", "203.0.113.6:443");
    lab.told(3000, tcp(own, peer, SYN));
    for _ in 0..hearing::LAST_HEARD {
        lab.frame(3000, tcp(own, peer, ACK));
    }
    lab.told(3001, with_hello(tcp(own, peer, ACK)));
    assert_eq!(domain(&lab.time(5000)[0]).0, None);
}

#[test]
fn neighbours_say_their_names_by_multicast() {
    let mut lab = Lab::new();
    let answer =
        b"\x00\x00\x84\x00\x00\x00\x00\x01\x00\x00\x00\x00\x04pc-8\x05local\x00\x00\x01\x80\x01\
        \x00\x00\x00\x78\x00\x04\xc0\xa8\x00\x08";
    let announcement = Packet {
        payload: answer,
        ..udp("192.168.0.8:5353", "224.0.0.251:5353")
    };
    assert_eq!(lab.told(0, announcement), []);
    let told = lab.told(1, tcp("192.168.0.7:40000", "192.168.0.8:22", SYN));
    assert_eq!(
        domain(&told[0]),
        (Some("pc-8.local"), Some(NameSource::Mdns))
    );
}

#[test]
fn a_time_server_set_up_by_name_is_infrastructure_once_its_address_is_heard() {
    let mut lab = Lab::new();
    lab.flows.time_servers = HashSet::from([TimeServer::Name("www.example".into())]);
    lab.frame(0, udp("192.168.0.7:40000", "192.168.0.1:53"));
    lab.frame(
        1,
        Packet {
            payload: DNS_ANSWER,
            ..udp("192.168.0.1:53", "192.168.0.7:40000")
        },
    );
    assert_eq!(lab.told(2, udp("192.168.0.7:40001", "203.0.113.5:123")), []);
    assert_eq!(lab.time(3000), []);
    assert_eq!(
        lab.told(4000, udp("192.168.0.7:40001", "203.0.113.5:4000"))
            .len(),
        1
    );
}

#[test]
fn an_answer_that_nobody_asked_for_names_nobody() {
    let mut lab = Lab::new();
    lab.told(
        60_000,
        Packet {
            payload: DNS_ANSWER,
            ..udp("192.168.0.8:53", "192.168.0.7:40000")
        },
    );
    assert_eq!(
        lab.told(60_001, tcp("192.168.0.7:40001", "203.0.113.5:443", SYN)),
        []
    );
}
