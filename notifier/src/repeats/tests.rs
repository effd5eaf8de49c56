use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::lab::{self, PC33, PC34};

const JOURNAL: &str = "0199aaaa-0000-7000-8000-000000000001";

fn at(second: u32) -> Timestamp {
    format!("2026-11-22T09:{:02}:{:02}Z", second / 60, second % 60)
        .parse()
        .unwrap()
}

/// A journal of so many events, one a second, each with the digest of the one before.
fn journal(count: u32) -> Vec<Vec<u8>> {
    chain(1..=count, Digest::ZERO, "device-connected")
}

fn chain(numbers: std::ops::RangeInclusive<u32>, prev: Digest, action: &str) -> Vec<Vec<u8>> {
    let mut prev = prev;
    let mut events = Vec::new();
    for number in numbers {
        let extra = json!({
            "@timestamp": at(number).to_string(),
            "event": {"sequence": number},
            "lab": {"journal": JOURNAL, "prev": prev.to_string()},
        });
        let event = lab::event(PC33, action, extra);
        prev = Digest::of(&event);
        events.push(event);
    }
    events
}

fn take(repeats: &mut Repeats, ip: &str, payload: &[u8], second: u32) -> bool {
    let head = Head::from_payload(payload).unwrap();
    repeats.handle(ip.parse().unwrap(), &head, payload, at(second))
}

/// How many of these are new, one after the other, at that second.
fn news(repeats: &mut Repeats, payloads: &[Vec<u8>], second: u32) -> usize {
    let new = payloads
        .iter()
        .filter(|payload| !take(repeats, PC33, payload, second));
    new.count()
}

#[test]
fn what_an_agent_sends_again_is_a_repeat_however_long_it_is() {
    let events = journal(1500);
    let mut repeats = Repeats::default();
    assert_eq!(news(&mut repeats, &events, 1501), 1500);
    assert_eq!(news(&mut repeats, &events, 1502), 0);
}

#[test]
fn a_backlog_behind_a_fresh_event_is_new_and_then_all_of_it_is_known() {
    let events = journal(700);
    let mut repeats = Repeats::default();
    assert_eq!(news(&mut repeats, &events[..300], 300), 300);
    assert_eq!(
        news(&mut repeats, &events[600..], 700),
        100,
        "fresh ones come at once"
    );
    assert_eq!(news(&mut repeats, &events[250..600], 701), 300);
    assert_eq!(
        news(&mut repeats, &events[600..], 702),
        0,
        "they come again in their turn"
    );
    assert_eq!(news(&mut repeats, &events, 703), 0);
}

#[test]
fn an_event_that_was_lost_on_the_way_is_new_when_it_comes() {
    let events = journal(20);
    let mut repeats = Repeats::default();
    news(&mut repeats, &events[..9], 20);
    news(&mut repeats, &events[10..], 20);
    assert_eq!(news(&mut repeats, &events, 21), 1);
}

#[test]
fn other_bytes_under_the_same_number_are_no_repeat() {
    let mut repeats = Repeats::default();
    for serial in ["A", "B", "C"] {
        let stick = lab::device(PC33, "device-connected", serial, &["storage"]);
        assert!(!take(&mut repeats, PC33, &stick, 1), "{serial}");
        assert!(take(&mut repeats, PC33, &stick, 1), "{serial}");
    }
}

#[test]
fn nobody_uses_up_the_numbers_that_an_agent_has_not_reached() {
    let events = journal(600);
    let mut repeats = Repeats::default();
    news(&mut repeats, &events[..100], 100);
    let forged = chain(101..=600, Digest::ZERO, "teleported");
    news(&mut repeats, &forged, 100);
    assert_eq!(news(&mut repeats, &events[100..], 600), 500);
}

#[test]
fn a_pc_does_not_speak_for_another_and_takes_its_journal_along_when_it_moves() {
    let events = journal(10);
    let mut repeats = Repeats::default();
    news(&mut repeats, &events, 10);
    assert!(!take(&mut repeats, PC34, &events[3], 11));
    let mut repeats = Repeats::default();
    news(&mut repeats, &events, 10);
    repeats.moved(PC33.parse().unwrap(), PC34.parse().unwrap());
    assert!(take(&mut repeats, PC34, &events[3], 11));
}

#[test]
fn the_next_notifier_knows_what_was_judged_and_what_came_since_is_new() {
    let events = journal(50);
    let mut before = Repeats::default();
    news(&mut before, &events[..40], 40);
    let seen: Vec<SeenRun> =
        serde_json::from_str(&serde_json::to_string(&before.seen()).unwrap()).unwrap();
    let mut next = Repeats::default();
    assert_eq!(
        news(&mut next, &events[44..46], 45),
        2,
        "before it has read what is retained"
    );
    next.adopt(&seen, at(41));
    assert_eq!(
        news(&mut next, &events[..44], 60),
        4,
        "what came while nobody watched"
    );
    assert_eq!(news(&mut next, &events[44..], 61), 4);
    assert_eq!(news(&mut next, &events, 62), 0);
}

#[test]
fn a_journal_that_began_before_us_is_new_where_we_have_not_heard_it() {
    let events = journal(30);
    let mut repeats = Repeats::default();
    assert_eq!(news(&mut repeats, &events[20..], 30), 10);
    assert_eq!(news(&mut repeats, &events[..20], 31), 20);
    assert_eq!(news(&mut repeats, &events, 32), 0);
}

proptest! {
    #[test]
    fn whatever_comes_it_stays_bounded_and_the_agents_own_events_are_told_once(
        forged in proptest::collection::vec((1_u64..40, 0_u8..3), 0..200),
    ) {
        let events = journal(20);
        let mut repeats = Repeats::default();
        let mut told = 0;
        for (step, event) in (0_usize..).zip(&events) {
            for (number, kind) in forged.iter().skip(step * 10).take(10) {
                let extra = json!({
                    "event": {"sequence": number},
                    "lab": {"journal": format!("0199aaaa-0000-7000-8000-00000000000{kind}")},
                });
                take(&mut repeats, PC33, &lab::event(PC33, "teleported", extra), 30);
            }
            told += news(&mut repeats, std::slice::from_ref(event), 30);
        }
        prop_assert_eq!(told, 20);
        let pc = &repeats.pcs[&PC33.parse::<IpAddr>().unwrap()];
        prop_assert!(pc.journals.len() <= MAX_JOURNALS && pc.recent.len() == RECENT);
        prop_assert!(pc.journals.iter().all(|one| one.runs.len() <= MAX_RUNS));
    }

    #[test]
    fn no_cursor_panics(first: u64, last: u64, digest in ".{0,20}", sequence in 1_u64..) {
        let seen = SeenRun { ip: PC33.parse().unwrap(), journal: JOURNAL.parse().unwrap(), first, last, digest };
        let mut repeats = Repeats::default();
        repeats.adopt(&[seen.clone(), seen], at(1));
        let extra = json!({"event": {"sequence": sequence}, "lab": {"journal": JOURNAL}});
        take(&mut repeats, PC33, &lab::event(PC33, "teleported", extra), 2);
    }
}
