//! Programs that began or ended a moment ago, from the kernel's notices: so that one which has just ended can be named.
//!
//! Bounded: what was longest silent is forgotten. Where notices were lost nothing is said about the time before.
//! Times are of the clock that never jumps.

use std::time::Duration;

use labwatch_contract::event::contact::Process;

use super::notices::{Change, Notice};
use crate::net::recent::Recent;

const MOST: usize = 1024;
/// A program that lived longer had time to be found by its socket.
const SHORT_LIFE: Duration = Duration::from_secs(2);

/// A program as it could be read while it ran.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Program {
    /// Without its user.
    pub(super) process: Process,
    /// Its effective user.
    pub(super) uid: Option<u32>,
}

#[derive(Debug)]
struct Life {
    program: Program,
    began: Duration,
    ended: Option<Duration>,
}

/// The table, by process id.
#[derive(Debug)]
pub(super) struct Programs {
    lives: Recent<u32, Life>,
    complete_from: Duration,
}

impl Programs {
    /// Nothing is known of the time before `now`.
    pub(super) fn new(now: Duration) -> Self {
        Self {
            lives: Recent::new(MOST),
            complete_from: now,
        }
    }

    /// Takes a notice in; `read` tells what can be read about a running process.
    pub(super) fn handle(&mut self, notice: &Notice, read: impl FnOnce(u32) -> Program) {
        let Notice { at, pid, change } = *notice;
        match change {
            Change::Forked(parent) => {
                let known = self.lives.get(&parent).map(|life| life.program.clone());
                let mut program = known.unwrap_or_else(|| read(parent));
                program.process.pid = Some(pid);
                self.begin(pid, program, at);
            }
            Change::Executed => self.begin(pid, read(pid), at),
            Change::User(uid) => {
                if let Some(life) = self.lives.get_mut(&pid) {
                    life.value.program.uid = Some(uid);
                }
            }
            Change::Ended => {
                if let Some(life) = self.lives.get_mut(&pid) {
                    life.value.ended = Some(at);
                    life.last = at;
                }
            }
        }
    }

    fn begin(&mut self, pid: u32, program: Program, at: Duration) {
        let life = Life {
            program,
            began: at,
            ended: None,
        };
        self.lives.insert(pid, life, at);
    }

    /// Notices before `now` may be missing.
    pub(super) fn handle_loss(&mut self, now: Duration) {
        *self = Self::new(now);
    }

    /// The only short-lived program that ended between `from` and `until`; `None` where there are none or several. With
    /// `uid` only this user's count.
    pub(super) fn only_ended(
        &self,
        uid: Option<u32>,
        from: Duration,
        until: Duration,
    ) -> Option<&Program> {
        if from < self.complete_from {
            return None;
        }
        let fits = |life: &&Life| {
            let is_users = uid.is_none_or(|uid| life.program.uid == Some(uid));
            let ended = life.ended.filter(|ended| (from..=until).contains(ended));
            is_users && ended.is_some_and(|ended| ended.saturating_sub(life.began) <= SHORT_LIFE)
        };
        let mut ended = self
            .lives
            .iter()
            .map(|(_, entry)| &entry.value)
            .filter(fits);
        let only = ended.next()?;
        ended.next().is_none().then_some(&only.program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: u32 = 10;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn named(name: &str) -> impl FnOnce(u32) -> Program {
        let name = Some(name.to_owned());
        |pid| Program {
            process: Process {
                name,
                pid: Some(pid),
                ..Process::default()
            },
            uid: Some(1000),
        }
    }

    fn tell(programs: &mut Programs, at: u64, pid: u32, change: Change, name: &str) {
        let at = ms(at);
        programs.handle(&Notice { at, pid, change }, named(name));
    }

    fn ended(programs: &Programs, uid: Option<u32>, from: u64, until: u64) -> Option<&str> {
        let program = programs.only_ended(uid, ms(from), ms(until))?;
        program.process.name.as_deref()
    }

    #[test]
    fn the_only_one_that_ended_is_named_and_of_two_neither() {
        let mut programs = Programs::new(ms(0));
        tell(&mut programs, 100, 20, Change::Forked(PARENT), "bash");
        tell(&mut programs, 101, 20, Change::Executed, "dig");
        tell(&mut programs, 110, 20, Change::Ended, "");
        assert_eq!(ended(&programs, Some(1000), 105, 120), Some("dig"));
        assert_eq!(ended(&programs, Some(1001), 105, 120), None);
        assert_eq!(ended(&programs, None, 111, 120), None);
        tell(&mut programs, 102, 21, Change::Executed, "sort");
        tell(&mut programs, 112, 21, Change::Ended, "");
        assert_eq!(ended(&programs, None, 105, 120), None);
    }

    #[test]
    fn a_copy_without_a_program_of_its_own_is_its_parents() {
        let mut programs = Programs::new(ms(0));
        tell(&mut programs, 100, 20, Change::Executed, "bash");
        tell(&mut programs, 110, 21, Change::Forked(20), "not asked");
        tell(&mut programs, 111, 21, Change::User(33), "");
        tell(&mut programs, 120, 21, Change::Ended, "");
        let program = programs.only_ended(Some(33), ms(115), ms(130)).unwrap();
        assert_eq!(program.process.name.as_deref(), Some("bash"));
        assert_eq!(program.process.pid, Some(21));
    }

    #[test]
    fn what_ran_long_or_may_be_missing_is_not_judged() {
        let mut programs = Programs::new(ms(0));
        tell(&mut programs, 100, 20, Change::Executed, "backup");
        tell(&mut programs, 9000, 20, Change::Ended, "");
        assert_eq!(ended(&programs, None, 8990, 9010), None);
        tell(&mut programs, 9100, 21, Change::Executed, "dig");
        programs.handle_loss(ms(9105));
        tell(&mut programs, 9110, 21, Change::Ended, "");
        assert_eq!(ended(&programs, None, 9104, 9120), None);
        assert_eq!(ended(&programs, None, 9106, 9120), None);
    }

    #[test]
    fn a_flood_of_processes_stays_bounded() {
        let mut programs = Programs::new(ms(0));
        for pid in 0..10_000 {
            tell(&mut programs, u64::from(pid), pid, Change::Executed, "sh");
        }
        assert!(programs.lives.iter().count() <= MOST);
    }
}
