//! The way through rumqttd's router: publish, confirm, subscribe.
//!
//! Every message goes in through one link, in one order, as a [`Parcel`]: its QoS and number before its payload,
//! because the router forgets both. Each subscription is a link of its own, so that it is known what every
//! message was delivered for, and a hole in its log is seen. Links speak QoS 0 with the router; packet ids and
//! acknowledgements are the clients' business ([`crate::window`]).
//!
//! Traps of rumqttd 0.20 that are kept away from it: a client id twice or with `/`; anything after a link's
//! DISCONNECT (it panics or hits the next owner of the connection number); retained messages (cut at a window);
//! `$` and foreign filters. Its memory of client ids and filters is never given back, so link names come from a
//! pool and filters are counted.

use std::{
    collections::{HashSet, VecDeque},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use labwatch_contract::topic::Root;
use rumqttd::{
    Notification, Router, RouterConfig, SegmentConfig,
    local::{LinkBuilder, LinkRx, LinkTx},
    protocol::{self, Disconnect, DisconnectReasonCode, Filter, RetainForwardRule},
};
use tokio::sync::{Notify, oneshot};
use tracing::warn;

use crate::{
    lag::{LagBook, ReaderId},
    packet::{Message, Qos},
    probe,
    retained::{Retained, RetainedStore},
};

/// A ring for whom much is meant: staff with a wildcard.
const LARGE_RING: (usize, usize) = (1024 * 1024, 8);
/// A ring for one topic of one PC: there are many of them, and little goes through.
const SMALL_RING: (usize, usize) = (16 * 1024, 4);
/// Most filters with a large and with a small ring; the router never forgets one.
const MAX_LARGE: usize = 64;
const MAX_SMALL: usize = 8_192;
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
    /// Too many links, or filters that were never used before.
    #[error("there are too many subscriptions")]
    TooMany,
}

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

