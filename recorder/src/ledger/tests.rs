use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use proptest::prelude::*;

use super::*;

const STORE: Uuid = Uuid::from_u128(0x57);
const A: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 2));

/// The payload that stands for an event, and its digest.
fn digest(sequence: u64) -> Digest {
    Digest::of(&sequence.to_be_bytes())
}

fn place(journal: u128, sequence: u64) -> Place {
    let prev = match sequence {
        1 => Digest::ZERO,
        later => digest(later - 1),
    };
    Place {
        journal: Uuid::from_u128(journal),
        sequence,
        prev,
    }
}

fn received() -> Timestamp {
    "2026-11-22T09:31:05Z".parse().unwrap()
}

fn ledger() -> Ledger {
    Ledger::new(STORE)
}

fn take_from(ledger: &mut Ledger, ip: IpAddr, journal: u128, sequence: u64) -> Verdict {
    ledger.handle_event(ip, &place(journal, sequence), digest(sequence), received())
}

fn take(ledger: &mut Ledger, journal: u128, sequence: u64) -> Verdict {
    take_from(ledger, A, journal, sequence)
}

fn commit(ledger: &mut Ledger) {
    let moved = ledger.take_moved();
    ledger.handle_committed(&moved);
}

fn range(journal: u128, first: u64, last: u64) -> JournalRange {
    JournalRange {
        journal: Uuid::from_u128(journal),
        first,
        last,
    }
}

/// All acknowledgements that are due, as (PC, journal, mark).
fn acks(ledger: &mut Ledger, now: Instant) -> Vec<(IpAddr, u128, u64)> {
    let mut told = Vec::new();
    while let Some((ip, ack)) = ledger.poll_ack(now) {
        assert_eq!(ack.recorder, STORE);
        assert!(ack.marks.len() <= MAX_MARKS);
        told.extend(
            ack.marks
                .iter()
                .map(|mark| (ip, mark.journal.as_u128(), mark.sequence)),
        );
    }
    told
}

#[expect(clippy::disallowed_methods, reason = "some moment to count from")]
fn start() -> Instant {
    Instant::now()
}

#[test]
fn events_in_order_are_new_and_their_copies_are_dropped() {
    let mut ledger = ledger();
    for sequence in 1..=3 {
        assert_eq!(take(&mut ledger, 1, sequence), Verdict::New);
    }
    for sequence in 1..=3 {
        assert_eq!(take(&mut ledger, 1, sequence), Verdict::Duplicate);
    }
    assert_eq!(take(&mut ledger, 1, 4), Verdict::New);
}

#[test]
fn journals_do_not_disturb_each_other() {
    let mut ledger = ledger();
    assert_eq!(take(&mut ledger, 1, 1), Verdict::New);
    assert_eq!(take(&mut ledger, 2, 1), Verdict::New);
    assert_eq!(take(&mut ledger, 1, 2), Verdict::New);
}

#[test]
fn a_later_event_is_left_alone_until_its_turn_has_come() {
    let mut ledger = ledger();
    assert_eq!(take(&mut ledger, 1, 2), Verdict::Ahead);
    assert_eq!(take(&mut ledger, 1, 1), Verdict::New);
    assert_eq!(take(&mut ledger, 1, 3), Verdict::Ahead);
    assert_eq!(take(&mut ledger, 1, 2), Verdict::New);
}

#[test]
fn only_an_agents_own_word_makes_a_gap_and_it_is_named_once() {
    let mut ledger = ledger();
    take(&mut ledger, 1, 1);
    let gap = Gap {
        journal: Uuid::from_u128(1),
        from: 2,
        to: 4,
    };
    assert_eq!(
        ledger.handle_online(A, &[range(1, 5, 9)], received()),
        [gap]
    );
    assert_eq!(ledger.handle_online(A, &[range(1, 5, 9)], received()), []);
    assert_eq!(take(&mut ledger, 1, 4), Verdict::Duplicate);
    // Whatever it was that came before: it is missing.
    assert_eq!(take(&mut ledger, 1, 5), Verdict::New);
    assert_eq!(take(&mut ledger, 1, 6), Verdict::New);
}

#[test]
fn a_journal_whose_end_was_lost_on_the_pc_is_complete() {
    let mut ledger = ledger();
    for sequence in 1..=3 {
        take(&mut ledger, 1, sequence);
    }
    commit(&mut ledger);
    assert_eq!(ledger.handle_online(A, &[range(1, 1, 2)], received()), []);
    assert_eq!(acks(&mut ledger, start()), [(A, 1, 3)]);
}

