//! Rules on local conversations: who talks to whom in the lab, and how much comes of it.
//!
//! ```text
//! first packet --> attempt (intranet-egress, intranet-ingress; remote desktop and tunnel ports have rules of their own)
//! next report  --> both have sent: exchange --> three reports in a row, or 1 MB: sustained
//! 10 peers within a minute, or a burst --> scan
//! ```
//! A conversation between two watched PCs is told by both agents and named alike from either end. It is one incident, of
//! the PC whose agent tells it first, and what the other one's agent says goes with it: no PC's word alone puts an incident
//! on another. The policy's allowed peers are no finding. Reports sum per peer, so a grade is that of all conversations
//! with it.

mod grade;
pub(super) mod scan;
pub(super) mod words;

use std::net::IpAddr;

use labwatch_contract::{
    alert::Severity,
    event::{
        Event, Fields,
        contact::{Direction, Endpoint, NameSource, Network},
    },
    text::harmless,
    time::Timestamp,
};

use self::{
    grade::Conversations,
    scan::{Tried, slow_scan},
    words::{named, program, service},
};
use super::{Finding, Incomplete, Rule, Rules, Verdict, names, who};
use crate::policy::Conversation;

const SUBJECT: &str = "contact";
const OPENED: Rule = Rule::new(
    SUBJECT,
    "intranet-egress",
    "Opened a conversation in the lab's network",
);
const CONTACTED: Rule = Rule::new(
    SUBJECT,
    "intranet-ingress",
    "Was contacted from the lab's network",
);
const EXCHANGE: Rule = Rule::new(
    SUBJECT,
    "intranet-exchange",
    "Data went both ways in the lab's network",
);
const SUSTAINED: Rule = Rule::new(
    SUBJECT,
    "intranet-sustained",
    "Lasting exchange in the lab's network",
);
const REMOTE: Rule = Rule::new(
    SUBJECT,
    "intranet-remote-desktop",
    "Remote desktop in the lab's network",
);
const TUNNEL: Rule = Rule::new(SUBJECT, "intranet-tunnel", "Tunnel in the lab's network");
pub(super) const RULES: &[Rule] = &[OPENED, CONTACTED, EXCHANGE, SUSTAINED, REMOTE, TUNNEL];

/// UDP ports of services that are looked for by a question to all: NetBIOS names, SNMP, SSDP, WS-Discovery, mDNS, LLMNR.
const DISCOVERY: [u16; 6] = [137, 161, 1900, 3702, 5353, 5355];
/// Users as which a PC's own services give such answers (nmbd, snmpd, Avahi, systemd-resolved), and no student's program runs.
const RESPONDERS: [&str; 4] = ["root", "Debian-snmp", "avahi", "systemd-resolve"];

/// The local conversations of one PC that are no part of the exam, and whom it tried.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    conversations: Conversations,
    tried: Tried,
}

impl Rules {
    /// What the rules say of the first packet of a local conversation.
    pub(super) fn contact(
        &mut self,
        address: IpAddr,
        event: &Event,
    ) -> Result<Vec<Finding>, Incomplete> {
        let contact = Contact::read(&event.occurrence.fields, event.host.ip)?;
        if self.book.allows(&contact.conversation()) {
            return Ok(Vec::new());
        }
        let time = event.occurrence.time;
        let finding = self.verdict(&contact).about(address, event);
        let peer = contact.peer_address();
        if contact.answers_all() {
            if let Some(pc) = self.pcs.get_mut(&address) {
                let until_sent = !contact.is_by_the_system();
                let conversations = &mut pc.contacts.conversations;
                conversations.remember_untold(peer, &finding, until_sent);
            }
            return Ok(Vec::new());
        }
        if !contact.opened && self.pcs.contains_key(&peer) {
            if self.book.may_allow(&contact.conversation()) {
                // The opener's own agent tells it where it is not.
                return Ok(Vec::new());
            }
            if self.was_told_by(peer, address, &finding) {
                return Ok(vec![self.confirmed(&contact, peer, time)]);
            }
        }
        // Whoever told first has the incident, which both ends' reports would grade alike.
        let is_told = contact.opened && self.was_told_by(peer, address, &finding);
        let confirmed = is_told.then(|| self.confirmed(&contact, peer, time));
        let Some(pc) = self.pcs.get_mut(&address) else {
            return Ok(vec![finding]);
        };
        let Contacts {
            conversations,
            tried,
        } = &mut pc.contacts;
        if !is_told {
            conversations.remember(peer, &finding);
        }
        let scanned = contact.opened.then(|| tried.scans(peer, time)).flatten();
        Ok(vec![match scanned {
            Some(peers) => slow_scan(&peers).about(address, event),
            None => confirmed.unwrap_or(finding),
        }])
    }

