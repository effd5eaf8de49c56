//! What a client sends: read, checked, carried out, answered.
//!
//! A message that may not be sent ends the connection; a filter that may not be read is answered with 0x80.
//! Messages are acknowledged once the router has taken them. While a staff subscriber lags too far, or this
//! client is over its quota, nothing more is read from it: TCP holds it back, and the time does not count as
//! silence. Of a staff client, which may be the very subscriber that lags, some messages are put aside instead: behind them
//! in the stream are the acknowledgements by which it catches up. One task per subscription feeds the other half.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    net::IpAddr,
    sync::Arc,
};

use bytes::BytesMut;
use labwatch_contract::MAX_PACKET;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::warn;

use super::{End, Guest, SLOW, outbound::Answer};
use crate::{
    access::{self, Deed},
    exchange::{Delivery, SubscribeError, Subscription},
    front::Front,
    packet::{self, Packet, Publish, Qos},
    quota::Patience,
    retained::Retained,
};

/// Most subscriptions of a PC, which has a use for three.
const MAX_FILTERS_PC: usize = 8;
/// Most subscriptions of one staff client.
const MAX_FILTERS_STAFF: usize = 64;
/// Messages of a staff client that may wait for a subscriber that lags; more than our services have unacknowledged.
const MAX_ASIDE: usize = 256;
/// Their bytes, but for the last one.
const MAX_ASIDE_BYTES: usize = 1024 * 1024;
/// Room for that many bytes is made before each read.
const CHUNK: usize = 16 * 1024;

/// Where subscriptions put what they deliver, with the QoS they were granted, and where they say why they end.
#[derive(Clone)]
pub(super) struct Feed {
    pub(super) deliveries: mpsc::Sender<(Qos, Delivery)>,
    pub(super) fail: mpsc::Sender<End>,
}

/// The reading half.
pub(super) struct Inbound<'a> {
    front: &'a Arc<Front>,
    guest: &'a Guest,
    address: IpAddr,
    answers: mpsc::Sender<Answer>,
    feed: Feed,
    /// Messages that wait until nobody lags.
    aside: VecDeque<Publish>,
    /// Ids of messages that the router has not confirmed yet.
    unconfirmed: Vec<u16>,
    /// Whether anything was published since the router was last waited for.
    published: bool,
    filters: HashMap<String, AbortHandle>,
    tasks: JoinSet<()>,
    patience: Patience,
}

impl<'a> Inbound<'a> {
    /// A half for this guest.
    pub(super) fn new(
        front: &'a Arc<Front>,
        guest: &'a Guest,
        address: IpAddr,
        answers: mpsc::Sender<Answer>,
        feed: Feed,
    ) -> Self {
        Self {
            front,
            guest,
            address,
            answers,
            feed,
            aside: VecDeque::new(),
            unconfirmed: Vec::new(),
            published: false,
            filters: HashMap::new(),
            tasks: JoinSet::new(),
            patience: Patience::default(),
        }
    }

    /// Reads until there is a reason to end.
    pub(super) async fn run<R: AsyncRead + Unpin>(mut self, read: R, buffer: BytesMut) -> End {
        let Err(end) = self.read(read, buffer).await;
        end
    }

    async fn read<R>(&mut self, mut read: R, mut buffer: BytesMut) -> Result<Infallible, End>
    where
        R: AsyncRead + Unpin,
    {
        let mut deadline = Instant::now() + self.guest.keep_alive;
        loop {
            while let Some((packet, size)) = packet::read(&mut buffer, MAX_PACKET)? {
                self.handle(packet).await?;
                self.pay(size).await?;
                deadline = Instant::now() + self.guest.keep_alive;
            }
            self.settle().await?;
            buffer.reserve(CHUNK);
            let front = self.front;
            tokio::select! {
                read = timeout_at(deadline, read.read_buf(&mut buffer)) => {
                    if read.map_err(|_| End::Silent)?? == 0 {
                        return Err(End::Closed);
                    }
                }
                () = front.exchange.room(), if !self.aside.is_empty() => self.go_on(),
            }
        }
    }