#[test]
fn an_empty_range_and_one_of_nonsense_make_no_gap() {
    let mut ledger = ledger();
    for (first, last) in [(1, 0), (0, 0), (0, 9), (9, 3), (u64::MAX, 0)] {
        assert_eq!(
            ledger.handle_online(A, &[range(1, first, last)], received()),
            []
        );
    }
    // Everything was dropped, nothing is left.
    assert_eq!(
        ledger.handle_online(A, &[range(1, 9, 8)], received()).len(),
        1
    );
}

#[test]
fn only_what_is_committed_is_acknowledged() {
    let (mut ledger, now) = (ledger(), start());
    take(&mut ledger, 1, 1);
    let first = ledger.take_moved();
    take(&mut ledger, 1, 2);
    assert_eq!(acks(&mut ledger, now), []);
    ledger.handle_committed(&first);
    assert_eq!(acks(&mut ledger, now), [(A, 1, 1)]);
    commit(&mut ledger);
    assert_eq!(acks(&mut ledger, now), []);
    assert_eq!(
        acks(&mut ledger, now + Duration::from_millis(200)),
        [(A, 1, 2)]
    );
    // Many at once do not wait.
    for sequence in 3..=100 {
        take(&mut ledger, 1, sequence);
    }
    commit(&mut ledger);
    assert_eq!(acks(&mut ledger, now), [(A, 1, 100)]);
    assert_eq!(acks(&mut ledger, now), []);
}

#[test]
fn each_online_is_answered_even_with_nothing_to_say() {
    let (mut ledger, now) = (ledger(), start());
    ledger.handle_online(A, &[], received());
    assert!(
        ledger
            .poll_ack(now)
            .is_some_and(|(ip, ack)| ip == A && ack.marks.is_empty())
    );
    ledger.handle_online(A, &[range(7, 1, 3)], received());
    assert_eq!(acks(&mut ledger, now), [(A, 7, 0)]);
}

#[test]
fn an_answer_that_could_not_go_out_is_due_again_even_with_nothing_to_say() {
    let (mut ledger, now) = (ledger(), start());
    ledger.handle_online(A, &[], received());
    let (ip, ack) = ledger.poll_ack(now).unwrap();
    ledger.handle_unsent(ip, &ack);
    assert!(ledger.poll_ack(now).is_none());
    let later = now + Duration::from_secs(1);
    assert_eq!(ledger.poll_ack(later), Some((A, ack)));
    assert!(ledger.poll_ack(later).is_none());
}

#[test]
fn an_agent_that_seems_not_to_know_its_mark_is_reminded_once_a_second() {
    let (mut ledger, now) = (ledger(), start());
    take(&mut ledger, 1, 1);
    commit(&mut ledger);
    assert_eq!(acks(&mut ledger, now), [(A, 1, 1)]);
    for _ in 0..10 {
        take(&mut ledger, 1, 1);
        take(&mut ledger, 1, 9);
    }
    assert_eq!(acks(&mut ledger, now), []);
    let later = now + Duration::from_secs(1);
    assert_eq!(ledger.poll_timeout(now), Some(later));
    assert_eq!(acks(&mut ledger, later), [(A, 1, 1)]);
}

#[test]
fn all_known_pcs_are_told_their_marks_at_the_recorders_own_connect() {
    let (mut ledger, now) = (ledger(), start());
    take_from(&mut ledger, A, 1, 1);
    take_from(&mut ledger, B, 2, 1);
    commit(&mut ledger);
    acks(&mut ledger, now);
    ledger.handle_connected();
    assert_eq!(acks(&mut ledger, now), [(A, 1, 1), (B, 2, 1)]);
}

#[test]
fn an_acknowledgement_names_at_most_64_journals_and_the_next_one_the_rest() {
    let mut ledger = ledger();
    for journal in 1..=100 {
        take(&mut ledger, journal, 1);
    }
    commit(&mut ledger);
    assert_eq!(acks(&mut ledger, start()).len(), 100);
}

#[test]
fn an_event_that_does_not_continue_the_chain_is_refused_and_the_mark_stays() {
    let mut ledger = ledger();
    take(&mut ledger, 1, 1);
    commit(&mut ledger);
    acks(&mut ledger, start());
    let forged = Place {
        prev: Digest::of(b"something else"),
        ..place(1, 2)
    };
    let verdict = ledger.handle_event(A, &forged, digest(2), received());
    assert_eq!(verdict, Verdict::Refused(Refusal::Chain));
    let (_, ack) = ledger.poll_ack(start() + Duration::from_secs(2)).unwrap();
    assert_eq!(
        (ack.refused.as_slice(), ack.marks[0].sequence),
        ([Uuid::from_u128(1)].as_slice(), 1)
    );
    // The true one is still taken, and nothing is refused any longer.
    assert_eq!(take(&mut ledger, 1, 2), Verdict::New);
    commit(&mut ledger);
    let (_, ack) = ledger.poll_ack(start() + Duration::from_secs(9)).unwrap();
    assert!(ack.refused.is_empty());
}

