//! One filter's messages: of a PC's topic from the [`listeners`](super::listeners), else by a link to the router.
//!
//! A link takes what the router forwards, tells it when its buffer was emptied, books what was taken, picks what its
//! filter is for, and sees a hole in the ring: what a subscriber missed is said, never skipped. Dropped, it is
//! unsubscribed.

use std::sync::Arc;

use bytes::Bytes;
use rumqttd::{
    Notification,
    local::{LinkRx, LinkTx},
    protocol::{self, Disconnect, DisconnectReasonCode, matches},
};

use super::{
    Exchange, RouterGone, SubscribeError,
    listeners::Listening,
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
    /// The client was too slow, and that many messages are gone, some of which may have been for it.
    #[error("it was too slow: {0} messages are lost to it")]
    Lost(u64),
    /// The client was too slow for the only topic that it listens to.
    #[error("it was too slow: messages are lost to it")]
    Slow,
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

/// What brings one filter's messages.
pub(crate) enum Subscription {
    /// A PC's one topic.
    Topic(Listening),
    /// Staff's filter.
    Link(Link),
}

impl Subscription {
    /// The next message. It counts as taken; may be dropped while it waits.
    ///
    /// # Errors
    /// [`SubscriptionError`].
    pub(crate) async fn next(&mut self) -> Result<Delivery, SubscriptionError> {
        match self {
            Self::Topic(topic) => topic.next().await,
            Self::Link(link) => link.next().await,
        }
    }
}

/// A link that carries everything, of which what matches one filter is taken; dropped, it is unsubscribed.
pub(crate) struct Link {
    exchange: Arc<Exchange>,
    link: usize,
    filter: String,
    pub(super) tx: LinkTx,
    pub(super) rx: LinkRx,
    pub(super) reader: Option<ReaderId>,
    /// Where the last message stood in the ring.
    last: Option<u64>,
}

impl Link {
    pub(super) fn dial(exchange: &Arc<Exchange>, filter: &str) -> Result<Self, SubscribeError> {
        let link = exchange.take_link()?;
        let (tx, rx) = (exchange.dial)(&format!("link-{link}"))?;
        Ok(Self {
            exchange: Arc::clone(exchange),
            link,
            filter: filter.to_owned(),
            tx,
            rx,
            reader: None,
            last: None,
        })
    }

    async fn next(&mut self) -> Result<Delivery, SubscriptionError> {
        loop {
            match self.rx.next().await.map_err(|_| RouterGone)? {
                Some(Notification::Forward(forward)) => {
                    if let Some(delivery) = self.take(forward)? {
                        return Ok(delivery);
                    }
                }
                // The router has filled the link's buffer and waits to hear that it was emptied.
                Some(Notification::Unschedule) => self.rx.ready().map_err(|_| RouterGone)?,
                _ => {}
            }
        }
    }

    /// Books a message; the message, if the filter is for it.
    fn take(&mut self, forward: rumqttd::Forward) -> Result<Option<Delivery>, SubscriptionError> {
        let at = forward.cursor.map(|(_, at)| at);
        if let (Some(at), Some(last)) = (at, self.last)
            && at > last + 1
        {
            return Err(SubscriptionError::Lost(at - last - 1));
        }
        self.last = at;
        let Some((number, delivery)) = Parcel(forward.publish.payload).unwrap() else {
            return Ok(None);
        };
        let size = parcel_size(delivery.topic.len(), delivery.payload.len());
        if let Some(reader) = self.reader
            && self.exchange.state().lag.take(reader, number, size)
        {
            self.exchange.room.notify_waiters();
        }
        let topic = str::from_utf8(&delivery.topic).unwrap_or_default();
        Ok(matches(topic, &self.filter).then_some(delivery))
    }
}

impl Drop for Link {
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
