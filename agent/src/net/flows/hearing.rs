//! Which packets are listened to for names, and what becomes of the names that are heard.
//!
//! Only the first packets of a flow are listened to, and only what this PC asked for names anybody: who opens a
//! conversation says whom it is with, and a name server that was asked says whose an address is. Beside that machines of
//! the local networks say their own names, unasked, and name nobody elsewhere.

use std::net::IpAddr;

use labwatch_contract::{
    event::contact::{Direction, NameSource},
    scope::{Scope, protocol},
};

use super::{Flows, announcements::Heard, conversations::Belonging, sighting::Sighting};
use crate::net::{
    Moment,
    names::{self, Name},
    packet::Packet,
    surroundings::files::TimeServer,
};

/// Port of DNS.
const DNS: u16 = 53;
const MOST_TIME_SERVERS: usize = 64;
/// Ports on which whoever opens says the name: HTTP, HTTPS and HTTP/3.
const SAYS_NAME: [u16; 3] = [80, 443, 8443];
/// A flow is listened to up to this packet; a name comes with the second to sixth.
pub(super) const LAST_HEARD: u8 = 64;

/// Of a conversation that this PC opened: what it says first, and what a name server answers. Beside that, local names;
/// what nobody asked for names nobody.
pub(super) fn is_worth_it(
    packet: &Packet<'_>,
    seen: &Sighting,
    belonging: Option<&Belonging>,
) -> bool {
    let is_of_own_question = belonging.is_some_and(|belonging| {
        let is_opening = seen.sent && belonging.packets_before < LAST_HEARD;
        let is_answer = !seen.sent && belonging.service_port == Some(DNS);
        belonging.direction == Direction::Egress && (is_opening || is_answer)
    });
    is_of_own_question || names::is_local_answer(packet)
}

/// Whether its next packets may say the peer's name.
pub(super) fn may_say_name(seen: &Sighting, belonging: &Belonging) -> bool {
    let is_beginning = match seen.protocol {
        protocol::TCP => seen.tcp_flags.is_some_and(|flags| flags.opens()),
        _ => seen.protocol == protocol::UDP && belonging.packets_before == 0,
    };
    let port = belonging.service_port;
    is_beginning
        && belonging.direction == Direction::Egress
        && port.is_some_and(|port| SAYS_NAME.contains(&port))
}

impl Flows {
    /// Takes in the names that a packet [worth it](is_worth_it) says.
    pub(super) fn hear_names(
        &mut self,
        packet: &Packet<'_>,
        seen: &Sighting,
        belonging: Option<&Belonging>,
        (interface, now): (u32, Moment),
    ) {
        let mut is_news = false;
        for heard in self.listener.hear(packet, now.uptime) {
            let is_local = matches!(heard.name.source, NameSource::Mdns | NameSource::Llmnr);
            if is_local && self.networks.scope_of_address(heard.ip) != Scope::Intranet {
                continue;
            }
            match (heard.name.source, belonging) {
                (NameSource::Sni | NameSource::Quic | NameSource::Http, Some(belonging)) => {
                    is_news |= self.hear_own_name(seen, belonging, &heard.name, (interface, now));
                }
                (NameSource::Dns, _) => self.notice_time_server(heard.ip, &heard.name.domain),
                _ => {}
            }
            is_news |= self.names.learn(heard.ip, heard.name, now.uptime);
        }
        if is_news {
            self.release(now);
        }
    }

    /// Of what a conversation says of its peer; true where an event waited for it.
    fn hear_own_name(
        &mut self,
        seen: &Sighting,
        belonging: &Belonging,
        name: &Name,
        (interface, now): (u32, Moment),
    ) -> bool {
        let conversation = belonging.conversation(seen);
        let heard = self.announcements.hear_name(&conversation, seen.peer, name);
        if heard == Heard::New && belonging.scope == Scope::Internet {
            self.tell_named(seen, belonging, name.clone(), (interface, now));
        }
        heard == Heard::Awaited
    }

    fn notice_time_server(&mut self, ip: IpAddr, domain: &str) {
        let name = TimeServer::Name(domain.to_owned());
        let is_known = self.networks.ntp_servers.contains(&ip);
        if self.time_servers.contains(&name)
            && !is_known
            && self.time_servers_heard.len() < MOST_TIME_SERVERS
        {
            self.time_servers_heard.push(ip);
            self.networks.ntp_servers.push(ip);
            self.conversations.set_networks(&self.networks);
        }
    }
}
