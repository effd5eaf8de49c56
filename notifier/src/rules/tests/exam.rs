//! What the policy makes of findings: seats, severities, the window, in virtual time.

use super::{rig::Lab, *};

const SEATS: &str = "[[seats]]\nseat = \"A-07\"\nip = \"192.168.0.133\"\nmac = \"2c-6e-85-00-b6-3a\"\n\
                     [[seats]]\nseat = \"B-03\"\nip = \"192.168.0.134\"\nmac = \"00-11-22-33-44-55\"\n";

fn beat(mac: &str) -> Vec<u8> {
    let beat = lab::health(PC33, json!({}));
    let mut value: Value = serde_json::from_slice(&beat).unwrap();
    value["host"]["mac"] = json!(mac);
    serde_json::to_vec(&value).unwrap()
}

#[test]
fn another_pc_at_a_seat_is_told_in_words_and_once_and_when_it_is_right_again() {
    let mut lab = Lab::with_policy(SEATS);
    assert_eq!(
        lab.hear(1, PC33, "health", &beat("2c-6e-85-00-b6-3a")),
        None
    );
    let found = lab
        .hear(2, PC33, "health", &beat("00-11-22-33-44-55"))
        .unwrap();
    assert_eq!(
        (found.rule.id, found.severity, found.seat.as_deref()),
        ("identity-seat", Severity::Warning, Some("A-07"))
    );
    assert_eq!(
        found.message,
        "192.168.0.133 (pc-33): another PC at this seat, or another network card in it: MAC 00-11-22-33-44-55, the PC \
         of seat B-03; the policy has 2c-6e-85-00-b6-3a here"
    );
    assert_eq!(
        lab.hear(2, PC33, "health", &beat("00-11-22-33-44-55")),
        None
    );
    let right = lab
        .hear(2, PC33, "health", &beat("2c-6e-85-00-b6-3a"))
        .unwrap();
    assert_eq!(
        (right.rule.id, right.rule.course),
        ("identity-seat-over", Course::Ending)
    );
}

#[test]
fn a_seat_without_a_mac_and_a_pc_that_says_none_are_no_conflict() {
    let mut lab = Lab::with_policy("[[seats]]\nseat = \"A-07\"\nip = \"192.168.0.133\"\n");
    assert_eq!(
        lab.hear(1, PC33, "health", &beat("00-11-22-33-44-55")),
        None
    );
    let mut lab = Lab::with_policy(SEATS);
    assert_eq!(
        lab.hear(1, PC33, "health", &lab::health(PC33, json!({}))),
        None
    );
}

#[test]
fn a_wrong_mac_from_before_the_exam_is_told_when_it_begins() {
    let window = "[window]\nstart = 2026-11-22T09:31:15Z\nend = 2026-11-22T11:00:00Z\n";
    let mut lab = Lab::with_policy(&format!("{window}{SEATS}"));
    assert_eq!(
        lab.hear(2, PC33, "health", &beat("00-11-22-33-44-55")),
        None
    );
    let found = lab.hear(10, PC33, "health", &beat("00-11-22-33-44-55"));
    assert_eq!(found.unwrap().rule.id, "identity-seat");
}

#[test]
fn a_stick_from_before_the_exam_that_is_still_there_is_told_when_it_begins() {
    let window = "[window]\nstart = 2026-11-22T09:31:15Z\nend = 2026-11-22T11:00:00Z\n";
    let stick = |serial: &str, action| {
        let stick = lab::device(PC33, action, "Stick", &["storage"]);
        lab::with(&stick, "/device/serial_number", json!(serial))
    };
    let mut lab = Lab::with_policy(window);
    for (serial, action) in [
        ("A1", "device-connected"),
        ("B2", "device-connected"),
        ("A1", "device-disconnected"),
    ] {
        assert_eq!(lab.hear(1, PC33, "usb", &stick(serial, action)), None);
    }
    let found = lab
        .hear(10, PC33, "health", &lab::health(PC33, json!({})))
        .unwrap();
    assert_eq!(found.severity, Severity::Warning);
    assert!(
        found.message.contains("serial B2")
            && found
                .message
                .ends_with("; from before the exam, and still so"),
        "{}",
        found.message
    );
    assert_eq!(
        lab.hear(1, PC33, "health", &lab::health(PC33, json!({}))),
        None
    );
}

