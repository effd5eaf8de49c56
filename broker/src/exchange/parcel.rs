//! What a message looks like inside the router: a label of QoS and number before the payload.
//!
//! The router knows neither: it delivers with the QoS of the subscription, and numbers within one filter's log.

use bytes::{Bytes, BytesMut};

use crate::packet::Qos;

/// What the router carries as a payload: QoS, number of the message, payload. Never empty, so the router never
/// takes it for the deletion of a retained message.
pub(super) struct Parcel(pub(super) Bytes);

/// Bytes before the payload.
const LABEL: usize = 9;

impl Parcel {
    /// Puts the label before the payload.
    pub(super) fn wrap(qos: Qos, number: u64, payload: &[u8]) -> Self {
        let mut bytes = BytesMut::with_capacity(LABEL + payload.len());
        bytes.extend_from_slice(&[qos.number()]);
        bytes.extend_from_slice(&number.to_be_bytes());
        bytes.extend_from_slice(payload);
        Self(bytes.freeze())
    }

    /// The payload alone.
    pub(super) fn payload(&self) -> Bytes {
        self.0.slice(LABEL.min(self.0.len())..)
    }

    /// QoS, number and payload.
    pub(super) fn unwrap(&self) -> (Qos, u64, Bytes) {
        let (qos, number) = match self.0.first_chunk::<LABEL>() {
            Some([qos, number @ ..]) => (*qos, u64::from_be_bytes(*number)),
            None => (0, 0),
        };
        let qos = match qos {
            0 => Qos::AtMostOnce,
            _ => Qos::AtLeastOnce,
        };
        (qos, number, self.payload())
    }
}

/// Bytes of a message as the router's ring counts them.
pub(super) fn parcel_size(topic: usize, payload: usize) -> u64 {
    u64::try_from(4 + topic + LABEL + payload).unwrap_or(u64::MAX)
}
