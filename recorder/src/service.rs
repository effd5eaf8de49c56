//! The recorder at work: messages in, lines out, acknowledgements back.
//!
//! ```text
//! broker --> session --> [ intake, ledger ] --exchange--> writer thread --> log, files
//!        <-- acks, checkpoints, alert <--------exchange--------'
//! ```
//!
//! All messages that have come are taken together, and handed to the writer together. A slow disk fills the
//! exchange, then the queue of the session; the broker sees a slow client. What it drops then is sent again by its
//! agent. The end of the writer is the end of the recorder, and never a quiet one.

use std::{sync::Arc, thread, time::Instant};

use anyhow::{Context as _, bail};
use chrono::Utc;
use labwatch_contract::{
    alert::Alert,
    time::Timestamp,
    topic::{Leaf, Root, Topic},
};
use labwatch_link::{
    QoS, service,
    session::{Incoming, Message, Publisher, SessionSettings, session},
};
use tokio::{
    sync::mpsc,
    task::{JoinSet, spawn_blocking},
    time::{Duration, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::{
    alarm::{self, Alarm},
    bulletin::Bulletin,
    clock::Clock,
    exchange::{Batch, Exchange, News},
    filing::Folder,
    intake::{Entry, Intake, Letter},
    notices::Notices,
    quarantine::Quarantine,
    record::{Jump, Note, note_line},
    settings::Settings,
    store::{OPEN_FILES, Store, writer},
};

/// How often the log may tell what was refused.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Under load messages are left to gather for so long: little beside the pause between two commits.
const REST: Duration = Duration::from_millis(5);
/// Rounds of fewer messages are worth a rest: they emptied the socket, which larger ones may not have done.
const FEW: usize = 64;
/// Messages that may wait, and are taken together.
const QUEUE: usize = 1024;

/// Records until `stop`, then until what had come is on the disk.
///
/// # Errors
/// When the directory cannot be used, is another recorder's, or a line cannot be brought to the disk.
pub async fn record(settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    let root = settings.connection.root.clone();
    let store = Store::open(&settings.dir, root.clone(), OPEN_FILES)?;
    let quarantine = Quarantine::new(store.quarantined()?);
    let mut bulletin = Bulletin::default();
    if let Some(last) = store.last_checkpoint() {
        bulletin.put(Topic::Checkpoint, last, true);
    }
    let intake = Intake::new(root.clone(), store.ledger(), store.public_key(), quarantine);
    let (session, publisher, incoming) = session(
        SessionSettings {
            client_id: format!("labwatch-recorder-{}", Uuid::new_v4().simple()),
            filters: vec![root.everything()],
            connection: settings.connection,
            outgoing_queue: QUEUE,
            incoming_queue: QUEUE,
        },
        (),
        stop.clone(),
    );
    info!("records go to {}", settings.dir.display());
    let exchange = Arc::new(Exchange::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(session.run());
    let table = exchange.clone();
    let writer = spawn_blocking(move || writer::write(store, &table, settings.retention));
    service::ready();
    let desk = Desk {
        root,
        intake,
        alarm: Alarm::default(),
        bulletin,
        notices: Notices::default(),
        batch: Batch::default(),
        exchange: exchange.clone(),
        publisher: Some(publisher),
        connected: false,
        clock: Clock::new(now(), Instant::now()),
        rested: Instant::now(),
    };
    let ended = desk.work(incoming, stop).await;
    exchange.close();
    writer.await.context("the writer broke off")??;
    ended
}

struct Desk {
    root: Root,
    intake: Intake,
    alarm: Alarm,
    bulletin: Bulletin,
    notices: Notices,
    batch: Batch,
    exchange: Arc<Exchange>,
    publisher: Option<Publisher>,
    connected: bool,
    clock: Clock,
    /// When the last round ended.
    rested: Instant,
}

impl Desk {
    /// Works until the session has ended or the writer has.
    async fn work(
        mut self,
        mut incoming: mpsc::Receiver<Incoming>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut ticks = interval(TELL_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = Vec::with_capacity(QUEUE);
        loop {
            let room = self.exchange.has_room();
            let due = self.due();
            tokio::select! {
                count = incoming.recv_many(&mut round, QUEUE), if room => {
                    if count == 0 {
                        return Ok(());
                    }
                    self.take(&mut round);
                    if self.is_pressed(count) {
                        // The session rests too, on this very thread: the socket gathers meanwhile, and one wake-up
                        // and one read bring what would have been dozens of each.
                        thread::sleep(REST);
                    }
                }
                () = self.exchange.called() => self.hear()?,
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => self.acknowledge(),
                _ = ticks.tick() => {
                    self.look_at_the_clock();
                    self.hand_over();
                    let busy = self.exchange.busy(Instant::now());
                    let change = self.alarm.look_after(busy, now());
                    self.raise(change);
                    self.say();
                    self.tell();
                }
                // The session ends once nobody can publish any more.
                () = stop.cancelled(), if self.publisher.is_some() => self.publisher = None,
            }
        }
    }

    /// Whether messages come so fast, and in so small rounds, that it pays to let them gather.
    fn is_pressed(&mut self, count: usize) -> bool {
        let now = Instant::now();
        let soon = now.duration_since(self.rested) < 2 * REST;
        self.rested = now;
        soon && count < FEW
    }

    /// When acknowledgements are due.
    fn due(&mut self) -> Option<Instant> {
        let ready = self.connected && self.publisher.is_some();
        ready
            .then(|| self.intake.ledger().poll_timeout(Instant::now()))
            .flatten()
    }

    /// Takes all messages of a round and hands what becomes of them to the writer.
    fn take(&mut self, round: &mut Vec<Incoming>) {
        self.look_at_the_clock();
        let stamp = self.clock.wall().to_string();
        for incoming in round.drain(..) {
            match incoming {
                Incoming::Message(message) => self.take_one(&message, &stamp),
                Incoming::Connected(_) => {
                    self.connected = true;
                    self.bulletin.handle_connected();
                    self.intake.ledger().handle_connected();
                }
                Incoming::Disconnected { .. } => self.connected = false,
            }
        }
        self.hand_over();
        self.acknowledge();
    }

    /// Reads the clock; notes that it was set.
    fn look_at_the_clock(&mut self) {
        if let Some(ms) = self.clock.read(now(), Instant::now()) {
            warn!(
                "the clock has jumped by {ms} ms: times of receipt before and after do not go together"
            );
            let (received, note) = (self.clock.wall(), Note::ClockJump(Jump::Own { ms }));
            let entry = Entry::new(Folder::Lab, received, note_line(received, &note));
            self.batch.entries.push(entry);
        }
    }

    /// Hands to the writer what became of the messages.
    fn hand_over(&mut self) {
        self.batch.marks = self.intake.ledger().take_moved();
        if !self.batch.entries.is_empty() || !self.batch.marks.is_empty() {
            self.exchange.put(&mut self.batch);
        }
    }

    fn take_one(&mut self, message: &Message, stamp: &str) {
        let letter = Letter {
            topic: &message.topic,
            payload: &message.payload,
            retained: message.retain,
            received: self.clock.wall(),
            stamp,
        };
        let taking = !self.alarm.is_open();
        self.intake.take(letter, taking, &mut self.batch.entries);
        if message.retain && message.topic.ends_with(alarm::ID) {
            let correction = self.alarm.correct(&message.payload, self.clock.wall());
            self.raise(correction);
        }
    }

    /// Hears what the writer has to tell.
    fn hear(&mut self) -> anyhow::Result<()> {
        let (news, ended) = self.exchange.news();
        for news in news {
            match news {
                News::Committed(marks) => self.intake.ledger().handle_committed(&marks),
                News::Checkpoint(payload) => {
                    self.bulletin.put(Topic::Checkpoint, payload, true);
                }
                News::Trouble(why) => {
                    let alert = self.alarm.open(&why, now());
                    self.raise(Some(alert));
                }
                News::Relief => {
                    let alert = self.alarm.resolve(now());
                    self.raise(Some(alert));
                }
            }
        }
        self.acknowledge();
        if ended {
            bail!("the writer has ended");
        }
        Ok(())
    }

    /// Says what is to be said to all, then what is to be said to each PC.
    fn acknowledge(&mut self) {
        self.say();
        let Some(publisher) = self.publisher.as_ref().filter(|_| self.connected) else {
            return;
        };
        while let Some((ip, ack)) = self.intake.ledger().poll_ack(Instant::now()) {
            let payload = serde_json::to_vec(&ack).unwrap_or_default();
            let topic = Topic::pc(ip, Leaf::Ack);
            if !publish(publisher, &self.root, &topic, payload) {
                self.intake.ledger().handle_unsent(ip, &ack);
                break;
            }
        }
    }

    fn raise(&mut self, alert: Option<Alert>) {
        if let (Some(alert), Ok(id)) = (alert, alarm::ID.parse()) {
            let payload = serde_json::to_vec(&alert).unwrap_or_default();
            self.bulletin
                .put(Topic::Alert(id), payload, self.alarm.is_open());
        }
    }

    /// Says what the lab is to know of the recorder. Without a connection it waits for the next one.
    fn say(&mut self) {
        let Some(publisher) = self.publisher.as_ref().filter(|_| self.connected) else {
            return;
        };
        let root = &self.root;
        self.bulletin
            .say(|topic, payload| publish(publisher, root, topic, payload.to_vec()));
    }

    fn tell(&mut self) {
        let Some(news) = self.notices.due(self.intake.tally(), now()) else {
            return;
        };
        if news.refused > 0 {
            warn!(
                "{} messages were no valid events: see quarantine",
                news.refused
            );
        }
        if news.overflow > 0 {
            warn!(
                "the quarantine is full: {} of them were not kept",
                news.overflow
            );
        }
        if news.untaken > 0 {
            warn!(
                "{} words of PCs and papers of the lab are not in the record: the disk takes nothing",
                news.untaken
            );
        }
        if news.gaps > 0 {
            warn!(
                "agents have lost events in {} places: see the notes of the records",
                news.gaps
            );
        }
    }
}

/// Whether there was room for it.
fn publish(publisher: &Publisher, root: &Root, topic: &Topic, payload: Vec<u8>) -> bool {
    let message = Message {
        topic: root.text(topic),
        payload: payload.into(),
        qos: QoS::AtLeastOnce,
        retain: topic.is_retained(),
    };
    publisher.try_publish(message).is_ok()
}

fn now() -> Timestamp {
    Utc::now().into()
}
