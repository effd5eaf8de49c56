//! The broker as a whole: its listeners, the clients' tasks, and the end of both.
//!
//! [`Broker::bind`] opens the sockets, [`Broker::serve`] accepts until the token is cancelled or the router no
//! longer delivers. Every client is a task of one set; a panic in one of them ends that client alone. A TLS
//! handshake happens in the client's own task. At the end nothing is said for anybody: the broker has gone, not
//! the clients.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use labwatch_contract::topic::Root;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{
    client,
    exchange::{Answers, Exchange, start_router},
    packet::{Login, Message},
    password::StaffPasswords,
    probe::Probe,
    quota::{Accounts, Wait},
    registry::Registry,
    settings::Settings,
};

/// Most subscriptions of staff; each is a link to the router.
const LINKS: usize = 1_024;
/// How long after a failed accept (too many open files) the next one is tried.
const PAUSE: Duration = Duration::from_millis(100);
/// How long clients may take to end.
const GRACE: Duration = Duration::from_secs(3);
/// Passwords that are checked at the same time; each takes 19 MiB and a core.
const LOGINS: usize = 2;

/// What all clients share.
pub(crate) struct Front {
    pub(crate) root: Root,
    pub(crate) is_staff_address: fn(IpAddr) -> bool,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) registry: Registry,
    pub(crate) stop: CancellationToken,
    accounts: Mutex<Accounts>,
    staff: Arc<StaffPasswords>,
    logins: Semaphore,
}

impl Front {
    /// Books a packet of a PC; how long to wait before the next is read.
    pub(crate) fn spend(&self, address: IpAddr, bytes: usize) -> Wait {
        self.accounts().spend(address, bytes, now())
    }

    /// Hands a message from this address over; warns, not too often, when it should be retained and is not.
    pub(crate) fn publish(&self, message: &Message, address: IpAddr) {
        if let Err(why) = self.exchange.publish(message)
            && let Some(left_out) = self.complain(address)
        {
            let topic = &message.topic;
            warn!("{address}: {topic} not retained: {why} ({left_out} such lines left out)");
        }
    }

    /// Whether to warn about an address now, and how many warnings were left out since the last.
    pub(crate) fn complain(&self, address: IpAddr) -> Option<u64> {
        self.accounts().complain(address, now())
    }

