//! What a message looks like inside the router: a label of QoS, number and topic before the payload.
//!
//! The router knows none of them: it delivers with the QoS of the subscription, numbers within one filter's log, and
//! never forgets a topic, so all go through it under [`TOPIC`].

use bytes::{Bytes, BytesMut};

use super::subscription::Delivery;
use crate::packet::{Message, Qos};

/// The only topic, and filter, that the router hears of from clients.
pub(super) const TOPIC: &str = "all";

/// What the router carries as a payload. Never empty, so the router never takes it for the deletion of a retained
/// message.
pub(super) struct Parcel(pub(super) Bytes);

/// Bytes of the label but for the topic: QoS, number, length of the topic.
const LABEL: usize = 1 + 8 + 2;

impl Parcel {
    /// Puts the label before the payload; also the message by itself, as parts of the parcel.
    pub(super) fn wrap(number: u64, message: &Message) -> (Self, Delivery) {
        // MQTT writes the length of a topic with two bytes, too.
        let length = u16::try_from(message.topic.len()).unwrap_or_default();
        let end = LABEL + message.topic.len();
        let mut bytes = BytesMut::with_capacity(end + message.payload.len());
        bytes.extend_from_slice(&[message.qos.number()]);
        bytes.extend_from_slice(&number.to_be_bytes());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(message.topic.as_bytes());
        bytes.extend_from_slice(&message.payload);
        let bytes = bytes.freeze();
        let delivery = Delivery {
            topic: bytes.slice(LABEL..end),
            payload: bytes.slice(end..),
            qos: message.qos,
            retain: false,
        };
        (Self(bytes), delivery)
    }

    /// The message and its number; `None` when this is no parcel.
    pub(super) fn unwrap(&self) -> Option<(u64, Delivery)> {
        let ([qos, label @ ..], _) = self.0.split_first_chunk::<LABEL>()?;
        let (number, length) = label.split_first_chunk()?;
        let end = LABEL + usize::from(u16::from_be_bytes(length.try_into().ok()?));
        let delivery = Delivery {
            topic: (self.0.len() >= end).then(|| self.0.slice(LABEL..end))?,
            payload: self.0.slice(end..),
            qos: match qos {
                0 => Qos::AtMostOnce,
                _ => Qos::AtLeastOnce,
            },
            retain: false,
        };
        Some((u64::from_be_bytes(*number), delivery))
    }
}

/// Bytes of a message as the router's ring counts them.
pub(super) fn parcel_size(topic: usize, payload: usize) -> u64 {
    u64::try_from(4 + TOPIC.len() + LABEL + topic + payload).unwrap_or(u64::MAX)
}
