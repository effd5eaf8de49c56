//! The load: every PC opens new conversations, at a pace just below the one from which the agents sum them up.
//!
//! Each datagram to a neighbour is the first of a conversation and thus an event at both ends; each to the internet is
//! a first contact and an event at its sender. That makes five events a second and PC. The sockets are made on the
//! PCs once and used from one thread, so that the load costs next to nothing itself.

use std::{
    net::{Ipv4Addr, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::lab::Machine;

/// Each PC opens a conversation with a neighbour this often; an agent tells 50 in 10 s one by one, at both ends.
const TICK: Duration = Duration::from_millis(500);
/// Ports that no machine of the lab listens on, below those that the kernel gives to who asks.
const PORTS: std::ops::Range<u16> = 10_000..30_000;
/// Events a second and PC.
pub const PACE: u64 = 5;

/// Datagrams that were sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// To neighbours.
    pub intranet: u64,
    /// To the internet.
    pub internet: u64,
}

impl Sent {
    /// The events that they are, when all agents see all of it.
    #[must_use]
    pub fn events(self) -> u64 {
        2 * self.intranet + self.internet
    }
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    intranet: AtomicU64,
    internet: AtomicU64,
    addresses: Mutex<Vec<Ipv4Addr>>,
}

/// Traffic that flows until [`Load::stop`].
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts the traffic among these PCs.
    #[must_use]
    pub fn start(pcs: &[Machine]) -> Self {
        let shared = Arc::new(Shared::default());
        *addresses(&shared) = pcs.iter().map(|pc| pc.ip).collect();
        let open = |pc: &Machine| pc.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)));
        let sockets: Vec<_> = pcs.iter().map(|pc| open(pc).unwrap()).collect();
        let its = shared.clone();
        Self {
            shared,
            thread: Some(thread::spawn(move || flow(&sockets, &its))),
        }
    }

    /// A PC has another address from now on.
    pub fn readdress(&self, pc: usize, address: Ipv4Addr) {
        addresses(&self.shared)[pc] = address;
    }

    /// What was sent so far.
    #[must_use]
    pub fn sent(&self) -> Sent {
        Sent {
            intranet: self.shared.intranet.load(Ordering::Relaxed),
            internet: self.shared.internet.load(Ordering::Relaxed),
        }
    }

    /// Ends the traffic.
    pub fn stop(&mut self) -> Sent {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.sent()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn addresses(shared: &Shared) -> std::sync::MutexGuard<'_, Vec<Ipv4Addr>> {
    let locked = shared.addresses.lock();
    locked.unwrap_or_else(PoisonError::into_inner)
}

fn flow(sockets: &[UdpSocket], shared: &Shared) {
    let mut next = Instant::now();
    for (tick, port) in (0..).zip(PORTS.cycle()) {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let addresses = addresses(shared).clone();
        let distance = 1 + tick % (sockets.len() - 1);
        for (at, socket) in sockets.iter().enumerate() {
            let neighbour = addresses[(at + distance) % sockets.len()];
            send(socket, neighbour, port, &shared.intranet);
            // Half as often: to addresses that nobody has (RFC 5737), not the same twice in a report's time.
            if tick % 2 == 0 {
                let host = u8::try_from(tick / 2 % 254 + 1).unwrap();
                let stranger = Ipv4Addr::new(198, 51, 100, host);
                send(socket, stranger, port, &shared.internet);
            }
        }
        next += TICK;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// A datagram that a cut network does not take is none.
fn send(socket: &UdpSocket, to: Ipv4Addr, port: u16, count: &AtomicU64) {
    if socket.send_to(b"hello", (to, port)).is_ok() {
        count.fetch_add(1, Ordering::Relaxed);
    }
}
