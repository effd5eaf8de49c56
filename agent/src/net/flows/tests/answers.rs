//! Questions to everybody, and their answers.

use super::*;

/// This PC asks all printers, and one answers.
fn ask_everybody(lab: &mut Lab, ms: u64) {
    let question = udp("192.168.0.7:50000", "239.255.255.250:1900");
    assert_eq!(lab.told(ms, question), []);
}

#[test]
fn answers_to_a_question_to_everybody_are_counted_and_are_no_contact() {
    for (group, service, from) in [
        ("239.255.255.250:1900", "192.168.0.8:1900", "an SSDP device"),
        (
            "239.255.255.250:1900",
            "192.168.0.8:49152",
            "one that answers from another port",
        ),
        ("239.255.255.250:3702", "192.168.0.8:3702", "WS-Discovery"),
        ("192.168.0.255:161", "192.168.0.8:161", "SNMP"),
        ("224.0.0.252:5355", "192.168.0.8:5355", "LLMNR"),
        (
            "224.0.0.251:5353",
            "203.0.113.5:5353",
            "mDNS, on a site with public addresses",
        ),
    ] {
        let mut lab = Lab::new();
        lab.told(0, udp("192.168.0.7:50000", group));
        assert_eq!(lab.told(5, udp(service, "192.168.0.7:50000")), [], "{from}");
        assert_eq!(lab.time(3_000), []);
        let report = lab.report(4_000);
        let peers = report.lab.peers.unwrap();
        let peer = service.parse::<SocketAddr>().unwrap().ip();
        let answered = peers.iter().find(|one| one.ip == peer).unwrap();
        assert_eq!(
            (answered.received_bytes, answered.scope),
            (100, Scope::Infrastructure)
        );
    }
}

#[test]
fn what_nobody_asked_for_or_comes_late_or_from_another_service_is_a_contact() {
    let answer = || udp("192.168.0.8:3702", "192.168.0.7:50000");
    assert_eq!(Lab::new().told(5, answer()).len(), 1);
    let mut lab = Lab::new();
    lab.told(0, udp("192.168.0.7:50000", "239.255.255.250:3702"));
    assert_eq!(
        lab.told(1, udp("192.168.0.8:4000", "192.168.0.7:50000"))
            .len(),
        1
    );
    assert_eq!(
        lab.told(2, udp("192.168.0.9:3702", "192.168.0.7:50001"))
            .len(),
        1
    );
    assert_eq!(lab.told(10_000, answer()).len(), 1);
}

#[test]
fn a_transfer_cannot_be_hidden_among_answers() {
    let mut lab = Lab::new();
    let mut told_after = None;
    for number in 0..100 {
        // From ever new ports, and asked for again and again.
        ask_everybody(&mut lab, number * 100);
        let from = format!("192.168.0.8:{}", 2000 + number);
        if !lab
            .told(number * 100 + 5, udp(&from, "192.168.0.7:50000"))
            .is_empty()
        {
            told_after.get_or_insert(number);
        }
    }
    assert_eq!(told_after, Some(discovery::MOST_PACKETS.into()));

    let mut lab = Lab::new();
    ask_everybody(&mut lab, 0);
    let answer = Frame {
        len: 1500,
        content: Content::Ip(udp("192.168.0.8:1900", "192.168.0.7:50000")),
    };
    let most = discovery::MOST_BYTES / 1500;
    for number in 0..=most {
        assert_eq!(lab.outputs(), []);
        lab.flows.handle_frame(&answer, 1, at(number));
    }
    let (ticket, _) = lab
        .asked
        .pop()
        .or_else(|| {
            lab.outputs();
            lab.asked.pop()
        })
        .unwrap();
    lab.flows.handle_owner(ticket, Owner::Unknown, at(100));
    assert_eq!(lab.outputs().len(), 1);
}

#[test]
fn whoever_answers_now_and_then_never_becomes_a_contact() {
    let mut lab = Lab::new();
    for minute in 0..100 {
        ask_everybody(&mut lab, minute * 70_000);
        let answer = udp("192.168.0.8:1900", "192.168.0.7:50000");
        assert_eq!(lab.told(minute * 70_000 + 5, answer), []);
    }
}

#[test]
fn what_this_pc_sends_to_one_that_answered_is_a_contact() {
    let mut lab = Lab::new();
    ask_everybody(&mut lab, 0);
    assert_eq!(
        lab.told(5, udp("192.168.0.8:1900", "192.168.0.7:50000")),
        []
    );
    assert_eq!(
        lab.told(6, udp("192.168.0.7:50000", "192.168.0.8:1900"))
            .len(),
        1
    );
}
