//! The way through rumqttd's router: publish, confirm, subscribe.
//!
//! Every message goes in through one link, in one order, as a [`Parcel`]: its QoS, number and topic before its
//! payload, because the router forgets the first two, and the third never. Each subscription of staff is a link of
//! its own to the one ring that holds everything, so that a hole in it is seen; it picks what its filter is for. PCs
//! listen to single topics without the router ([`listeners`]). Links speak QoS 0 with the router; packet ids and
//! acknowledgements are the clients' business ([`crate::window`]).
//!
//! Traps of rumqttd 0.20 that are kept away from it: a client id twice or with `/`; anything after a link's
//! DISCONNECT (it panics or hits the next owner of the connection number); retained messages (cut at a window);
//! `$` and foreign filters. Its memory of client ids, topics and filters is never given back, so link names come
//! from a pool, and of topics and filters it hears of one.

mod listeners;
mod parcel;
mod subscription;

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use rumqttd::{
    Notification, Router, RouterConfig, SegmentConfig,
    local::{LinkBuilder, LinkRx, LinkTx},
    protocol::{self, Filter, RetainForwardRule},
};
use tokio::sync::{Notify, oneshot};

use listeners::{Listeners, Listening};
use parcel::{Parcel, TOPIC, parcel_size};
use subscription::Link;
pub(crate) use subscription::{Delivery, Subscription, SubscriptionError};

use crate::{
    lag::LagBook,
    packet::Message,
    probe,
    retained::{Retained, RetainedStore, Unkept},
};

/// The ring that everything goes through: bytes of a segment, and how many of them.
const RING: (usize, usize) = (1024 * 1024, 8);
/// The probe's.
const PROBE_RING: (usize, usize) = (16 * 1024, 4);
/// Bytes that a subscriber may lag behind; the oldest segment of the ring goes when a new one is begun.
const MAX_LAG: u64 = 1024 * 1024 * 7 / 2;
/// Most messages that the router hands to a link at once.
const BATCH: u64 = 100;

/// Opens a link to the router under a name that no other link has.
pub(crate) type Dial = Arc<dyn Fn(&str) -> Result<(LinkTx, LinkRx), RouterGone> + Send + Sync>;

/// The router has gone, and the broker with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the router has gone")]
pub(crate) struct RouterGone;

/// Why a filter could not be subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SubscribeError {
    /// The router has gone.
    #[error(transparent)]
    Gone(#[from] RouterGone),
    /// Too many links.
    #[error("there are too many subscriptions")]
    TooMany,
}

/// Starts a router that takes `links` links; the way to open them.
pub(crate) fn start_router(links: usize) -> Dial {
    let small = SegmentConfig {
        max_segment_size: PROBE_RING.0,
        max_segment_count: PROBE_RING.1,
    };
    let config = RouterConfig {
        max_connections: links,
        max_outgoing_packet_count: BATCH,
        max_segment_size: RING.0,
        max_segment_count: RING.1,
        custom_segment: Some([(probe::TOPIC.to_owned(), small)].into()),
        ..RouterConfig::default()
    };
    let router = Router::new(0, config).spawn();
    Arc::new(
        move |name| match LinkBuilder::new(name, router.clone()).build() {
            Ok((tx, rx, _)) => Ok((tx, rx)),
            Err(_) => Err(RouterGone),
        },
    )
}

/// Everything that goes through the router.
pub(crate) struct Exchange {
    dial: Dial,
    state: Mutex<State>,
    /// Rung when a lagging subscriber has caught up.
    room: Notify,
}

struct State {
    tx: LinkTx,
    /// Whether the router has gone. A dying one may still take what is sent to it, and never answer.
    gone: bool,
    /// Who waits until the router has taken what came before, in the order of the questions.
    waiting: VecDeque<oneshot::Sender<()>>,
    retained: RetainedStore,
    listeners: Listeners,
    lag: LagBook,
    free_links: Vec<usize>,
    links: usize,
    max_links: usize,
}

/// The router's answers on the publishing link; [`Exchange::confirm`] reads them.
pub(crate) struct Answers(LinkRx);

impl Exchange {
    /// An exchange with at most `max_links` subscriptions of staff at a time.
    ///
    /// # Errors
    /// [`RouterGone`] when the router does not answer at all.
    pub(crate) fn open(dial: Dial, max_links: usize) -> Result<(Self, Answers), RouterGone> {
        let (tx, rx) = dial("front")?;
        let state = State {
            tx,
            gone: false,
            waiting: VecDeque::new(),
            retained: RetainedStore::default(),
            listeners: Listeners::default(),
            lag: LagBook::default(),
            free_links: Vec::new(),
            links: 0,
            max_links,
        };
        let exchange = Self {
            dial,
            state: Mutex::new(state),
            room: Notify::new(),
        };
        Ok((exchange, Answers(rx)))
    }