/// Starts a router whose rings suit `root` and that takes `links` links; the way to open them.
pub(crate) fn start_router(root: &Root, links: usize) -> Dial {
    let small = SegmentConfig {
        max_segment_size: SMALL_RING.0,
        max_segment_count: SMALL_RING.1,
    };
    let rings = small_filters(root)
        .into_iter()
        .chain([probe::TOPIC.to_owned()])
        .map(|filter| (filter, small.clone()));
    let config = RouterConfig {
        max_connections: links,
        max_outgoing_packet_count: BATCH,
        max_segment_size: LARGE_RING.0,
        max_segment_count: LARGE_RING.1,
        custom_segment: Some(rings.collect()),
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

fn small_filters(root: &Root) -> [String; 3] {
    ["+/ack", "+/status", "policy/agents"].map(|below| format!("{root}/{below}"))
}

/// Everything that goes through the router.
pub(crate) struct Exchange {
    root: Root,
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
    lag: LagBook,
    filters: HashSet<String>,
    large: usize,
    free_links: Vec<usize>,
    links: usize,
    max_links: usize,
}

/// The router's answers on the publishing link; [`Exchange::confirm`] reads them.
pub(crate) struct Answers(LinkRx);

impl Exchange {
    /// An exchange with at most `max_links` subscriptions at a time.
    ///
    /// # Errors
    /// [`RouterGone`] when the router does not answer at all.
    pub(crate) fn open(
        root: Root,
        dial: Dial,
        max_links: usize,
    ) -> Result<(Self, Answers), RouterGone> {
        let (tx, rx) = dial("front")?;
        let state = State {
            tx,
            gone: false,
            waiting: VecDeque::new(),
            retained: RetainedStore::default(),
            lag: LagBook::default(),
            filters: HashSet::new(),
            large: 0,
            free_links: Vec::new(),
            links: 0,
            max_links,
        };
        let exchange = Self {
            root,
            dial,
            state: Mutex::new(state),
            room: Notify::new(),
        };
        Ok((exchange, Answers(rx)))
    }

    /// Waits until no staff subscriber lags too far.
    pub(crate) async fn room(&self) {
        loop {
            let room = self.room.notified();
            if self.state().lag.has_room() {
                return;
            }
            room.await;
        }
    }

    /// Hands a message over; [`Exchange::taken`] makes the router fetch it. Retained and routed in one order.
    pub(crate) fn publish(&self, message: Message) {
        let mut state = self.state();
        let size = parcel_size(message.topic.len(), message.payload.len());
        let number = state.lag.publish(&message.topic, size);
        let parcel = Parcel::wrap(message.qos, number, &message.payload);
        if message.retain {
            let payload = parcel.payload();
            if state
                .retained
                .keep(&message.topic, payload, message.qos)
                .is_err()
            {
                warn!("no room for another retained message: {}", message.topic);
            }
        }
        let publish = protocol::Publish::new(Bytes::from(message.topic), parcel.0, false);
        state
            .tx
            .buffer()
            .push_back(protocol::Packet::Publish(publish, None));
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

    /// Subscribes to a checked filter; also the retained messages, as they are once the subscription stands.
    /// With `pace`, publishers wait for this subscriber.
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub(crate) async fn subscribe(
        self: &Arc<Self>,
        filter: &str,
        pace: bool,
    ) -> Result<(Subscription, Vec<Retained>), SubscribeError> {
        let mut subscription = Subscription::dial(self, filter)?;
        let asked = protocol::Subscribe {
            pkid: 0,
            filters: vec![Filter {
                path: filter.to_owned(),
                qos: protocol::QoS::AtMostOnce,
                nolocal: false,
                preserve_retain: false,
                retain_forward_rule: RetainForwardRule::Never,
            }],
        };
        post(
            &mut subscription.tx,
            protocol::Packet::Subscribe(asked, None),
        )?;
        while !matches!(
            subscription.rx.next().await.map_err(|_| RouterGone)?,
            Some(Notification::DeviceAck(_))
        ) {}
        let mut state = self.state();
        if pace {
            subscription.reader = Some(state.lag.open(filter, self.ring_of(filter) / 2));
        }
        Ok((subscription, state.retained.matching(filter)))
    }

    /// Bytes that the filter's ring surely holds.
    fn ring_of(&self, filter: &str) -> u64 {
        let (size, count) = if self.is_small(filter) {
            SMALL_RING
        } else {
            LARGE_RING
        };
        // The oldest segment goes when a new one is begun.
        u64::try_from(size * (count - 1)).unwrap_or(u64::MAX)
    }

    fn is_small(&self, filter: &str) -> bool {
        let small = small_filters(&self.root);
        small.iter().any(|small| protocol::matches(filter, small))
    }

    fn take_link(&self, filter: &str) -> Result<usize, SubscribeError> {
        let is_small = self.is_small(filter);
        let mut state = self.state();
        if state.gone {
            return Err(RouterGone.into());
        }
        if !state.filters.contains(filter) {
            let (used, most) = match is_small {
                true => (state.filters.len() - state.large, MAX_SMALL),
                false => (state.large, MAX_LARGE),
            };
            if used >= most {
                return Err(SubscribeError::TooMany);
            }
            state.large += usize::from(!is_small);
            state.filters.insert(filter.to_owned());
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

/// A link that carries what matches one filter; dropped, it is unsubscribed.
pub(crate) struct Subscription {
    exchange: Arc<Exchange>,
    link: usize,
    tx: LinkTx,
    rx: LinkRx,
    reader: Option<ReaderId>,
    /// Where the last message stood in the filter's log.
    last: Option<u64>,
}

impl Subscription {
    fn dial(exchange: &Arc<Exchange>, filter: &str) -> Result<Self, SubscribeError> {
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

/// What the router carries as a payload: QoS, number of the message, payload. Never empty, so the router never
/// takes it for the deletion of a retained message.
struct Parcel(Bytes);

/// Bytes before the payload.
const LABEL: usize = 9;

impl Parcel {
    fn wrap(qos: Qos, number: u64, payload: &[u8]) -> Self {
        let mut bytes = BytesMut::with_capacity(LABEL + payload.len());
        bytes.extend_from_slice(&[qos.number()]);
        bytes.extend_from_slice(&number.to_be_bytes());
        bytes.extend_from_slice(payload);
        Self(bytes.freeze())
    }

    fn payload(&self) -> Bytes {
        self.0.slice(LABEL.min(self.0.len())..)
    }

    fn unwrap(&self) -> (Qos, u64, Bytes) {
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
fn parcel_size(topic: usize, payload: usize) -> u64 {
    u64::try_from(4 + topic + LABEL + payload).unwrap_or(u64::MAX)
}

/// Hands a packet to the router. rumqttd's `send` is asynchronous in name only: polled once, it is done.
fn post(tx: &mut LinkTx, packet: protocol::Packet) -> Result<(), RouterGone> {
    match pin!(tx.send(packet)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(_)) => Ok(()),
        Poll::Ready(Err(_)) | Poll::Pending => Err(RouterGone),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::probe::tests::kill_router;

    /// The way to the router of a broker that is to lose it.
    pub(crate) fn dial(exchange: &Exchange) -> &Dial {
        &exchange.dial
    }

    fn open() -> (Arc<Exchange>, Answers) {
        let root = Root::default();
        let dial = start_router(&root, 16);
        let (exchange, answers) = Exchange::open(root, dial, 8).unwrap();
        (Arc::new(exchange), answers)
    }

    fn message(topic: &str, payload: Vec<u8>) -> Message {
        Message {
            topic: topic.to_owned(),
            payload: payload.into(),
            qos: Qos::AtLeastOnce,
            retain: topic.ends_with("policy"),
        }
    }

    /// Runs `scene` while the router's answers are passed on.
    async fn play<T>(exchange: &Exchange, answers: Answers, scene: impl Future<Output = T>) -> T {
        tokio::select! {
            gone = exchange.confirm(answers) => panic!("{gone}"),
            result = scene => result,
        }
    }

    #[tokio::test]
    async fn a_message_comes_out_as_it_went_in() {
        let (exchange, answers) = open();
        let scene = async {
            let (mut all, none) = exchange.subscribe("lab/#", true).await.unwrap();
            assert!(none.is_empty());
            exchange.publish(message("lab/policy", b"exam".to_vec()));
            exchange.publish(message("lab/policy", Vec::new()));
            exchange.publish(message("lab/policy", b"next".to_vec()));
            exchange.taken().await.unwrap();
            for payload in [&b"exam"[..], b"", b"next"] {
                let delivery = all.next().await.unwrap();
                assert_eq!((&delivery.payload[..], delivery.retain), (payload, false));
            }
            let (_late, retained) = exchange.subscribe("lab/policy", true).await.unwrap();
            assert_eq!(retained[0].payload, "next");
        };
        play(&exchange, answers, scene).await;
    }

    #[tokio::test]
    async fn a_subscriber_that_missed_messages_hears_how_many() {
        let (exchange, answers) = open();
        let scene = async {
            let topic = "lab/10.0.0.1/ack";
            let (mut slow, _) = exchange.subscribe(topic, false).await.unwrap();
            for number in 0..2_000_u32 {
                exchange.publish(message(topic, number.to_be_bytes().repeat(100)));
                exchange.taken().await.unwrap();
            }
            let mut seen = 0;
            let lost = loop {
                match slow.next().await {
                    Ok(delivery) => {
                        assert_eq!(delivery.payload[..4], u32::to_be_bytes(seen));
                        seen += 1;
                    }
                    Err(SubscriptionError::Lost(lost)) => break lost,
                    Err(gone) => panic!("{gone}"),
                }
            };
            assert!(seen >= 100 && lost > 1_000, "{seen} seen, {lost} lost");
        };
        play(&exchange, answers, scene).await;
    }

    #[tokio::test]
    async fn publishers_wait_for_a_staff_subscriber_until_it_has_caught_up_or_gone() {
        let (exchange, answers) = open();
        let scene = async {
            let (mut staff, _) = exchange.subscribe("lab/#", true).await.unwrap();
            let is_held = || !exchange.state().lag.has_room();
            while !is_held() {
                exchange.publish(message("lab/10.0.0.1/net", vec![b'x'; 100_000]));
                exchange.taken().await.unwrap();
            }
            let catch_up = async { while staff.next().await.is_ok() {} };
            tokio::select! {
                () = exchange.room() => {}
                () = catch_up => panic!("the router has gone"),
            }
            while !is_held() {
                exchange.publish(message("lab/10.0.0.1/net", vec![b'x'; 100_000]));
                exchange.taken().await.unwrap();
            }
            drop(staff);
            exchange.room().await;
        };
        play(&exchange, answers, scene).await;
    }

    #[tokio::test]
    async fn links_and_filters_are_bounded_and_links_come_back() {
        let (exchange, answers) = open();
        let scene = async {
            let mut held = Vec::new();
            for _ in 0..8 {
                held.push(exchange.subscribe("lab/#", false).await.unwrap());
            }
            let refused = exchange.subscribe("lab/#", false).await.err();
            assert_eq!(refused, Some(SubscribeError::TooMany));
            held.pop();
            for number in 1..MAX_LARGE {
                let filter = format!("lab/10.0.0.{number}/#");
                exchange.subscribe(&filter, false).await.unwrap();
            }
            let refused = exchange.subscribe("lab/+/usb", false).await.err();
            assert_eq!(refused, Some(SubscribeError::TooMany));
            assert!(exchange.subscribe("lab/10.0.0.1/ack", false).await.is_ok());
        };
        play(&exchange, answers, scene).await;
    }

    #[tokio::test]
    async fn without_a_router_nothing_is_acknowledged() {
        let (exchange, answers) = open();
        kill_router(&exchange.dial);
        assert_eq!(exchange.confirm(answers).await, RouterGone);
        exchange.publish(message("lab/policy", b"exam".to_vec()));
        assert_eq!(exchange.taken().await, Err(RouterGone));
        let refused = exchange.subscribe("lab/#", true).await.err();
        assert_eq!(refused, Some(SubscribeError::Gone(RouterGone)));
    }
}
