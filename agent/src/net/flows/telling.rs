//! What is told of a packet that begins something, and who is asked about it: the program behind it, the name of the peer.
//!
//! Within the local networks each new conversation is told, beyond them the first contact with a peer in an interval. Whoever
//! comes to a broker on this very PC is infrastructure.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use labwatch_contract::{
    event::contact::Direction,
    scope::{Scope, protocol},
};

use super::{
    Flows, Output, Owner, Socket, announcements::Opening, conversations::Belonging, hearing,
    sighting::Sighting,
};
use crate::net::{Moment, names::Name};

/// A peer's name is not looked up again before this.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(600);

impl Flows {
    /// The program of a conversation that is not told by itself is asked for as well: for the report, or the sum of a burst.
    pub(super) fn tell_if_new(
        &mut self,
        seen: &Sighting,
        belonging: &Belonging,
        interface: u32,
        now: Moment,
    ) {
        let is_told = match belonging.scope {
            Scope::Intranet => belonging.is_new && !self.is_own_broker(seen, belonging),
            Scope::Internet => {
                let totals = &mut self.totals;
                totals.is_first_contact(seen.peer, belonging.peer, now.uptime)
            }
            _ => false,
        };
        if is_told || belonging.is_new {
            self.tell_new(seen, belonging, (interface, is_told), now);
        }
    }

    fn tell_new(
        &mut self,
        seen: &Sighting,
        belonging: &Belonging,
        (interface, is_told): (u32, bool),
        now: Moment,
    ) {
        let socket = socket(seen, belonging.direction, interface);
        let told = is_told.then(|| {
            let owner = socket.is_none().then_some(Owner::Unknown);
            self.announcements.add(opening(seen, belonging), owner, now)
        });
        let ticket = told.flatten();
        if ticket.is_some() {
            self.find_name(seen.peer, now);
        }
        let in_burst = is_told.then_some(belonging.scope);
        let ask = || {
            self.announcements
                .ask(belonging.conversation(seen), in_burst, now)
        };
        match socket {
            Some(socket) => {
                let question = ticket.or_else(ask);
                let question = question.map(|ticket| Output::FindOwner(ticket, socket));
                self.outputs.extend(question);
            }
            // Nobody is asked, so it may be complete. What waits is not gone through for each that begins.
            None => self.release(now),
        }
    }

    /// A conversation says another name of its peer than has been told in this interval.
    pub(super) fn tell_named(
        &mut self,
        seen: &Sighting,
        belonging: &Belonging,
        name: Name,
        (interface, now): (u32, Moment),
    ) {
        let socket = socket(seen, belonging.direction, interface);
        let owner = socket.is_none().then_some(Owner::Unknown);
        let opening = opening(seen, belonging);
        let ticket = self.announcements.add_named(opening, owner, name, now);
        let question = ticket
            .zip(socket)
            .map(|(ticket, socket)| Output::FindOwner(ticket, socket));
        self.outputs.extend(question);
    }

    /// Where the broker runs on this very PC, those who come to it are infrastructure as well.
    fn is_own_broker(&self, seen: &Sighting, belonging: &Belonging) -> bool {
        let here =
            |broker: SocketAddr| broker.ip().is_loopback() || self.own.contains(&broker.ip());
        belonging.direction == Direction::Ingress
            && seen.protocol == protocol::TCP
            && self
                .networks
                .broker
                .is_some_and(|broker| here(broker) && Some(broker.port()) == belonging.service_port)
    }

    fn find_name(&mut self, peer: IpAddr, now: Moment) {
        let is_recent = |last: Duration| now.uptime.saturating_sub(last) < LOOK_UP_AGAIN;
        let known = self
            .looked_up
            .get_mut(&peer)
            .is_some_and(|entry| is_recent(entry.last));
        if !known && self.names.get(peer).is_none() {
            self.looked_up.insert(peer, (), now.uptime);
            self.outputs.push_back(Output::FindName(peer));
        }
    }
}

fn opening(seen: &Sighting, belonging: &Belonging) -> Opening {
    Opening {
        conversation: belonging.conversation(seen),
        direction: belonging.direction,
        scope: belonging.scope,
        contact: seen.contact(),
        source_port: seen.ports.map(|(own, peer)| match belonging.direction {
            Direction::Ingress => peer,
            _ => own,
        }),
        may_say_name: hearing::may_say_name(seen, belonging),
        already_open: belonging.already_open,
    }
}

fn socket(seen: &Sighting, direction: Direction, interface: u32) -> Option<Socket> {
    let (own, peer) = seen.ports?;
    let has_table = matches!(seen.protocol, protocol::TCP | protocol::UDP);
    has_table.then(|| Socket {
        protocol: seen.protocol,
        own: SocketAddr::new(seen.own, own),
        peer: SocketAddr::new(seen.peer, peer),
        direction,
        interface,
    })
}
