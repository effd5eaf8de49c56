//! One connection: from ConnAck to DISCONNECT or to the moment it breaks.
//!
//! rumqttc's `poll` must not be cancelled, so it is pinned while the way out, the stop token and the deadline of
//! the end are watched beside it; what they bring is only handed to rumqttc's own queue. At most [`WINDOW`]
//! messages wait in there, the rest in the bounded queue of the session.

use std::{
    future::{Future, pending},
    ops::ControlFlow,
    pin::{Pin, pin},
    time::Duration,
};

use rumqttc::{
    AsyncClient, ClientError, ConnectionError, Event, EventLoop, Outgoing, Packet, QoS,
    SubscribeFilter, SubscribeReasonCode,
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Connected, FAREWELL, Incoming, Message, Presence, Session, address_lost};

/// Messages handed to rumqttc and not yet written to the socket.
const WINDOW: usize = 32;
/// Room in rumqttc's own queue: the window, SUBSCRIBE, hello, farewell, DISCONNECT.
pub(super) const REQUESTS: usize = WINDOW + 4;
/// DISCONNECT goes out after it, PUBACKs or not; and nobody waits longer for DISCONNECT to be written.
const PATIENCE: Duration = Duration::from_millis(500);

/// Why a connection is given up on which a filter was refused.
const REFUSED: &str = "the broker refuses a subscription: is the user name right, is this the server itself, are there too many?";

/// How a connection ended.
pub(super) enum Ended {
    /// We said DISCONNECT, or nobody listens any more.
    InOrder,
    /// It broke.
    Broken(String),
}

/// What came next on a connection.
enum Next {
    Event(Event),
    Broken(String),
    /// The end has taken too long.
    TooLate,
}

/// A connection with its client.
pub(super) struct Conversation {
    events: EventLoop,
    connection: Connected,
    stop: CancellationToken,
    desk: Desk,
}

impl Conversation {
    pub(super) fn new(
        client: AsyncClient,
        events: EventLoop,
        connection: Connected,
        stop: CancellationToken,
    ) -> Self {
        let desk = Desk {
            client,
            waiting: 0,
            unacknowledged: 0,
            closed: false,
            leaving: None,
        };
        Self {
            events,
            connection,
            stop,
            desk,
        }
    }

    /// Connects; at its end ConnAck has come.
    pub(super) async fn open(&mut self) -> Result<(), ConnectionError> {
        while !matches!(
            self.events.poll().await?,
            Event::Incoming(Packet::ConnAck(_))
        ) {}
        Ok(())
    }

    /// Talks until the end. Hello first, then the filters: what they bring is told after `Connected`.
    pub(super) async fn run<P: Presence>(mut self, session: &mut Session<P>) -> Ended {
        if let Some(hello) = session.presence.online(&self.connection) {
            self.desk.hand_over(hello);
        }
        let mut filters = session.presence.filters(&self.connection);
        filters.extend_from_slice(&session.settings.filters);
        if let Err(error) = self.desk.subscribe(filters) {
            return Ended::Broken(error.to_string());
        }
        let _ = session
            .incoming
            .send(Incoming::Connected(self.connection.clone()))
            .await;
        let mut address_lost = pin!(address_lost(self.connection.local));
        loop {
            let event = match self.next_event(session, address_lost.as_mut()).await {
                Next::Event(event) => event,
                Next::Broken(reason) if self.desk.leaving.is_none() => {
                    return Ended::Broken(reason);
                }
                Next::Broken(_) | Next::TooLate => return Ended::InOrder,
            };
            if let ControlFlow::Break(ended) = self.take(event, session).await {
                return ended;
            }
        }
    }

    /// The next thing that rumqttc says, or why there is none.
    async fn next_event<P: Presence>(
        &mut self,
        session: &mut Session<P>,
        mut address_lost: Pin<&mut impl Future<Output = ()>>,
    ) -> Next {
        let desk = &mut self.desk;
        let poll = self.events.poll();
        tokio::pin!(poll);
        loop {
            tokio::select! {
                biased;
                event = &mut poll => return match event {
                    Ok(event) => Next::Event(event),
                    Err(error) => Next::Broken(error.to_string()),
                },
                () = &mut address_lost => {
                    return Next::Broken("this machine has lost the address it was connected from".into());
                }
                () = self.stop.cancelled(), if desk.leaving.is_none() => desk.leave(),
                message = session.outgoing.recv(), if desk.has_room() => match message {
                    Some(message) => if session.presence.goes_out(&self.connection, &message) {
                        desk.hand_over(message);
                    },
                    None => desk.closed = true,
                },
                () = until(desk.deadline()) => {
                    let farewell = || session.presence.offline(&self.connection);
                    if desk.hurry(farewell).is_break() {
                        return Next::TooLate;
                    }
                }
            }
        }
    }

