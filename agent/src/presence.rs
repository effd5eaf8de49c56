//! What the agent says of itself on `status`: will, hello, farewell (retained).
//!
//! An `offline` counts only for the connection that it names. When the broker delivers the will of an older
//! connection late, [`contradicts`] sees it and the agent says `online` again.

use std::net::IpAddr;

use bytes::Bytes;
use labwatch_contract::{
    event::Host,
    status::{Agent, JournalRange, Presence as Word, Reason, Status, StatusEvent, StatusLab},
    time::Timestamp,
    topic::{Leaf, Root, Topic},
};
use labwatch_link::{
    QoS,
    session::{Connected, Message},
};

/// What a status says beside its reason.
#[derive(Debug, Clone)]
pub(crate) struct Hello {
    /// When it is said.
    pub(crate) time: Timestamp,
    /// The PC.
    pub(crate) host: Host,
    /// What the agent cannot see.
    pub(crate) degraded: Vec<String>,
    /// The journals on the PC, oldest first.
    pub(crate) journals: Vec<JournalRange>,
}

/// Whether this agent was connected before, and from where.
#[derive(Debug, Clone)]
pub(crate) struct Presence {
    root: Root,
    previous: Option<IpAddr>,
}

impl Presence {
    /// An agent that has just started.
    #[must_use]
    pub(crate) fn new(root: Root) -> Self {
        Self {
            root,
            previous: None,
        }
    }

    /// `online` on a new connection: its reason follows from the connection before.
    pub(crate) fn arrive(&mut self, connection: &Connected, hello: Hello) -> Option<Message> {
        let ip = hello.host.ip;
        let previous_ip = self.previous.replace(ip);
        let reason = match previous_ip {
            None => Reason::Started,
            Some(previous) if previous == ip => Reason::Reconnected,
            Some(_) => Reason::AddressChanged,
        };
        let moved_from = previous_ip.filter(|previous| *previous != ip);
        write(
            &self.root,
            connection,
            hello,
            (Word::Online, reason),
            moved_from,
        )
    }

    /// `offline` in order, and why.
    #[must_use]
    pub(crate) fn leave(
        &self,
        connection: &Connected,
        hello: Hello,
        reason: Reason,
    ) -> Option<Message> {
        write(&self.root, connection, hello, (Word::Offline, reason), None)
    }

    /// `offline`, to be said by the broker.
    #[must_use]
    pub(crate) fn will(&self, connection: &Connected, hello: Hello) -> Option<Message> {
        write(
            &self.root,
            connection,
            hello,
            (Word::Offline, Reason::Lost),
            None,
        )
    }
}

/// `online` once more on the same connection, because what it says has changed or was contradicted.
#[must_use]
pub(crate) fn repeat(
    root: &Root,
    connection: &Connected,
    hello: Hello,
    reason: Reason,
) -> Option<Message> {
    write(root, connection, hello, (Word::Online, reason), None)
}

/// The topic of our own status.
#[must_use]
pub(crate) fn topic(root: &Root, ip: IpAddr) -> String {
    root.text(&Topic::pc(ip, Leaf::Status))
}

/// Whether a status of our own topic says that we are gone, while we are connected.
#[must_use]
pub(crate) fn contradicts(root: &Root, message: &Message, ip: IpAddr) -> bool {
    let status = || serde_json::from_slice::<Status>(&message.payload).ok();
    message.topic == topic(root, ip)
        && status().is_none_or(|status| status.event.action == Word::Offline)
}

fn write(
    root: &Root,
    connection: &Connected,
    hello: Hello,
    (word, reason): (Word, Reason),
    previous_ip: Option<IpAddr>,
) -> Option<Message> {
    let Hello {
        time,
        host,
        degraded,
        journals,
    } = hello;
    let topic = topic(root, host.ip);
    let status = Status {
        timestamp: time,
        event: StatusEvent { action: word },
        host,
        agent: Agent {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        lab: StatusLab {
            reason,
            connection: connection.id,
            previous_ip,
            degraded,
            journals,
        },
    };
    let payload = Bytes::from(serde_json::to_vec(&status).ok()?);
    Some(Message {
        topic,
        payload,
        qos: QoS::AtLeastOnce,
        retain: true,
    })
}

#[cfg(test)]
mod tests {
    use labwatch_contract::event::Boot;
    use uuid::Uuid;

    use super::*;

    fn hello(ip: [u8; 4]) -> Hello {
        let host = Host {
            ip: ip.into(),
            name: "pc".into(),
            id: "x".into(),
            mac: None,
            boot: Boot::default(),
        };
        let time = "2026-11-22T09:31:05Z".parse().unwrap();
        Hello {
            time,
            host,
            degraded: vec!["no-capture".into()],
            journals: vec![],
        }
    }

    fn connection() -> Connected {
        Connected {
            id: Uuid::from_u128(5),
            local: [10, 0, 0, 1].into(),
            broker: "10.0.0.9:1883".parse().unwrap(),
        }
    }

    fn read(message: &Message) -> Status {
        serde_json::from_slice(&message.payload).unwrap()
    }

    #[test]
    fn a_hello_says_why_and_where_the_agent_was_before() {
        let mut presence = Presence::new(Root::default());
        let mut arrive = |ip| read(&presence.arrive(&connection(), hello(ip)).unwrap()).lab;
        let told: Vec<_> = [[10, 0, 0, 1], [10, 0, 0, 1], [10, 0, 0, 2]]
            .map(&mut arrive)
            .into();
        let reasons: Vec<_> = told
            .iter()
            .map(|lab| (lab.reason, lab.previous_ip))
            .collect();
        let moved = (Reason::AddressChanged, Some([10, 0, 0, 1].into()));
        assert_eq!(
            reasons,
            [(Reason::Started, None), (Reason::Reconnected, None), moved]
        );
        assert_eq!(told[0].degraded, ["no-capture"]);
    }

    #[test]
    fn the_will_says_offline_and_lost_and_is_retained_on_the_own_topic() {
        let will = Presence::new(Root::default())
            .will(&connection(), hello([10, 0, 0, 1]))
            .unwrap();
        assert_eq!(
            (will.topic.as_str(), will.retain),
            ("lab/10.0.0.1/status", true)
        );
        let status = read(&will);
        assert_eq!(
            (status.event.action, status.lab.reason),
            (Word::Offline, Reason::Lost)
        );
    }

    #[test]
    fn only_an_offline_or_an_emptied_status_of_our_own_contradicts() {
        let (root, own) = (Root::default(), [10, 0, 0, 1].into());
        let will = Presence::new(root.clone())
            .will(&connection(), hello([10, 0, 0, 1]))
            .unwrap();
        let online = repeat(
            &root,
            &connection(),
            hello([10, 0, 0, 1]),
            Reason::Reconnected,
        )
        .unwrap();
        assert!(contradicts(&root, &will, own));
        assert!(contradicts(
            &root,
            &Message {
                payload: Bytes::new(),
                ..will.clone()
            },
            own
        ));
        assert!(!contradicts(&root, &online, own));
        assert!(!contradicts(&root, &will, [10, 0, 0, 2].into()));
    }
}