/// What is told when the exam begins of what a PC said before it.
fn told_at_the_beginning(before: &[Vec<u8>]) -> Vec<Finding> {
    let mut lab =
        Lab::with_policy("[window]\nstart = 2026-11-22T09:31:15Z\nend = 2026-11-22T11:00:00Z\n");
    for (number, payload) in (1..).zip(before) {
        let payload = lab::numbered(payload, number);
        assert_eq!(lab.hear(1, PC33, "usb", &payload), None);
    }
    lab.hear_all(10, PC33, "health", &lab::health(PC33, json!({})))
}

#[test]
fn what_was_plugged_in_before_the_pc_started_is_told_when_the_exam_begins() {
    let stick = |action| lab::device(PC33, action, "Stick", &["storage"]);
    for before in [
        vec![stick("device-present")],
        vec![stick("device-connected"), stick("device-present")],
    ] {
        let found = told_at_the_beginning(&before);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(
            (found[0].rule.id, found[0].severity),
            ("usb-storage", Severity::Warning)
        );
        assert!(
            found[0].message.contains("there at the start: storage")
                && found[0]
                    .message
                    .ends_with("; from before the exam, and still so"),
            "{}",
            found[0].message
        );
    }
    for (action, rule) in [
        ("volume-present", "volume-mounted"),
        ("media-present", "media-inserted"),
    ] {
        let found = told_at_the_beginning(&[lab::volume(PC33, action, true)]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0].rule.id, rule);
    }
    let gone = [stick("device-present"), stick("device-disconnected")];
    assert_eq!(told_at_the_beginning(&gone), []);
}

#[test]
fn what_a_pc_is_built_with_is_not_told_when_the_exam_begins() {
    for kinds in [
        &["keyboard"][..],
        &["mouse"],
        &["hub"],
        &["bluetooth"],
        &["video"],
    ] {
        let part = lab::device(PC33, "device-present", "Part", kinds);
        assert_eq!(told_at_the_beginning(&[part]), [], "{kinds:?}");
    }
    let own_disk = lab::volume(PC33, "volume-present", true);
    let own_disk = lab::with(&own_disk, "/volume/removable", json!(false));
    for bus in ["nvme", "network"] {
        let volume = lab::with(&own_disk, "/volume/bus_type", json!(bus));
        assert_eq!(told_at_the_beginning(&[volume]), [], "{bus}");
    }
}

#[test]
fn a_keyboard_that_came_before_the_exam_is_not_forgotten_when_the_agent_starts_again() {
    let keyboard = |action| lab::device(PC33, action, "Keys", &["keyboard"]);
    let found = told_at_the_beginning(&[keyboard("device-connected"), keyboard("device-present")]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].rule.id, "usb-keyboard");
}

#[test]
fn a_rule_that_the_policy_raises_is_told_at_the_beginning_and_one_that_is_off_is_not() {
    let mouse = lab::device(PC33, "device-connected", "Mouse", &["mouse"]);
    let stick = lab::device(PC33, "device-connected", "Stick", &["storage"]);
    for (level, payload, told) in [
        ("usb-mouse = \"warning\"", &mouse, 1),
        ("usb-storage = \"info\"", &stick, 0),
        ("usb-storage = \"off\"", &stick, 0),
    ] {
        let mut lab = Lab::with_policy(&format!(
            "[window]\nstart = 2026-11-22T09:31:15Z\nend = 2026-11-22T11:00:00Z\n[severity]\n{level}\n"
        ));
        assert_eq!(lab.hear(1, PC33, "usb", payload), None);
        let found = lab.hear_all(10, PC33, "health", &lab::health(PC33, json!({})));
        assert_eq!(found.len(), told, "{level}: {found:#?}");
    }
}

