//! The way of an event out of the PC.
//!
//! ```text
//! usb --+                            +--> journal (synced at most 200 ms later) --+
//!       +--> occurrence --> sealer --+                                  read back v
//! net --+                            `--> outbox: fresh at once, else in turn --> session
//! ack ----------------------------------> outbox: what is safe
//! policy/agents ------------------------> policy: networks that count as local
//! ```
//!
//! Each event stands in the journal before it is handed to the session. When the disk takes nothing (it is full) the
//! agent says `no-journal` and journals in memory, bounded, until there is room. The pipeline ends when all
//! sensors have; what was not sent by then is sent by the next start.

mod journalling;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use labwatch_contract::{
    ack::Ack,
    event::{Action, Fields, Host, LabFields, Occurrence},
    health::HEARTBEAT_SECONDS,
    status::{JournalRange, Reason},
    topic::{Leaf, Root, Topic},
};
use labwatch_link::{
    QoS,
    session::{Connected, Incoming, Message, Publisher},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tracing::{debug, error, info, warn};

use crate::{
    degraded::Degraded,
    health::{Meter, Own},
    identity,
    journal::{Journal, Past},
    outbox::{Confirmed, Demand, Loss, Outbox, Transmit},
    policy::Standing,
    presence::{self, Hello},
    retention::Bounds,
    sealer::{Sealer, uptime_at},
    syncer::Syncer,
};

/// What the pipeline is made of.
pub(crate) struct Parts {
    /// First level of the topics.
    pub(crate) root: Root,
    /// Address in the topics, or `None` for that of the connection.
    pub(crate) ip: Option<IpAddr>,
    /// Where the journals are; its disk is measured.
    pub(crate) state_dir: PathBuf,
    /// How much of the journals is kept.
    pub(crate) bounds: Bounds,
    /// What the agent cannot see.
    pub(crate) degraded: Degraded,
    /// Frames that the kernel could not hand over, counted by the capture.
    pub(crate) capture_dropped: Arc<AtomicU64>,
    /// Told where the broker is on each connection.
    pub(crate) broker: watch::Sender<Option<SocketAddr>>,
    /// What staff says of the exam.
    pub(crate) policy: Standing,
}

/// From occurrences to journalled and published events.
pub(crate) struct Pipeline {
    parts: Parts,
    sealer: Sealer,
    outbox: Outbox,
    journal: Journal,
    syncer: Syncer,
    began: Instant,
    reopen_at: Instant,
    remembered: Confirmed,
    remember_at: Instant,
    journals: watch::Sender<Vec<JournalRange>>,
    meter: Meter,
    host: Host,
    connected: Option<Connected>,
}

impl Pipeline {
    /// Opens the journals and begins a new one.
    ///
    /// # Errors
    /// When the state directory cannot be used; see [`Journal::open`].
    pub(crate) fn open(parts: Parts) -> anyhow::Result<Self> {
        let (mut journal, past) = Journal::open(&parts.state_dir, parts.bounds)?;
        let Past {
            prev,
            journals,
            confirmed,
        } = past;
        let name = journal.next_name();
        let outbox = Outbox::new(&journals, confirmed.clone(), name);
        let now = Instant::now();
        let mut pipeline = Self {
            sealer: Sealer::new(name, prev),
            journals: watch::Sender::new(outbox.journals()),
            outbox,
            journal,
            syncer: Syncer::start()?,
            began: now,
            reopen_at: now,
            remembered: confirmed,
            remember_at: now,
            meter: Meter::new(parts.state_dir.clone()),
            host: identity::host(parts.ip.unwrap_or_else(identity::likely_address)),
            connected: None,
            parts,
        };
        if let Err(error) = pipeline.journal.begin(name, identity::now()) {
            pipeline.lose_journal(&error, name);
        }
        Ok(pipeline)
    }

    /// The journals on this PC, for `status`.
    #[must_use]
    pub(crate) fn journals(&self) -> watch::Receiver<Vec<JournalRange>> {
        self.journals.subscribe()
    }

    /// Runs until every sensor has ended; then what is left is handed to the session.
    pub(crate) async fn run(
        mut self,
        mut occurrences: mpsc::Receiver<Occurrence>,
        publisher: Publisher,
        mut incoming: mpsc::Receiver<Incoming>,
    ) {
        let mut words = self.parts.degraded.watch();
        let mut heartbeat = interval(Duration::from_secs(HEARTBEAT_SECONDS));
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.outbox.poll_timeout();
            let due = sleep_until(self.began + due.unwrap_or_default());
            tokio::select! {
                occurrence = occurrences.recv() => match occurrence {
                    Some(occurrence) => self.take(occurrence),
                    None => break,
                },
                Ok(room) = publisher.room(), if self.outbox.is_ready() => {
                    if let Some(message) = self.turn() {
                        room.publish(message);
                    }
                }
                Some(incoming) = incoming.recv() => self.hear(incoming, &publisher),
                () = due, if self.outbox.poll_timeout().is_some() => {
                    let now = self.uptime();
                    self.outbox.handle_timeout(now);
                }
                synced = self.syncer.synced() => if let Err(error) = synced {
                    let name = self.journal.next_name();
                    self.lose_journal(&error, name);
                    self.begun(name);
                },
                Ok(()) = words.changed() => self.say_again(Reason::DegradedChanged, &publisher),
                // Without a connection there is nothing to beat for, and no journal that has become superfluous.
                _ = heartbeat.tick(), if self.connected.is_some() => {
                    self.tidy();
                    self.beat(&publisher);
                }
            }
            self.meet_demands(&publisher);
        }
        self.finish(&publisher);
    }

    fn uptime(&self) -> Duration {
        self.began.elapsed()
    }

    /// Journals an occurrence; from then on the outbox sees that it arrives.
    fn take(&mut self, occurrence: Occurrence) {
        let reopens = !self.journal.is_on_disk() && Instant::now() >= self.reopen_at;
        if reopens || self.journal.is_long(identity::now()) {
            self.begin_journal();
        }
        let uptime_ms = uptime_at(occurrence.time, identity::now(), identity::uptime_ms());
        let sealed = self.sealer.seal(occurrence, &self.host, uptime_ms);
        match sealed.and_then(|sealed| self.append(sealed)) {
            Ok(sealed) => {
                self.tell(sealed.place);
                self.outbox.handle_event(sealed);
            }
            Err(error) => error!("an occurrence became no event: {error}"),
        }
    }

    fn meet_demands(&mut self, publisher: &Publisher) {
        while let Some(demand) = self.outbox.poll_demand() {
            match demand {
                Demand::Begin => self.begin_journal(),
                Demand::Lost(dropped, loss) => self.take(lost(dropped, loss)),
                Demand::Announce => {
                    self.journals.send_replace(self.outbox.journals());
                    self.say_again(Reason::JournalsChanged, publisher);
                }
            }
        }
    }

    /// The message whose turn it is.
    fn turn(&mut self) -> Option<Message> {
        let (leaf, payload) = match self.outbox.poll_transmit(self.uptime())? {
            Transmit::Fresh(event) => (event.leaf, event.payload),
            Transmit::Stored { journal, sequence } => self.read_back(journal, sequence)?,
        };
        Some(Message {
            topic: self.topic(leaf),
            payload,
            qos: QoS::AtLeastOnce,
            retain: false,
        })
    }

    fn topic(&self, leaf: Leaf) -> String {
        self.parts.root.text(&Topic::pc(self.host.ip, leaf))
    }

    fn hear(&mut self, incoming: Incoming, publisher: &Publisher) {
        let now = self.uptime();
        match incoming {
            Incoming::Connected(connected) => {
                self.host = identity::host(self.parts.ip.unwrap_or(connected.local));
                self.parts.broker.send_replace(Some(connected.broker));
                self.connected = Some(connected);
                self.outbox.handle_connected(now);
            }
            Incoming::Disconnected { .. } => {
                self.connected = None;
                self.outbox.handle_disconnected();
                self.remember();
            }
            Incoming::Message(message) if message.topic == self.topic(Leaf::Ack) => {
                match serde_json::from_slice::<Ack>(&message.payload) {
                    Ok(ack) => self.outbox.handle_ack(&ack, now),
                    Err(error) => debug!("an acknowledgement that is none: {error}"),
                }
            }
            Incoming::Message(message)
                if message.topic == self.parts.root.text(&Topic::AgentPolicy) =>
            {
                self.parts.policy.handle(&message.payload);
            }
            Incoming::Message(message) => {
                if presence::contradicts(&self.parts.root, &message, self.host.ip) {
                    self.say_again(Reason::Reconnected, publisher);
                }
            }
        }
    }

    fn say_again(&self, reason: Reason, publisher: &Publisher) {
        let Some(connected) = &self.connected else {
            return;
        };
        let hello = Hello {
            time: identity::now(),
            host: self.host.clone(),
            degraded: self.parts.degraded.words(),
            journals: self.journals.borrow().clone(),
        };
        let online = presence::repeat(&self.parts.root, connected, hello, reason);
        if online.is_some_and(|online| publisher.try_publish(online).is_err()) {
            debug!("no room for a status; the next connection brings one");
        }
    }

    fn beat(&mut self, publisher: &Publisher) {
        let own = Own {
            capture_dropped: self.parts.capture_dropped.load(Ordering::Relaxed),
            backlog_events: self.outbox.backlog(),
            uptime_ms: identity::uptime_ms(),
            degraded: self.parts.degraded.words(),
        };
        let health = self.meter.measure(identity::now(), self.host.clone(), own);
        let Ok(payload) = serde_json::to_vec(&health) else {
            return;
        };
        let (topic, payload) = (self.topic(Leaf::Health), Bytes::from(payload));
        let message = Message {
            topic,
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
        };
        if publisher.try_publish(message).is_err() {
            debug!("no room for a heartbeat");
        }
    }

    fn finish(&mut self, publisher: &Publisher) {
        while self.outbox.is_ready() {
            let Some(message) = self.turn() else { continue };
            if publisher.try_publish(message).is_err() {
                break;
            }
        }
        if self.outbox.backlog() > 0 {
            info!(
                "{} events are not confirmed yet; they stay in the journal",
                self.outbox.backlog()
            );
        }
        self.remember();
        if let Err(error) = self.syncer.finish() {
            error!("the journal's end may be lost: {error}");
        }
    }
}

fn lost(dropped: Vec<JournalRange>, loss: Loss) -> Occurrence {
    warn!("events will not be recorded: {}: {dropped:?}", loss.text());
    let lab = LabFields {
        dropped: Some(dropped),
        reason: Some(loss.text().to_owned()),
        ..LabFields::default()
    };
    Occurrence {
        time: identity::now(),
        action: Action::EventsDropped,
        fields: Fields {
            lab,
            ..Fields::default()
        },
    }
}
