//! Programs and users behind conversations.

use super::*;

fn exact(process: Process) -> Found {
    Found {
        process,
        attribution: Attribution::Exact,
        reason: None,
    }
}

#[test]
fn a_user_without_a_program_is_told_with_the_reason() {
    let mut lab = Lab::new();
    lab.frame(0, tcp("192.168.0.7:40000", "192.168.0.8:80", SYN));
    let (ticket, _) = lab.asked.pop().unwrap();
    let mut found = exact(Process {
        user: Some(User {
            name: "anna".into(),
        }),
        ..Process::default()
    });
    found.attribution = Attribution::None;
    found.reason = Some("hidden");
    lab.flows
        .handle_owner(ticket, Owner::Program(found), at(20));
    let fields = lab.outputs().remove(0).fields;
    assert_eq!(fields.process.unwrap().user.unwrap().name, "anna");
    assert_eq!(fields.lab.attribution, Some(Attribution::None));
    assert_eq!(fields.lab.reason.as_deref(), Some("hidden"));

    lab.frame(30, tcp("192.168.0.7:40000", "192.168.0.8:81", SYN));
    let (ticket, _) = lab.asked.pop().unwrap();
    let nothing = Found {
        attribution: Attribution::None,
        ..exact(Process::default())
    };
    lab.flows
        .handle_owner(ticket, Owner::Program(nothing), at(40));
    assert_eq!(lab.outputs().remove(0).fields.process, None);
}

#[test]
fn a_question_names_direction_and_interface() {
    let mut lab = Lab::new();
    lab.frame(0, tcp("192.168.0.8:40000", "192.168.0.7:22", SYN));
    let (_, socket) = lab.asked.pop().unwrap();
    assert_eq!(
        (socket.own.to_string(), socket.direction, socket.interface),
        ("192.168.0.7:22".into(), Direction::Ingress, 1)
    );
}

#[test]
fn in_a_flood_only_so_many_programs_are_asked_for_in_a_window() {
    let mut lab = Lab::new();
    let scan = |lab: &mut Lab, ms: u64, ports: std::ops::RangeInclusive<u16>| {
        for port in ports {
            let to = format!("192.168.0.8:{port}");
            lab.frame(ms, tcp("192.168.0.7:40000", &to, SYN));
        }
        for (ticket, _) in std::mem::take(&mut lab.asked) {
            lab.flows.handle_owner(ticket, Owner::Unknown, at(ms));
        }
    };
    scan(&mut lab, 1, 1..=1000);
    lab.frame(5000, tcp("192.168.0.7:40000", "192.168.0.8:2000", SYN));
    assert_eq!(lab.asked.len(), 0);
    lab.frame(10_002, tcp("192.168.0.7:40000", "192.168.0.8:2001", SYN));
    assert_eq!(lab.asked.len(), 1);
}

#[test]
fn programs_behind_a_burst_stand_in_its_sum_and_in_the_report() {
    let mut lab = Lab::new();
    let scanner = || {
        let name = Some("nmap".into());
        Owner::Program(exact(Process {
            name,
            ..Process::default()
        }))
    };
    for port in 1..=500 {
        lab.frame(
            1,
            tcp("192.168.0.7:40000", &format!("192.168.0.8:{port}"), SYN),
        );
    }
    // Fifty are told, and of the others only so many are asked about.
    assert_eq!(lab.asked.len(), 50 + 256);
    for (ticket, _) in std::mem::take(&mut lab.asked) {
        lab.flows.handle_owner(ticket, scanner(), at(2));
    }
    let sums = lab.time(10_001);
    let burst = sums.last().unwrap().fields.lab.burst.clone().unwrap();
    assert_eq!(burst.processes, ["nmap"]);
    let peers = lab.report(10_002).lab.peers.unwrap();
    assert_eq!(peers[0].processes, ["nmap"]);
}

#[test]
fn a_further_conversation_with_an_internet_peer_is_not_told_but_its_program_is_in_the_report() {
    let mut lab = Lab::new();
    lab.frame(0, tcp("192.168.0.7:40000", "203.0.113.5:443", SYN));
    lab.asked.clear();
    lab.frame(1, tcp("192.168.0.7:40001", "203.0.113.5:80", SYN));
    let (ticket, _) = lab.asked.pop().unwrap();
    let process = Process {
        name: Some("curl".into()),
        ..Process::default()
    };
    lab.flows
        .handle_owner(ticket, Owner::Program(exact(process)), at(2));
    assert_eq!(lab.outputs(), []);
    let peers = lab.report(5000).lab.peers.unwrap();
    assert_eq!(peers[0].processes, ["curl"]);
}

#[test]
fn an_event_waits_for_its_program_but_not_long() {
    let mut lab = Lab::new();
    assert_eq!(
        lab.frame(0, tcp("192.168.0.7:40000", "192.168.0.8:80", SYN)),
        []
    );
    let (ticket, socket) = lab.asked.pop().unwrap();
    assert_eq!(
        (socket.own.to_string(), socket.peer.to_string()),
        ("192.168.0.7:40000".into(), "192.168.0.8:80".into())
    );
    let process = Process {
        name: Some("curl".into()),
        ..Process::default()
    };
    lab.flows
        .handle_owner(ticket, Owner::Program(exact(process)), at(20));
    let told = lab.outputs();
    assert_eq!(told[0].time, at(0).time);
    assert_eq!(
        told[0].fields.process.as_ref().unwrap().name.as_deref(),
        Some("curl")
    );
    assert_eq!(told[0].fields.lab.attribution, Some(Attribution::Exact));

    lab.frame(1000, tcp("192.168.0.7:40001", "192.168.0.8:81", SYN));
    assert_eq!(lab.flows.poll_timeout(), Some(at(1100).uptime));
    assert_eq!(lab.time(1099), []);
    assert_eq!(lab.time(1100).len(), 1);
    let (late, _) = lab.asked.pop().unwrap();
    lab.flows.handle_owner(late, Owner::Unknown, at(1200));
    assert_eq!(lab.outputs(), []);
    let peers = lab.report(1200).lab.peers.unwrap();
    assert_eq!(
        (peers[0].processes.as_slice(), peers[0].ports.as_slice()),
        (&["curl".to_owned()][..], &[80, 81][..])
    );
}

#[test]
fn the_agents_own_connection_to_a_broker_not_yet_known_is_not_told() {
    let mut lab = Lab::new();
    lab.frame(0, tcp("192.168.0.7:40000", "192.168.0.3:1883", SYN));
    let (ticket, _) = lab.asked.pop().unwrap();
    lab.flows.handle_owner(ticket, Owner::Agent, at(10));
    assert_eq!(lab.outputs(), []);

    lab.frame(20, tcp("192.168.0.7:40000", "192.168.0.4:1883", SYN));
    let networks = Networks {
        broker: "192.168.0.4:1883".parse().ok(),
        ..lab.flows.networks.clone()
    };
    lab.flows.networks = networks;
    assert_eq!(lab.time(1000), []);
}