#[test]
fn a_second_event_of_one_number_is_refused() {
    let mut ledger = ledger();
    take(&mut ledger, 1, 1);
    let verdict = ledger.handle_event(A, &place(1, 1), Digest::of(b"something else"), received());
    assert_eq!(verdict, Verdict::Refused(Refusal::SecondOfItsNumber));
}

#[test]
fn a_journal_goes_on_under_another_address() {
    let (mut ledger, now) = (ledger(), start());
    take_from(&mut ledger, A, 1, 1);
    take_from(&mut ledger, A, 1, 2);
    commit(&mut ledger);
    acks(&mut ledger, now);
    assert_eq!(ledger.handle_online(B, &[range(1, 1, 4)], received()), []);
    assert_eq!(acks(&mut ledger, now), [(B, 1, 2)]);
    assert_eq!(take_from(&mut ledger, B, 1, 2), Verdict::Duplicate);
    assert_eq!(take_from(&mut ledger, B, 1, 3), Verdict::New);
    let moved = ledger.take_moved();
    assert_eq!(moved[0].left, [A]);
    ledger.handle_committed(&moved);
    assert_eq!(acks(&mut ledger, now + Duration::from_secs(1)), [(B, 1, 3)]);
    // And back; a restart between them knows no second mark.
    assert_eq!(take_from(&mut ledger, A, 1, 4), Verdict::New);
    let restored = [Standing {
        ip: A,
        sequence: 2,
        left: vec![],
        digest: Some(digest(2)),
        ..moved[0].clone()
    }];
    let mut ledger = Ledger::restore(STORE, restored.into_iter().chain(moved));
    assert_eq!(take_from(&mut ledger, A, 1, 3), Verdict::Duplicate);
    assert_eq!(take_from(&mut ledger, A, 1, 4), Verdict::New);
}

#[test]
fn no_pc_completes_skips_or_refuses_the_journal_of_another() {
    let (mut ledger, now) = (ledger(), start());
    take_from(&mut ledger, B, 1, 1);
    commit(&mut ledger);
    acks(&mut ledger, now);
    // A names B's journal as if most of it were gone: it is A's own word, and noted under A's address.
    assert_eq!(
        ledger
            .handle_online(A, &[range(1, 900, 900)], received())
            .len(),
        1
    );
    let forged = Place {
        prev: Digest::of(b"a guess"),
        ..place(1, 2)
    };
    ledger.handle_event(A, &forged, digest(7), received());
    commit(&mut ledger);
    let told = |ledger: &mut Ledger| {
        std::iter::from_fn(|| ledger.poll_ack(now + Duration::from_secs(5)))
            .filter(|(ip, _)| *ip == B)
            .count()
    };
    assert_eq!(told(&mut ledger), 0);
    assert_eq!(take_from(&mut ledger, B, 1, 2), Verdict::New);
    commit(&mut ledger);
    let later = now + Duration::from_secs(9);
    let ack = std::iter::from_fn(|| ledger.poll_ack(later))
        .find(|(ip, _)| *ip == B)
        .unwrap()
        .1;
    assert_eq!((ack.marks[0].sequence, ack.refused.len()), (2, 0));
}

#[test]
fn a_restored_ledger_goes_on_where_the_durable_marks_are() {
    let mut ledger = ledger();
    take(&mut ledger, 1, 1);
    take(&mut ledger, 1, 2);
    let mut restored = Ledger::restore(STORE, ledger.take_moved());
    assert_eq!(take(&mut restored, 1, 2), Verdict::Duplicate);
    assert_eq!(take(&mut restored, 1, 3), Verdict::New);
    assert_eq!(take(&mut Ledger::new(STORE), 1, 3), Verdict::Ahead);
}

#[test]
fn journals_older_than_those_remembered_are_never_taken_again() {
    let mut ledger = ledger();
    for journal in 1..=200 {
        assert_eq!(take(&mut ledger, journal, 1), Verdict::New);
    }
    assert_eq!(
        take(&mut ledger, 1, 1),
        Verdict::Refused(Refusal::Forgotten)
    );
    assert_eq!(
        take(&mut ledger, 1, 2),
        Verdict::Refused(Refusal::Forgotten)
    );
    assert_eq!(ledger.handle_online(A, &[range(1, 5, 6)], received()), []);
    assert_eq!(ledger.books.len(), JOURNALS_PER_PC);
    assert_eq!(take(&mut ledger, 200, 2), Verdict::New);
}

