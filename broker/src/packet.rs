//! MQTT 3.1.1 packets as values: what a client may send. `reading` takes them from bytes, `writing` puts the broker's
//! answers and messages into bytes.
//!
//! Owns the wire format (OASIS MQTT 3.1.1, sections 2 and 3). QoS 2 is not spoken: nothing of ours uses it, and the
//! recorder drops duplicates itself.
//!
//! rumqttd's own codec is not used: it hides the QoS and the id of a publish.

mod reading;
mod writing;

use bytes::Bytes;

pub use self::{
    reading::{PacketError, read},
    writing::{
        Welcome, write_connack, write_pingresp, write_puback, write_publish, write_suback,
        write_unsuback,
    },
};

/// How a message is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qos {
    /// 0: at most once.
    AtMostOnce,
    /// 1: at least once.
    AtLeastOnce,
}

impl Qos {
    /// The number on the wire.
    pub fn number(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
        }
    }
}

/// What a client may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// The first packet of a connection.
    Connect(Connect),
    /// A message; the id stands with QoS 1 alone.
    Publish(Publish),
    /// The client has taken a QoS 1 message.
    PubAck(u16),
    /// Filters with the QoS that is asked for.
    Subscribe(u16, Vec<(String, Qos)>),
    /// Filters to forget.
    Unsubscribe(u16, Vec<String>),
    /// A sign of life.
    PingReq,
    /// The end in order: no will.
    Disconnect,
}

/// The first packet of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// The client id, perhaps empty.
    pub client_id: String,
    /// Whether no session is to be resumed.
    pub clean: bool,
    /// Seconds; 0 asks for none.
    pub keep_alive: u16,
    /// What is said when the client is lost.
    pub will: Option<Message>,
    /// User name and password.
    pub login: Option<Login>,
}

/// A message without its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The topic's text, not yet checked against the contract.
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
    /// How it is delivered.
    pub qos: Qos,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
}

/// A message and its packet id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The message.
    pub message: Message,
    /// The id, with QoS 1.
    pub id: Option<u16>,
}

/// User name and password; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user name.
    pub user: String,
    /// The password, empty when none came.
    pub password: Bytes,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_written_message_is_read_back(
            topic in "[a-z/]{1,40}", payload in prop::collection::vec(any::<u8>(), 0..300),
            id in prop::option::of(1u16..), retain: bool,
        ) {
            let mut buffer = BytesMut::new();
            write_publish(&mut buffer, topic.as_bytes(), &payload, id, retain);
            let (packet, _) = read(&mut buffer, 1024).unwrap().unwrap();
            let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
            prop_assert_eq!((publish.message.topic, publish.id, publish.message.retain), (topic, id, retain));
            prop_assert_eq!(&publish.message.payload[..], &payload[..]);
        }
    }
}