    async fn handle(&mut self, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => self.publish(publish).await,
            Packet::PubAck(id) => self.answer(Answer::Acknowledged(id)).await,
            Packet::Subscribe(id, filters) => self.subscribe(id, filters).await,
            Packet::Unsubscribe(id, filters) => {
                for filter in filters {
                    self.filters.remove(&filter).inspect(AbortHandle::abort);
                }
                self.answer(Answer::Unsubscribed(id)).await
            }
            Packet::PingReq => self.answer(Answer::Pong).await,
            Packet::Disconnect => {
                self.publish_all().await;
                self.settle().await?;
                Err(End::Disconnect)
            }
            Packet::Connect(_) => Err(End::OutOfTurn("a second CONNECT")),
        }
    }

    async fn publish(&mut self, publish: Publish) -> Result<(), End> {
        let message = &publish.message;
        let deed = Deed::Publish {
            topic: &message.topic,
            retain: message.retain,
        };
        if let Err(why) = access::allows(&self.front.root, &self.guest.who, deed) {
            // What it was allowed to say before still counts.
            self.publish_all().await;
            self.settle().await?;
            let topic = message.topic.chars().take(100).collect();
            return Err(End::Refused { topic, why });
        }
        self.aside.push_back(publish);
        if self.may_read_on() {
            self.go_on();
        } else {
            self.publish_all().await;
        }
        Ok(())
    }

    /// Whether more may be put aside.
    fn may_read_on(&self) -> bool {
        let size = |publish: &Publish| publish.message.payload.len();
        self.guest.who.is_staff()
            && self.aside.len() < MAX_ASIDE
            && self.aside.iter().map(size).sum::<usize>() < MAX_ASIDE_BYTES
    }

    /// Publishes what is aside, as far as nobody lags.
    fn go_on(&mut self) {
        while !self.aside.is_empty() && self.front.exchange.has_room() {
            self.publish_next();
        }
    }

    /// Publishes all that is aside, waiting for those who lag.
    async fn publish_all(&mut self) {
        while !self.aside.is_empty() {
            self.front.exchange.room().await;
            self.publish_next();
        }
    }

    fn publish_next(&mut self) {
        if let Some(Publish { message, id }) = self.aside.pop_front() {
            self.front.publish(&message, self.address);
            self.published = true;
            self.unconfirmed.extend(id);
        }
    }

    /// Waits until the router has taken what was published, then acknowledges it.
    async fn settle(&mut self) -> Result<(), End> {
        if std::mem::take(&mut self.published) {
            self.front.exchange.taken().await?;
        }
        for id in std::mem::take(&mut self.unconfirmed) {
            self.answer(Answer::Published(id)).await?;
        }
        Ok(())
    }

    /// Books a packet; over the quota, waits.
    async fn pay(&mut self, size: usize) -> Result<(), End> {
        if self.guest.who.is_staff() {
            return Ok(());
        }
        let wait = self.front.spend(self.address, size);
        if self.patience.is_at_end(wait, Instant::now().into_std()) {
            return Err(End::Quota);
        }
        if !wait.whole.is_zero() {
            self.settle().await?;
            sleep(wait.whole.min(SLOW)).await;
        }
        Ok(())
    }

    async fn subscribe(&mut self, id: u16, filters: Vec<(String, Qos)>) -> Result<(), End> {
        let mut granted = Vec::with_capacity(filters.len());
        let mut opened = Vec::new();
        for (filter, qos) in filters {
            let subscription = self.open(&filter, opened.len()).await?;
            granted.push(subscription.as_ref().map(|_| qos));
            opened.extend(subscription.map(|subscription| (filter, qos, subscription)));
        }
        self.answer(Answer::Subscribed(id, granted)).await?;
        for (filter, qos, (subscription, retained)) in opened {
            let feed = self.feed.clone();
            let task = self.tasks.spawn(feed.run(subscription, retained, qos));
            // An older one of the same filter ends only now, so that nothing is missed in between.
            if let Some(older) = self.filters.insert(filter, task) {
                older.abort();
            }
        }
        while self.tasks.try_join_next().is_some() {}
        Ok(())
    }

    /// Opens a subscription, or refuses the filter. `opened` more than `filters` knows of are open already, for the
    /// same SUBSCRIBE, perhaps with one filter over and over.
    async fn open(
        &mut self,
        filter: &str,
        opened: usize,
    ) -> Result<Option<(Subscription, Vec<Retained>)>, End> {
        let is_staff = self.guest.who.is_staff();
        let most = if is_staff {
            MAX_FILTERS_STAFF
        } else {
            MAX_FILTERS_PC
        };
        // One that is known already is replaced.
        let held = match self.filters.contains_key(filter) {
            true => 0,
            false => self.filters.len(),
        };
        let why = match access::allows(
            &self.front.root,
            &self.guest.who,
            Deed::Subscribe { filter },
        ) {
            Err(refusal) => refusal.to_string(),
            Ok(()) if held + opened >= most => format!("it has {most} subscriptions"),
            Ok(()) if !is_staff => return Ok(Some(self.front.exchange.listen(filter))),
            Ok(()) => match self.front.exchange.subscribe(filter).await {
                Ok(opened) => return Ok(Some(opened)),
                Err(SubscribeError::Gone(gone)) => return Err(gone.into()),
                Err(SubscribeError::TooMany) => SubscribeError::TooMany.to_string(),
            },
        };
        if self.front.complain(self.address).is_some() {
            let filter: String = filter.chars().take(100).collect();
            warn!(
                "{} {:?}: subscription to {filter:?} refused: {why}",
                self.address, self.guest.id
            );
        }
        Ok(None)
    }

    async fn answer(&self, answer: Answer) -> Result<(), End> {
        // The other half ends only together with this one.
        self.answers.send(answer).await.map_err(|_| End::Closed)
    }
}

impl Feed {
    /// Carries a subscription's messages over, the retained ones first.
    async fn run(self, mut subscription: Subscription, retained: Vec<Retained>, granted: Qos) {
        let Err(end) = self.carry(&mut subscription, retained, granted).await;
        // The first reason to end is the one that counts.
        let _ = self.fail.try_send(end);
    }

    async fn carry(
        &self,
        subscription: &mut Subscription,
        retained: Vec<Retained>,
        granted: Qos,
    ) -> Result<Infallible, End> {
        for message in retained {
            self.put(granted, message.into()).await?;
        }
        loop {
            let delivery = subscription.next().await.map_err(End::Lost)?;
            self.put(granted, delivery).await?;
        }
    }

    async fn put(&self, granted: Qos, delivery: Delivery) -> Result<(), End> {
        let put = self.deliveries.send((granted, delivery));
        timeout(SLOW, put)
            .await
            .map_err(|_| End::Unread)?
            .map_err(|_| End::Closed)
    }
}
