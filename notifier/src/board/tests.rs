use labwatch_contract::alert::{AlertAction, SeenRun, WATCHING};
use labwatch_link::QoS;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{errands::empty, *};
use crate::console::tests::alert as stick;

const AT: &str = "2026-11-22T09:40:00Z";

fn at(minutes: i64) -> Timestamp {
    let start: Timestamp = AT.parse().unwrap();
    Timestamp::from_unix_ms(start.unix_ms() + minutes * 60_000).unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An alert written and happened so many minutes after the start.
fn alert(minutes: i64) -> Alert {
    let mut alert = stick();
    alert.timestamp = at(minutes);
    (alert.lab.first, alert.lab.last) = (at(minutes), at(minutes));
    alert
}

/// The same incident, so many minutes later.
fn again(minutes: i64) -> Alert {
    let mut alert = alert(minutes);
    alert.event.action = AlertAction::Updated;
    alert.lab.count = 2;
    alert
}

fn board() -> Board {
    let mut board = Board::new(Root::default());
    board.connected(Duration::ZERO);
    board
}

fn retained(message: &Message) -> Message {
    Message {
        retain: true,
        ..message.clone()
    }
}

fn live(message: &Message) -> Message {
    Message {
        retain: false,
        ..message.clone()
    }
}

/// Everything that is published within a minute.
fn published(board: &mut Board, from: u64) -> Vec<Message> {
    let mut messages = Vec::new();
    for second in from..from + 60 {
        let _ = board.settle(seconds(second));
        messages.extend(board.handle_timeout(seconds(second), at(0), Vec::new));
    }
    messages.retain(|message| !message.topic.ends_with(WATCHING));
    messages
}

fn ack(id: &str, verdict: &str, minutes: i64) -> Message {
    let ack = json!({"@timestamp": at(minutes), "user": {"name": "Kim\u{1b}"}, "lab": {"verdict": verdict}});
    message_of(&format!("lab/alerts/{id}/ack"), &ack).unwrap()
}

fn posted(minutes: i64) -> Message {
    let alert = alert(minutes);
    message_of(&format!("lab/alerts/{}", alert.lab.id), &alert).unwrap()
}

#[test]
fn while_the_broker_repeats_what_it_retains_there_is_nothing_to_wake_for() {
    let mut board = board();
    assert_eq!(board.poll_timeout(), Some(SETTLE));
    assert!(board.settle(SETTLE).is_some());
    let mark = board.handle_timeout(SETTLE, at(0), Vec::new);
    assert_eq!(mark.len(), 1);
    assert!(board.poll_timeout() > Some(SETTLE));
}

#[test]
fn a_told_incident_is_retained_under_its_id() {
    let mut board = board();
    assert_eq!(board.admit(&alert(0), seconds(1)), Admission::Tell);
    let messages = published(&mut board, 1);
    assert_eq!(messages.len(), 1);
    assert!(messages[0].retain);
    assert!(
        messages[0]
            .topic
            .starts_with("lab/alerts/192.168.0.133-usb-")
    );
    let read: Alert = serde_json::from_slice(&messages[0].payload).unwrap();
    assert_eq!(read, alert(0));
}

#[test]
fn what_is_good_to_know_is_not_posted_unless_it_changes_an_incident() {
    let mut board = board();
    let mut info = alert(0);
    info.event.severity = Severity::Info;
    assert_eq!(board.admit(&info, seconds(1)), Admission::Tell);
    assert_eq!(published(&mut board, 1), []);
    board.admit(&alert(0), seconds(70));
    info.event.action = AlertAction::Resolved;
    board.admit(&info, seconds(70));
    let messages = published(&mut board, 70);
    assert_eq!(
        messages.len(),
        1,
        "a post that waits is written as it is by then"
    );
    let read: Alert = serde_json::from_slice(&messages[0].payload).unwrap();
    assert_eq!(read.event.action, AlertAction::Resolved);
}

#[test]
fn a_restart_does_not_repeat_what_was_told_and_tells_what_is_new() {
    let mut board = board();
    board.read(&retained(&posted(0))).unwrap();
    let memory = board.settle(seconds(2)).unwrap();
    assert_eq!((memory.open.len(), memory.unacknowledged()), (1, 1));
    let mut old = alert(0);
    old.timestamp = at(3);
    assert_eq!(board.admit(&old, seconds(3)), Admission::Known);
    assert_eq!(board.admit(&alert(4), seconds(4)), Admission::Tell);
    assert_eq!(board.settle(seconds(5)), None);
}

#[test]
fn two_notifiers_tell_both_and_write_the_same_once() {
    let mut board = board();
    board.read(&live(&posted(0))).unwrap();
    assert_eq!(board.admit(&alert(0), seconds(3)), Admission::Tell);
    assert_eq!(published(&mut board, 3), []);
}

#[test]
fn an_acknowledgement_is_told_and_ends_the_repeating_but_not_what_is_new() {
    let mut board = board();
    board.admit(&alert(0), seconds(1));
    let acknowledged = board
        .read(&live(&ack(&alert(0).lab.id, "seen", 1)))
        .unwrap()
        .unwrap();
    assert_eq!(acknowledged.incident, alert(0).lab.id);
    let line = acknowledged.line.unwrap();
    assert!(
        line.message
            .starts_with("acknowledged by Kim\\u{1b} as seen: 192.168.0.133")
    );
    let mut repeated = again(2);
    repeated.lab.last = at(0);
    assert_eq!(
        board.admit(&repeated, seconds(120)),
        Admission::Acknowledged
    );
    assert_eq!(board.admit(&again(3), seconds(180)), Admission::Tell);
}

#[test]
fn a_false_alarm_is_quiet_until_it_gets_graver_or_another() {
    let mut board = board();
    board.admit(&alert(0), seconds(1));
    board
        .read(&live(&ack(&alert(0).lab.id, "false-alarm", 1)))
        .unwrap();
    assert_eq!(
        board.admit(&again(2), seconds(120)),
        Admission::Acknowledged
    );
    let mut graver = again(3);
    graver.event.severity = Severity::Critical;
    assert_eq!(board.admit(&graver, seconds(180)), Admission::Tell);
    let mut other = again(4);
    other.rule.id = "usb-phone".into();
    assert_eq!(board.admit(&other, seconds(240)), Admission::Tell);
}

#[test]
fn an_acknowledgement_does_not_outlive_its_incident() {
    let mut board = board();
    board.admit(&alert(0), seconds(1));
    let id = alert(0).lab.id;
    board.read(&live(&ack(&id, "false-alarm", 1))).unwrap();
    published(&mut board, 1);
    assert_eq!(board.admit(&alert(60), seconds(3600)), Admission::Tell);
    let messages = published(&mut board, 3600);
    let taken_down = format!("lab/alerts/{id}/ack");
    assert!(
        messages
            .iter()
            .any(|message| message.topic == taken_down && message.payload.is_empty())
    );
}

#[test]
fn an_acknowledgement_that_comes_before_its_incident_counts() {
    let mut board = board();
    let id = alert(0).lab.id;
    let early = board.read(&retained(&ack(&id, "technical", 1))).unwrap();
    assert_eq!(early.unwrap().line, None);
    board.read(&retained(&posted(0))).unwrap();
    let memory = board.settle(seconds(2)).unwrap();
    assert_eq!((memory.open.len(), memory.unacknowledged()), (1, 0));
    assert_eq!(
        board.admit(&again(2), seconds(120)),
        Admission::Acknowledged
    );
}

#[test]
fn a_muted_pc_or_rule_is_not_shown_until_then_and_posted_all_the_same() {
    for target in ["192.168.0.133", "usb-storage"] {
        let mut board = board();
        let mute = json!({"@timestamp": at(0), "user": {"name": "Kim"}, "lab": {"target": target, "until": at(10)}});
        board
            .read(&retained(&message_of("lab/alerts/mute-x", &mute).unwrap()))
            .unwrap();
        assert_eq!(board.admit(&alert(9), seconds(1)), Admission::Muted);
        assert_eq!(published(&mut board, 1).len(), 1);
        assert_eq!(board.admit(&again(10), seconds(70)), Admission::Tell);
    }
}

fn mute(name: &str, until: i64) -> Message {
    let mute = json!({
        "@timestamp": at(0), "user": {"name": "Kim"}, "lab": {"target": "usb-storage", "until": at(until)},
    });
    message_of(&format!("lab/alerts/mute-{name}"), &mute).unwrap()
}

#[test]
fn of_too_many_mutes_those_that_end_first_make_room() {
    let mut board = board();
    for number in 0..100 {
        board
            .read(&retained(&mute(&format!("over-{number}"), -5)))
            .unwrap();
    }
    board.read(&live(&mute("x", 10))).unwrap();
    assert_eq!(board.admit(&alert(9), seconds(1)), Admission::Muted);
    assert_eq!(board.mutes().count(), MAX_MUTES);
}

#[test]
fn a_mute_that_is_over_is_taken_down_and_one_that_was_renewed_is_not() {
    let mut board = board();
    board.read(&retained(&mute("over", -5))).unwrap();
    board.read(&retained(&mute("x", 10))).unwrap();
    let taken = published(&mut board, 60);
    let topics: Vec<_> = taken.iter().map(|one| one.topic.as_str()).collect();
    assert_eq!(topics, ["lab/alerts/mute-over", "lab/alerts/mute-over/ack"]);
    assert!(taken.iter().all(|one| one.payload.is_empty() && one.retain));

    let mut board = self::board();
    board.admit(&alert(0), seconds(59));
    for _ in 0..30 {
        // What is to be posted comes first, so that the rest waits.
        board.waiting.push_back(Errand::PutUp("gone".into()));
    }
    board.read(&retained(&mute("x", -5))).unwrap();
    let _ = board.settle(seconds(60));
    board.handle_timeout(seconds(60), at(0), Vec::new);
    board.read(&live(&mute("x", 10))).unwrap();
    assert!(
        published(&mut board, 61)
            .iter()
            .all(|one| !one.payload.is_empty())
    );
}

#[test]
fn a_broker_that_has_forgotten_gets_the_board_again() {
    let mut board = board();
    board.admit(&alert(0), seconds(1));
    board
        .read(&live(&ack(&alert(0).lab.id, "seen", 1)))
        .unwrap();
    assert_eq!(published(&mut board, 1).len(), 2);
    board.disconnected();
    assert_eq!(board.poll_timeout(), None);
    board.connected(seconds(100));
    assert_eq!(
        published(&mut board, 100).len(),
        2,
        "incident and acknowledgement"
    );
    board.connected(seconds(200));
    board.read(&retained(&posted(0))).unwrap();
    assert_eq!(
        published(&mut board, 200),
        [],
        "another notifier was faster"
    );
}

#[test]
fn what_is_over_is_taken_down() {
    let mut board = board();
    let mut over = alert(0);
    over.event.action = AlertAction::Resolved;
    board.admit(&alert(0), seconds(1));
    board.admit(&over, seconds(2));
    published(&mut board, 2);
    let messages = published(&mut board, 700);
    assert!(
        messages.iter().any(|message| message.payload.is_empty()),
        "{messages:?}"
    );
    assert!(board.open().is_empty());
}

#[test]
fn a_storm_of_incidents_is_posted_at_a_bounded_rate() {
    let mut board = board();
    for number in 0..5000 {
        let mut alert = alert(0);
        alert.lab.id = format!("incident-{number}");
        board.admit(&alert, seconds(10));
    }
    assert!(board.posts.len() <= MAX_POSTS);
    assert!(published(&mut board, 10).len() <= 20 + 600);
}

#[test]
fn what_waits_for_the_broker_is_bounded_and_the_newest_incidents_are_posted() {
    let mut board = board();
    board.disconnected();
    let incident = |number: u64| {
        let mut alert = alert(0);
        alert.timestamp = at(i64::try_from(number).unwrap());
        alert.lab.id = format!("incident-{number}");
        alert
    };
    for number in 0..7_000 {
        board.admit(&incident(number), seconds(10));
    }
    assert!(
        board.waiting.len() <= 2 * MAX_POSTS,
        "{}",
        board.waiting.len()
    );
    board.connected(seconds(20));
    let mut last = false;
    for second in 20..1000 {
        let posted = board.handle_timeout(seconds(second), at(0), Vec::new);
        last |= posted
            .iter()
            .any(|one| one.topic.ends_with("incident-6999"));
    }
    assert!(last && board.waiting.is_empty());
}

#[test]
fn a_notifier_says_that_it_watches_and_when_it_stops() {
    let mut board = board();
    let _ = board.settle(seconds(2));
    let marks = board.handle_timeout(seconds(2), at(0), Vec::new);
    assert_eq!(marks.len(), 1);
    assert_eq!(board.handle_timeout(seconds(20), at(0), Vec::new), []);
    let seen = vec![SeenRun {
        ip: "192.168.0.133".parse().unwrap(),
        journal: "0199aaaa-0000-7000-8000-000000000001".parse().unwrap(),
        first: 1,
        last: 42,
        digest: "0123456789abcdef".into(),
    }];
    let last = board.mark(at(5), seen.clone(), true).unwrap();
    assert!(serde_json::from_slice::<Alert>(&last.payload).is_ok());
    let mut next = self::board();
    next.read(&retained(&last)).unwrap();
    let before = Before {
        watched: at(5),
        in_order: true,
        seen,
    };
    assert_eq!(next.settle(seconds(2)).unwrap().before, Some(before));
}

#[test]
fn what_is_no_alert_is_an_error_and_what_is_not_of_the_board_is_nothing() {
    let mut board = board();
    for topic in [
        "lab/alerts/x",
        "lab/alerts/x/ack",
        "lab/alerts/mute-x",
        "lab/alerts/watching",
    ] {
        let message = message_of(topic, &json!({})).unwrap();
        assert!(board.read(&message).is_err(), "{topic}");
        let taken_back = empty(topic);
        assert!(board.read(&taken_back).is_ok());
    }
    let other = message_of("lab/192.168.0.1/usb", &json!({})).unwrap();
    assert_eq!(board.read(&other).unwrap(), None);
}

proptest! {
    #[test]
    fn no_payload_panics(topic in "lab/alerts/(x|x/ack|mute-x|watching)", payload: Vec<u8>, number: i64) {
        let mut board = board();
        let message = Message { topic: topic.clone(), payload: payload.into(), qos: QoS::AtLeastOnce, retain: true };
        let _ = board.read(&message);
        for field in ["@timestamp", "event", "lab", "user"] {
            let mut value = serde_json::to_value(alert(0)).unwrap();
            value[field] = json!({"until": number, "target": Value::Null});
            let _ = board.read(&message_of(&topic, &value).unwrap());
        }
    }
}
