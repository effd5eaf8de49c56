//! What begins and ends: agents, the state of a PC, media, volumes, in virtual time.

use super::{rig::Lab, *};

fn degraded(words: &[&str], reason: &str) -> Vec<u8> {
    let online = lab::status(PC33, "online", reason, 1);
    lab::with(&online, "/lab/degraded", json!(words))
}

#[test]
fn an_agent_that_sees_less_is_told_and_when_it_sees_everything_again() {
    let mut lab = Lab::new();
    lab.online(PC33);
    let less = degraded(&["no-capture"], "degraded-changed");
    let less = lab.hear(1, PC33, "status", &less).unwrap();
    assert_eq!(
        (less.rule.id, less.severity),
        ("agent-degraded", Severity::Technical)
    );
    let again = degraded(&["no-capture"], "journals-changed");
    assert_eq!(lab.hear(1, PC33, "status", &again), None);
    let other = degraded(&["no-usb"], "degraded-changed");
    let other = lab.hear(1, PC33, "status", &other).unwrap();
    assert!(other.message.contains("does not see everything: no-usb"));
    let all = lab
        .hear(1, PC33, "status", &degraded(&[], "degraded-changed"))
        .unwrap();
    assert_eq!(
        (all.rule.id, all.rule.course, all.severity),
        ("agent-sees-all", Course::Ending, Severity::Info)
    );
    assert_eq!(
        (all.rule.subject, &all.object),
        (less.rule.subject, &less.object)
    );
    assert_eq!(
        all.message,
        "192.168.0.133 connected, sees everything again (pc-33, agent 0.1.0)"
    );
    assert_eq!(
        lab.hear(1, PC33, "status", &degraded(&[], "journals-changed")),
        None
    );
}

#[test]
fn an_agent_says_itself_whether_it_was_stopped_or_the_pc_shut_down() {
    for (reason, rule, severity) in [
        ("stopped", "agent-offline", Severity::Warning),
        ("shutdown", "agent-shutdown", Severity::Info),
    ] {
        let mut lab = Lab::new();
        lab.online(PC33);
        let gone = lab
            .hear(1, PC33, "status", &lab::status(PC33, "offline", reason, 1))
            .unwrap();
        assert_eq!((gone.rule.id, gone.severity), (rule, severity));
    }
}

#[test]
fn a_pc_that_is_not_back_after_the_broker_is_told() {
    let mut lab = Lab::new();
    lab.online(PC33);
    lab.inbox.silence.connected(lab.now());
    lab.pass(10, &[PC33]);
    lab.inbox.silence.disconnected();
    lab.inbox.silence.connected(lab.now());
    let told = lab.pass(60, &[]);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(told[0].rule.id, "agent-not-back");
}

#[test]
fn what_was_full_or_failing_says_when_it_is_over() {
    for (bad, over, words) in [
        (
            json!({"memory_used_percent": 97.0}),
            "pc-memory-over",
            "memory in use: 40 %, there is memory again",
        ),
        (
            json!({"disk_used_percent": 99.0}),
            "pc-disk-over",
            "disk in use: 30 %, there is room again",
        ),
        (
            json!({"degraded": ["no-journal"]}),
            "pc-disk-errors-over",
            "its disk takes the journal again",
        ),
    ] {
        let mut lab = Lab::new();
        let told: Vec<Finding> = (0..20)
            .filter_map(|_| lab.hear(2, PC33, "health", &lab::health(PC33, bad.clone())))
            .collect();
        assert_eq!(told.len(), 1, "{over}");
        let end = lab
            .hear(2, PC33, "health", &lab::health(PC33, json!({})))
            .unwrap();
        assert_eq!((end.rule.id, end.rule.course), (over, Course::Ending));
        assert_eq!(end.rule.subject, told[0].rule.subject);
        assert_eq!(end.message, format!("192.168.0.133 (pc-33): {words}"));
    }
}

#[test]
fn packets_that_were_dropped_are_technical() {
    let mut lab = Lab::new();
    let dropped = |count: u64| lab::health(PC33, json!({"capture_dropped": count}));
    lab.hear(2, PC33, "health", &dropped(0));
    let found = lab.hear(2, PC33, "health", &dropped(3)).unwrap();
    assert_eq!(
        (found.rule.id, found.severity),
        ("capture-dropped", Severity::Technical)
    );
}

