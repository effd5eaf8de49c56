//! Silence: which agents are there, and when one of them falls silent, why; from the statuses, the signs of
//! life and the answers to probes to [`Finding`]s.
//!
//! ```text
//! status, heartbeats, events --> Pc: heard, lost --3 s without a sign, or lost--> doubt --probe--> PC
//!                                                                                  |   <--answer--'
//!                         Finding (one PC, or many at once) <-- verdict, within 8 s'
//! ```
//!
//! Heartbeats come every 2 s; the broker drops a connection after 7.5 s without a packet. Invariants: a PC that is
//! back within 3 s is not mentioned, so one whose answers come and go is judged 10 s after its last heartbeat; a
//! verdict rests on what was seen (connection closed, no heartbeat, echo or no echo), never on what it may mean; only
//! an `online` makes up for a closed connection; three or more that fall silent together are one finding. While our own
//! connection to the broker is broken nobody is judged. At most 4,096 PCs are remembered; what an unknown one sends
//! is ignored until its status comes. What its statuses themselves say is in `presence`.
//!
//! Times are since the start of the program.

mod doubt;
mod group;
mod pc;
mod presence;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use labwatch_contract::time::Timestamp;

use self::{
    group::Group,
    pc::{Cause, Pc},
};
use crate::rules::Finding;

/// Most PCs that are remembered.
const MAX_PCS: usize = 4096;
/// How often doubts are looked at, and the time between two probes. While nobody is in doubt nothing is looked at.
const TICK: Duration = Duration::from_millis(500);
/// To be woken so much later was a pause of our own: nobody can be blamed for it.
const PAUSE: Duration = Duration::from_secs(2);
/// How long agents may take to find a broker that came back: their longest wait, and a heartbeat.
const RETURN: Duration = Duration::from_secs(7);
/// How long after the start an expected PC may stay away: it may be booting.
const ARRIVAL: Duration = Duration::from_secs(30);
/// So many at once are one finding.
const MANY: usize = 3;
/// Most groups that are remembered, and most own addresses.
const MAX_GROUPS: usize = 16;

/// How a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When, by our clock.
    pub at: Timestamp,
    /// The same since the start of the program.
    pub now: Duration,
    /// Whether it was written before we came.
    pub retained: bool,
}

/// What a moment brings.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// What is to be told.
    pub findings: Vec<Finding>,
    /// Who is to be probed.
    pub probes: Vec<IpAddr>,
}

/// What stands on the desks of the PCs, harmless.
pub type Seats = BTreeMap<IpAddr, String>;

/// The agents of a lab.
#[derive(Debug, Default)]
pub struct Silence {
    pcs: BTreeMap<IpAddr, Pc>,
    groups: Vec<Group>,
    /// Who had gone before we came, and how that would be told.
    gone_before: BTreeMap<IpAddr, (Timestamp, Finding)>,
    /// Whether our own connection to the broker is there.
    connected: bool,
    /// When it was last looked who is silent, and when to look again.
    looked: Duration,
    look_at: Option<Duration>,
    seats: Seats,
    /// The addresses that our probes came from.
    own: BTreeSet<IpAddr>,
}

impl Silence {
    /// PCs that should be there; who is not half a minute after the broker is told.
    pub fn expect(&mut self, addresses: &BTreeSet<IpAddr>, now: Duration) {
        for address in addresses {
            if self.pcs.len() < MAX_PCS {
                let pc = self.pcs.entry(*address);
                pc.or_insert_with(|| Pc::expected(now + ARRIVAL));
            }
        }
        self.look_by(now + TICK);
    }

    /// Only these are expected from now on. Whoever else was never seen is forgotten, and that it is no longer missed is
    /// told where its absence was.
    pub fn release(&mut self, expected: &BTreeSet<IpAddr>, at: Timestamp) -> Vec<Finding> {
        let released = self.pcs.extract_if(.., |address, pc| {
            !pc.was_seen() && !expected.contains(address)
        });
        let released: Vec<(IpAddr, Option<Told>)> =
            released.map(|(address, pc)| (address, pc.told)).collect();
        let findings = released
            .into_iter()
            .filter_map(|(address, told)| match told?.group {
                Some(number) => self.out_of_group(number, |group| group.released(address), at),
                None => Some(words::not_expected(address, at)),
            });
        findings.collect()
    }

    /// What stands on the desks, for what is said of several PCs.
    pub fn set_seats(&mut self, seats: Seats) {
        self.seats = seats;
    }

    /// The broker has accepted us: whoever was there has a while to come back.
    pub fn connected(&mut self, now: Duration) {
        self.connected = true;
        self.looked = now;
        self.look_at = Some(now + TICK);
        for pc in self.pcs.values_mut() {
            pc.await_return(now + RETURN);
        }
    }

    /// Our own connection is gone: from here nobody can be judged.
    pub fn disconnected(&mut self) {
        self.connected = false;
        for pc in self.pcs.values_mut() {
            pc.trust();
        }
    }

    /// An event of a PC. Whoever was told as silent is heard again with its next heartbeat.
    pub fn event(&mut self, address: IpAddr, now: Duration) {
        if let Some(pc) = self.pcs.get_mut(&address).filter(|pc| pc.told.is_none()) {
            pc.alive(now);
        }
    }

    /// A heartbeat or report, which the agent itself must have sent.
    pub fn sign_of_life(&mut self, address: IpAddr, seen: Seen) -> Option<Finding> {
        let pc = self.pcs.get_mut(&address)?;
        let silent_for = pc.silent_for(seen.now);
        let told = pc.alive(seen.now)?;
        let who = pc.who.clone();
        self.look_by(seen.now + TICK);
        match told.group {
            Some(group) => self.returned(group, address, seen),
            None => Some(words::heard_again(address, &who, silent_for, seen.at)),
        }
    }

