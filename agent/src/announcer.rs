//! Fills will, hello and farewell of the session with what this PC is at that moment.

use std::net::IpAddr;

use labwatch_contract::{
    status::{JournalRange, Reason},
    topic::{Leaf, Root, Topic},
};
use labwatch_link::session::{self, Connected, Message};
use tokio::sync::watch;

use crate::{
    degraded::Degraded,
    identity,
    presence::{self, Hello, Presence},
    shutdown,
};

/// Says who this PC is on each connection.
pub(crate) struct Announcer {
    root: Root,
    ip: Option<IpAddr>,
    presence: Presence,
    degraded: Degraded,
    journals: watch::Receiver<Vec<JournalRange>>,
}

impl Announcer {
    /// With an address for the topics, or `None` for that of the connection.
    #[must_use]
    pub(crate) fn new(
        root: Root,
        ip: Option<IpAddr>,
        degraded: Degraded,
        journals: watch::Receiver<Vec<JournalRange>>,
    ) -> Self {
        Self {
            presence: Presence::new(root.clone()),
            root,
            ip,
            degraded,
            journals,
        }
    }

    fn hello(&self, connection: &Connected) -> Hello {
        Hello {
            time: identity::now(),
            host: identity::host(self.ip.unwrap_or(connection.local)),
            degraded: self.degraded.words(),
            journals: self.journals.borrow().clone(),
        }
    }
}

impl session::Presence for Announcer {
    fn will(&mut self, connection: &Connected) -> Option<Message> {
        self.presence.will(connection, self.hello(connection))
    }

    fn online(&mut self, connection: &Connected) -> Option<Message> {
        let hello = self.hello(connection);
        self.presence.arrive(connection, hello)
    }

    fn offline(&mut self, connection: &Connected) -> Option<Message> {
        let reason = if shutdown::is_under_way("systemctl") {
            Reason::Shutdown
        } else {
            Reason::Stopped
        };
        self.presence
            .leave(connection, self.hello(connection), reason)
    }

    /// What waited under an address that this PC has no longer would end the connection; it comes again by the new one.
    fn goes_out(&mut self, connection: &Connected, message: &Message) -> bool {
        let ip = self.ip.unwrap_or(connection.local);
        matches!(self.root.parse(&message.topic), Ok(Topic::Pc(of, _)) if of == ip)
    }

    fn filters(&mut self, connection: &Connected) -> Vec<String> {
        let ip = self.ip.unwrap_or(connection.local);
        let acknowledgements = self.root.text(&Topic::pc(ip, Leaf::Ack));
        let policy = self.root.text(&Topic::AgentPolicy);
        vec![acknowledgements, presence::topic(&self.root, ip), policy]
    }
}
