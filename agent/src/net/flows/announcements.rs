//! From a new conversation to the event about it: waits for the program's and the peer's name, and folds bursts.
//!
//! An event waits at most [`PROGRAM_WAIT`] for the name of the program, and one about an internet peer also at most
//! [`NAME_WAIT`] for the name of the peer; then it goes without. More than [`BURST`] within [`WINDOW`] are not
//! told one by one, but summed until the window is over. Before an event goes its scope is looked at again: what has turned out
//! to be infrastructure meanwhile (the broker, the agent's own sockets) is dropped.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use labwatch_contract::{
    event::{
        Action, Fields, Interval, LabFields, Occurrence,
        contact::{Attribution, Burst, Direction, Endpoint, Network, Process},
    },
    scope::{Contact, Networks, Scope},
    time::Timestamp,
};

use super::{conversations::Conversation, protocols};
use crate::net::{Moment, names::Names};

/// So long an event waits for the program's name.
pub const PROGRAM_WAIT: Duration = Duration::from_millis(100);
/// So long an event about an internet peer waits for the peer's name.
pub const NAME_WAIT: Duration = Duration::from_secs(2);
/// So many new conversations within [`WINDOW`] are told one by one.
pub const BURST: usize = 50;
/// The time over which a burst is counted, and after which its sum is told.
pub const WINDOW: Duration = Duration::from_secs(10);

/// So many peers and ports stand in the sum of a burst.
const MOST_LISTED: usize = 100;

/// Who takes part in a conversation on this PC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// This program, found in `/proc`.
    Program(Process),
    /// The agent itself, which opens connections to the broker alone.
    Agent,
    /// Not found.
    Unknown,
}

/// A question about a conversation, to be answered with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// A new conversation, before it is told.
#[derive(Debug, Clone)]
pub(super) struct Opening {
    pub(super) conversation: Conversation,
    pub(super) direction: Direction,
    pub(super) scope: Scope,
    pub(super) contact: Contact,
    /// The opener's port.
    pub(super) source_port: Option<u16>,
    /// It was open before its first packet was seen.
    pub(super) already_open: bool,
}

/// `lab.reason` of a conversation whose beginning was not seen.
pub const ALREADY_OPEN: &str = "already open when first seen";

impl Opening {
    pub(super) fn peer(&self) -> IpAddr {
        self.contact.peer
    }
}

#[derive(Debug)]
struct Pending {
    opening: Opening,
    since: Moment,
    owner: Option<Owner>,
}

/// Conversations on their way to an event.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    pending: BTreeMap<Ticket, Pending>,
    next: u64,
    intranet: Limiter,
    internet: Limiter,
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
        let limiter = match opening.scope {
            Scope::Internet => &mut self.internet,
            _ => &mut self.intranet,
        };
        if !limiter.admit(&opening, now) {
            return None;
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.pending.insert(
            ticket,
            Pending {
                opening,
                since: now,
                owner,
            },
        );
        Some(ticket)
    }

    /// Takes in an answer; returns the conversation it is about, where that is still waiting.
    pub(super) fn handle_owner(&mut self, ticket: Ticket, owner: Owner) -> Option<Conversation> {
        let pending = self.pending.get_mut(&ticket)?;
        pending.owner = Some(owner);
        Some(pending.opening.conversation)
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
        let told = ready
            .into_iter()
            .filter_map(|(_, pending)| pending.into_occurrence(names, networks));
        let mut told: Vec<_> = told.collect();
        for (scope, limiter) in [
            (Scope::Intranet, &mut self.intranet),
            (Scope::Internet, &mut self.internet),
        ] {
            told.extend(limiter.take_sum(scope, now));
        }
        told
    }

    /// When [`Announcements::release`] has something next, on the clock of [`Moment::uptime`].
    pub(super) fn next_due(&self, names: &Names) -> Option<Duration> {
        let pending = self.pending.values().map(|pending| pending.due(names));
        let sums = [&self.intranet, &self.internet]
            .into_iter()
            .filter_map(Limiter::due);
        pending.chain(sums).min()
    }
}

impl Pending {
    fn due(&self, names: &Names) -> Duration {
        let since = self.since.uptime;
        let for_program = match self.owner {
            Some(_) => since,
            None => since + PROGRAM_WAIT,
        };
        let waits_for_name = self.opening.scope == Scope::Internet
            && self.owner != Some(Owner::Agent)
            && names.get(self.opening.peer()).is_none();
        if waits_for_name {
            since + NAME_WAIT
        } else {
            for_program
        }
    }

