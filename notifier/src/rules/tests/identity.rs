//! Who a PC says it is, in virtual time.

use super::{rig::Lab, *};

#[test]
fn another_machine_under_an_address_in_use_is_told_and_a_successor_is_not() {
    let stick = lab::device(PC33, "device-disconnected", "Stick", &["storage"]);
    let other = lab::with(
        &lab::health(PC33, json!({})),
        "/host/id",
        json!("id-of-another"),
    );
    let mut lab = Lab::new();
    lab.hear(1, PC33, "usb", &stick);
    let found = lab.hear(5, PC33, "health", &other).unwrap();
    assert_eq!(found.rule.id, "identity-address");
    assert!(
        found
            .message
            .contains("another PC under this address: machine id id-of-an"),
        "{}",
        found.message
    );
    let mut lab = Lab::new();
    lab.hear(1, PC33, "usb", &stick);
    assert_eq!(lab.hear(90, PC33, "health", &other), None);
}

#[test]
fn one_pc_under_two_addresses_in_turn_is_told_and_a_move_is_not() {
    let one = lab::health(PC33, json!({}));
    let two = lab::with(
        &lab::health(PC34, json!({})),
        "/host/id",
        json!(format!("id-{PC33}")),
    );
    let mut lab = Lab::new();
    assert_eq!(lab.hear(2, PC33, "health", &one), None);
    assert_eq!(lab.hear(2, PC34, "health", &two), None, "a move");
    assert_eq!(lab.hear(2, PC33, "health", &one), None, "and back");
    let found = lab.hear(2, PC34, "health", &two).unwrap();
    assert_eq!(
        (found.rule.id, found.severity),
        ("identity-two-addresses", Severity::Warning)
    );
    assert!(
        found
            .message
            .contains("says to be the same PC as 192.168.0.133"),
        "{}",
        found.message
    );
}

#[test]
fn copied_pcs_with_one_machine_id_are_technical_and_one_incident() {
    let mut lab = Lab::new();
    let mut found = Vec::new();
    for round in 0..3 {
        for pc in 1..=5 {
            let ip = format!("192.168.0.{pc}");
            let beat = lab::with(&lab::health(&ip, json!({})), "/host/id", json!("copied"));
            found.extend(lab.hear(i64::from(round == 0), &ip, "health", &beat));
        }
    }
    let last = found.last().unwrap();
    assert_eq!((last.severity, &last.host), (Severity::Technical, &None));
    assert_eq!(last.object, "machine id copied");
}

#[test]
fn a_restart_of_the_pc_is_told_and_one_that_was_shut_down_in_order_is_good_to_know() {
    let newer = lab::with(&lab::health(PC33, json!({})), "/host/boot/id", json!("b2"));
    let mut lab = Lab::new();
    lab.hear(1, PC33, "health", &lab::health(PC33, json!({})));
    let found = lab.hear(60, PC33, "health", &newer).unwrap();
    assert_eq!(
        (found.rule.id, found.severity),
        ("pc-restarted", Severity::Warning)
    );
    let mut lab = Lab::new();
    lab.online(PC33);
    lab.hear(
        1,
        PC33,
        "status",
        &lab::status(PC33, "offline", "shutdown", 1),
    );
    let found = lab.hear(60, PC33, "health", &newer).unwrap();
    assert_eq!(found.severity, Severity::Info);
}

#[test]
fn two_journals_at_once_are_told_and_what_an_old_one_still_delivers_is_not() {
    let event = |journal: u8, uptime_ms: u64| {
        let quiet = lab::event(PC33, "teleported", json!({"lab": {"uptime_ms": uptime_ms}}));
        lab::with(
            &quiet,
            "/lab/journal",
            json!(format!("0199aaaa-0000-7000-8000-00000000000{journal}")),
        )
    };
    let mut lab = Lab::new();
    assert_eq!(lab.hear(1, PC33, "usb", &event(1, 100_000)), None);
    lab.online(PC33);
    let again = lab.hear(1, PC33, "usb", &event(2, 200_000)).unwrap();
    assert_eq!(
        (again.rule.id, again.severity),
        ("agent-restarted", Severity::Technical)
    );
    assert_eq!(
        lab.hear(1, PC33, "usb", &event(1, 150_000)),
        None,
        "sent late"
    );
    let both = lab.hear(1, PC33, "usb", &event(1, 260_000)).unwrap();
    assert_eq!(
        (both.rule.id, both.severity),
        ("identity-journal", Severity::Warning)
    );
}

#[test]
fn a_new_journal_is_a_new_agent_only_where_it_says_that_it_was_started() {
    let event = |journal: u8, sequence: u64, uptime_ms: u64| {
        let quiet = lab::event(PC33, "teleported", json!({"lab": {"uptime_ms": uptime_ms}}));
        let id = format!("0199aaaa-0000-7000-8000-00000000000{journal}");
        lab::numbered(&lab::with(&quiet, "/lab/journal", json!(id)), sequence)
    };
    let mut lab = Lab::new();
    lab.online(PC33);
    assert_eq!(lab.hear(1, PC33, "usb", &event(1, 1, 100_000)), None);
    let changed = lab::status(PC33, "online", "journals-changed", 1);
    assert_eq!(lab.hear(1, PC33, "status", &changed), None);
    assert_eq!(lab.hear(1, PC33, "usb", &event(2, 1, 200_000)), None);
    let started = lab::status(PC33, "online", "started", 2);
    lab.hear(1, PC33, "status", &started).unwrap();
    let again = lab.hear(1, PC33, "usb", &event(3, 1, 300_000)).unwrap();
    assert_eq!(again.rule.id, "agent-restarted");
    assert_eq!(lab.hear(1, PC33, "usb", &event(3, 2, 301_000)), None);
}
