//! Incidents: many findings, few lines.
//!
//! Findings of one PC, subject and object are one incident; its first one is told at once. The same again
//! waits for a cool-down that doubles each time; a change (a stick that was told as connected is disconnected) is
//! told at once while the incident has credit. So the last state is always told, a flapping plug only now and
//! then. What ends is said: by the finding that ends it, or when a passing thing has been quiet for 20 minutes. What is
//! critical is told again and again until it is acknowledged.
//!
//! ```text
//! finding --> incident --due--> budget of its PC, budget of all --> Notice
//!                 ^------- waits, the gravest first -------'--too many--> one summary line
//! ```
//!
//! Invariant: at most 100 notices at once and 30 a second after that, one PC at most 10 and one a second; what
//! waits longer than half a minute is given up and counted in the summary. Everything is bounded: incidents per PC, PCs.
//! A PC that fills its share loses its own oldest incident, never another PC's.
//!
//! Times are since the start of the program, so that tests run in virtual time.

pub(crate) mod budget;
mod incident;
mod notice;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    net::IpAddr,
    time::Duration,
};

use labwatch_contract::{
    alert::{Alert, AlertHost, Severity, Verdict},
    time::Timestamp,
};

pub use self::notice::Notice;
pub(crate) use self::notice::word;
use self::{
    budget::Budget,
    incident::{COOL_DOWN, Incident},
    notice::Backlog,
};
use crate::rules::{self, Finding};

/// Most incidents of one PC that are kept open.
const MAX_PER_PC: usize = 32;
/// Most PCs that have incidents.
const MAX_PCS: usize = 2048;
/// What could not be told for so long is given up.
const GIVE_UP: Duration = Duration::from_secs(30);
/// How long lines wait before a summary says so, and how often it is repeated.
const SUMMARY_AFTER: Duration = Duration::from_secs(1);
const SUMMARY_EVERY: Duration = Duration::from_secs(5);

/// The open incidents of a lab.
#[derive(Debug)]
pub struct Incidents {
    /// The lab's own incidents have no address.
    pcs: BTreeMap<Option<IpAddr>, Pc>,
    /// Seconds before the same of a rule is told again, where the policy says so.
    cool_downs: BTreeMap<String, u64>,
    lines: Budget,
    /// Whether something that was due had to wait when last looked.
    crowded: bool,
    /// When there is something to do without a finding.
    next: Option<Duration>,
    summary: Option<Duration>,
    given_up: u64,
    /// When the last finding happened, by its PC's clock.
    latest: Option<Timestamp>,
}

#[derive(Debug)]
struct Pc {
    host: Option<AlertHost>,
    lines: Budget,
    incidents: Vec<Incident>,
}

impl Pc {
    fn new(host: Option<AlertHost>) -> Self {
        Self {
            host,
            lines: Budget::new(10, Duration::from_secs(1)),
            incidents: Vec::new(),
        }
    }

    fn last_seen(&self) -> Option<Duration> {
        self.incidents.iter().map(Incident::last_seen).max()
    }

    /// Makes room for one more incident; the number of untold ones that were lost by it.
    fn make_room(&mut self) -> u64 {
        if self.incidents.len() < MAX_PER_PC {
            return 0;
        }
        let age = |incident: &Incident| (incident.due().is_some(), incident.last_seen());
        let oldest = (0..self.incidents.len())
            .min_by_key(|index| self.incidents.get(*index).map(age))
            .map(|index| self.incidents.swap_remove(index));
        oldest.map_or(0, |incident| incident.due().is_some().into())
    }
}

/// What is due for telling; the greatest is the gravest, then who has waited longest.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    severity: Severity,
    since: Reverse<Duration>,
    address: Option<IpAddr>,
    index: usize,
}