    /// Whether the agent of a PC has told the conversation with a peer that this finding is about.
    fn was_told_by(&self, teller: IpAddr, peer: IpAddr, finding: &Finding) -> bool {
        self.pcs.get(&teller).is_some_and(|teller| {
            let conversations = &teller.contacts.conversations;
            conversations.was_told(peer, &finding.object)
        })
    }

    /// The other end's word on what a watched PC has told: of that PC, and with the program at this end.
    fn confirmed(&self, contact: &Contact<'_>, teller: IpAddr, time: Timestamp) -> Finding {
        let verdict = self.verdict(contact);
        let host = self.host(teller);
        let Contact {
            network,
            source,
            destination,
            opened,
            ..
        } = *contact;
        let (deed, other, by) = match opened {
            true => ("was contacted by", source, "opened by"),
            false => ("contacted", destination, "answered by"),
        };
        let message = format!(
            "{}: network accessed: {deed} {} with {}{}, as that PC says; {by} {}",
            who(&host),
            self.called(other.ip.to_canonical()),
            harmless(&network.transport),
            service(network, destination),
            program(contact.fields)
        );
        verdict.into_finding(host, message, time)
    }

    fn verdict(&self, contact: &Contact<'_>) -> Verdict {
        let Contact {
            fields,
            destination,
            network,
            opened,
            ..
        } = *contact;
        let (what, rule) = match names::gateway_to(network, destination.port) {
            Some((names::Way::RemoteDesktop, what)) => (format!(" [{what}]"), REMOTE),
            Some((names::Way::Tunnel, what)) => (format!(" [{what}]"), TUNNEL),
            None => (String::new(), OPENED),
        };
        let transport = harmless(&network.transport);
        let service = service(network, destination);
        let program = program(fields);
        let peer = self.peer(contact.peer(), fields.lab.name_source);
        let text = if opened {
            format!("network accessed: opened {transport} to {peer}{service}{what} by {program}")
        } else {
            format!(
                "network accessed: was contacted by {peer} with {transport}{service}{what}, answered by {program}"
            )
        };
        let port = destination.port.unwrap_or_default();
        let (source, destination) = (contact.source.ip, destination.ip);
        let object = format!("{source} to {destination} {transport} {port}");
        Verdict {
            rule: if opened { rule } else { CONTACTED },
            severity: Severity::Warning,
            object: harmless(&object),
            text,
        }
    }

    /// `192.168.0.134 (pc-34, seat A-08)`; a machine that is not watched by the name that was learned of it.
    fn peer(&self, peer: &Endpoint, source: Option<NameSource>) -> String {
        let address = peer.ip.to_canonical();
        match named(peer, source) {
            Some(name) if !self.pcs.contains_key(&address) => format!("{address} ({name})"),
            _ => self.called(address),
        }
    }

    /// What the rules say of a traffic report: grades of open conversations, and denied names.
    pub(super) fn report(&mut self, address: IpAddr, event: &Event) -> Vec<Finding> {
        let lab = &event.occurrence.fields.lab;
        let peers = lab.peers.as_deref().unwrap_or_default();
        let Some(pc) = self.pcs.get_mut(&address) else {
            return Vec::new();
        };
        for interface in lab.interfaces.iter().flatten() {
            pc.links.know(&interface.name);
        }
        let last = lab.parts.is_none_or(|parts| lab.part >= Some(parts));
        let graded = pc.contacts.conversations.grade(peers, last);
        let mut findings: Vec<Finding> = graded
            .into_iter()
            .map(|(rule, open, sums)| self.graded(rule, open, &sums, event.occurrence.time))
            .collect();
        let denied = peers
            .iter()
            .filter_map(|peer| names::in_report(&self.book, peer));
        findings.extend(denied.map(|verdict| verdict.about(address, event)));
        findings
    }

