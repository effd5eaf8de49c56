//! Asks PCs whether they live: an ICMP echo, and a knock at a TCP port that nobody serves.
//!
//! An echo reply, a refused or an accepted connection proves life; anything else proves nothing and is not
//! reported. The echo goes through an unprivileged ICMP socket (`net.ipv4.ping_group_range`, icmp(7)), else
//! through a raw one where that is allowed, else not at all: the knock needs nothing. Both queues are bounded; a
//! probe that finds no room is not sent, and the next one comes half a second later.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use tokio::{
    net::{TcpStream, UdpSocket},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};
use tracing::{debug, info};
use uuid::Uuid;

use crate::echo::{self, Cookie, Family, PROBE_PORT};

/// Room for PCs that are to be asked, and for answers.
const QUEUE: usize = 512;
/// How long a knock waits.
const PATIENCE: Duration = Duration::from_millis(700);
/// Most knocks at a time.
const MAX_KNOCKS: usize = 512;

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probed {
    /// A probe left from this address of ours.
    From(IpAddr),
    /// This PC lives.
    Answered(IpAddr),
}

/// The way to the prober.
pub(crate) struct Asker(mpsc::Sender<IpAddr>);

impl Asker {
    /// Asks a PC; never waits.
    pub(crate) fn ask(&self, address: IpAddr) {
        // No room: asked again half a second later.
        let _ = self.0.try_send(address);
    }
}

/// Sends probes and reads answers; [`Prober::run`] it.
pub(crate) struct Prober {
    asked: mpsc::Receiver<IpAddr>,
    answers: mpsc::Sender<Probed>,
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    cookie: Cookie,
}

/// The way to the prober, the prober, and what it finds.
pub(crate) fn prober() -> (Asker, Prober, mpsc::Receiver<Probed>) {
    let (asker, asked) = mpsc::channel(QUEUE);
    let (answers, found) = mpsc::channel(QUEUE);
    let [a, b, c, d, e, f, g, h, ..] = *Uuid::new_v4().as_bytes();
    let prober = Prober {
        asked,
        answers,
        v4: open(Family::V4),
        v6: open(Family::V6),
        cookie: [a, b, c, d, e, f, g, h],
    };
    if prober.v4.is_none() {
        info!(
            "no ICMP echo may be sent (net.ipv4.ping_group_range): whether a silent PC lives is tried by TCP alone"
        );
    }
    (Asker(asker), prober, found)
}

/// A socket for echoes. It sends to an address and receives from one like any datagram socket, so tokio's UDP
/// socket carries it; no port means anything on it.
fn open(family: Family) -> Option<UdpSocket> {
    let (domain, protocol) = match family {
        Family::V4 => (AddressFamily::INET, ipproto::ICMP),
        Family::V6 => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let open = |kind| socket_with(domain, kind, flags, Some(protocol));
    let socket = open(SocketType::DGRAM).or_else(|_| open(SocketType::RAW));
    let socket = socket.map_err(|error| debug!("no socket for {family:?} echoes: {error}"));
    UdpSocket::from_std(socket.ok()?.into()).ok()
}

impl Prober {
    /// Probes until nobody asks any more.
    pub(crate) async fn run(mut self) {
        let mut knocks = JoinSet::new();
        loop {
            tokio::select! {
                asked = self.asked.recv() => match asked {
                    Some(address) => self.probe(address, &mut knocks).await,
                    None => return,
                },
                from = reply(self.v4.as_ref(), Family::V4, self.cookie) => self.report(from),
                from = reply(self.v6.as_ref(), Family::V6, self.cookie) => self.report(from),
                Some(knocked) = knocks.join_next() => self.report(knocked.ok().flatten()),
            }
        }
    }

    async fn probe(&self, address: IpAddr, knocks: &mut JoinSet<Option<IpAddr>>) {
        if let Ok(own) = own_address(address).await {
            let _ = self.answers.try_send(Probed::From(own));
        }
        let (socket, family) = match address {
            IpAddr::V4(_) => (&self.v4, Family::V4),
            IpAddr::V6(_) => (&self.v6, Family::V6),
        };
        if let Some(socket) = socket {
            let request = echo::request(family, self.cookie);
            // An echo that cannot leave is an echo without an answer.
            let _ = socket.try_send_to(&request, SocketAddr::new(address, 0));
        }
        if knocks.len() < MAX_KNOCKS {
            knocks.spawn(knock(address));
        }
    }

    fn report(&self, answered: Option<IpAddr>) {
        if let Some(address) = answered {
            // An answer that finds no room is asked for again.
            let _ = self
                .answers
                .try_send(Probed::Answered(address.to_canonical()));
        }
    }
}

/// Which address of ours leads to a PC; nothing is sent.
async fn own_address(address: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match address {
        IpAddr::V4(_) => [0; 4].into(),
        IpAddr::V6(_) => [0_u16; 8].into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect((address, PROBE_PORT)).await?;
    Ok(socket.local_addr()?.ip())
}

/// The PC, when it accepts or refuses: both are its own answers.
async fn knock(address: IpAddr) -> Option<IpAddr> {
    let knocked = timeout(PATIENCE, TcpStream::connect((address, PROBE_PORT))).await;
    match knocked {
        Ok(Ok(_)) => Some(address),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Some(address),
        _ => None,
    }
}

/// Who sent the next packet, if it is a reply to us.
async fn reply(socket: Option<&UdpSocket>, family: Family, cookie: Cookie) -> Option<IpAddr> {
    let Some(socket) = socket else {
        return std::future::pending().await;
    };
    let mut bytes = [0; 128];
    // An error is an earlier echo's, come back as ICMP: no answer.
    let (length, from) = socket.recv_from(&mut bytes).await.ok()?;
    let ours = echo::is_reply(family, cookie, bytes.get(..length)?);
    ours.then(|| from.ip())
}
