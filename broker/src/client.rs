//! One client from its first byte to its end.
//!
//! [`attend`] greets it, runs its two halves ([`inbound`], [`outbound`]) until one of them has an [`End`], says
//! its will unless it has left in order, and logs the end: at WARN when somebody should look, at most ten lines
//! at once and then one a second for an address.

mod greet;
mod inbound;
mod outbound;

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    time::timeout,
};
use tracing::{debug, warn};

use crate::{
    access::{Refusal, Who},
    exchange::{RouterGone, SubscriptionError},
    front::Front,
    packet::{Message, PacketError},
    registry::Seat,
};

/// How long a client may take to send its CONNECT, and a TLS handshake before it.
pub(crate) const GREETING: Duration = Duration::from_secs(5);
/// How long a client may leave what it was sent, or what waits for it, unread.
const SLOW: Duration = Duration::from_secs(20);
/// How long an older connection may take to leave its client id.
const LEAVING: Duration = Duration::from_secs(5);
/// What waits between the two halves of a client.
const QUEUE: usize = 64;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("it said DISCONNECT")]
    Disconnect,
    #[error("it closed the connection")]
    Closed,
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("it was silent for too long")]
    Silent,
    #[error("it did not read what it was sent")]
    Unread,
    #[error("another connection took its client id over")]
    TakenOver,
    #[error("the broker ends")]
    Stopping,
    #[error(transparent)]
    Router(#[from] RouterGone),
    #[error("{0}")]
    Packet(#[from] PacketError),
    #[error("out of turn: {0}")]
    OutOfTurn(&'static str),
    #[error("a message to {topic:?} was refused: {why}")]
    Refused { topic: String, why: Refusal },
    #[error("its will was refused: {0}")]
    Will(Refusal),
    #[error("wrong user name or password")]
    Login,
    #[error("its client id is no good")]
    ClientId,
    #[error("it stayed over its quota")]
    Quota,
    #[error("{0}")]
    Lost(SubscriptionError),
}

impl End {
    /// Whether the client has left in order, or the broker leaves: nothing is to be said for it.
    fn is_orderly(&self) -> bool {
        matches!(self, Self::Disconnect | Self::Stopping)
    }

    /// Whether somebody should look.
    fn is_suspect(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Will(_) | Self::Login | Self::Quota => true,
            Self::Packet(_) | Self::OutOfTurn(_) | Self::Lost(_) | Self::Unread => true,
            Self::Disconnect | Self::Closed | Self::Io(_) | Self::Silent => false,
            Self::TakenOver | Self::Stopping | Self::Router(_) | Self::ClientId => false,
        }
    }
}

/// A client that was let in.
struct Guest {
    who: Who,
    /// For the log.
    id: String,
    seat: Seat,
    /// How long it may be silent.
    keep_alive: Duration,
    will: Option<Message>,
}

/// Serves one connection to its end.
pub(crate) async fn attend<S>(front: Arc<Front>, mut stream: S, address: IpAddr)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut buffer = BytesMut::new();
    let greeted = tokio::select! {
        greeted = greet::greet(&front, &mut stream, &mut buffer, address) => greeted,
        () = front.stop.cancelled() => Err(End::Stopping),
    };
    match greeted {
        Ok(guest) => {
            debug!("{address} {:?} connected, {:?}", guest.id, guest.who);
            let end = serve(&front, stream, buffer, &guest, address).await;
            say_will(&front, &guest, address, &end);
            tell(&front, address, &guest.id, &end);
        }
        Err(end) => tell(&front, address, "", &end),
    }
}

async fn serve<S>(
    front: &Arc<Front>,
    stream: S,
    buffer: BytesMut,
    guest: &Guest,
    address: IpAddr,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (read, write) = tokio::io::split(stream);
    let (answers, answers_out) = mpsc::channel(QUEUE);
    let (deliveries, deliveries_out) = mpsc::channel(QUEUE);
    let (fail, mut failed) = mpsc::channel(1);
    let feed = inbound::Feed { deliveries, fail };
    let inbound = inbound::Inbound::new(front, guest, address, answers, feed);
    let outbound = outbound::Outbound::new(answers_out, deliveries_out);
    tokio::select! {
        end = inbound.run(read, buffer) => end,
        end = outbound.run(write) => end,
        Some(end) = failed.recv() => end,
        () = guest.seat.taken_over() => End::TakenOver,
        () = front.stop.cancelled() => End::Stopping,
    }
}

/// Publishes the will of a client that was lost. Nobody waits for it: the client's id is wanted.
fn say_will(front: &Front, guest: &Guest, address: IpAddr, end: &End) {
    if let Some(will) = guest.will.as_ref().filter(|_| !end.is_orderly()) {
        front.publish(will, address);
        // Without a router nobody hears it.
        let _ = front.exchange.ring();
    }
}

fn tell(front: &Front, address: IpAddr, id: &str, end: &End) {
    if !end.is_suspect() {
        debug!("{address} {id:?} gone: {end}");
    } else if let Some(swallowed) = front.complain(address) {
        match swallowed {
            0 => warn!("{address} {id:?} cut off: {end}"),
            _ => warn!("{address} {id:?} cut off: {end} ({swallowed} such lines left out)"),
        }
    }
}