    /// Whether this is a staff user's password; not too often from one address.
    pub(crate) async fn log_in(&self, login: Login, address: IpAddr) -> bool {
        let Ok(_turn) = self.logins.acquire().await else {
            return false;
        };
        if !self.accounts().may_log_in(address, now()) {
            return false;
        }
        let staff = Arc::clone(&self.staff);
        let verified = spawn_blocking(move || staff.verify(&login.user, &login.password));
        verified.await.unwrap_or(false)
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection on the books of its address; dropped, it is off them.
struct Booking {
    front: Arc<Front>,
    address: IpAddr,
}

impl Booking {
    /// `None` when there are too many. Staff on this machine is let in all the same.
    fn new(front: &Arc<Front>, address: IpAddr) -> Option<Self> {
        let is_free = (front.is_staff_address)(address);
        (is_free || front.accounts().connect(address, now())).then(|| Self {
            front: Arc::clone(front),
            address,
        })
    }
}

impl Drop for Booking {
    fn drop(&mut self) {
        if !(self.front.is_staff_address)(self.address) {
            self.front.accounts().disconnect(self.address);
        }
    }
}

/// A broker that listens.
pub struct Broker {
    listener: TcpListener,
    tls: Option<(TcpListener, TlsAcceptor)>,
    front: Arc<Front>,
    answers: Answers,
    probe: Probe,
}

impl Broker {
    /// Opens the sockets and starts the router.
    ///
    /// # Errors
    /// When an address cannot be listened at, or the router does not start.
    pub async fn bind(settings: Settings) -> anyhow::Result<Self> {
        let listener = listen(settings.listen).await?;
        let tls = match settings.tls {
            Some(tls) => Some((listen(tls.listen).await?, TlsAcceptor::from(tls.config))),
            None => None,
        };
        // Two more: the publishing link and the probe.
        let dial = start_router(LINKS + 2);
        let probe = Probe::start(&dial)?;
        let (exchange, answers) = Exchange::open(dial, LINKS)?;
        let front = Front {
            root: settings.root,
            is_staff_address: settings.is_staff_address,
            exchange: Arc::new(exchange),
            registry: Registry::default(),
            stop: CancellationToken::new(),
            accounts: Mutex::new(Accounts::new(settings.quotas)),
            staff: Arc::new(settings.staff),
            logins: Semaphore::new(LOGINS),
        };
        Ok(Self {
            listener,
            tls,
            front: Arc::new(front),
            answers,
            probe,
        })
    }

    /// Where it listens for MQTT.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where it listens for MQTT over TLS, if it does.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn tls_local_addr(&self) -> io::Result<Option<SocketAddr>> {
        let tls = self.tls.as_ref();
        tls.map(|(listener, _)| listener.local_addr()).transpose()
    }

    /// Serves until `stop` is cancelled.
    ///
    /// # Errors
    /// When the router no longer delivers.
    pub async fn serve(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self {
            listener,
            tls,
            front,
            answers,
            mut probe,
        } = self;
        let mut clients = JoinSet::new();
        let (tls_listener, acceptor) = tls.unzip();
        let confirm = front.exchange.confirm(answers);
        tokio::pin!(confirm);
        let result = loop {
            tokio::select! {
                () = stop.cancelled() => break Ok(()),
                () = probe.failed() => break Err(anyhow::anyhow!("the router no longer delivers")),
                gone = &mut confirm => break Err(gone.into()),
                Some(ended) = clients.join_next() => {
                    if let Err(error) = ended {
                        error!("a client's task has failed: {error}");
                    }
                }
                (stream, peer) = accept(Some(&listener)) => admit(&front, &mut clients, stream, peer, None),
                (stream, peer) = accept(tls_listener.as_ref()) => {
                    admit(&front, &mut clients, stream, peer, acceptor.clone());
                }
            }
        };
        drop((listener, tls_listener));
        front.stop.cancel();
        let ended = timeout(GRACE, async {
            while clients.join_next().await.is_some() {}
        });
        if ended.await.is_err() {
            warn!("{} clients did not end in time", clients.len());
        }
        result
    }
}

/// Binds, says so, and serves until `stop` is cancelled.
///
/// # Errors
/// See [`Broker::bind`] and [`Broker::serve`].
pub async fn run(settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    let root = settings.root.clone();
    let broker = Broker::bind(settings).await?;
    info!("listening on {} for {root}/#", broker.local_addr()?);
    if let Some(address) = broker.tls_local_addr()? {
        info!("listening on {address} with TLS");
    }
    labwatch_link::service::ready();
    broker.serve(stop).await
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address}"))
}

/// The next connection; never, without a listener.
async fn accept(listener: Option<&TcpListener>) -> (TcpStream, SocketAddr) {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                warn!("a connection cannot be accepted: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

fn admit(
    front: &Arc<Front>,
    clients: &mut JoinSet<()>,
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: Option<TlsAcceptor>,
) {
    let address = peer.ip().to_canonical();
    let Some(booking) = Booking::new(front, address) else {
        if let Some(left_out) = front.complain(address) {
            warn!("{address} turned away: too many connections ({left_out} such lines left out)");
        }
        return;
    };
    if let Err(error) = stream.set_nodelay(true) {
        debug!("{address}: {error}");
    }
    let front = Arc::clone(front);
    clients.spawn(async move {
        let _booking = booking;
        let Some(acceptor) = acceptor else {
            return client::attend(front, stream, address).await;
        };
        let handshake = tokio::select! {
            handshake = timeout(client::GREETING, acceptor.accept(stream)) => handshake,
            () = front.stop.cancelled() => return,
        };
        match handshake {
            Ok(Ok(stream)) => client::attend(front, stream, address).await,
            Ok(Err(error)) => debug!("{address} gone: TLS: {error}"),
            Err(_) => debug!("{address} gone: no TLS handshake in time"),
        }
    });
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        exchange,
        probe::tests::kill_router,
        quota::{Limit, Quotas},
    };

    #[tokio::test]
    async fn a_broker_whose_router_dies_ends_with_an_error() {
        let limit = Limit {
            address: 10,
            network: 10,
            all: 10,
        };
        let settings = Settings {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            staff: StaffPasswords::default(),
            root: Root::default(),
            quotas: Quotas {
                connections: limit,
                messages: limit,
                bytes: limit,
            },
            is_staff_address: |address| address.is_loopback(),
        };
        let broker = Broker::bind(settings).await.unwrap();
        kill_router(exchange::tests::dial(&broker.front.exchange));
        let ended = timeout(
            Duration::from_secs(30),
            broker.serve(CancellationToken::new()),
        );
        assert!(ended.await.unwrap().is_err());
    }
}