#[test]
fn a_card_in_a_reader_is_told_when_it_comes_is_there_and_goes() {
    for (action, rule, severity, words) in [
        (
            "media-inserted",
            "media-inserted",
            Severity::Warning,
            "medium inserted: /dev/sdb1",
        ),
        (
            "media-present",
            "media-present",
            Severity::Info,
            "medium there at the start: /dev/sdb1",
        ),
        (
            "media-removed",
            "media-removed",
            Severity::Info,
            "medium taken out: /dev/sdb1",
        ),
    ] {
        let found = found(&lab::volume(PC33, action, true));
        assert_eq!((found.rule.id, found.severity), (rule, severity));
        assert!(found.message.contains(words), "{}", found.message);
    }
    let came = found(&lab::volume(PC33, "media-inserted", true));
    let went = found(&lab::volume(PC33, "media-removed", true));
    assert_eq!(
        (came.rule.subject, came.object),
        (went.rule.subject, went.object)
    );
}

#[test]
fn a_volume_that_becomes_writable_is_a_warning() {
    let found = found(&lab::volume(PC33, "volume-remounted", true));
    assert_eq!(
        (found.rule.id, found.severity),
        ("volume-remounted", Severity::Warning)
    );
    assert!(
        found.message.contains("volume mounted anew: /dev/sdb1")
            && found.message.contains("writable")
    );
}

#[test]
fn what_was_plugged_in_before_the_agent_is_good_to_know() {
    let found = found(&lab::device(
        PC33,
        "device-present",
        "Keyboard",
        &["keyboard"],
    ));
    assert_eq!(
        (found.rule.id, found.severity),
        ("usb-present", Severity::Info)
    );
}

#[test]
fn what_an_agent_sends_again_is_told_and_counted_once() {
    let mut lab = Lab::new();
    let contact = lab::contact(PC33, 80);
    assert!(lab.hear(0, PC33, "net/intranet", &contact).is_some());
    assert_eq!(lab.hear(0, PC33, "net/intranet", &contact), None);
    let next = lab::numbered(&contact, 43);
    assert!(lab.hear(0, PC33, "net/intranet", &next).is_some());
}

#[test]
fn a_pc_that_is_slow_for_a_minute_is_technical_and_a_busy_moment_is_nothing() {
    let mut lab = Lab::new();
    let busy = lab::health(PC33, json!({"cpu_percent": 99.0}));
    let mut told = Vec::new();
    for _ in 0..40 {
        told.extend(lab.hear(2, PC33, "health", &busy));
    }
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].rule.id, told[0].severity),
        ("pc-slow", Severity::Technical)
    );
    let calm = lab
        .hear(2, PC33, "health", &lab::health(PC33, json!({})))
        .unwrap();
    assert_eq!(
        (calm.rule.id, calm.rule.course),
        ("pc-slow-over", Course::Ending)
    );
    for _ in 0..20 {
        assert_eq!(lab.hear(2, PC33, "health", &busy), None);
    }
    assert_eq!(
        lab.hear(2, PC33, "health", &lab::health(PC33, json!({}))),
        None
    );
}

#[test]
fn memory_disk_and_dropped_packets_are_technical() {
    for (figures, rule, beats) in [
        (json!({"memory_used_percent": 97.0}), "pc-memory-full", 16),
        (json!({"disk_used_percent": 99.0}), "pc-disk-full", 6),
        (json!({"degraded": ["no-journal"]}), "pc-disk-errors", 1),
    ] {
        let mut lab = Lab::new();
        let told: Vec<Finding> = (0..beats)
            .filter_map(|_| lab.hear(2, PC33, "health", &lab::health(PC33, figures.clone())))
            .collect();
        assert_eq!(told.len(), 1, "{rule}");
        assert_eq!(
            (told[0].rule.id, told[0].severity),
            (rule, Severity::Technical)
        );
    }
    let mut lab = Lab::new();
    let dropped = |count: u64| lab::health(PC33, json!({"capture_dropped": count}));
    assert_eq!(
        lab.hear(2, PC33, "health", &dropped(7)),
        None,
        "from before our time"
    );
    let found = lab.hear(2, PC33, "health", &dropped(19)).unwrap();
    assert!(
        found.message.contains("12 packets were dropped"),
        "{}",
        found.message
    );
}

#[test]
fn a_pc_that_is_gone_stays_an_incident_until_it_is_back() {
    let silent = crate::silence::RULES;
    let ended: Vec<_> = silent
        .iter()
        .filter(|rule| rule.course == Course::Ending)
        .map(|rule| rule.id)
        .collect();
    assert_eq!(
        ended,
        [
            "agent-online",
            "agent-sees-all",
            "agent-not-expected",
            "agent-moved",
            "agents-back"
        ]
    );
    assert!(silent.iter().all(|rule| rule.course != Course::Passing));
}