#[test]
fn names_from_ahead_of_the_clock_lock_no_pc_out() {
    let mut ledger = ledger();
    let today = first_ahead(received()).as_u128() - (120_000 << 80);
    assert_eq!(take(&mut ledger, today, 1), Verdict::New);
    for message in 0..4 {
        let ahead = |number: u128| range(u128::MAX - 1000 + 64 * message + number, 2, 1);
        let named: Vec<_> = (0..64).map(ahead).collect();
        ledger.handle_online(A, &named, received());
    }
    for journal in 0..200 {
        take(&mut ledger, u128::MAX - 200 + journal, 1);
    }
    assert_eq!(ledger.books.len(), 1 + JOURNALS_PER_PC);
    assert_eq!(take(&mut ledger, today, 2), Verdict::New);
    assert_eq!(take(&mut ledger, today + 1, 1), Verdict::New);
    // Not after a restart either.
    let mut ledger = Ledger::restore(STORE, ledger.take_moved());
    assert_eq!(take(&mut ledger, today, 3), Verdict::New);
    assert_eq!(take(&mut ledger, today + 2, 1), Verdict::New);
}

#[test]
fn a_pc_whose_clock_is_far_ahead_is_recorded_all_the_same() {
    let mut ledger = ledger();
    let journal = first_ahead(received()).as_u128() + (1 << 120);
    for number in 0..200 {
        assert_eq!(take(&mut ledger, journal + number, 1), Verdict::New);
    }
    assert_eq!(take(&mut ledger, journal + 199, 2), Verdict::New);
}

#[test]
fn an_online_moves_no_more_journals_than_an_acknowledgement_names() {
    let mut ledger = ledger();
    let named: Vec<_> = (1..=3000).map(|journal| range(journal, 2, 1)).collect();
    assert_eq!(ledger.handle_online(A, &named, received()).len(), MAX_MARKS);
}

#[test]
fn of_too_many_addresses_the_one_with_the_oldest_journals_goes_and_is_not_recorded_again() {
    let mut ledger = ledger();
    let pc = |number: usize| IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(number).unwrap()));
    for number in 1..=MAX_PCS {
        let journal = u128::try_from(number).unwrap();
        assert_eq!(take_from(&mut ledger, pc(number), journal, 1), Verdict::New);
    }
    // The oldest address is one that was begun again since.
    assert_eq!(take_from(&mut ledger, pc(1), 90_000, 1), Verdict::New);
    assert_eq!(take_from(&mut ledger, pc(0), 99_999, 1), Verdict::New);
    assert_eq!(ledger.books.pcs().count(), MAX_PCS);
    assert_eq!(take_from(&mut ledger, pc(1), 1, 2), Verdict::New);
    let forgotten = Verdict::Refused(Refusal::Forgotten);
    assert_eq!(take_from(&mut ledger, pc(2), 2, 1), forgotten);
    assert_eq!(take_from(&mut ledger, pc(2), 2, 2), forgotten);
    assert_eq!(take_from(&mut ledger, pc(2), 99_998, 1), Verdict::New);
    // Nor after a restart, which knows of those that have gone no more than that they are not there.
    commit(&mut ledger);
    let standing = |number: u32| Standing {
        journal: Uuid::from_u128((number + 10).into()),
        ip: IpAddr::V4(Ipv4Addr::from_bits(number)),
        sequence: 1,
        digest: None,
        left: Vec::new(),
    };
    let mut ledger = Ledger::restore(STORE, (1..=u32::try_from(MAX_PCS).unwrap()).map(standing));
    assert_eq!(take_from(&mut ledger, pc(99_999), 10, 1), forgotten);
    assert_eq!(take_from(&mut ledger, pc(99_999), 99_999, 1), Verdict::New);
}

#[test]
fn an_address_that_its_last_journal_has_left_makes_room_for_another() {
    let mut ledger = ledger();
    let pc = |number: u64| IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(number).unwrap()));
    let most = u64::try_from(MAX_PCS).unwrap();
    for number in 1..=most + 100 {
        assert_eq!(take_from(&mut ledger, pc(number), 1, number), Verdict::New);
    }
    assert_eq!(ledger.books.pcs().count(), 1);
    assert_eq!(take_from(&mut ledger, pc(7), 2, 1), Verdict::New);
}

