//! One MQTT session (3.1.1, clean, QoS as asked), kept up until it is told to stop.
//!
//! ```text
//! Publisher --bounded queue--> session <--> broker
//!                                 `--bounded queue--> Receiver<Incoming>
//! ```
//!
//! Each connection is a fresh client: nothing of rumqttc's own queues outlives it, so what was in flight when
//! it broke is lost here and must be sent again by whoever keeps a journal. Messages that wait in the
//! [`Publisher`]'s queue go out on the next connection. Filters are subscribed again on every ConnAck; if one is
//! refused, the connection is given up like a broken one.
//! At the end the queue is emptied, the farewell published and DISCONNECT sent, all within [`FAREWELL`].
//!
//! An unread queue of incoming messages stops the reading of the socket: the broker sees a slow client.

mod conversation;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use labwatch_contract::MAX_PACKET;
use rumqttc::{AsyncClient, EventLoop, LastWill, MqttOptions, QoS, Transport};
use rustls::crypto::ring;
use tokio::{
    net::{UdpSocket, lookup_host},
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use self::conversation::{Conversation, Ended};
use crate::{
    backoff::Backoff,
    settings::{BrokerUrl, Connection},
};

/// A silent connection is noticed after one and a half of it.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long the end may take.
pub const FAREWELL: Duration = Duration::from_secs(3);
/// Incoming packets may be larger than what our broker takes: an endless reconnect would follow otherwise.
const MAX_INCOMING: usize = 2 * MAX_PACKET;
/// How often it is checked that the address of the connection is still ours.
const ADDRESS_CHECK: Duration = Duration::from_secs(2);
/// A connection that lived as long was a success.
const STABLE: Duration = Duration::from_secs(10);

/// One message, either way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The whole topic name, root included.
    pub topic: String,
    /// Its payload.
    pub payload: Bytes,
    /// At least once, or at most once.
    pub qos: QoS,
    /// To be retained; incoming: was retained before we subscribed.
    pub retain: bool,
}

/// A connection, just before or after it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// Random, new for each connection.
    pub id: Uuid,
    /// Our own address on it.
    pub local: IpAddr,
    /// The broker's address.
    pub broker: SocketAddr,
}

/// What a session hands over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// The broker has accepted us; messages follow.
    Connected(Connected),
    /// The connection is gone; the session tries again by itself.
    Disconnected {
        /// Why, in words.
        reason: String,
    },
    /// A message of one of our filters.
    Message(Message),
}

/// What a service says of itself, per connection.
pub trait Presence {
    /// Published by the broker when the connection breaks.
    fn will(&mut self, connection: &Connected) -> Option<Message>;
    /// Published first on the connection.
    fn online(&mut self, connection: &Connected) -> Option<Message>;
    /// Published last, before DISCONNECT.
    fn offline(&mut self, connection: &Connected) -> Option<Message>;
    /// Whether a message that waited, perhaps since another connection, may still go out on this one.
    fn goes_out(&mut self, _connection: &Connected, _message: &Message) -> bool {
        true
    }
    /// Filters that hold our own address, beside those of the settings.
    fn filters(&mut self, _connection: &Connected) -> Vec<String> {
        Vec::new()
    }
}

/// Nothing is said.
impl Presence for () {
    fn will(&mut self, _: &Connected) -> Option<Message> {
        None
    }

    fn online(&mut self, _: &Connected) -> Option<Message> {
        None
    }

    fn offline(&mut self, _: &Connected) -> Option<Message> {
        None
    }
}

/// How a session is made.
#[derive(Clone)]
pub struct SessionSettings {
    /// Where the broker is and who we are to it.
    pub connection: Connection,
    /// The client id; unique at the broker.
    pub client_id: String,
    /// Filters to subscribe at QoS 1 on each connection.
    pub filters: Vec<String>,
    /// Room for outgoing messages while the broker is away.
    pub outgoing_queue: usize,
    /// Room for incoming messages while the service is busy.
    pub incoming_queue: usize,
}

/// The way out. Cloned freely; the session says goodbye once it is told to stop and all of them are gone.
#[derive(Debug, Clone)]
pub struct Publisher(mpsc::Sender<Message>);

/// The queue is full (the broker is away or slow), or the session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no room for another message to the broker")]
pub struct Full;

impl Publisher {
    /// Queues a message.
    ///
    /// # Errors
    /// [`Full`]: the message was dropped; counting it is the caller's.
    pub fn try_publish(&self, message: Message) -> Result<(), Full> {
        self.0.try_send(message).map_err(|_| Full)
    }

    /// Waits for room, so that a message can be chosen at the moment it goes.
    ///
    /// # Errors
    /// [`Full`]: the session has ended.
    pub async fn room(&self) -> Result<Room<'_>, Full> {
        self.0.reserve().await.map(Room).map_err(|_| Full)
    }
}

/// Room for one message.
#[derive(Debug)]
pub struct Room<'a>(mpsc::Permit<'a, Message>);

impl Room<'_> {
    /// Queues a message.
    pub fn publish(self, message: Message) {
        self.0.send(message);
    }
}

/// A session that is not running yet; [`Session::run`] it.
pub struct Session<P> {
    settings: SessionSettings,
    presence: P,
    outgoing: mpsc::Receiver<Message>,
    incoming: mpsc::Sender<Incoming>,
    stop: CancellationToken,
}

