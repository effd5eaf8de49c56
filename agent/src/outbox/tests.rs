use std::ops::RangeInclusive;

use bytes::Bytes;
use labwatch_contract::{chain::Digest, event::Place, topic::Leaf};

use super::*;

const STORE: Uuid = Uuid::from_u128(0x5703e);

/// An outbox in virtual time; every test's agent.
struct Agent {
    outbox: Outbox,
    now: Duration,
    present: Uuid,
    last: u64,
}

fn journal(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn range(number: u128, first: u64, last: u64) -> JournalRange {
    JournalRange {
        journal: journal(number),
        first,
        last,
    }
}

impl Agent {
    fn new(past: &[JournalRange]) -> Self {
        Self {
            outbox: Outbox::new(past, Confirmed::default(), journal(100)),
            now: Duration::from_secs(1000),
            present: journal(100),
            last: 0,
        }
    }

    fn connected(past: &[JournalRange]) -> Self {
        let mut agent = Self::new(past);
        agent.outbox.handle_connected(agent.now);
        agent
    }

    fn begin(&mut self, number: u128) {
        self.present = journal(number);
        self.last = 0;
        self.outbox.handle_begun(self.present);
    }

    fn occur(&mut self, times: u64) {
        for _ in 0..times {
            self.last += 1;
            let place = Place {
                journal: self.present,
                sequence: self.last,
                prev: Digest::ZERO,
            };
            self.outbox.handle_event(Sealed {
                leaf: Leaf::Usb,
                place,
                payload: Bytes::new(),
            });
        }
    }

    fn ack_from(&mut self, recorder: Uuid, marks: &[(u128, u64)], refused: &[u128]) {
        let mark = |(number, sequence): &(u128, u64)| Mark {
            journal: journal(*number),
            sequence: *sequence,
        };
        let ack = Ack {
            recorder,
            marks: marks.iter().map(mark).collect(),
            refused: refused.iter().copied().map(journal).collect(),
        };
        self.outbox.handle_ack(&ack, self.now);
    }

    fn ack(&mut self, marks: &[(u128, u64)]) {
        self.ack_from(STORE, marks, &[]);
    }

    /// Everything that goes out now: journal and number; fresh ones by a negative number.
    fn sends(&mut self) -> Vec<(u128, i64)> {
        let next = || self.outbox.poll_transmit(self.now);
        let tell = |transmit| match transmit {
            Transmit::Fresh(event) => (
                event.place.journal,
                -i64::try_from(event.place.sequence).unwrap(),
            ),
            Transmit::Stored { journal, sequence } => (journal, i64::try_from(sequence).unwrap()),
        };
        let sent = std::iter::from_fn(next).map(tell);
        sent.map(|(journal, number)| (journal.as_u128(), number))
            .collect()
    }

    fn wait(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        while let Some(due) = self.outbox.poll_timeout().filter(|due| *due <= until) {
            self.now = due;
            self.outbox.handle_timeout(due);
        }
        self.now = until;
    }

    fn demands(&mut self) -> Vec<Demand> {
        std::iter::from_fn(|| self.outbox.poll_demand()).collect()
    }
}

fn numbers(journal: u128, range: RangeInclusive<i64>) -> Vec<(u128, i64)> {
    range.map(|number| (journal, number)).collect()
}

#[test]
fn a_fresh_event_goes_out_at_once_and_once() {
    let mut agent = Agent::connected(&[]);
    agent.occur(2);
    assert_eq!(agent.sends(), [(100, -1), (100, -2)]);
    agent.ack(&[(100, 2)]);
    assert_eq!((agent.sends(), agent.outbox.backlog()), (vec![], 0));
    assert_eq!(agent.outbox.poll_timeout(), None);
}

#[test]
fn what_happened_without_a_connection_is_news_on_the_next_one() {
    let mut agent = Agent::new(&[range(1, 1, 2)]);
    agent.occur(3);
    assert_eq!(agent.sends(), []);
    agent.outbox.handle_connected(agent.now);
    assert_eq!(agent.sends(), [(100, -1), (100, -2), (100, -3)]);
    // In order, too: they are sent again only if the recorder did not get them.
    agent.ack(&[(1, 2)]);
    assert_eq!(agent.sends(), []);
    agent.wait(5);
    assert_eq!(agent.sends(), numbers(100, 1..=3));
}

#[test]
fn of_what_happened_in_a_long_time_without_a_connection_the_newest_are_news() {
    let mut agent = Agent::new(&[]);
    let many = 2 * i64::try_from(FRESH).unwrap();
    agent.occur(many.unsigned_abs());
    agent.outbox.handle_connected(agent.now);
    let news = agent.sends();
    assert_eq!(news.len(), FRESH);
    assert_eq!(news.last(), Some(&(100, -many)));
    agent.ack(&[(100, 0)]);
    assert_eq!(agent.sends(), numbers(100, 1..=many));
}

#[test]
fn without_an_answer_it_is_sent_all_the_same() {
    let mut agent = Agent::connected(&[range(1, 1, 2)]);
    agent.wait(1);
    assert_eq!(agent.sends(), numbers(1, 1..=2));
}

#[test]
fn a_fresh_event_overtakes_the_backlog_and_is_sent_again_in_its_turn() {
    let mut agent = Agent::connected(&[range(1, 1, 1)]);
    agent.wait(1);
    agent.outbox.handle_disconnected();
    let missed = i64::try_from(FRESH).unwrap();
    agent.occur(missed.unsigned_abs() + 1);
    agent.outbox.handle_connected(agent.now);
    let news: Vec<_> = (2..=missed + 1).map(|number| (100, -number)).collect();
    assert_eq!(agent.sends(), news);
    agent.ack(&[(1, 0)]);
    assert_eq!(agent.sends(), [(1, 1)]);
    agent.ack(&[(1, 1)]);
    assert_eq!(agent.sends(), numbers(100, 1..=missed + 1));
}

#[test]
fn never_more_than_the_window_is_ahead_of_the_mark() {
    let mut agent = Agent::connected(&[range(1, 1, 1000)]);
    agent.ack(&[(1, 0)]);
    assert_eq!(agent.sends(), numbers(1, 1..=256));
    agent.ack(&[(1, 100)]);
    assert_eq!(agent.sends(), numbers(1, 257..=356));
}

#[test]
fn journals_are_sent_one_after_the_other_oldest_first() {
    let mut agent = Agent::connected(&[range(1, 1, 2), range(2, 1, 1)]);
    agent.ack(&[]);
    assert_eq!(agent.sends(), numbers(1, 1..=2));
    agent.ack(&[(1, 1)]);
    assert_eq!(agent.sends(), []);
    agent.ack(&[(1, 2)]);
    assert_eq!(agent.sends(), [(2, 1)]);
}

#[test]
fn without_progress_the_window_goes_again_after_5_s_and_then_one_event_ever_more_rarely() {
    let mut agent = Agent::connected(&[range(1, 1, 3)]);
    agent.ack(&[]);
    assert_eq!(agent.sends().len(), 3);
    agent.wait(4);
    assert_eq!(agent.sends(), []);
    agent.wait(1);
    assert_eq!(agent.sends(), numbers(1, 1..=3));
    let mut sent = 0;
    for _ in 0..3600 {
        agent.wait(1);
        sent += agent.sends().len();
    }
    assert!((55..70).contains(&sent), "{sent} messages in an hour");
    agent.ack(&[(1, 1)]);
    assert_eq!(agent.sends(), numbers(1, 2..=3));
}

#[test]
fn a_repeated_mark_sends_again_but_not_for_its_own_echo() {
    let mut agent = Agent::connected(&[range(1, 1, 3)]);
    agent.ack(&[(1, 1)]);
    assert_eq!(agent.sends(), numbers(1, 2..=3));
    agent.ack(&[(1, 1)]);
    assert_eq!(agent.sends(), []);
    agent.wait(2);
    agent.ack(&[(1, 1)]);
    assert_eq!(agent.sends(), numbers(1, 2..=3));
}

#[test]
fn a_refused_journal_is_sent_no_more_and_a_new_one_is_begun() {
    let mut agent = Agent::connected(&[]);
    agent.occur(3);
    agent.sends();
    agent.ack_from(STORE, &[(100, 1)], &[100]);
    let lost = Demand::Lost(vec![range(100, 2, 3)], Loss::Refused);
    assert_eq!(agent.demands(), [Demand::Begin, lost]);
    agent.begin(101);
    assert_eq!(agent.demands(), [Demand::Announce]);
    agent.wait(60);
    assert_eq!((agent.sends(), agent.outbox.backlog()), (vec![], 0));
    agent.ack_from(STORE, &[(100, 1)], &[100]);
    assert_eq!(agent.demands(), []);
    let again = Outbox::new(&[range(100, 1, 3)], agent.outbox.confirmed(), journal(102));
    assert_eq!(again.backlog(), 0);
}

#[test]
fn a_mark_above_the_last_event_completes_an_earlier_journal_and_ends_the_present_one() {
    let mut agent = Agent::connected(&[range(1, 1, 3)]);
    agent.occur(1);
    agent.ack(&[(1, 5)]);
    assert!(agent.outbox.is_finished(journal(1)));
    assert_eq!(agent.demands(), []);
    agent.ack(&[(100, 7)]);
    assert_eq!(agent.demands(), [Demand::Begin]);
}

#[test]
fn a_new_store_gets_everything_that_is_still_here() {
    let mut agent = Agent::connected(&[range(1, 1, 2)]);
    agent.ack(&[(1, 2)]);
    assert_eq!(agent.sends(), []);
    agent.ack_from(Uuid::from_u128(0xe1), &[], &[]);
    assert_eq!(agent.sends(), numbers(1, 1..=2));
}

#[test]
fn a_recorder_that_lost_its_disk_gets_again_what_it_takes_back() {
    let mut agent = Agent::connected(&[range(1, 1, 9)]);
    agent.ack(&[(1, 9)]);
    agent.ack(&[(1, 4)]);
    assert_eq!(agent.sends(), numbers(1, 5..=9));
}

#[test]
fn a_dropped_journal_is_named_until_the_recorder_knows() {
    let mut agent = Agent::connected(&[range(1, 1, 9), range(2, 1, 2)]);
    agent.ack(&[(1, 4)]);
    agent.outbox.handle_dropped(journal(1));
    let lost = Demand::Lost(vec![range(1, 5, 9)], Loss::Full);
    assert_eq!(agent.demands(), [lost, Demand::Announce]);
    assert_eq!(agent.outbox.journals()[0], range(1, 10, 9));
    assert_eq!(agent.outbox.confirmed().gone, [range(1, 10, 9)]);
    assert_eq!(agent.sends(), numbers(2, 1..=2));
    agent.wait(5);
    assert_eq!(agent.demands(), [Demand::Announce]);
    agent.ack(&[(1, 9)]);
    assert_eq!(agent.outbox.journals()[0], range(2, 1, 2));
}

#[test]
fn a_dropped_journal_that_was_safe_is_nobodys_business() {
    let mut agent = Agent::connected(&[range(1, 1, 9)]);
    agent.ack(&[(1, 9)]);
    agent.outbox.handle_dropped(journal(1));
    assert_eq!(agent.demands(), []);
    assert_eq!(agent.outbox.journals(), [range(100, 1, 0)]);
}

#[test]
fn a_damaged_place_is_passed_over_once_all_before_it_is_safe() {
    let mut agent = Agent::connected(&[range(1, 1, 9)]);
    agent.ack(&[]);
    assert_eq!(
        agent.outbox.poll_transmit(agent.now),
        Some(Transmit::Stored {
            journal: journal(1),
            sequence: 1
        })
    );
    agent.outbox.handle_damage(journal(1), 4, Some(6));
    assert_eq!(agent.sends(), numbers(1, 2..=3));
    agent.ack(&[(1, 2)]);
    assert_eq!((agent.sends(), agent.demands()), (vec![], vec![]));
    agent.ack(&[(1, 3)]);
    let lost = Demand::Lost(vec![range(1, 4, 5)], Loss::Damaged);
    assert_eq!(agent.demands(), [lost, Demand::Announce]);
    assert_eq!(agent.outbox.journals()[0], range(1, 6, 9));
    assert_eq!(agent.sends(), numbers(1, 6..=9));
}

#[test]
fn a_disk_that_cannot_be_read_is_tried_again_later() {
    let mut agent = Agent::connected(&[range(1, 1, 1)]);
    agent.ack(&[]);
    assert_eq!(agent.sends(), [(1, 1)]);
    agent.outbox.handle_unreadable(journal(1), 1, agent.now);
    assert_eq!(agent.sends(), []);
    agent.wait(5);
    assert_eq!(agent.sends(), [(1, 1)]);
}

#[test]
fn at_most_64_journals_are_named_those_that_wait_first_and_the_present_one_always() {
    let past: Vec<_> = (1..=90).map(|number| range(number, 1, 1)).collect();
    let mut agent = Agent::connected(&past);
    let safe: Vec<_> = (1..=50).map(|number| (number, 1)).collect();
    agent.ack(&safe);
    let named: Vec<_> = agent
        .outbox
        .journals()
        .iter()
        .map(|range| range.journal.as_u128())
        .collect();
    let expected: Vec<_> = (28..=90).chain([100]).collect();
    assert_eq!(named, expected);
}

#[test]
fn marks_of_unknown_journals_change_nothing() {
    let mut agent = Agent::connected(&[range(1, 1, 1)]);
    agent.ack_from(STORE, &[(7, 9)], &[8]);
    assert_eq!((agent.sends(), agent.demands()), (vec![(1, 1)], vec![]));
}

#[test]
fn a_backlog_costs_no_memory() {
    let mut agent = Agent::new(&[]);
    agent.occur(100_000);
    assert_eq!(
        (agent.outbox.backlog(), agent.outbox.fresh.len()),
        (100_000, FRESH)
    );
    agent.outbox.handle_connected(agent.now);
    agent.occur(1000);
    assert!(agent.outbox.fresh.len() <= FRESH);
}