#[test]
fn the_largest_numbers_are_taken() {
    let mut ledger = ledger();
    ledger.handle_online(A, &[range(1, u64::MAX, u64::MAX)], received());
    assert_eq!(take(&mut ledger, 1, u64::MAX), Verdict::New);
    assert_eq!(take(&mut ledger, 1, u64::MAX), Verdict::Duplicate);
    assert_eq!(take(&mut ledger, 1, 1), Verdict::Duplicate);
}

proptest! {
    /// Whatever comes in whatever order, with restarts from what was committed: the numbers of the lines that are
    /// on the disk rise by one, but for the gaps that the agent named.
    #[test]
    fn every_number_is_recorded_once_or_named(steps in prop::collection::vec((0_u8..10, 1_u64..30), 1..80)) {
        let mut ledger = ledger();
        let (mut disk, mut marks) = (Vec::new(), Vec::new());
        let mut page = Vec::new();
        for (what, sequence) in steps {
            match what {
                0 => {
                    let gaps = ledger.handle_online(A, &[range(1, sequence, 30)], received());
                    page.extend(gaps.iter().flat_map(|gap| gap.from..=gap.to));
                }
                1 => {
                    marks.extend(ledger.take_moved());
                    disk.append(&mut page);
                    ledger.handle_committed(&marks);
                }
                2 => {
                    page.clear();
                    ledger = Ledger::restore(STORE, marks.clone());
                }
                _ => if take(&mut ledger, 1, sequence) == Verdict::New {
                    page.push(sequence);
                }
            }
        }
        let expected: Vec<u64> = (1..).take(disk.len()).collect();
        prop_assert_eq!(disk, expected);
    }
}

#[test]
fn of_a_journal_that_moves_and_returns_before_a_commit_one_mark_stays() {
    let mut marks = BTreeMap::new();
    let mut stage = |ip, sequence, left: &[IpAddr]| {
        let mark = Standing {
            journal: Uuid::from_u128(1),
            ip,
            sequence,
            digest: Some(digest(sequence)),
            left: left.to_vec(),
        };
        mark.supersede(&mut marks);
    };
    stage(A, 1, &[]);
    stage(A, 2, &[]);
    stage(B, 3, &[A]);
    stage(A, 4, &[B]);
    let marks: Vec<_> = marks.into_values().collect();
    assert_eq!((marks.len(), marks[0].ip, marks[0].sequence), (1, A, 4));
    assert_eq!(marks[0].left, [B, A]);
    let mut ledger = Ledger::restore(STORE, marks);
    assert_eq!(take_from(&mut ledger, A, 1, 5), Verdict::New);
}

#[test]
fn a_pc_that_dropped_events_elsewhere_and_returns_is_recorded_once() {
    let mut ledger = ledger();
    take_from(&mut ledger, A, 1, 1);
    take_from(&mut ledger, A, 1, 2);
    // As B it has lost some, and goes on.
    assert_eq!(
        ledger.handle_online(B, &[range(1, 5, 6)], received()).len(),
        1
    );
    take_from(&mut ledger, B, 1, 5);
    take_from(&mut ledger, B, 1, 6);
    commit(&mut ledger);
    let (back, journals) = (A, [range(1, 5, 7)]);
    ledger.handle_return(back, B, &journals);
    assert_eq!(ledger.handle_online(back, &journals, received()), []);
    assert_eq!(take_from(&mut ledger, A, 1, 6), Verdict::Duplicate);
    assert_eq!(take_from(&mut ledger, A, 1, 7), Verdict::New);
    let moved = ledger.take_moved();
    assert_eq!(
        (moved.len(), moved[0].ip, moved[0].left.as_slice()),
        (1, A, &[B][..])
    );
}

#[test]
fn no_pc_takes_the_journal_of_another_by_saying_that_it_was_there() {
    let mut ledger = ledger();
    take_from(&mut ledger, A, 1, 1);
    take_from(&mut ledger, A, 1, 2);
    ledger.handle_return(B, A, &[range(1, 1, 9)]);
    assert_eq!(take_from(&mut ledger, A, 1, 3), Verdict::New);
    // Not even with a claim of its own before: whoever continues the chain has it.
    assert_eq!(
        ledger.handle_online(B, &[range(1, 9, 9)], received()).len(),
        1
    );
    take_from(&mut ledger, A, 1, 4);
    ledger.handle_return(B, A, &[range(1, 9, 9)]);
    assert_eq!(take_from(&mut ledger, A, 1, 5), Verdict::New);
}