    /// A probe went out from this address of ours.
    pub fn asked_from(&mut self, own: IpAddr) {
        if self.own.len() < MAX_GROUPS {
            self.own.insert(own.to_canonical());
        }
    }

    /// Whether a probe of ours came from there.
    #[must_use]
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.own.contains(&address.to_canonical())
    }

    /// A PC has answered a probe.
    pub fn answered(&mut self, address: IpAddr) {
        if let Some(doubt) = self.pcs.get_mut(&address).and_then(|pc| pc.doubt.as_mut()) {
            doubt.answered();
        }
    }

    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.look_at.filter(|_| self.connected)
    }

    /// Nobody is judged by what we were too slow to read.
    pub fn paused(&mut self, now: Duration) {
        let pause = now.saturating_sub(self.looked);
        self.looked = now;
        self.look_at = Some(now + TICK);
        for pc in self.pcs.values_mut() {
            pc.excuse(pause, now);
        }
    }

    /// Who is to be probed, and about whom there is a verdict; `at` is now by the wall clock.
    pub fn handle_timeout(&mut self, now: Duration, at: Timestamp) -> Step {
        let mut step = Step::default();
        let Some(due) = self.poll_timeout().filter(|due| *due <= now) else {
            return step;
        };
        if now.saturating_sub(due) > PAUSE {
            self.paused(now);
            return step;
        }
        self.looked = now;
        for (address, pc) in &mut self.pcs {
            if pc.ask(now) {
                step.probes.push(*address);
            }
        }
        let due = self.due(now);
        for (address, cause) in due {
            step.findings.extend(self.tell(address, cause, at));
        }
        for group in &mut self.groups {
            step.findings.extend(group.stragglers(&self.seats, now, at));
        }
        self.look_at = self.next_look(now);
        step
    }

    /// When somebody may be in doubt at the earliest, or is to be probed again. Signs of life only put it off.
    fn next_look(&self, now: Duration) -> Option<Duration> {
        let pcs = self.pcs.values().filter_map(Pc::doubtful_at);
        let groups = self.groups.iter().filter_map(Group::due);
        let next = pcs.chain(groups).min()?;
        Some(next.max(now + TICK))
    }

    fn look_by(&mut self, time: Duration) {
        self.look_at = Some(self.look_at.map_or(time, |look| look.min(time)));
    }

    fn due(&self, now: Duration) -> Vec<(IpAddr, Cause)> {
        let verdicts = self.pcs.iter();
        let verdicts = verdicts.filter_map(|(address, pc)| Some((*address, pc.verdict(now)?)));
        verdicts
            .map(|(address, cause)| (address, self.elsewhere(address).unwrap_or(cause)))
            .collect()
    }

    /// The same PC, in the same boot, under another address where it came after it was last heard here.
    fn elsewhere(&self, address: IpAddr) -> Option<Cause> {
        let gone = self.pcs.get(&address)?;
        let identity = gone.identity.as_ref()?;
        let moved = self.pcs.iter().find(|(other, pc)| {
            **other != address
                && pc.is_there()
                && pc.came > gone.heard
                && pc.identity.as_ref() == Some(identity)
        });
        moved.map(|(other, _)| Cause::Moved(*other))
    }

    /// Tells of one PC, or of all that fell silent with it.
    fn tell(&mut self, address: IpAddr, cause: Cause, at: Timestamp) -> Option<Finding> {
        let together: Vec<IpAddr> = self
            .pcs
            .iter()
            .filter(|(_, pc)| pc.told.is_none() && pc.leaning().is_some_and(|it| it.is_like(cause)))
            .map(|(address, _)| *address)
            .collect();
        if together.len() < MANY || matches!(cause, Cause::Moved(_)) {
            let pc = self.pcs.get_mut(&address).filter(|pc| pc.told.is_none())?;
            pc.tell(cause, None);
            return Some(words::silent(address, &pc.who, cause, at));
        }
        let number = self.groups.last().map_or(0, |group| group.number + 1);
        let mut since = Duration::MAX;
        for member in &together {
            if let Some(pc) = self.pcs.get_mut(member) {
                since = since.min(pc.heard);
                pc.tell(cause, Some(number));
            }
        }
        let group = Group::new(number, together, cause, since);
        let finding = group.finding(&self.seats, at);
        if self.groups.len() == MAX_GROUPS {
            self.groups.remove(0);
        }
        self.groups.push(group);
        Some(finding)
    }

    fn returned(&mut self, number: u64, address: IpAddr, seen: Seen) -> Option<Finding> {
        let finding = self.out_of_group(number, |group| group.returned(address, seen), seen.at);
        let due = self.groups.iter().filter_map(Group::due).min();
        due.into_iter().for_each(|due| self.look_by(due));
        finding
    }

    /// One leaves its group; what is told of the group when that is over, which `leave` says.
    fn out_of_group(
        &mut self,
        number: u64,
        leave: impl FnOnce(&mut Group) -> bool,
        at: Timestamp,
    ) -> Option<Finding> {
        let index = self.groups.iter().position(|one| one.number == number)?;
        let is_over = leave(self.groups.get_mut(index)?);
        is_over.then(|| self.groups.remove(index).all_back(at))
    }
}

pub(crate) use self::{
    pc::Told,
    words::{RULES, SUBJECT},
};

#[cfg(test)]
mod tests;
