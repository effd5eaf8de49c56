//! What does not fit together in what a PC says, although each event fits its journal.
//!
//! ```text
//! an event older than a minute, after one that was not      late
//! wall clock and time since boot went apart by over 2 s     clock-jump
//! a journal goes on after another was begun in that boot    second-journal
//! another host.id than before under this address            other-host
//! ```
//!
//! Each becomes a line of its own before the event. Judged by new events only, in the order in which they are
//! recorded; bounded, and empty at each start: of a PC's own texts, which may have any length, only digests are
//! remembered. Pure.

use std::net::IpAddr;

use labwatch_contract::{chain::Digest, event::Head, time::Timestamp};
use uuid::Uuid;

use crate::{
    recent::Recent,
    record::{Jump, Note, Oddity},
};

/// Journals and PCs that are remembered.
const MAX: usize = 16 * 1024;
/// An event that comes later than this is late.
const LATE_MS: i64 = 60_000;
/// Clocks drift, and events are stamped and numbered in two steps.
const JUMP_MS: i64 = 2_000;

#[derive(Debug)]
pub(crate) struct Continuity {
    journals: Recent<Uuid, Course>,
    pcs: Recent<IpAddr, Pc>,
}

/// Where a journal's clocks were.
#[derive(Debug, Clone, Copy)]
struct Course {
    boot: Digest,
    offset_ms: i64,
    late: bool,
}

#[derive(Debug, Clone, Copy)]
struct Pc {
    host: Digest,
    boot: Digest,
    /// The journal begun last in this boot, and when, in time since boot.
    newest: Uuid,
    begun_ms: u64,
    /// Whether a second journal was noted.
    noted: bool,
}

impl Default for Continuity {
    fn default() -> Self {
        Self {
            journals: Recent::new(MAX),
            pcs: Recent::new(MAX),
        }
    }
}

impl Continuity {
    /// What is to be noted before a new event of `ip`, received at `received`.
    pub(crate) fn take(&mut self, ip: IpAddr, head: &Head, received: Timestamp) -> Vec<Note> {
        let oddity = |ms| Oddity {
            ip,
            journal: head.place.journal,
            sequence: head.place.sequence,
            ms,
        };
        let (late, jump) = self.clocks(head, received);
        let (second, other) = self.identity(ip, head);
        let notes = [
            late.map(|ms| Note::Late(oddity(Some(ms)))),
            jump.map(|ms| Note::ClockJump(Jump::Pc(oddity(Some(ms))))),
            second.then(|| Note::SecondJournal(oddity(None))),
            other.then(|| Note::OtherHost(oddity(None))),
        ];
        notes.into_iter().flatten().collect()
    }

    fn clocks(&mut self, head: &Head, received: Timestamp) -> (Option<i64>, Option<i64>) {
        let lag = received.unix_ms().saturating_sub(head.time.unix_ms());
        let uptime = i64::try_from(head.uptime_ms).unwrap_or(i64::MAX);
        let offset_ms = head.time.unix_ms().saturating_sub(uptime);
        let late = lag > LATE_MS;
        let boot = Digest::of(head.boot_id.as_bytes());
        let Some(course) = self.journals.get_mut(&head.place.journal) else {
            self.journals.insert(
                head.place.journal,
                Course {
                    boot,
                    offset_ms,
                    late,
                },
            );
            return (late.then_some(lag), None);
        };
        let jump = offset_ms.saturating_sub(course.offset_ms);
        let jumped = course.boot == boot && jump.saturating_abs() > JUMP_MS;
        let fresh = late && !course.late;
        course.late = late;
        // Slow drift is followed.
        course.offset_ms = offset_ms;
        course.boot = boot;
        (fresh.then_some(lag), jumped.then_some(jump))
    }

    fn identity(&mut self, ip: IpAddr, head: &Head) -> (bool, bool) {
        let (journal, new) = (head.place.journal, Pc::of(head));
        let Some(pc) = self.pcs.get_mut(&ip) else {
            self.pcs.insert(ip, new);
            return (false, false);
        };
        if pc.host != new.host {
            *pc = new;
            return (false, true);
        }
        if pc.boot != new.boot {
            *pc = new;
        } else if pc.newest != journal && head.uptime_ms > pc.begun_ms {
            if head.place.sequence == 1 {
                (pc.newest, pc.begun_ms) = (journal, head.uptime_ms);
            } else if !head.boot_id.is_empty() {
                return (!std::mem::replace(&mut pc.noted, true), false);
            }
        }
        (false, false)
    }
}