fn due<'a>(
    pcs: impl Iterator<Item = (&'a Option<IpAddr>, &'a Pc)>,
    now: Duration,
) -> BinaryHeap<Due> {
    let mut all = Vec::new();
    for (address, pc) in pcs {
        for (index, incident) in pc.incidents.iter().enumerate() {
            let since = incident.due().filter(|due| *due <= now);
            all.extend(since.map(|since| Due {
                severity: incident.severity(),
                since: Reverse(since),
                address: *address,
                index,
            }));
        }
    }
    all.into()
}

impl Default for Incidents {
    fn default() -> Self {
        Self {
            pcs: BTreeMap::new(),
            cool_downs: BTreeMap::new(),
            lines: Budget::new(100, Duration::from_nanos(33_333_333)),
            crowded: false,
            next: None,
            summary: None,
            given_up: 0,
            latest: None,
        }
    }
}

impl Incidents {
    /// Takes a finding; what is to be told now.
    pub fn handle(&mut self, finding: Finding, now: Duration) -> Vec<Notice> {
        self.latest = Some(finding.time);
        let address = finding.host.as_ref().map(|host| host.ip);
        let possible = self.file(address, finding, now).max(self.lines.ready_at());
        if possible <= now && !self.crowded {
            // The common case: nobody waits, so there is no need to look at everybody.
            let due = due(self.pcs.range(address..=address), now);
            let notices = self.tell(due, now);
            let incidents = self.pcs.get(&address).map(|pc| pc.incidents.as_slice());
            let wake = incidents.into_iter().flatten().filter_map(Incident::wake);
            self.wake_at(wake.min());
            return notices;
        }
        self.wake_at(Some(possible));
        self.handle_timeout(now)
    }

    /// Goes on with an incident that was open before this notifier came, and how it was dealt with: its count, its
    /// reminders and its end. One of a rule that this version does not know is left alone.
    pub fn resume(&mut self, alert: &Alert, verdict: Option<Verdict>, now: Duration) {
        let Some(rule) = rules::rule(&alert.rule.id) else {
            return;
        };
        let address = alert.host.as_ref().map(|host| host.ip);
        if !self.pcs.contains_key(&address) {
            self.make_room();
        }
        let pc = self
            .pcs
            .entry(address)
            .or_insert_with(|| Pc::new(alert.host.clone()));
        let id = &alert.lab.id;
        let wake = match pc.incidents.iter_mut().find(|known| known.has_id(id)) {
            Some(known) => {
                known.follow(alert);
                known.wake()
            }
            None => {
                self.given_up += pc.make_room();
                let incident = Incident::resumed(alert, rule, verdict, now);
                let wake = incident.wake();
                pc.incidents.push(incident);
                wake
            }
        };
        self.wake_at(wake);
    }

    /// Cool-downs of the policy, by the rule's id; what is open already keeps its own.
    pub fn set_cool_downs(&mut self, seconds: BTreeMap<String, u64>) {
        self.cool_downs = seconds;
    }

    /// Somebody has acknowledged the incident with this id; whether it is open here.
    pub fn handle_ack(&mut self, id: &str, verdict: Verdict) -> bool {
        let all = self.pcs.values_mut().flat_map(|pc| &mut pc.incidents);
        let mut acknowledged = false;
        for incident in all.filter(|incident| incident.has_id(id)) {
            incident.acknowledge(verdict);
            acknowledged = true;
        }
        acknowledged
    }

    fn wake_at(&mut self, time: Option<Duration>) {
        self.next = self.next.into_iter().chain(time).min();
    }