#[test]
fn of_very_much_that_lasts_the_newest_is_told_and_no_pc_takes_anothers_place() {
    let window = "[window]\nstart = 2026-11-22T10:31:15Z\nend = 2026-11-22T11:00:00Z\n";
    let mut lab = Lab::with_policy(window);
    let stick = lab::device(PC34, "device-connected", "Stick", &["storage"]);
    assert_eq!(lab.hear(1, PC34, "usb", &stick), None);
    for number in 1..=100 {
        let mounted = lab::volume(PC33, "volume-mounted", true);
        let mounted = lab::with(
            &mounted,
            "/volume/mount_name",
            json!(format!("/mnt/{number}.")),
        );
        assert_eq!(
            lab.hear(1, PC33, "usb", &lab::numbered(&mounted, number)),
            None
        );
    }
    let told = lab.hear_all(3600, PC33, "health", &lab::health(PC33, json!({})));
    let has = |words: &str| told.iter().any(|one| one.message.contains(words));
    assert!(has("storage") && has("/mnt/100.") && !has("/mnt/1."));
    assert!(told.len() < 100, "{}", told.len());
}

#[test]
fn severities_hold_for_the_broker_the_policy_and_the_notifier_too() {
    let severities = "[severity]\nbroker-lost = \"critical\"\nbroker-back = \"off\"\npolicy-refused = \"warning\"\n\
                      not-watched = \"off\"\nstill-open = \"warning\"\n";
    let mut lab = Lab::with_policy(severities);
    let at = lab.at();
    let lost = lab.inbox.disconnected("it broke", at).unwrap();
    assert_eq!(
        (lost.rule.id, lost.severity),
        ("broker-lost", Severity::Critical)
    );
    assert_eq!(lab.inbox.connected(at, Duration::from_secs(1)), None, "off");
    let refused = lab.inbox.dress_all([policy::refused("line 1", at)], at);
    assert_eq!(refused[0].severity, Severity::Warning);
    let before = crate::board::Before {
        watched: "2026-11-22T09:00:00Z".parse().unwrap(),
        in_order: true,
        seen: Vec::new(),
    };
    let away = notifier::away(&before, at).unwrap();
    assert_eq!(
        (away.rule.id, away.severity),
        ("not-watched", Severity::Technical)
    );
    assert_eq!(lab.inbox.dress_all([away], at), []);
}

#[test]
fn what_the_notifier_says_of_itself_has_words_without_a_policy() {
    let at = Lab::new().at();
    let mut lab = Lab::new();
    let lost = lab.inbox.disconnected("timed\nout", at).unwrap();
    assert_eq!(
        lost.message,
        "broker out of reach, nothing is seen until it is back: timed\\u{a}out"
    );
    let back = lab.inbox.connected(at, Duration::from_secs(1)).unwrap();
    assert_eq!(
        (back.rule.id, back.rule.subject),
        ("broker-back", lost.rule.subject)
    );
    let changed = policy::in_force("Networks 1", at);
    assert_eq!(changed.message, "changed policy in force: Networks 1");
    assert_eq!(changed.rule.id, "policy-in-force");
    assert_eq!(policy::refused("", at).rule.id, "policy-refused");
    let memory = crate::board::Memory {
        before: None,
        open: vec![(crate::console::tests::alert(), None)],
    };
    let open = notifier::still_open(&memory, at).unwrap();
    assert_eq!(
        (open.rule.id, open.severity),
        ("still-open", Severity::Info)
    );
}

#[test]
fn a_seat_that_is_taken_off_the_policy_is_not_missed_any_more() {
    let seats = |ips: &[&str]| {
        let seats = ips
            .iter()
            .map(|ip| format!("[[seats]]\nseat = \"at {ip}\"\nip = \"{ip}\"\n"));
        seats.collect::<String>()
    };
    let mut lab = Lab::with_policy(&seats(&[PC33, PC34]));
    lab.online(PC34);
    lab.inbox.silence.connected(lab.now());
    let told = lab.pass(60, &[PC34]);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(told[0].rule.id, "agent-never-seen");
    let released = lab.set_policy(&seats(&[PC34]));
    assert_eq!(released.len(), 1, "{released:#?}");
    assert_eq!(
        (released[0].rule.id, released[0].rule.course),
        ("agent-not-expected", Course::Ending)
    );
    assert_eq!(lab.pass(60, &[PC34]), []);
    let mut lab = Lab::with_policy(&seats(&[PC33]));
    lab.inbox.silence.connected(lab.now());
    assert_eq!(lab.set_policy(""), [], "nothing was told yet");
    assert_eq!(lab.pass(60, &[]), []);
}

