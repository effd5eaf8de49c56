//! From a new conversation to the event about it: waits for the program's and the peer's name, and folds bursts.
//!
//! An event waits at most [`PROGRAM_WAIT`] for the name of the program, and one about an internet peer also at most
//! [`NAME_WAIT`] for the name of the peer; then it goes without. What the conversation itself says (TLS, QUIC, HTTP) is
//! better than what is known of the address: where that may still come, it is waited for up to [`OWN_NAME_WAIT`]. More than
//! [`BURST`] within [`WINDOW`] are not told one by one, but summed until the window is over. One address serves many names: each
//! that a conversation says is told once an interval, with a limit of its own, so that no flood of peers hides a name. Before an
//! event goes its scope is looked at again: what has turned out to be infrastructure meanwhile (the broker, the agent's own
//! connection to one whose address is not known yet) is dropped.

mod limiter;
mod pending;

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use labwatch_contract::{
    event::{
        Occurrence,
        contact::{Attribution, Process},
    },
    scope::{Networks, Scope},
};

pub(super) use self::pending::Opening;
pub use self::{
    limiter::{BURST, WINDOW},
    pending::ALREADY_OPEN,
};

use self::{limiter::Limiter, pending::Pending};
use super::conversations::Conversation;
use crate::net::{
    Moment,
    names::{Name, Names},
    recent::Recent,
};

/// So long an event waits for the program's name.
pub const PROGRAM_WAIT: Duration = Duration::from_millis(100);
/// So long an event about an internet peer waits for the peer's name.
pub const NAME_WAIT: Duration = Duration::from_secs(2);
/// So long an event whose peer's address has a name waits for the one that the conversation itself may say.
pub const OWN_NAME_WAIT: Duration = Duration::from_millis(500);

/// So many names are told one by one within [`WINDOW`]; a page may take its parts from a hundred.
const MOST_NAMED: usize = 200;
/// So many names are known to have been told.
const MOST_TOLD: usize = 4096;
/// Of conversations that are not told by themselves so many are asked about within [`WINDOW`]; for the rest nobody asks.
const MOST_ASKED: usize = 256;

/// Who takes part in a conversation on this PC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// What could be found out about the program.
    Program(Found),
    /// The agent itself, which opens connections to the broker alone.
    Agent,
    /// Not found.
    Unknown,
}

/// A program, or as much of it as could be found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The program; perhaps its user alone, perhaps nothing.
    pub process: Process,
    /// How the program was found.
    pub attribution: Attribution,
    /// What is to be known about how it was found, or why it was not.
    pub reason: Option<&'static str>,
}

/// A question about a conversation, to be answered with the same number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// A conversation without an event of its own whose program is asked for.
#[derive(Debug)]
struct Asked {
    conversation: Conversation,
    since: Duration,
    /// The scope of the burst that it is part of.
    in_burst: Option<Scope>,
}

/// How often was asked since when: a scan, of the network or of this PC, is not to keep the system busy with questions.
#[derive(Debug, Default)]
struct Asking {
    since: Duration,
    count: usize,
}

/// What is to be done about a name that a conversation has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// It goes with an event that waited for it.
    Awaited,
    /// It has been told in this interval, or will be.
    Known,
    /// No event says it: [`Announcements::add_named`].
    New,
}

/// Conversations on their way to an event.
#[derive(Debug)]
pub(super) struct Announcements {
    pending: BTreeMap<Ticket, Pending>,
    asked: BTreeMap<Ticket, Asked>,
    asking: Asking,
    next: u64,
    intranet: Limiter,
    internet: Limiter,
    named: Limiter,
    /// Names told with internet peers.
    told: Recent<(IpAddr, String), ()>,
    interval_start: Duration,
}

impl Default for Announcements {
    fn default() -> Self {
        Self {
            pending: BTreeMap::new(),
            asked: BTreeMap::new(),
            asking: Asking::default(),
            next: 0,
            intranet: Limiter::new(BURST),
            internet: Limiter::new(BURST),
            named: Limiter::new(MOST_NAMED),
            told: Recent::new(MOST_TOLD),
            interval_start: Duration::ZERO,
        }
    }
}

impl Announcements {
    /// Takes in a new conversation. `None` when it has been added to the sum of a burst. Without `owner` it
    /// waits for [`Announcements::handle_owner`].
    pub(super) fn add(
        &mut self,
        opening: Opening,
        owner: Option<Owner>,
        now: Moment,
    ) -> Option<Ticket> {
        let is_admitted = self.limiter(opening.scope).admit(&opening, now);
        is_admitted.then(|| {
            self.wait(Pending {
                opening,
                since: now,
                owner,
                own_name: None,
            })
        })
    }

