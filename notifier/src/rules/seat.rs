//! The rule on who sits where: the PC at a seat's address is the one whose MAC the policy has there.
//!
//! Judged by what the PC says of itself, in each event, status and heartbeat of the exam, and told when it changes. A seat
//! without address or MAC says nothing about any PC. A card may have been exchanged as well as a PC, so the words say what
//! was seen and no more.

use std::net::IpAddr;

use labwatch_contract::{alert::Severity, event::Host, text::harmless, time::Timestamp};

use super::{Finding, Rule, Rules, who};

const OTHER: Rule = Rule::lasting("seat", "identity-seat", "Another PC at this seat");
const RIGHT: Rule = Rule::ending("seat", "identity-seat-over", "The seat's own PC again");
pub(super) const RULES: &[Rule] = &[OTHER, RIGHT];

/// The MAC that a seat should have, and the other one that was told.
pub(super) type Mismatch = (String, String);

impl Rules {
    /// What is new about the card of the PC at this address.
    pub(super) fn sits(&mut self, address: IpAddr, host: &Host, at: Timestamp) -> Option<Finding> {
        // What is not told outside the exam must be news when it begins.
        let own = host.ip.to_canonical() == address && self.book.is_in_force(at, at);
        let mac = host.mac.as_deref().filter(|_| own)?;
        let seat = self.book.seat_at(address);
        let wanted = seat.and_then(|seat| seat.mac.clone());
        let mismatch = wanted
            .filter(|wanted| !wanted.eq_ignore_ascii_case(mac))
            .map(|wanted| (wanted, mac.to_owned()));
        let pc = self.pcs.get_mut(&address)?;
        let before = std::mem::replace(&mut pc.mismatch, mismatch.clone());
        if before == mismatch {
            return None;
        }
        let (rule, severity, text) = match mismatch {
            Some((wanted, mac)) => (OTHER, Severity::Warning, self.other(&wanted, &mac)),
            None => (
                RIGHT,
                Severity::Info,
                format!(
                    "the PC at this seat is the policy's again: MAC {}",
                    harmless(mac)
                ),
            ),
        };
        let host = self.host(address);
        Some(Finding {
            rule,
            severity,
            seat: None,
            object: "seat".into(),
            message: format!("{}: {text}", who(&host)),
            host: Some(host),
            time: at,
        })
    }

    fn other(&self, wanted: &str, mac: &str) -> String {
        let owner = self.book.seat_with(mac);
        let owner = owner.map(|seat| format!(", the PC of seat {}", harmless(&seat.seat)));
        format!(
            "another PC at this seat, or another network card in it: MAC {}{}; the policy has {} here",
            harmless(mac),
            owner.unwrap_or_default(),
            harmless(wanted)
        )
    }
}
