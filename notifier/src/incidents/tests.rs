use labwatch_contract::{
    alert::{AlertAction, Severity, Verdict},
    topic::Name,
};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    lab::{self, PC33, PC34},
    rules::tests::found,
};

fn stick(action: &str) -> Finding {
    found(&lab::device(PC33, action, "Stick", &["storage"]))
}

fn numbered(ip: &str, port: u16) -> Finding {
    found(&lab::contact(ip, port))
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Lets time pass; everything told until `end`, with when.
fn pass(incidents: &mut Incidents, end: f64) -> Vec<(Duration, Notice)> {
    let mut told = Vec::new();
    while let Some(wake) = incidents
        .poll_timeout()
        .filter(|wake| *wake <= seconds(end))
    {
        told.extend(
            incidents
                .handle_timeout(wake)
                .into_iter()
                .map(|notice| (wake, notice)),
        );
    }
    told
}

#[test]
fn the_first_is_told_at_once_and_opens_an_incident() {
    let mut incidents = Incidents::default();
    let told = incidents.handle(stick("device-connected"), seconds(1.0));
    let [notice] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(notice.action, AlertAction::Opened);
    assert_eq!((notice.count, notice.severity), (1, Severity::Warning));
    assert_eq!(notice.first, notice.last);
    assert_eq!(incidents.poll_timeout(), None);
}

#[test]
fn the_same_again_waits_for_a_cool_down_that_doubles() {
    let mut incidents = Incidents::default();
    let mut told = Vec::new();
    for second in 0..200 {
        let now = seconds(f64::from(second));
        told.extend(pass(&mut incidents, f64::from(second)));
        let notices = incidents.handle(numbered(PC33, 80), now);
        told.extend(notices.into_iter().map(|notice| (now, notice)));
    }
    let when: Vec<u64> = told.iter().map(|(at, _)| at.as_secs()).collect();
    assert_eq!(when, [0, 10, 30, 70, 150]);
    let (_, last) = told.last().unwrap();
    assert_eq!((last.action, last.count), (AlertAction::Updated, 150));
    assert!(
        last.message.ends_with("(150 events since 09:31:05Z)"),
        "{}",
        last.message
    );
    assert!(told.iter().all(|(_, notice)| notice.id == last.id));
}

#[test]
fn another_port_or_another_pc_is_another_incident() {
    let mut incidents = Incidents::default();
    let ids: Vec<String> = [numbered(PC33, 80), numbered(PC33, 22), numbered(PC34, 80)]
        .into_iter()
        .flat_map(|finding| incidents.handle(finding, seconds(0.0)))
        .map(|notice| notice.id)
        .collect();
    assert_eq!(ids.len(), 3);
    assert!(ids[0] != ids[1] && ids[1] != ids[2]);
}

#[test]
fn a_stick_that_is_pulled_and_plugged_again_is_told_each_time() {
    let mut incidents = Incidents::default();
    let mut rules = Vec::new();
    let actions = [
        "device-connected",
        "device-disconnected",
        "device-connected",
    ];
    for (second, action) in (0..).zip(actions) {
        let told = incidents.handle(stick(action), Duration::from_secs(second));
        rules.extend(
            told.into_iter()
                .map(|notice| (notice.rule.id, notice.count)),
        );
    }
    assert_eq!(
        rules,
        [
            ("usb-storage", 1),
            ("usb-disconnected", 2),
            ("usb-storage", 3)
        ]
    );
}

#[test]
fn a_flapping_plug_is_told_now_and_then_and_its_last_state_in_the_end() {
    let mut incidents = Incidents::default();
    let mut told = Vec::new();
    for step in 0..=3000_u32 {
        let now = f64::from(step) / 10.0;
        told.extend(
            pass(&mut incidents, now)
                .into_iter()
                .map(|(_, notice)| notice),
        );
        let action = if step % 2 == 0 {
            "device-connected"
        } else {
            "device-disconnected"
        };
        told.extend(incidents.handle(stick(action), seconds(now)));
    }
    told.extend(
        pass(&mut incidents, 2000.0)
            .into_iter()
            .map(|(_, notice)| notice),
    );
    assert!(told.len() < 25, "{} lines for 3,001 events", told.len());
    let last = told.last().unwrap();
    assert_eq!((last.rule.id, last.count), ("usb-storage", 3001));
}

#[test]
fn after_a_long_quiet_time_an_incident_is_new_again() {
    let mut incidents = Incidents::default();
    incidents.handle(numbered(PC33, 80), seconds(0.0));
    let over = pass(&mut incidents, 1300.0);
    let [(at, over)] = over.as_slice() else {
        panic!("{over:?}")
    };
    assert_eq!(
        (over.action, over.severity),
        (AlertAction::Resolved, Severity::Info)
    );
    assert!(
        *at > seconds(1200.0) && over.message.contains("(over: no more for 20 min"),
        "{over:?}"
    );
    let told = incidents.handle(numbered(PC33, 80), seconds(1400.0));
    assert_eq!((told[0].action, told[0].count), (AlertAction::Opened, 1));
}

#[test]
fn one_pc_that_scans_leaves_room_for_the_others() {
    let mut incidents = Incidents::default();
    let told: Vec<Notice> = (1..=50)
        .flat_map(|port| incidents.handle(numbered(PC33, port), seconds(0.0)))
        .collect();
    assert_eq!(told.len(), 10);
    let other = incidents.handle(numbered(PC34, 80), seconds(0.1));
    assert_eq!(other.len(), 1);
    let later = pass(&mut incidents, 2.0);
    let summary = later
        .iter()
        .find(|(_, notice)| notice.rule.id == "held-back");
    let (_, summary) = summary.expect("a summary");
    assert_eq!(
        summary.message,
        "192.168.0.133 (pc-33): 30 more alerts wait (30 warning), 8 were too many to show; the record holds them all"
    );
}

#[test]
fn a_storm_gives_a_bounded_number_of_lines_and_the_gravest_first() {
    let mut incidents = Incidents::default();
    let mut told: Vec<(Duration, Notice)> = Vec::new();
    // 300 PCs, 100 events each, within 3 s; one of them is critical and comes in the middle.
    for event in 0..100_u16 {
        for pc in 0..300_u32 {
            let at = (f64::from(event) * 300.0 + f64::from(pc)) / 10_000.0;
            told.extend(pass(&mut incidents, at));
            let ip = format!("10.0.{}.{}", pc / 200, pc % 200 + 1);
            let payload = if (event, pc) == (50, 150) {
                lab::device(&ip, "device-connected", "Ultra", &["storage", "keyboard"])
            } else {
                lab::contact(&ip, 1000 + event)
            };
            let notices = incidents.handle(found(&payload), seconds(at));
            told.extend(notices.into_iter().map(|notice| (seconds(at), notice)));
        }
    }
    told.extend(pass(&mut incidents, 1100.0));
    for start in 0..200 {
        let window = seconds(f64::from(start))..seconds(f64::from(start) + 1.0);
        let lines = told.iter().filter(|(at, _)| window.contains(at)).count();
        let most = if start == 0 { 132 } else { 32 };
        assert!(lines <= most, "{lines} lines in second {start}");
    }
    let critical = told
        .iter()
        .find(|(_, notice)| notice.severity == Severity::Critical);
    assert!(
        critical.unwrap().0 < seconds(1.6),
        "the critical one waited"
    );
    let summaries = told
        .iter()
        .filter(|(_, notice)| notice.rule.id == "held-back");
    let summary = summaries.map(|(_, notice)| &notice.message).nth(1).unwrap();
    assert!(summary.starts_with("300 PCs: "), "{summary}");
    let waiting =
        |(at, notice): &&(Duration, Notice)| *at > seconds(200.0) && notice.rule.id == "held-back";
    assert_eq!(told.iter().find(waiting), None, "the storm passes");
}

#[test]
fn the_table_is_bounded_whatever_comes() {
    let mut incidents = Incidents::default();
    for pc in 0..5000_u32 {
        let ip = format!("10.{}.{}.{}", pc / 65536, pc / 256 % 256, pc % 256);
        for port in 1..=3 {
            incidents.handle(numbered(&ip, port), seconds(f64::from(pc)));
        }
    }
    for port in 0..1000 {
        incidents.handle(numbered(PC33, port), seconds(5000.0));
    }
    assert!(incidents.pcs.len() <= MAX_PCS);
    assert!(
        incidents
            .pcs
            .values()
            .all(|pc| pc.incidents.len() <= MAX_PER_PC)
    );
}

#[test]
fn quiet_incidents_are_forgotten() {
    let mut incidents = Incidents::default();
    incidents.handle(numbered(PC33, 80), seconds(0.0));
    for _ in 0..2 {
        incidents.handle(numbered(PC34, 80), seconds(2000.0));
    }
    pass(&mut incidents, 2010.0);
    assert_eq!(incidents.pcs.len(), 1);
}

#[test]
fn what_concerns_the_lab_names_no_pc() {
    let mut incidents = Incidents::default();
    let lost = crate::rules::broker::lost("reset", "2026-11-22T09:31:05Z".parse().unwrap());
    let told = incidents.handle(lost, seconds(0.0));
    assert!(told[0].host.is_none() && told[0].id.starts_with("lab-broker-"));
}

#[test]
fn what_is_still_plugged_in_is_not_over_and_its_end_is_said() {
    let mut incidents = Incidents::default();
    incidents.handle(stick("device-connected"), seconds(0.0));
    assert_eq!(pass(&mut incidents, 5000.0).len(), 0);
    let told = incidents.handle(stick("device-disconnected"), seconds(5000.0));
    assert_eq!((told[0].action, told[0].count), (AlertAction::Resolved, 2));
    let told = incidents.handle(stick("device-connected"), seconds(5100.0));
    assert_eq!((told[0].action, told[0].count), (AlertAction::Opened, 3));
}

#[test]
fn what_is_critical_is_told_until_somebody_acknowledges_it() {
    let mut incidents = Incidents::default();
    let evil = lab::device(PC33, "device-connected", "Ultra", &["storage", "keyboard"]);
    let id = incidents.handle(found(&evil), seconds(0.0))[0].id.clone();
    let told = pass(&mut incidents, 1000.0);
    let when: Vec<u64> = told.iter().map(|(at, _)| at.as_secs()).collect();
    assert_eq!(when, [60, 180, 420, 900]);
    let (_, last) = told.last().unwrap();
    assert_eq!((last.action, last.count), (AlertAction::Updated, 1));
    assert!(
        last.message
            .ends_with("(not acknowledged, 1 event since 09:31:05Z)"),
        "{}",
        last.message
    );
    assert!(!incidents.handle_ack("something-else", Verdict::Seen));
    assert!(incidents.handle_ack(&id, Verdict::Seen));
    assert_eq!(pass(&mut incidents, 9000.0), []);
    let gone = lab::device(
        PC33,
        "device-disconnected",
        "Ultra",
        &["storage", "keyboard"],
    );
    assert_eq!(incidents.handle(found(&gone), seconds(9000.0)).len(), 1);
    incidents.handle(found(&evil), seconds(9001.0));
    assert!(
        !pass(&mut incidents, 9100.0).is_empty(),
        "plugged in again it needs somebody again"
    );
}

#[test]
fn what_was_acknowledged_is_told_again_only_when_it_gets_worse() {
    let mut incidents = Incidents::default();
    let id = incidents.handle(numbered(PC33, 80), seconds(0.0))[0]
        .id
        .clone();
    incidents.handle_ack(&id, Verdict::FalseAlarm);
    for second in 1..500 {
        assert_eq!(
            incidents.handle(numbered(PC33, 80), Duration::from_secs(second)),
            []
        );
    }
}

#[test]
fn what_was_open_before_a_restart_goes_on_with_its_count_its_reminders_and_its_end() {
    let ultra = |action| {
        found(&lab::device(
            PC33,
            action,
            "Ultra",
            &["storage", "keyboard"],
        ))
    };
    let told = Incidents::default().handle(ultra("device-connected"), seconds(1.0));
    let written = "2026-11-22T09:31:06Z".parse().unwrap();
    let alert = told.into_iter().next().unwrap().into_alert(written);

    let mut next = Incidents::default();
    next.resume(&alert, None, seconds(2.0));
    let reminders = pass(&mut next, 70.0);
    assert_eq!(reminders.len(), 1, "{reminders:?}");
    let (when, reminder) = &reminders[0];
    assert_eq!((*when, &reminder.id), (seconds(62.0), &alert.lab.id));
    let expected = format!(
        "{} (not acknowledged, 1 event since 09:31:05Z)",
        alert.message
    );
    assert_eq!(reminder.message, expected);
    let again = next
        .handle(ultra("device-connected"), seconds(80.0))
        .remove(0);
    assert_eq!((again.action, again.count), (AlertAction::Updated, 2));
    let end = next
        .handle(ultra("device-disconnected"), seconds(81.0))
        .remove(0);
    assert_eq!((end.action, end.count), (AlertAction::Resolved, 3));

    let mut next = Incidents::default();
    next.resume(&alert, Some(Verdict::Seen), seconds(2.0));
    assert_eq!(pass(&mut next, 3600.0), [], "somebody has looked");
}

#[test]
fn what_came_before_the_board_was_read_is_counted_with_what_stands_on_it() {
    let told = Incidents::default().handle(stick("device-connected"), seconds(1.0));
    let mut alert = told
        .into_iter()
        .next()
        .unwrap()
        .into_alert("2026-11-22T09:31:06Z".parse().unwrap());
    (alert.lab.count, alert.lab.first) = (7, "2026-11-22T09:00:00Z".parse().unwrap());
    let mut next = Incidents::default();
    next.handle(stick("device-connected"), seconds(1.0));
    next.resume(&alert, None, seconds(2.0));
    let end = next
        .handle(stick("device-disconnected"), seconds(3.0))
        .remove(0);
    assert_eq!((end.count, end.first), (9, alert.lab.first));
    let mut unknown = alert;
    unknown.rule.id = "of another version".into();
    next.resume(&unknown, None, seconds(4.0));
}

#[test]
fn the_policy_says_how_long_the_same_waits() {
    let mut incidents = Incidents::default();
    incidents.set_cool_downs([("intranet-egress".to_owned(), 120)].into());
    let mut when = Vec::new();
    for second in 0..400_u32 {
        when.extend(
            pass(&mut incidents, f64::from(second))
                .into_iter()
                .map(|(at, _)| at.as_secs()),
        );
        let told = incidents.handle(numbered(PC33, 80), seconds(f64::from(second)));
        when.extend(told.iter().map(|_| u64::from(second)));
    }
    assert_eq!(when, [0, 120, 360]);
}

proptest! {
    #[test]
    fn every_id_is_one_level_of_a_topic_and_the_same_after_a_restart(
        ip: IpAddr,
        serial in "\\PC{0,20}|[\\x00-\\x7f]{0,20}",
    ) {
        let payload = lab::device(&ip.to_canonical().to_string(), "device-connected", "X", &["storage"]);
        let payload = lab::with(&payload, "/device/serial_number", json!(serial));
        let id = |incidents: &mut Incidents| incidents.handle(found(&payload), Duration::ZERO)[0].id.clone();
        let first = id(&mut Incidents::default());
        prop_assert!(first.parse::<Name>().is_ok(), "{first}");
        prop_assert_eq!(id(&mut Incidents::default()), first);
    }
}
