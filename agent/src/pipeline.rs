//! The way of an event out of the PC.
//!
//! ```text
//! usb --+                            +--> journal (synced at most 200 ms later)
//!       +--> occurrence --> outbox --+
//! net --+                            +--> queue --> session
//! ```
//!
//! Each event is appended to the journal before it is handed to the session. When the journal cannot be written
//! (a full disk) the event is published all the same, the agent says `no-journal`, and later events go into a
//! new journal once there is room. The pipeline ends when all sensors have.

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
    event::{Host, Occurrence},
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
    time::{Instant, MissedTickBehavior, interval},
};
use tracing::{debug, error, info};
use uuid::Uuid;

use crate::{
    degraded::Degraded,
    health::{Meter, Own},
    identity,
    journal::{Journal, Past},
    outbox::Outbox,
    presence::{self, Hello},
    syncer::Syncer,
};

/// How soon a journal that could not be written is tried again.
const REOPEN_AFTER: Duration = Duration::from_secs(5);
/// Word for a journal that cannot be written.
const NO_JOURNAL: &str = "no-journal";

/// What the pipeline is made of.
pub(crate) struct Parts {
    /// First level of the topics.
    pub(crate) root: Root,
    /// Address in the topics, or `None` for that of the connection.
    pub(crate) ip: Option<IpAddr>,
    /// Where the journals are; its disk is measured.
    pub(crate) state_dir: PathBuf,
    /// What the agent cannot see.
    pub(crate) degraded: Degraded,
    /// Frames that the kernel could not hand over, counted by the capture.
    pub(crate) capture_dropped: Arc<AtomicU64>,
    /// Told where the broker is on each connection.
    pub(crate) broker: watch::Sender<Option<SocketAddr>>,
}

/// From occurrences to journalled and published events.
pub(crate) struct Pipeline {
    parts: Parts,
    outbox: Outbox,
    journal: Journal,
    syncer: Syncer,
    reopen_at: Instant,
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
        let (journal, Past { prev, journals }) = Journal::open(&parts.state_dir)?;
        let host = identity::host(parts.ip.unwrap_or_else(identity::likely_address));
        let mut pipeline = Self {
            outbox: Outbox::new(Uuid::now_v7(), prev),
            journal,
            syncer: Syncer::default(),
            reopen_at: Instant::now(),
            journals: watch::Sender::new(journals),
            meter: Meter::new(parts.state_dir.clone()),
            host,
            connected: None,
            parts,
        };
        pipeline.begin_journal();
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
            tokio::select! {
                occurrence = occurrences.recv() => match occurrence {
                    Some(occurrence) => self.take(occurrence),
                    None => break,
                },
                Ok(room) = publisher.room(), if self.has_turn() => {
                    if let Some(message) = self.turn() {
                        room.publish(message);
                    }
                }
                Some(incoming) = incoming.recv() => self.hear(incoming, &publisher),
                synced = self.syncer.synced(self.journal.file()) => if let Err(error) = synced {
                    self.lose_journal(&error);
                },
                Ok(()) = words.changed() => self.say_again(Reason::DegradedChanged, &publisher),
                _ = heartbeat.tick() => self.beat(&publisher),
            }
        }
        self.finish(&publisher);
    }

    fn take(&mut self, occurrence: Occurrence) {
        if !self.journal.is_open() && Instant::now() >= self.reopen_at {
            self.begin_journal();
        }
        let sealed = match self
            .outbox
            .seal(occurrence, &self.host, identity::uptime_ms())
        {
            Ok(sealed) => sealed,
            Err(error) => return error!("an occurrence became no event: {error}"),
        };
        if self.journal.is_open() {
            match self.journal.append(&sealed.payload) {
                Ok(()) => self.syncer.appended(),
                Err(error) => self.lose_journal(&error),
            }
        }
        self.outbox.push(sealed);
        let range = self.outbox.range();
        self.journals
            .send_modify(|journals| match journals.last_mut() {
                Some(last) if last.journal == range.journal => *last = range,
                _ => journals.push(range),
            });
    }

    fn begin_journal(&mut self) {
        let journal = Uuid::now_v7();
        match self.journal.begin(journal) {
            Ok(()) => {
                info!("journal {journal} begun");
                self.outbox.begin(journal);
                self.journals.send_modify(|journals| {
                    journals.push(JournalRange {
                        journal,
                        first: 1,
                        last: 0,
                    })
                });
                self.parts.degraded.note(NO_JOURNAL, None);
            }
            Err(error) => self.lose_journal(&error),
        }
    }

    fn lose_journal(&mut self, error: &std::io::Error) {
        self.journal.close();
        self.reopen_at = Instant::now() + REOPEN_AFTER;
        self.parts.degraded.note(NO_JOURNAL, Some(error));
    }

    fn has_turn(&self) -> bool {
        self.connected.is_some() && !self.outbox.is_empty()
    }

    fn turn(&mut self) -> Option<Message> {
        let event = self.outbox.pop()?;
        let topic = self.topic(event.leaf);
        Some(Message {
            topic,
            payload: event.payload.into(),
            qos: QoS::AtLeastOnce,
            retain: false,
        })
    }

    fn topic(&self, leaf: Leaf) -> String {
        self.parts.root.text(&Topic::pc(self.host.ip, leaf))
    }

    fn hear(&mut self, incoming: Incoming, publisher: &Publisher) {
        match incoming {
            Incoming::Connected(connected) => {
                self.host = identity::host(self.parts.ip.unwrap_or(connected.local));
                self.parts.broker.send_replace(Some(connected.broker));
                self.connected = Some(connected);
            }
            Incoming::Disconnected { .. } => self.connected = None,
            Incoming::Message(message)
                if presence::contradicts(&self.parts.root, &message, self.host.ip) =>
            {
                self.say_again(Reason::Reconnected, publisher);
            }
            Incoming::Message(_) => {}
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
        if self.connected.is_none() {
            return;
        }
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
        while self.has_turn() {
            let sent = self.turn().map(|message| publisher.try_publish(message));
            if !matches!(sent, Some(Ok(()))) {
                info!(
                    "{} events stay in the journal alone",
                    self.outbox.backlog() + 1
                );
                break;
            }
        }
        let synced = self.journal.file().map(|file| file.sync_data());
        if let Some(Err(error)) = synced {
            error!("the journal's end may be lost: {error}");
        }
    }
}