    async fn take<P: Presence>(
        &mut self,
        event: Event,
        session: &mut Session<P>,
    ) -> ControlFlow<Ended> {
        match event {
            Event::Outgoing(Outgoing::Publish(_)) => {
                self.desk.waiting = self.desk.waiting.saturating_sub(1)
            }
            Event::Outgoing(Outgoing::Disconnect) => return ControlFlow::Break(Ended::InOrder),
            Event::Incoming(Packet::PubAck(_)) => {
                self.desk.unacknowledged = self.desk.unacknowledged.saturating_sub(1);
            }
            Event::Incoming(Packet::SubAck(ack))
                if ack.return_codes.contains(&SubscribeReasonCode::Failure)
                    && self.desk.leaving.is_none() =>
            {
                // Connected and deaf would look like a lab in which nothing happens.
                return ControlFlow::Break(Ended::Broken(REFUSED.into()));
            }
            Event::Incoming(Packet::Publish(publish)) => {
                // A broker that has much to say answers a ping after all of it. What it says proves that it lives.
                self.events.state.await_pingresp = false;
                let rumqttc::Publish {
                    topic,
                    payload,
                    qos,
                    retain,
                    ..
                } = publish;
                let message = Incoming::Message(Message {
                    topic,
                    payload,
                    qos,
                    retain,
                });
                let nobody_listens = tokio::select! {
                    biased;
                    sent = session.incoming.send(message) => sent.is_err(),
                    () = self.stop.cancelled() => false,
                };
                if nobody_listens && !self.stop.is_cancelled() {
                    return ControlFlow::Break(Ended::InOrder);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// What was handed to rumqttc, and how far the end has come.
struct Desk {
    client: AsyncClient,
    /// Handed over, not yet written.
    waiting: usize,
    /// Handed over at QoS 1, not yet acknowledged.
    unacknowledged: usize,
    /// Nobody can publish any more.
    closed: bool,
    leaving: Option<Leaving>,
}

/// The end, step by step, each at the latest at its moment.
#[derive(Clone, Copy)]
enum Leaving {
    /// What is queued goes out.
    Emptying(Instant),
    /// The farewell is on its way.
    Parting(Instant),
    /// DISCONNECT is on its way.
    Closing(Instant),
}

impl Desk {
    fn subscribe(&mut self, filters: Vec<String>) -> Result<(), ClientError> {
        if filters.is_empty() {
            return Ok(());
        }
        let filters = filters
            .into_iter()
            .map(|filter| SubscribeFilter::new(filter, QoS::AtLeastOnce));
        self.client.try_subscribe_many(filters)
    }

    fn has_room(&self) -> bool {
        let takes = matches!(self.leaving, None | Some(Leaving::Emptying(_)));
        takes && !self.closed && self.waiting < WINDOW
    }

    fn hand_over(&mut self, message: Message) {
        let Message {
            topic,
            payload,
            qos,
            retain,
        } = message;
        match self.client.try_publish(&topic, qos, retain, payload) {
            Ok(()) => {
                self.waiting += 1;
                self.unacknowledged += usize::from(qos != QoS::AtMostOnce);
            }
            Err(error) => warn!("{topic}: not published: {error}"),
        }
    }

    fn leave(&mut self) {
        self.leaving = Some(Leaving::Emptying(Instant::now() + FAREWELL - 2 * PATIENCE));
    }

    /// When the next step of the end is due, finished with this one or not.
    fn deadline(&self) -> Option<Instant> {
        let idle = self.waiting == 0 && self.unacknowledged == 0;
        match self.leaving? {
            Leaving::Emptying(_) if self.closed => Some(Instant::now()),
            Leaving::Parting(_) if idle => Some(Instant::now()),
            Leaving::Emptying(at) | Leaving::Parting(at) | Leaving::Closing(at) => Some(at),
        }
    }

    /// The next step of the end; a break after the last.
    fn hurry(&mut self, farewell: impl FnOnce() -> Option<Message>) -> ControlFlow<()> {
        let next = Instant::now() + PATIENCE;
        match self.leaving {
            Some(Leaving::Emptying(_)) => {
                if let Some(farewell) = farewell() {
                    self.hand_over(farewell);
                }
                self.leaving = Some(Leaving::Parting(next));
            }
            Some(Leaving::Parting(_)) => {
                // Should there be no room, the connection is closed without it.
                let _ = self.client.try_disconnect();
                self.leaving = Some(Leaving::Closing(next));
            }
            Some(Leaving::Closing(_)) => return ControlFlow::Break(()),
            None => {}
        }
        ControlFlow::Continue(())
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}