    fn graded(&self, rule: Rule, open: Finding, sums: &str, time: Timestamp) -> Finding {
        let between_pcs = self.is_between_pcs(&open.object);
        let (severity, what) = match rule.id == SUSTAINED.id {
            true if between_pcs => (Severity::Critical, "goes on"),
            true => (Severity::Warning, "goes on"),
            false if rule == EXCHANGE => (Severity::Warning, "was answered"),
            false => (Severity::Warning, "is no mere answer"),
        };
        let message = format!("{}; {what}: {sums}", open.message);
        Finding {
            rule,
            severity,
            message,
            time,
            ..open
        }
    }

    /// Whether both ends are watched PCs, by the object of the finding: `192.168.0.133 to 192.168.0.134 tcp 80`.
    fn is_between_pcs(&self, object: &str) -> bool {
        let mut words = object.split(' ');
        let ends = [words.next(), words.nth(1)];
        ends.iter().all(|end| {
            let address: Option<IpAddr> = end.and_then(|end| end.parse().ok());
            address.is_some_and(|address| self.pcs.contains_key(&address.to_canonical()))
        })
    }
}

/// A conversation as an event tells it.
struct Contact<'a> {
    fields: &'a Fields,
    source: &'a Endpoint,
    destination: &'a Endpoint,
    network: &'a Network,
    /// Whether this PC opened it.
    opened: bool,
}

impl<'a> Contact<'a> {
    fn read(fields: &'a Fields, own: IpAddr) -> Result<Self, Incomplete> {
        let source = fields.source.as_ref().ok_or(Incomplete("source"))?;
        let destination = fields.destination.as_ref();
        let network = fields.network.as_ref().ok_or(Incomplete("network"))?;
        let opened = match network.direction {
            Direction::Egress => true,
            Direction::Ingress => false,
            Direction::Unknown => source.ip.to_canonical() == own.to_canonical(),
        };
        Ok(Self {
            fields,
            source,
            destination: destination.ok_or(Incomplete("destination"))?,
            network,
            opened,
        })
    }

    /// Whether it looks like the answer to a question to all (a printer, a television, a router), which comes from that
    /// service's port to this PC alone, or which a service of this PC gives. An agent that has just started takes the
    /// one who answers for the one who was asked. It is no finding until this PC sends something.
    fn answers_all(&self) -> bool {
        let own = if self.opened {
            self.source
        } else {
            self.destination
        };
        let is_discovery = |end: &Endpoint| end.port.is_some_and(|port| DISCOVERY.contains(&port));
        let silent = if is_discovery(own) {
            self.is_by_the_system()
        } else {
            is_discovery(self.peer())
        };
        silent && self.network.transport == "udp"
    }

    fn is_by_the_system(&self) -> bool {
        let user = self
            .fields
            .process
            .as_ref()
            .and_then(|one| one.user.as_ref());
        user.is_some_and(|user| RESPONDERS.contains(&user.name.as_str()))
    }

    fn peer(&self) -> &'a Endpoint {
        if self.opened {
            self.destination
        } else {
            self.source
        }
    }

    fn peer_address(&self) -> IpAddr {
        self.peer().ip.to_canonical()
    }

    fn conversation(&self) -> Conversation<'a> {
        Conversation {
            peer: self.peer_address(),
            asked: self.destination.ip.to_canonical(),
            name: self.peer().domain.as_deref(),
            port: self.destination.port,
            transport: &self.network.transport,
            program: self
                .fields
                .process
                .as_ref()
                .and_then(|one| one.name.as_deref()),
            local: true,
        }
    }
}
