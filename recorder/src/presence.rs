//! Which words about an agent's coming and going are worth a note.
//!
//! A broker repeats the retained status of every PC at each connect, and a will of an old connection may come
//! after the hello of the new one. A status that was noted is not noted again; an `offline` that names another
//! connection than the one that is online counts for nothing. A status is remembered by its digest: it may be as long
//! as a message. Pure.

use std::net::IpAddr;

use labwatch_contract::{
    chain::Digest,
    status::{Presence, Status},
};
use uuid::Uuid;

use crate::recent::Recent;

/// PCs whose last status is remembered.
const MAX_PCS: usize = 16 * 1024;

/// The last status noted of each PC.
#[derive(Debug)]
pub(crate) struct Attendance {
    last: Recent<IpAddr, Word>,
}

/// What a status comes down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word {
    presence: Presence,
    connection: Uuid,
    /// Of its payload.
    digest: Digest,
}

impl Default for Attendance {
    fn default() -> Self {
        Self {
            last: Recent::new(MAX_PCS),
        }
    }
}

impl Attendance {
    /// Whether `status` of the PC with this address is news; `digest` is that of its payload.
    pub(crate) fn is_news(&mut self, address: IpAddr, status: &Status, digest: Digest) -> bool {
        let word = Word {
            presence: status.event.action,
            connection: status.lab.connection,
            digest,
        };
        let last = self.last.get_mut(&address);
        let known = last.is_some_and(|last| *last == word || is_stale(*last, word));
        if !known {
            self.last.insert(address, word);
        }
        !known
    }
}

/// Whether `word` is of the end of a connection that another has replaced.
fn is_stale(last: Word, word: Word) -> bool {
    last.presence == Presence::Online
        && word.presence == Presence::Offline
        && last.connection != word.connection
}

#[cfg(test)]
pub(crate) mod tests {
    use labwatch_contract::{
        event::{Boot, Host},
        status::{Agent, JournalRange, Reason, StatusEvent, StatusLab},
    };
    use uuid::Uuid;

    use super::*;

    /// A status of `ip`'s connection with this number.
    pub(crate) fn status(ip: &str, connection: u128, reason: Reason) -> Status {
        let gone = matches!(reason, Reason::Lost | Reason::Stopped | Reason::Shutdown);
        let action = if gone {
            Presence::Offline
        } else {
            Presence::Online
        };
        Status {
            timestamp: "2026-11-22T09:31:05.123Z".parse().unwrap(),
            event: StatusEvent { action },
            host: Host {
                ip: ip.parse().unwrap(),
                name: "pc-33".into(),
                id: "a1".into(),
                mac: None,
                boot: Boot::default(),
            },
            agent: Agent {
                version: "0.1.0".into(),
            },
            lab: StatusLab {
                reason,
                connection: Uuid::from_u128(connection),
                previous_ip: None,
                degraded: Vec::new(),
                journals: vec![JournalRange {
                    journal: Uuid::from_u128(7),
                    first: 1,
                    last: 0,
                }],
            },
        }
    }

    fn is_news(attendance: &mut Attendance, connection: u128, reason: Reason) -> bool {
        let status = status("192.168.0.133", connection, reason);
        let digest = Digest::of(&serde_json::to_vec(&status).unwrap());
        attendance.is_news(status.host.ip, &status, digest)
    }

    #[test]
    fn of_a_status_nothing_is_remembered_that_has_a_length() {
        // What can be copied bit by bit owns no text.
        fn owns_nothing<T: Copy>(_: &Recent<IpAddr, T>) {}
        owns_nothing(&Attendance::default().last);
    }

    #[test]
    fn a_status_that_the_broker_repeats_is_no_news() {
        let mut attendance = Attendance::default();
        assert!(is_news(&mut attendance, 1, Reason::Started));
        assert!(!is_news(&mut attendance, 1, Reason::Started));
        assert!(is_news(&mut attendance, 1, Reason::JournalsChanged));
        assert!(is_news(&mut attendance, 1, Reason::Lost));
        assert!(!is_news(&mut attendance, 1, Reason::Lost));
    }

    #[test]
    fn the_end_of_a_replaced_connection_is_no_news() {
        let mut attendance = Attendance::default();
        assert!(is_news(&mut attendance, 1, Reason::Started));
        assert!(is_news(&mut attendance, 2, Reason::Reconnected));
        assert!(!is_news(&mut attendance, 1, Reason::Lost));
        assert!(is_news(&mut attendance, 2, Reason::Lost));
    }

    #[test]
    fn an_end_without_a_known_beginning_is_news() {
        let mut attendance = Attendance::default();
        assert!(is_news(&mut attendance, 1, Reason::Lost));
        assert!(is_news(&mut attendance, 2, Reason::Lost));
    }
}