impl Pc {
    fn of(head: &Head) -> Self {
        Self {
            host: Digest::of(head.host_id.as_bytes()),
            boot: Digest::of(head.boot_id.as_bytes()),
            newest: head.place.journal,
            begun_ms: head.uptime_ms,
            noted: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PC: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 0, 133));

    /// An event `uptime` seconds after 09:00, by a wall clock that is `ahead` of it.
    fn head(journal: u128, sequence: u64, uptime: i64, ahead: i64) -> Head {
        let nine = "2026-11-22T09:00:00Z"
            .parse::<Timestamp>()
            .unwrap()
            .unix_ms();
        let time = Timestamp::from_unix_ms(nine + (uptime + ahead) * 1000).unwrap();
        let payload = json!({
            "@timestamp": time,
            "event": {"action": "x", "sequence": sequence},
            "host": {"ip": PC, "id": "a1", "boot": {"id": "b1"}},
            "lab": {"journal": Uuid::from_u128(journal), "prev": "0".repeat(64), "uptime_ms": uptime * 1000},
        });
        Head::from_payload(payload.to_string().as_bytes()).unwrap()
    }

    fn take(continuity: &mut Continuity, head: &Head, lag: i64) -> Vec<Note> {
        let received = Timestamp::from_unix_ms(head.time.unix_ms() + lag * 1000).unwrap();
        continuity.take(PC, head, received)
    }

    #[test]
    fn what_comes_late_is_noted_once_until_it_comes_in_time_again() {
        let mut continuity = Continuity::default();
        assert_eq!(take(&mut continuity, &head(1, 1, 10, 0), 0), []);
        assert!(matches!(
            take(&mut continuity, &head(1, 2, 20, 0), 600)[..],
            [Note::Late(Oddity {
                sequence: 2,
                ms: Some(600_000),
                ..
            })]
        ));
        assert_eq!(take(&mut continuity, &head(1, 3, 30, 0), 590), []);
        assert_eq!(take(&mut continuity, &head(1, 4, 40, 0), 0), []);
        assert_eq!(take(&mut continuity, &head(1, 5, 50, 0), 61).len(), 1);
    }

    #[test]
    fn a_wall_clock_that_jumps_is_noted_with_how_far() {
        let mut continuity = Continuity::default();
        take(&mut continuity, &head(1, 1, 10, 0), 0);
        assert_eq!(take(&mut continuity, &head(1, 2, 20, 1), 0), []);
        assert!(matches!(
            take(&mut continuity, &head(1, 3, 30, -3599), 0)[..],
            [Note::ClockJump(Jump::Pc(Oddity {
                ms: Some(-3_600_000),
                ..
            }))]
        ));
        assert_eq!(take(&mut continuity, &head(1, 4, 40, -3599), 0), []);
    }

    #[test]
    fn a_restarted_agent_and_the_rest_of_its_old_journal_are_in_order() {
        let mut continuity = Continuity::default();
        take(&mut continuity, &head(1, 1, 10, 0), 0);
        assert_eq!(take(&mut continuity, &head(2, 1, 30, 0), 0), []);
        assert_eq!(take(&mut continuity, &head(1, 2, 20, 0), 0), []);
        assert_eq!(take(&mut continuity, &head(2, 2, 40, 0), 0), []);
    }

    #[test]
    fn a_journal_that_goes_on_beside_a_newer_one_is_noted_once() {
        let mut continuity = Continuity::default();
        take(&mut continuity, &head(1, 1, 10, 0), 0);
        take(&mut continuity, &head(2, 1, 30, 0), 0);
        assert!(matches!(
            take(&mut continuity, &head(1, 2, 40, 0), 0)[..],
            [Note::SecondJournal(_)]
        ));
        assert_eq!(take(&mut continuity, &head(1, 3, 50, 0), 0), []);
    }

    #[test]
    fn of_a_pcs_own_texts_nothing_is_remembered_that_has_a_length() {
        // What can be copied bit by bit owns no text.
        fn owns_nothing<T: Copy>(_: &Recent<impl Sized, T>) {}
        let Continuity { journals, pcs } = Continuity::default();
        owns_nothing(&journals);
        owns_nothing(&pcs);
    }

    #[test]
    fn another_machine_under_an_address_is_noted() {
        let mut continuity = Continuity::default();
        take(&mut continuity, &head(1, 1, 10, 0), 0);
        let mut other = head(2, 1, 20, 0);
        other.host_id = "c3".into();
        assert!(matches!(
            take(&mut continuity, &other, 0)[..],
            [Note::OtherHost(_)]
        ));
    }
}