    /// Whether no staff subscriber lags too far.
    pub(crate) fn has_room(&self) -> bool {
        self.state().lag.has_room()
    }

    /// Waits until no staff subscriber lags too far.
    pub(crate) async fn room(&self) {
        loop {
            let room = self.room.notified();
            if self.has_room() {
                return;
            }
            room.await;
        }
    }

    /// Hands a message over; [`Exchange::taken`] makes the router fetch it. Retained and routed in one order.
    ///
    /// # Errors
    /// [`Unkept`]: it was to be retained and is not; it goes out all the same.
    pub(crate) fn publish(&self, message: &Message) -> Result<(), Unkept> {
        let mut state = self.state();
        let size = parcel_size(message.topic.len(), message.payload.len());
        let number = state.lag.publish(size);
        let (parcel, delivery) = Parcel::wrap(number, message);
        state.listeners.tell(&message.topic, &delivery);
        let publish = protocol::Publish::new(Bytes::from_static(TOPIC.as_bytes()), parcel.0, false);
        state
            .tx
            .buffer()
            .push_back(protocol::Packet::Publish(publish, None));
        match message.retain {
            true => state
                .retained
                .keep(&message.topic, delivery.payload, message.qos),
            false => Ok(()),
        }
    }

    /// Waits until the router has taken everything that was published so far.
    ///
    /// # Errors
    /// [`RouterGone`].
    pub(crate) async fn taken(&self) -> Result<(), RouterGone> {
        self.ring()?.await.map_err(|_| RouterGone)
    }

    /// Makes the router fetch what was published, and does not wait for it.
    ///
    /// # Errors
    /// [`RouterGone`].
    pub(crate) fn ring(&self) -> Result<oneshot::Receiver<()>, RouterGone> {
        let (tell, told) = oneshot::channel();
        let mut state = self.state();
        if state.gone {
            return Err(RouterGone);
        }
        state.waiting.push_back(tell);
        post(&mut state.tx, protocol::Packet::PingReq(protocol::PingReq))?;
        Ok(told)
    }

    /// Passes the router's answers on to those who wait; ends with the router.
    pub(crate) async fn confirm(&self, mut answers: Answers) -> RouterGone {
        while let Ok(answer) = answers.0.next().await {
            if matches!(answer, Some(Notification::DeviceAck(_)))
                && let Some(waiting) = self.state().waiting.pop_front()
            {
                // Whoever asked may have gone.
                let _ = waiting.send(());
            }
        }
        let mut state = self.state();
        state.gone = true;
        state.waiting.clear();
        RouterGone
    }

    /// Listens to one topic; also its retained message. Nobody waits for this subscriber.
    pub(crate) fn listen(self: &Arc<Self>, topic: &str) -> (Subscription, Vec<Retained>) {
        let mut state = self.state();
        let listening = Listening::new(self, topic, &mut state.listeners);
        (
            Subscription::Topic(listening),
            state.retained.matching(topic),
        )
    }

    /// Subscribes to a checked filter; also the retained messages, as they are once the subscription stands.
    /// Publishers wait for this subscriber.
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub(crate) async fn subscribe(
        self: &Arc<Self>,
        filter: &str,
    ) -> Result<(Subscription, Vec<Retained>), SubscribeError> {
        let mut link = Link::dial(self, filter)?;
        let asked = protocol::Subscribe {
            pkid: 0,
            filters: vec![Filter {
                path: TOPIC.to_owned(),
                qos: protocol::QoS::AtMostOnce,
                nolocal: false,
                preserve_retain: false,
                retain_forward_rule: RetainForwardRule::Never,
            }],
        };
        post(&mut link.tx, protocol::Packet::Subscribe(asked, None))?;
        while !matches!(
            link.rx.next().await.map_err(|_| RouterGone)?,
            Some(Notification::DeviceAck(_))
        ) {}
        let mut state = self.state();
        link.reader = Some(state.lag.open(MAX_LAG));
        Ok((Subscription::Link(link), state.retained.matching(filter)))
    }

    fn take_link(&self) -> Result<usize, SubscribeError> {
        let mut state = self.state();
        if state.gone {
            return Err(RouterGone.into());
        }
        if let Some(link) = state.free_links.pop() {
            return Ok(link);
        }
        if state.links >= state.max_links {
            return Err(SubscribeError::TooMany);
        }
        state.links += 1;
        Ok(state.links)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands a packet to the router. rumqttd's `send` is asynchronous in name only: polled once, it is done.
fn post(tx: &mut LinkTx, packet: protocol::Packet) -> Result<(), RouterGone> {
    match pin!(tx.send(packet)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(_)) => Ok(()),
        Poll::Ready(Err(_)) | Poll::Pending => Err(RouterGone),
    }
}

#[cfg(test)]
pub(crate) mod tests;
