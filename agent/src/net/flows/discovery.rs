//! Answers to what this PC has asked everybody: discovery traffic and no contact.
//!
//! A PC that looks for printers or names asks a group, and each machine that has something to say answers the port that
//! asked, from an address that was never spoken to. That is no conversation of a student's: it is counted as
//! infrastructure. So that nothing can be hidden in it, only what comes within [`PATIENCE`] of a question, from the port of
//! that protocol (SSDP answers from any), is an answer, and of one peer no more than [`MOST_PACKETS`] and [`MOST_BYTES`]
//! until it has been silent for [`IDLE`]. What is beyond, and all that this PC sends back, is a conversation like any
//! other.

use std::{net::IpAddr, time::Duration};

use labwatch_contract::scope::{Networks, Scope, protocol};

use super::{conversations::IDLE, sighting::Sighting};
use crate::net::recent::Recent;

/// So long after a question an answer may come: the longest that SSDP (its MX) and WS-Discovery wait in practice.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Packets of one peer.
pub(super) const MOST_PACKETS: u32 = 32;
/// Bytes of one peer, as captured.
pub(super) const MOST_BYTES: u64 = 16 * 1024;

/// SNMP (printer discovery), WS-Discovery, mDNS asked from another port than its own, LLMNR.
const SERVICES: [u16; 5] = [161, SSDP, 3702, 5353, 5355];
const SSDP: u16 = 1900;
const MOST_QUESTIONS: usize = 64;
const MOST_PEERS: usize = 1024;

/// Questions to groups, and what came in answer.
#[derive(Debug)]
pub(super) struct Discovery {
    questions: Vec<Question>,
    answers: Recent<IpAddr, Answers>,
}

#[derive(Debug, Clone, Copy)]
struct Question {
    own_port: u16,
    service: u16,
    asked: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
struct Answers {
    packets: u32,
    bytes: u64,
}

impl Discovery {
    pub(super) fn new() -> Self {
        Self {
            questions: Vec::new(),
            answers: Recent::new(MOST_PEERS),
        }
    }

    /// Whether a packet is an answer. `len` is what it counts for, where it is counted now.
    pub(super) fn is_answer(
        &mut self,
        seen: &Sighting,
        len: Option<u32>,
        networks: &Networks,
        now: Duration,
    ) -> bool {
        let Some((own_port, peer_port)) = seen.ports.filter(|_| seen.protocol == protocol::UDP)
        else {
            return false;
        };
        if seen.sent {
            if may_ask(seen) && is_group(seen.peer, networks) {
                self.ask(own_port, peer_port, now);
            }
            return false;
        }
        let is_asked = self.questions.iter().any(|question| {
            question.own_port == own_port
                && (question.service == peer_port || question.service == SSDP)
                && now.saturating_sub(question.asked) < PATIENCE
        });
        is_asked && seen.ours && self.has_room(seen.peer, len, now)
    }

    /// Whether something was asked from this port that what comes to it could answer.
    #[inline]
    pub(super) fn was_asked_from(&self, own_port: u16) -> bool {
        let mut questions = self.questions.iter();
        questions.any(|question| question.own_port == own_port)
    }

    fn ask(&mut self, own_port: u16, service: u16, now: Duration) {
        let is_over = |question: &Question| now.saturating_sub(question.asked) >= PATIENCE;
        self.questions.retain(|question| {
            let is_same = (question.own_port, question.service) == (own_port, service);
            !is_same && !is_over(question)
        });
        if self.questions.len() < MOST_QUESTIONS {
            self.questions.push(Question {
                own_port,
                service,
                asked: now,
            });
        }
    }

    fn has_room(&mut self, peer: IpAddr, len: Option<u32>, now: Duration) -> bool {
        let known = self.answers.get_mut(&peer);
        let known = known.filter(|known| now.saturating_sub(known.last) < IDLE);
        let mut answers = known.map_or(Answers::default(), |known| known.value);
        if let Some(len) = len {
            answers.packets = answers.packets.saturating_add(1);
            answers.bytes = answers.bytes.saturating_add(len.into());
            self.answers.insert(peer, answers, now);
        }
        answers.packets <= MOST_PACKETS && answers.bytes <= MOST_BYTES
    }
}

/// Whether a packet may be a question to everybody.
fn may_ask(seen: &Sighting) -> bool {
    seen.sent && has_service(seen)
}

/// Whether the peer's port is one on which everybody is asked.
pub(super) fn has_service(seen: &Sighting) -> bool {
    let is_of_service = seen.ports.is_some_and(|(_, peer)| SERVICES.contains(&peer));
    is_of_service && seen.protocol == protocol::UDP
}

fn is_group(ip: IpAddr, networks: &Networks) -> bool {
    let scope = networks.scope_of_address(ip);
    matches!(scope, Scope::Multicast | Scope::Broadcast)
}