    /// Takes in a conversation that says another name of its peer than has been told. `None` when too many do.
    pub(super) fn add_named(
        &mut self,
        opening: Opening,
        owner: Option<Owner>,
        name: Name,
        now: Moment,
    ) -> Option<Ticket> {
        self.named.admit(&opening, now).then(|| {
            self.wait(Pending {
                opening,
                since: now,
                owner,
                own_name: Some(name),
            })
        })
    }

    fn wait(&mut self, pending: Pending) -> Ticket {
        let ticket = self.ticket();
        self.pending.insert(ticket, pending);
        ticket
    }

    /// An interval begins: names are told anew.
    pub(super) fn begin_interval(&mut self, now: Duration) {
        self.interval_start = now;
    }

    /// A question for the program of a conversation without an event of its own; `in_burst` is the scope of the burst whose
    /// sum it is in. `None` when too many were asked about already.
    pub(super) fn ask(
        &mut self,
        conversation: Conversation,
        in_burst: Option<Scope>,
        now: Moment,
    ) -> Option<Ticket> {
        let since = now.uptime;
        if since >= self.asking.since + WINDOW {
            self.asking = Asking { since, count: 0 };
            self.asked
                .retain(|_, asked| asked.since + PROGRAM_WAIT > since);
        }
        if self.asking.count >= MOST_ASKED {
            return None;
        }
        self.asking.count += 1;
        let ticket = self.ticket();
        let asked = Asked {
            conversation,
            since,
            in_burst,
        };
        self.asked.insert(ticket, asked);
        Some(ticket)
    }

    fn ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        ticket
    }

    fn limiter(&mut self, scope: Scope) -> &mut Limiter {
        match scope {
            Scope::Internet => &mut self.internet,
            _ => &mut self.intranet,
        }
    }

    /// Takes in an answer; returns the conversation it is about, where that is still waiting.
    pub(super) fn handle_owner(&mut self, ticket: Ticket, owner: Owner) -> Option<Conversation> {
        if let Some(asked) = self.asked.remove(&ticket) {
            if let (Some(scope), Owner::Program(found)) = (asked.in_burst, owner) {
                self.limiter(scope).note_program(found.process.name);
            }
            return Some(asked.conversation);
        }
        let pending = self.pending.get_mut(&ticket)?;
        pending.owner = Some(owner);
        Some(pending.opening.conversation)
    }

    /// Takes in the peer's name as the conversation itself says it.
    pub(super) fn hear_name(
        &mut self,
        conversation: &Conversation,
        peer: IpAddr,
        name: &Name,
    ) -> Heard {
        let of_peer = self
            .pending
            .values_mut()
            .filter(|pending| pending.opening.peer() == peer);
        let mut waiting = None;
        for pending in of_peer {
            match &pending.own_name {
                Some(own) if own.domain == name.domain => return Heard::Known,
                None if pending.opening.conversation == *conversation => waiting = Some(pending),
                _ => {}
            }
        }
        if let Some(pending) = waiting {
            pending.own_name = Some(name.clone());
            return Heard::Awaited;
        }
        let told = self.told.get_mut(&(peer, name.domain.clone()));
        match told.is_some_and(|told| told.last >= self.interval_start) {
            true => Heard::Known,
            false => Heard::New,
        }
    }

    /// Events that need not wait any longer.
    pub(super) fn release(
        &mut self,
        names: &Names,
        networks: &Networks,
        now: Moment,
    ) -> Vec<Occurrence> {
        let ready = |_: &Ticket, pending: &mut Pending| pending.due(names) <= now.uptime;
        let ready: Vec<_> = self.pending.extract_if(.., ready).collect();
        for (_, pending) in &ready {
            let peer = pending.opening.peer();
            if pending.opening.scope == Scope::Internet
                && let Some(name) = pending.own_name.as_ref().or_else(|| names.get(peer))
            {
                let told = (peer, name.domain.clone());
                self.told.insert(told, (), pending.since.uptime);
            }
        }
        let told = ready
            .into_iter()
            .filter_map(|(_, pending)| pending.into_occurrence(names, networks));
        let mut told: Vec<_> = told.collect();
        for (scope, limiter) in [
            (Scope::Intranet, &mut self.intranet),
            (Scope::Internet, &mut self.internet),
            (Scope::Internet, &mut self.named),
        ] {
            told.extend(limiter.take_sum(scope, now));
        }
        told
    }

    /// When [`Announcements::release`] has something next, on the clock of [`Moment::uptime`].
    pub(super) fn next_due(&self, names: &Names) -> Option<Duration> {
        let pending = self.pending.values().map(|pending| pending.due(names));
        let sums = [&self.intranet, &self.internet, &self.named]
            .into_iter()
            .filter_map(Limiter::due);
        pending.chain(sums).min()
    }
}
