//! The watcher of the network in a namespace, and what it tells.

use std::{
    fs::File,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, mpsc as std_mpsc},
    thread,
    time::{Duration, Instant},
};

use labwatch_agent::net::{NetHealth, NetSettings, start};
use labwatch_contract::event::{Action, Occurrence, contact::Endpoint};
use nix::sched::{CloneFlags, setns};
use tokio::sync::{mpsc, watch as latest};
use tokio_util::sync::CancellationToken;

use crate::cable::{Cable, bash};

/// What takes longer does not come.
pub(crate) const LIVENESS: Duration = Duration::from_secs(20);

/// The watcher in its namespace, on a thread of its own.
pub(crate) struct Watcher {
    events: std_mpsc::Receiver<Occurrence>,
    pub(crate) health: NetHealth,
    pub(crate) broker: latest::Sender<Option<SocketAddr>>,
    taking: Arc<Mutex<()>>,
    stop: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl Watcher {
    pub(crate) fn start(namespace: &str, report_every: Duration) -> Self {
        let (forward, events) = std_mpsc::channel();
        let (broker, broker_receiver) = latest::channel(None);
        let health = NetHealth::default();
        let own_health = health.clone();
        let stop = CancellationToken::new();
        let taking = Arc::new(Mutex::new(()));
        let take = taking.clone();
        let (stopped, path) = (stop.clone(), format!("/run/netns/{namespace}"));
        let settings = NetSettings {
            interfaces: vec![],
            local_networks: latest::channel(vec!["10.77.0.0/24".parse().unwrap()]).1,
            report_every,
        };
        let thread = thread::spawn(move || {
            setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let (sender, mut receiver) = mpsc::channel(1);
                let watching = start(settings, broker_receiver, sender, own_health, stopped);
                let watching = watching.await.unwrap().ended();
                let forwarding = async {
                    while let Some(event) = receiver.recv().await {
                        drop(take.lock());
                        forward.send(event).ok();
                    }
                };
                let (watched, ()) = tokio::join!(watching, forwarding);
                watched.unwrap();
            });
        });
        Self {
            events,
            health,
            broker,
            taking,
            stop,
            thread: Some(thread),
        }
    }

    /// The watcher stands still until the guard is dropped: more is told than waits for its receiver, who takes nothing.
    pub(crate) fn stand_still(&self, cable: &Cable) -> MutexGuard<'_, ()> {
        let hold = self.taking.lock().unwrap();
        let ports = "9971 9972 9973 9974";
        bash(
            &cable.pc,
            &format!("for port in {ports}; do echo hello >/dev/udp/10.77.0.2/$port; done"),
        );
        // They are told when their program is known.
        thread::sleep(Duration::from_millis(1500));
        hold
    }

    /// Waits for an event that fits.
    pub(crate) fn wait_for(&self, what: &str, fits: impl Fn(&Occurrence) -> bool) -> Occurrence {
        let deadline = Instant::now() + LIVENESS;
        let mut seen = vec![];
        while let Ok(event) = self
            .events
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if fits(&event) {
                return event;
            }
            seen.push(event);
        }
        panic!("{what} did not come; these did: {seen:#?}");
    }

    pub(crate) fn wait_for_interface(&self) {
        self.wait_for("interface-up with its address", |event| {
            let is_news = [Action::InterfaceUp, Action::AddressChanged].contains(&event.action);
            is_news
                && event
                    .fields
                    .lab
                    .interface
                    .as_ref()
                    .is_some_and(|one| one.addresses.len() == 2)
        });
    }

    pub(crate) fn stop(mut self) -> Vec<Occurrence> {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap();
        self.events.try_iter().collect()
    }
}

pub(crate) fn end(endpoint: &Option<Endpoint>) -> String {
    endpoint.as_ref().unwrap().to_string()
}

/// The event of this action about this interface.
pub(crate) fn about(watcher: &Watcher, action: Action, name: &str) -> Occurrence {
    watcher.wait_for(&format!("{action} of {name}"), |event| {
        let interface = event.fields.lab.interface.as_ref();
        event.action == action && interface.is_some_and(|one| one.name == name)
    })
}

pub(crate) fn reason(event: &Occurrence) -> &str {
    event.fields.lab.reason.as_deref().unwrap_or_default()
}

/// Two that run for a while: the PC at the cable and what it tells.
pub(crate) fn watched(test: &str) -> Option<(Cable, Watcher)> {
    let cable = Cable::new(test)?;
    let watcher = Watcher::start(&cable.pc, Duration::from_secs(600));
    watcher.wait_for_interface();
    Some((cable, watcher))
}
