//! A conversation that waits to be told: how long, and the event that it becomes.

use std::{net::IpAddr, time::Duration};

use labwatch_contract::{
    event::{
        Action, Fields, LabFields, Occurrence,
        contact::{Attribution, Direction, Endpoint, NameSource, Network, Process},
    },
    scope::{Contact, Networks, Scope},
};

use super::{NAME_WAIT, OWN_NAME_WAIT, Owner, PROGRAM_WAIT};
use crate::net::{
    Moment,
    flows::{conversations::Conversation, protocols},
    names::{Name, Names},
};

/// `lab.reason` of a conversation whose beginning was not seen.
pub const ALREADY_OPEN: &str = "already open when first seen";

/// A new conversation, before it is told.
#[derive(Debug, Clone)]
pub(in crate::net::flows) struct Opening {
    pub(in crate::net::flows) conversation: Conversation,
    pub(in crate::net::flows) direction: Direction,
    pub(in crate::net::flows) scope: Scope,
    pub(in crate::net::flows) contact: Contact,
    /// The opener's port.
    pub(in crate::net::flows) source_port: Option<u16>,
    /// Its first packets are seen and may say the peer's name.
    pub(in crate::net::flows) may_say_name: bool,
    /// It was open before its first packet was seen.
    pub(in crate::net::flows) already_open: bool,
}

/// The same, with what is known so far of both its ends.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) opening: Opening,
    pub(super) since: Moment,
    /// `None` until somebody has answered.
    pub(super) owner: Option<Owner>,
    /// What the conversation itself says.
    pub(super) own_name: Option<Name>,
}

impl Opening {
    pub(super) fn peer(&self) -> IpAddr {
        self.contact.peer
    }

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

impl Pending {
    /// When it need not wait any longer, on the clock of [`Moment::uptime`].
    pub(super) fn due(&self, names: &Names) -> Duration {
        let since = self.since.uptime;
        let for_program = match self.owner {
            Some(_) => since,
            None => since + PROGRAM_WAIT,
        };
        let is_told_by_name = self.opening.scope == Scope::Internet
            && self.owner != Some(Owner::Agent)
            && self.own_name.is_none();
        if !is_told_by_name {
            for_program
        } else if names.get(self.opening.peer()).is_none() {
            since + NAME_WAIT
        } else if self.opening.may_say_name {
            since + OWN_NAME_WAIT
        } else {
            for_program
        }
    }

    /// The event; `None` where it has turned out to be infrastructure, or the agent's own.
    pub(super) fn into_occurrence(self, names: &Names, networks: &Networks) -> Option<Occurrence> {
        let Self {
            opening,
            since,
            owner,
            own_name,
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
        let name = own_name.as_ref().or_else(|| names.get(opening.peer()));
        let found = match owner {
            Some(Owner::Program(found)) => Some(found),
            _ => None,
        };
        let attribution = found
            .as_ref()
            .map_or(Attribution::None, |found| found.attribution);
        let of_owner = found.as_ref().and_then(|found| found.reason);
        let of_beginning = opening.already_open.then_some(ALREADY_OPEN);
        let reasons: Vec<_> = of_beginning.into_iter().chain(of_owner).collect();
        let reason = (!reasons.is_empty()).then(|| reasons.join("; "));
        let process = found.map(|found| found.process);
        let name_source = name.map(|name| name.source);
        let lab = LabFields {
            scope: Some(opening.scope),
            attribution: Some(attribution),
            reason,
            name_source: name_source.or(is_internet.then_some(NameSource::None)),
            ..LabFields::default()
        };
        let fields = opening.fields(name.map(|name| name.domain.clone()));
        Some(Occurrence {
            time: since.time,
            action,
            fields: Fields {
                process: process.filter(|process| *process != Process::default()),
                lab,
                ..fields
            },
        })
    }
}