#[test]
fn a_pc_that_is_there_stays_watched_when_its_seat_goes() {
    let mut lab = Lab::with_policy("[[seats]]\nseat = \"A-07\"\nip = \"192.168.0.133\"\n");
    lab.online(PC33);
    lab.inbox.silence.connected(lab.now());
    lab.pass(10, &[PC33]);
    assert_eq!(lab.set_policy(""), []);
    let told = lab.pass(60, &[]);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(told[0].seat, None);
}

#[test]
fn a_row_is_named_by_its_seats() {
    let seats: String = (1..=4)
        .map(|pc| format!("[[seats]]\nseat = \"A-0{pc}\"\nip = \"10.0.0.{pc}\"\n"))
        .collect();
    let mut lab = Lab::with_policy(&seats);
    lab.inbox.silence.connected(lab.now());
    let told = lab.pass(60, &[]);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(
        told[0].message,
        "4 PCs never seen: no PC of them answers: a row, a switch, the network or the power (A-01, A-02, A-03, A-04)"
    );
    let released = lab.set_policy("");
    assert_eq!(released.len(), 1, "{released:#?}");
    assert_eq!(
        released[0].message,
        "none of the missing PCs is expected any more"
    );
}

#[test]
fn outside_the_exam_nothing_is_an_alarm_and_who_comes_and_goes_is_still_told() {
    let window = "[window]\nstart = 2026-11-22T10:00:00Z\nend = 2026-11-22T11:00:00Z\n";
    let mut lab = Lab::with_policy(window);
    let stick = lab::device(PC33, "device-connected", "Stick", &["storage"]);
    assert_eq!(lab.hear(0, PC33, "usb", &stick), None);
    lab.online(PC33);
    let gone = lab
        .hear(
            1,
            PC33,
            "status",
            &lab::status(PC33, "offline", "stopped", 1),
        )
        .unwrap();
    assert_eq!(gone.severity, Severity::Info);
    let during = lab.hear_all(1800, PC33, "usb", &stick);
    let told: Vec<_> = during
        .iter()
        .map(|one| (one.rule.id, one.severity))
        .collect();
    let [gone, stick] = [
        ("agent-offline", Severity::Warning),
        ("usb-storage", Severity::Warning),
    ];
    assert_eq!(told, [gone, stick, stick], "what lasts, and what is new");
}

#[test]
fn the_policy_says_how_grave_a_rule_is_and_which_seat_it_was() {
    let mut lab = Lab::with_policy(
        "[severity]\nusb-mouse = \"off\"\nusb-storage = \"critical\"\n[[seats]]\nseat = \"A-07\"\nname = \"pc-33\"\n",
    );
    let mouse = lab::device(PC33, "device-connected", "Mouse", &["mouse"]);
    assert_eq!(lab.hear(0, PC33, "usb", &mouse), None);
    let stick = lab::device(PC33, "device-connected", "Stick", &["storage"]);
    let found = lab.hear(0, PC33, "usb", &stick).unwrap();
    assert_eq!(
        (found.severity, found.seat.as_deref()),
        (Severity::Critical, Some("A-07"))
    );
}

#[test]
fn whoever_has_a_seat_and_never_comes_is_told_with_it() {
    let mut lab = Lab::with_policy("[[seats]]\nseat = \"A-07\"\nip = \"192.168.0.133\"\n");
    let start: Timestamp = "2026-11-22T09:31:05Z".parse().unwrap();
    let mut found = Vec::new();
    lab.inbox.silence.connected(Duration::ZERO);
    for half in 1..100 {
        let now = Duration::from_millis(500 * half);
        found.extend(lab.inbox.handle_timeout(now, start).findings);
    }
    let told: Vec<_> = found
        .iter()
        .map(|one| (one.rule.id, one.seat.as_deref()))
        .collect();
    assert_eq!(told, [("agent-never-seen", Some("A-07"))]);
}