/// Makes a session, the way out and the way in. The session ends after `stop`, or when nobody reads the way in.
pub fn session<P: Presence>(
    settings: SessionSettings,
    presence: P,
    stop: CancellationToken,
) -> (Session<P>, Publisher, mpsc::Receiver<Incoming>) {
    let (publisher, outgoing) = mpsc::channel(settings.outgoing_queue);
    let (incoming, receiver) = mpsc::channel(settings.incoming_queue);
    (
        Session {
            settings,
            presence,
            outgoing,
            incoming,
            stop,
        },
        Publisher(publisher),
        receiver,
    )
}

impl<P: Presence> Session<P> {
    /// Keeps the session up. Never fails: what goes wrong is logged once and tried again.
    pub async fn run(mut self) {
        let mut backoff = Backoff::default();
        // Attempts since there was a connection; each takes the next address of the broker's name.
        let mut attempt = 0;
        // Whether the log knows that there is none.
        let mut told = false;
        while !self.stop.is_cancelled() && !self.incoming.is_closed() {
            let began = Instant::now();
            let ended = self.connect_once(attempt).await;
            if began.elapsed() > STABLE {
                backoff.reset();
            }
            match ended {
                Ok(Ended::InOrder) => break,
                Ok(Ended::Broken(reason)) => {
                    warn!("connection to the broker lost: {reason}");
                    (attempt, told) = (0, true);
                    let _ = self.incoming.send(Incoming::Disconnected { reason }).await;
                }
                Err(reason) => {
                    match told {
                        false => warn!("no connection to the broker, trying on: {reason}"),
                        true => debug!("no connection to the broker: {reason}"),
                    }
                    attempt += 1;
                    told = true;
                }
            }
            tokio::select! {
                () = sleep(backoff.wait(fastrand::f64())) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// One connection, from the look-up of the name to its end; an error when it never came to be.
    async fn connect_once(&mut self, attempt: usize) -> Result<Ended, String> {
        let stop = self.stop.clone();
        let opened = tokio::select! {
            opened = self.open(attempt) => opened?,
            () = stop.cancelled() => return Ok(Ended::InOrder),
        };
        info!(
            "connected to the broker at {}",
            self.settings.connection.broker
        );
        Ok(opened.run(self).await)
    }

    async fn open(&mut self, attempt: usize) -> Result<Conversation, String> {
        let connection = route(&self.settings.connection.broker, attempt)
            .await
            .map_err(|error| error.to_string())?;
        let (client, events) = self.client(&connection);
        let mut conversation = Conversation::new(client, events, connection, self.stop.clone());
        match conversation.open().await {
            Ok(()) => Ok(conversation),
            Err(error) => Err(error.to_string()),
        }
    }

    fn client(&mut self, connection: &Connected) -> (AsyncClient, EventLoop) {
        let Connection {
            broker,
            credentials,
            ca,
            ..
        } = &self.settings.connection;
        // With TLS the certificate is checked against the name, and rumqttc takes the first of its addresses that
        // answers. If that is another than `route` chose, the will may be of another address than ours: the broker
        // refuses it, and the next attempt chooses the next address. Without TLS the address is the chosen one.
        let host = if broker.tls {
            broker.host.clone()
        } else {
            connection.broker.ip().to_string()
        };
        let mut options = MqttOptions::new(&self.settings.client_id, host, broker.port);
        options
            .set_keep_alive(KEEP_ALIVE)
            .set_clean_session(true)
            .set_max_packet_size(MAX_INCOMING, MAX_PACKET);
        if let Some((name, password)) = credentials {
            options.set_credentials(name, password);
        }
        if let (true, Some(ca)) = (broker.tls, ca) {
            // An error says that a provider is installed already, which is as good.
            let _ = ring::default_provider().install_default();
            options.set_transport(Transport::tls(ca.clone(), None, None));
        }
        if let Some(will) = self.presence.will(connection) {
            options.set_last_will(LastWill::new(
                will.topic,
                will.payload.to_vec(),
                will.qos,
                will.retain,
            ));
        }
        AsyncClient::new(options, conversation::REQUESTS)
    }
}

/// Where the broker is, and which of our addresses leads there. A UDP socket that sends nothing tells what the
/// kernel would choose; rumqttc does not show its own, and the will needs it before there is one.
async fn route(broker: &BrokerUrl, attempt: usize) -> io::Result<Connected> {
    let addresses: Vec<SocketAddr> = lookup_host((broker.host.as_str(), broker.port))
        .await?
        .collect();
    let chosen = addresses
        .iter()
        .cycle()
        .nth(attempt % addresses.len().max(1));
    let peer =
        *chosen.ok_or_else(|| io::Error::other(format!("{} has no address", broker.host)))?;
    let any: IpAddr = if peer.is_ipv4() {
        [0; 4].into()
    } else {
        [0_u16; 8].into()
    };
    let probe = UdpSocket::bind((any, 0)).await?;
    probe.connect(peer).await?;
    let local = probe.local_addr()?.ip().to_canonical();
    Ok(Connected {
        id: Uuid::new_v4(),
        local,
        broker: peer,
    })
}

/// Ends once an address is no longer one of this machine's. A connection from it is dead by then, but TCP would
/// go on trying for longer than anybody may be missed. Whether an address is ours, binding to it tells.
async fn address_lost(local: IpAddr) {
    loop {
        sleep(ADDRESS_CHECK).await;
        let bound = UdpSocket::bind((local, 0)).await;
        if bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable) {
            return;
        }
    }
}