    fn into_occurrence(self, names: &Names, networks: &Networks) -> Option<Occurrence> {
        let Self {
            opening,
            since,
            owner,
        } = self;
        let is_infrastructure = networks.scope(&opening.contact) == Scope::Infrastructure;
        let is_agents = owner == Some(Owner::Agent) && opening.direction == Direction::Egress;
        if is_infrastructure || is_agents {
            return None;
        }
        let (action, is_internet) = match opening.scope {
            Scope::Internet => (Action::InternetAccess, true),
            _ => (Action::IntranetAccess, false),
        };
        let name = names.get(opening.peer());
        let (process, attribution) = match owner {
            Some(Owner::Program(process)) => (Some(process), Attribution::Polled),
            _ => (None, Attribution::None),
        };
        let name_source = name.map(|name| name.source);
        let lab = LabFields {
            scope: Some(opening.scope),
            attribution: Some(attribution),
            name_source: name_source
                .or(is_internet.then_some(labwatch_contract::event::contact::NameSource::None)),
            reason: opening.already_open.then(|| ALREADY_OPEN.to_owned()),
            ..LabFields::default()
        };
        let fields = opening.fields(name.map(|name| name.domain.clone()));
        Some(Occurrence {
            time: since.time,
            action,
            fields: Fields {
                process,
                lab,
                ..fields
            },
        })
    }
}

impl Opening {
    fn fields(&self, peer_name: Option<String>) -> Fields {
        let Conversation {
            source,
            destination,
            protocol,
            service_port,
        } = self.conversation;
        let (source_name, destination_name) = match self.direction {
            Direction::Ingress => (peer_name, None),
            _ => (None, peer_name),
        };
        Fields {
            source: Some(Endpoint {
                ip: source,
                port: self.source_port,
                domain: source_name,
            }),
            destination: Some(Endpoint {
                ip: destination,
                port: service_port,
                domain: destination_name,
            }),
            network: Some(Network {
                transport: protocols::transport(protocol),
                direction: self.direction,
                protocol: service_port.and_then(protocols::service).map(str::to_owned),
            }),
            ..Fields::default()
        }
    }
}

/// Counts what is told one by one, and sums what is beyond.
#[derive(Debug, Default)]
struct Limiter {
    told: VecDeque<Duration>,
    sum: Option<Sum>,
}

#[derive(Debug)]
struct Sum {
    since: Moment,
    burst: Burst,
}

impl Limiter {
    fn admit(&mut self, opening: &Opening, now: Moment) -> bool {
        while self
            .told
            .front()
            .is_some_and(|&told| now.uptime.saturating_sub(told) >= WINDOW)
        {
            self.told.pop_front();
        }
        if self.told.len() < BURST {
            self.told.push_back(now.uptime);
            return true;
        }
        let sum = self.sum.get_or_insert_with(|| Sum {
            since: now,
            burst: Burst::default(),
        });
        sum.burst.count += 1;
        list(&mut sum.burst.peers, opening.peer());
        if let Some(port) = opening.conversation.service_port {
            list(&mut sum.burst.ports, port);
        }
        false
    }

    fn due(&self) -> Option<Duration> {
        self.sum.as_ref().map(|sum| sum.since.uptime + WINDOW)
    }

    fn take_sum(&mut self, scope: Scope, now: Moment) -> Option<Occurrence> {
        self.due().filter(|&due| due <= now.uptime)?;
        let Sum { since, burst } = self.sum.take()?;
        Some(burst_occurrence(scope, burst, since.time, now.time))
    }
}

fn burst_occurrence(scope: Scope, burst: Burst, start: Timestamp, end: Timestamp) -> Occurrence {
    let lab = LabFields {
        scope: Some(scope),
        burst: Some(burst),
        ..LabFields::default()
    };
    let interval = Some(Interval { start, end });
    let fields = Fields {
        interval,
        lab,
        ..Fields::default()
    };
    Occurrence {
        time: end,
        action: Action::ConversationBurst,
        fields,
    }
}

fn list<T: PartialEq>(listed: &mut Vec<T>, value: T) {
    if listed.len() < MOST_LISTED && !listed.contains(&value) {
        listed.push(value);
    }
}