    /// When [`Self::handle_timeout`] wants to be called, if nothing comes before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.next
    }

    /// What is to be told now that time has passed.
    pub fn handle_timeout(&mut self, now: Duration) -> Vec<Notice> {
        if self.next.is_none_or(|next| now < next) {
            return Vec::new();
        }
        self.forget(now);
        let due = due(self.pcs.iter(), now);
        let mut notices = self.tell(due, now);
        let backlog = self.backlog(now);
        self.crowded = !backlog.is_empty();
        notices.extend(self.summarise(&backlog, now));
        self.next = [backlog.next, self.summary].into_iter().flatten().min();
        notices
    }

    /// Puts a finding to its incident; when that is due for telling, its PC's budget allowing.
    fn file(&mut self, address: Option<IpAddr>, finding: Finding, now: Duration) -> Duration {
        if !self.pcs.contains_key(&address) {
            self.make_room();
        }
        let cool_down = self.cool_downs.get(finding.rule.id).copied();
        let cool_down = cool_down.map_or(COOL_DOWN, Duration::from_secs);
        let pc = self
            .pcs
            .entry(address)
            .or_insert_with(|| Pc::new(finding.host.clone()));
        let known = pc.incidents.iter_mut().find(|known| known.is_of(&finding));
        let due = match known {
            Some(incident) => incident.again(finding, now, cool_down),
            None => {
                self.given_up += pc.make_room();
                pc.incidents.push(Incident::new(finding, now, cool_down));
                now
            }
        };
        due.max(pc.lines.ready_at())
    }

    /// The PC that was quiet longest goes.
    fn make_room(&mut self) {
        if self.pcs.len() < MAX_PCS {
            return;
        }
        let quietest = self.pcs.iter().min_by_key(|(_, pc)| pc.last_seen());
        if let Some(address) = quietest.map(|(address, _)| *address) {
            let gone = self.pcs.remove(&address);
            let untold = gone.map(|pc| {
                pc.incidents
                    .iter()
                    .filter(|one| one.due().is_some())
                    .count()
            });
            self.given_up += untold
                .and_then(|count| count.try_into().ok())
                .unwrap_or(0_u64);
        }
    }

    /// Drops incidents that have been quiet, and gives up telling what has waited too long.
    fn forget(&mut self, now: Duration) {
        for pc in self.pcs.values_mut() {
            for incident in &mut pc.incidents {
                incident.settle(now);
                if incident.due().is_some_and(|due| due + GIVE_UP < now) {
                    incident.give_up(now);
                    self.given_up += 1;
                }
            }
            pc.incidents.retain(|incident| !incident.is_over(now));
        }
        self.pcs
            .retain(|_, pc| !pc.incidents.is_empty() || !pc.lines.is_ready(now));
    }

    /// Tells what is due, as far as the budgets go.
    fn tell(&mut self, mut due: BinaryHeap<Due>, now: Duration) -> Vec<Notice> {
        let mut notices = Vec::new();
        while self.lines.is_ready(now) {
            let Some(Due { address, index, .. }) = due.pop() else {
                break;
            };
            let Some(pc) = self
                .pcs
                .get_mut(&address)
                .filter(|pc| pc.lines.is_ready(now))
            else {
                continue;
            };
            if let Some(incident) = pc.incidents.get_mut(index) {
                notices.push(incident.tell(now));
                pc.lines.spend(now);
                self.lines.spend(now);
            }
        }
        notices
    }

    /// What is due but not told, and when something can be told again.
    fn backlog(&self, now: Duration) -> Backlog {
        let mut backlog = Backlog::default();
        for pc in self.pcs.values() {
            let waiting = pc.incidents.iter().filter(|one| one.is_due(now));
            backlog.add(pc.host.as_ref(), waiting.map(Incident::severity));
            for wake in pc.incidents.iter().filter_map(Incident::wake) {
                let possible = wake.max(pc.lines.ready_at()).max(self.lines.ready_at());
                backlog.wake_at(possible);
            }
        }
        backlog
    }

    fn summarise(&mut self, backlog: &Backlog, now: Duration) -> Option<Notice> {
        if backlog.is_empty() && self.given_up == 0 {
            self.summary = None;
            return None;
        }
        let at = *self.summary.get_or_insert(now + SUMMARY_AFTER);
        if now < at {
            return None;
        }
        self.summary = Some(now + SUMMARY_EVERY);
        let given_up = std::mem::take(&mut self.given_up);
        Some(backlog.notice(given_up, self.latest?))
    }
}

#[cfg(test)]
mod tests;
