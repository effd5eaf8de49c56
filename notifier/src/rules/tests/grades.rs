//! What reports make of the conversations of a PC, in virtual time.

use super::{rig::Lab, *};

#[test]
fn a_conversation_is_graded_by_what_comes_of_it() {
    let mut lab = Lab::new();
    lab.online(PC33);
    lab.online(PC34);
    lab.contact(PC33, &lab::contact(PC33, 80)).unwrap();
    let unanswered = lab.hear(38, PC33, "net", &lab::report(PC33, PC34, 300, 0));
    assert_eq!(unanswered, None, "an attempt stays one");
    let answered = lab
        .hear(40, PC33, "net", &lab::report(PC33, PC34, 1_234, 5_000))
        .unwrap();
    assert_eq!(
        (answered.rule.id, answered.severity),
        ("intranet-exchange", Severity::Warning)
    );
    assert!(
        answered
            .message
            .ends_with("; was answered: 1.2 kB sent, 5.0 kB received"),
        "{}",
        answered.message
    );
    assert_eq!(
        lab.hear(40, PC33, "net", &lab::report(PC33, PC34, 1_000, 1_000)),
        None
    );
    let lasting = lab
        .hear(40, PC33, "net", &lab::report(PC33, PC34, 1_000, 1_000))
        .unwrap();
    assert_eq!(
        (lasting.rule.id, lasting.severity),
        ("intranet-sustained", Severity::Critical)
    );
    assert_eq!(
        lab.hear(40, PC33, "net", &lab::report(PC33, PC34, 1_000, 1_000)),
        None,
        "said once"
    );
}

#[test]
fn refusals_are_no_exchange_however_often_they_come() {
    let mut lab = Lab::new();
    lab.online(PC33);
    lab.contact(PC33, &lab::contact(PC33, 80)).unwrap();
    for _ in 0..5 {
        assert_eq!(lab.hear(40, PC33, "net", &lab::refused(PC33, PC34)), None);
    }
    let said = lab.hear(40, PC33, "net", &lab::report(PC33, PC34, 900, 900));
    assert_eq!(said.unwrap().rule.id, "intranet-exchange");
}

#[test]
fn a_lasting_exchange_with_a_machine_that_is_no_lab_pc_is_not_critical() {
    let mut lab = Lab::new();
    lab.online(PC33);
    lab.contact(PC33, &lab::contact(PC33, 80)).unwrap();
    let lasting = lab
        .hear(40, PC33, "net", &lab::report(PC33, PC34, 900_000, 200_000))
        .unwrap();
    assert_eq!(
        (lasting.rule.id, lasting.severity),
        ("intranet-sustained", Severity::Warning)
    );
}

#[test]
fn an_answer_from_a_discovery_port_is_nothing_until_data_goes_both_ways() {
    let mut lab = Lab::new();
    lab.online(PC33);
    let answer = lab::with(
        &lab::contact(PC33, 1900),
        "/network/transport",
        json!("udp"),
    );
    assert_eq!(lab.contact(PC33, &answer), None);
    assert_eq!(
        lab.hear(40, PC33, "net", &lab::report(PC33, PC34, 0, 900)),
        None
    );
    let misused = lab
        .hear(40, PC33, "net", &lab::report(PC33, PC34, 900, 900))
        .unwrap();
    assert_eq!(misused.rule.id, "intranet-exchange");
}

#[test]
fn what_goes_one_way_to_a_discovery_port_is_told_by_the_next_report() {
    let mut lab = Lab::new();
    lab.online(PC33);
    let payload = lab::contact(PC33, 161);
    let payload = lab::with(&payload, "/network/transport", json!("udp"));
    assert_eq!(lab.contact(PC33, &payload), None, "perhaps an answer");
    let report = lab::report(PC33, PC34, 0, 900);
    assert_eq!(lab.hear(40, PC33, "net", &report), None);
    let report = lab::numbered(&lab::report(PC33, PC34, 9_000, 0), 43);
    let told = lab.hear(40, PC33, "net", &report).unwrap();
    assert_eq!(told.rule.id, "intranet-egress");
    let words =
        "port 161 (http) by curl (user alice) [program: polled]; is no mere answer: 9.0 kB sent";
    assert!(told.message.contains(words), "{}", told.message);
    let report = lab::numbered(&report, 44);
    assert_eq!(lab.hear(40, PC33, "net", &report), None, "said once");
}

#[test]
fn traffic_that_no_conversation_was_told_of_is_not_graded() {
    let mut lab = Lab::new();
    lab.online(PC33);
    assert_eq!(
        lab.hear(
            40,
            PC33,
            "net",
            &lab::report(PC33, PC34, 9_000_000, 9_000_000)
        ),
        None
    );
}

#[test]
fn who_never_answered_makes_room_for_who_does() {
    let mut lab = Lab::new();
    lab.online(PC33);
    let to = |peer: &str, number: u64| {
        let payload = lab::with(&lab::contact(PC33, 445), "/destination/ip", json!(peer));
        lab::numbered(&payload, number)
    };
    for number in 1..=80 {
        let payload = to(&format!("192.168.1.{number}"), number);
        lab.hear(20, PC33, "net/intranet", &payload);
    }
    lab.hear(20, PC33, "net/intranet", &to(PC34, 81)).unwrap();
    let answered = lab.hear(20, PC33, "net", &lab::report(PC33, PC34, 900, 900));
    assert_eq!(answered.unwrap().rule.id, "intranet-exchange");
}

#[test]
fn an_attempt_that_reports_name_no_more_is_over_and_one_that_goes_on_is_not() {
    for (peer, graded) in [("192.168.9.9", false), (PC34, true)] {
        let mut lab = Lab::new();
        lab.online(PC33);
        lab.contact(PC33, &lab::contact(PC33, 80)).unwrap();
        for number in 0..5 {
            let report = lab::numbered(&lab::report(PC33, peer, 900, 0), 50 + number);
            assert_eq!(lab.hear(40, PC33, "net", &report), None);
        }
        let report = lab::numbered(&lab::report(PC33, PC34, 900, 900), 60);
        let answered = lab.hear(40, PC33, "net", &report);
        assert_eq!(answered.is_some(), graded, "{peer}");
    }
}

#[test]
fn a_report_in_parts_is_graded_as_one_and_ends_nothing_by_its_first_part() {
    let mut lab = Lab::new();
    lab.online(PC33);
    lab.contact(PC33, &lab::contact(PC33, 80)).unwrap();
    let mut sequence = 42;
    let mut part = |lab: &mut Lab, peer: &str, part: u64| {
        sequence += 1;
        let report = lab::report(PC33, peer, 1_000, 1_000);
        let mut report: Value = serde_json::from_slice(&report).unwrap();
        report["lab"]["part"] = json!(part);
        report["lab"]["parts"] = json!(2);
        let report = lab::numbered(&serde_json::to_vec(&report).unwrap(), sequence);
        let found = lab.hear(20, PC33, "net", &report);
        found.map(|found| found.rule.id)
    };
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(part(&mut lab, "192.168.9.9", 1));
        told.push(part(&mut lab, PC34, 2));
    }
    let [exchange, sustained] = [Some("intranet-exchange"), Some("intranet-sustained")];
    assert_eq!(told, [None, exchange, None, None, None, sustained]);
}
