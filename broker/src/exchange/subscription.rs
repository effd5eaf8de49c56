//! One filter's messages, by a link to the router of its own.
//!
//! Takes what the router forwards, tells it when its buffer was emptied, books what was taken, and sees a hole in
//! the filter's log: what a subscriber missed is said, never skipped. Dropped, it is unsubscribed.

use std::sync::Arc;

use bytes::Bytes;
use rumqttd::{
    Notification,
    local::{LinkRx, LinkTx},
    protocol::{self, Disconnect, DisconnectReasonCode},
};

use super::{
    Exchange, RouterGone, SubscribeError,
    parcel::{Parcel, parcel_size},
    post,
};
use crate::{lag::ReaderId, packet::Qos, retained::Retained};

/// Why a subscription cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SubscriptionError {
    /// The router has gone.
    #[error(transparent)]
    Gone(#[from] RouterGone),
    /// The client was too slow, and that many messages are gone.
    #[error("it was too slow: {0} messages are lost to it")]
    Lost(u64),
}

/// A message on its way to a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// The topic.
    pub(crate) topic: Bytes,
    /// The payload.
    pub(crate) payload: Bytes,
    /// The QoS it was published with.
    pub(crate) qos: Qos,
    /// Whether it is a retained message for a new subscriber.
    pub(crate) retain: bool,
}

impl From<Retained> for Delivery {
    fn from(message: Retained) -> Self {
        Self {
            topic: message.topic,
            payload: message.payload,
            qos: message.qos,
            retain: true,
        }
    }
}

/// A link that carries what matches one filter; dropped, it is unsubscribed.
pub(crate) struct Subscription {
    exchange: Arc<Exchange>,
    link: usize,
    pub(super) tx: LinkTx,
    pub(super) rx: LinkRx,
    pub(super) reader: Option<ReaderId>,
    /// Where the last message stood in the filter's log.
    last: Option<u64>,
}

impl Subscription {
    pub(super) fn dial(exchange: &Arc<Exchange>, filter: &str) -> Result<Self, SubscribeError> {
        let link = exchange.take_link(filter)?;
        let (tx, rx) = (exchange.dial)(&format!("link-{link}"))?;
        Ok(Self {
            exchange: Arc::clone(exchange),
            link,
            tx,
            rx,
            reader: None,
            last: None,
        })
    }

    /// The next message. It counts as taken; may be dropped while it waits.
    ///
    /// # Errors
    /// [`SubscriptionError`].
    pub(crate) async fn next(&mut self) -> Result<Delivery, SubscriptionError> {
        loop {
            match self.rx.next().await.map_err(|_| RouterGone)? {
                Some(Notification::Forward(forward)) => return self.take(forward),
                // The router has filled the link's buffer and waits to hear that it was emptied.
                Some(Notification::Unschedule) => self.rx.ready().map_err(|_| RouterGone)?,
                _ => {}
            }
        }
    }

    fn take(&mut self, forward: rumqttd::Forward) -> Result<Delivery, SubscriptionError> {
        let at = forward.cursor.map(|(_, at)| at);
        if let (Some(at), Some(last)) = (at, self.last)
            && at > last + 1
        {
            return Err(SubscriptionError::Lost(at - last - 1));
        }
        self.last = at;
        let parcel = Parcel(forward.publish.payload);
        let topic = forward.publish.topic;
        let (qos, number, payload) = parcel.unwrap();
        let size = parcel_size(topic.len(), payload.len());
        if let Some(reader) = self.reader
            && self.exchange.state().lag.take(reader, number, size)
        {
            self.exchange.room.notify_waiters();
        }
        Ok(Delivery {
            topic,
            payload,
            qos,
            retain: false,
        })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let bye = Disconnect {
            reason_code: DisconnectReasonCode::NormalDisconnection,
        };
        // If the router has gone, there is nothing to unsubscribe from.
        let _ = post(&mut self.tx, protocol::Packet::Disconnect(bye, None));
        let mut state = self.exchange.state();
        // Only now: the router hears of the end before it hears of the name's next owner.
        state.free_links.push(self.link);
        if let Some(reader) = self.reader {
            state.lag.close(reader);
            self.exchange.room.notify_waiters();
        }
    }
}
