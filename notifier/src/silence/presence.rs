//! What an agent says of itself, by its statuses: that it is there, where it was before, and that it goes.
//!
//! ```text
//! online  --> came, came back, moved from another address
//! offline --> went (stopped, shut down); lost: nothing yet, the PC is in doubt
//! ```
//!
//! An `offline` that names another connection than the last `online` counts for nothing; a claim to have moved from
//! another address counts only for the same PC in the same boot. What was said before we came is kept until somebody
//! asks who had gone.

use std::net::IpAddr;

use labwatch_contract::{
    status::{Presence, Reason, Status},
    time::Timestamp,
};

use super::{
    MAX_PCS, Seen, Silence, TICK,
    pc::{Arrival, Cause, Identity, Pc, Told},
    words,
};
use crate::rules::Finding;

impl Silence {
    /// What is new in a status of the PC with this address.
    pub fn status(&mut self, address: IpAddr, status: &Status, seen: Seen) -> Option<Finding> {
        match status.event.action {
            Presence::Online => self.online(address, status, seen),
            Presence::Offline => self.offline(address, status, seen),
        }
    }

    /// Who had gone before we came, and after the moment when somebody last watched.
    pub fn gone_since(&mut self, watched: Timestamp) -> Vec<Finding> {
        let gone = std::mem::take(&mut self.gone_before);
        let later = gone.into_values().filter(|(when, _)| *when > watched);
        later.map(|(_, finding)| finding).collect()
    }

    /// Where the PC that is at this address now came from, when it was known there.
    #[must_use]
    pub fn moved_to(&self, address: IpAddr) -> Option<IpAddr> {
        let moved = |pc: &Pc| {
            pc.told
                .is_some_and(|told| told.cause == Cause::Moved(address))
        };
        let from = self.pcs.iter().find(|(_, pc)| moved(pc));
        from.map(|(from, _)| *from)
    }

    fn online(&mut self, address: IpAddr, status: &Status, seen: Seen) -> Option<Finding> {
        self.gone_before.remove(&address);
        let known = self.pcs.get(&address);
        let news = Arrival::of(known, status, seen);
        let told = known.and_then(|pc| pc.told);
        let is_known = known.is_some();
        let moved_from = self.moved_from(address, status);
        if is_known || self.pcs.len() < MAX_PCS {
            self.pcs.insert(address, Pc::online(status, seen.now));
            self.look_by(seen.now + TICK);
        }
        if let Some(Told {
            group: Some(group), ..
        }) = told
            && let Some(finding) = self.returned(group, address, seen)
        {
            return Some(finding);
        }
        match moved_from {
            Some(from) => Some(words::moved(address, from, status)),
            None => words::came(address, status, news),
        }
    }

    /// The address that this PC had before, when that was known to be the same PC in the same boot.
    fn moved_from(&mut self, address: IpAddr, status: &Status) -> Option<IpAddr> {
        let from = status.lab.previous_ip?.to_canonical();
        let identity = Identity::of(status);
        let old = self.pcs.get_mut(&from).filter(|_| from != address)?;
        let same = identity.is_some() && old.identity == identity;
        same.then(|| {
            old.leave(Cause::Moved(address));
            from
        })
    }

    fn offline(&mut self, address: IpAddr, status: &Status, seen: Seen) -> Option<Finding> {
        let known = self.pcs.get_mut(&address).filter(|pc| pc.was_seen());
        let Some(pc) = known else {
            return self.gone_unknown(address, status, seen);
        };
        if pc.connection != Some(status.lab.connection) || !pc.online {
            return None;
        }
        match Cause::of(status.lab.reason) {
            Some(cause) => {
                let known = pc.leave(cause);
                known
                    .is_none_or(|told| told.cause != cause)
                    .then(|| words::went(address, status, cause, seen))
            }
            None => {
                pc.lose(seen);
                self.look_by(seen.now);
                None
            }
        }
    }

    /// An `offline` of a PC whose `online` we have not seen.
    fn gone_unknown(&mut self, address: IpAddr, status: &Status, seen: Seen) -> Option<Finding> {
        let cause = Cause::of(status.lab.reason);
        if seen.retained {
            if cause != Some(Cause::Shutdown) && self.gone_before.len() < MAX_PCS {
                let finding = words::went_unseen(address, status, cause);
                // A will was written at the connect; only that it was later is known.
                let when = match status.lab.reason {
                    Reason::Lost => seen.at,
                    _ => status.timestamp,
                };
                self.gone_before.insert(address, (when, finding));
            }
            return None;
        }
        if self.pcs.len() >= MAX_PCS && !self.pcs.contains_key(&address) {
            return Some(words::went(
                address,
                status,
                cause.unwrap_or(Cause::Unsaid),
                seen,
            ));
        }
        let mut pc = Pc::online(status, seen.now);
        let finding = match cause {
            Some(cause) => {
                pc.leave(cause);
                Some(words::went(address, status, cause, seen))
            }
            None => {
                pc.lose(seen);
                None
            }
        };
        self.pcs.insert(address, pc);
        self.look_by(seen.now);
        finding
    }
}
