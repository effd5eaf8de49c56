//! The recorder at work: messages in, lines out, one thread that writes.
//!
//! ```text
//! broker --> session --> intake --bounded queue--> writer thread --> files
//! ```
//!
//! A slow disk fills the queues up to the broker, which sees a slow client: nothing is dropped in here. The end of
//! the writer is the end of the recorder, and never a quiet one.

use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::Utc;
use labwatch_contract::time::Timestamp;
use labwatch_link::{
    service,
    session::{Incoming, Message, SessionSettings, session},
};
use tokio::{
    sync::mpsc,
    task::{JoinSet, spawn_blocking},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::{
    intake::{Intake, Letter},
    notices::Notices,
    quarantine::Quarantine,
    settings::Settings,
    store::{OPEN_FILES, Order, Store, write_queue},
};

/// How often everything is brought to the disk; the contract asks for once a second.
const SYNC_EVERY: Duration = Duration::from_millis(500);
/// Messages and lines that may wait.
const QUEUE: usize = 512;

/// Records until `stop`, then until what had come is on the disk.
///
/// # Errors
/// When the directory cannot be used, is another recorder's, or a line cannot be brought to the disk.
pub async fn record(settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    let store = Store::open(&settings.dir, OPEN_FILES)?;
    let quarantine = Quarantine::new(store.quarantined()?);
    let root = settings.connection.root.clone();
    let (session, publisher, incoming) = session(
        SessionSettings {
            client_id: format!("labwatch-recorder-{}", Uuid::new_v4().simple()),
            filters: vec![root.everything()],
            connection: settings.connection,
            outgoing_queue: 1,
            incoming_queue: QUEUE,
        },
        (),
        stop,
    );
    // Nothing is said to anybody.
    drop(publisher);
    info!("records go to {}", settings.dir.display());
    let (orders, queue) = mpsc::channel(QUEUE);
    let mut tasks = JoinSet::new();
    tasks.spawn(session.run());
    let writer = spawn_blocking(move || write_queue(store, queue));
    service::ready();
    let desk = Desk {
        intake: Intake::new(root, quarantine),
        notices: Notices::default(),
        orders,
    };
    let ended = desk.work(incoming).await;
    writer.await.context("the writer broke off")??;
    ended
}

struct Desk {
    intake: Intake,
    notices: Notices,
    orders: mpsc::Sender<Order>,
}

impl Desk {
    /// Works until the session has ended or the writer has.
    async fn work(mut self, mut incoming: mpsc::Receiver<Incoming>) -> anyhow::Result<()> {
        let mut ticks = interval(SYNC_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    self.order(Order::Sync).await?;
                    self.tell();
                }
                message = incoming.recv() => match message {
                    Some(Incoming::Message(message)) => self.take(&message).await?,
                    Some(Incoming::Connected(_) | Incoming::Disconnected { .. }) => {}
                    None => return Ok(()),
                },
                () = self.orders.closed() => bail!("the writer has ended"),
            }
        }
    }

    async fn take(&mut self, message: &Message) -> anyhow::Result<()> {
        let entries = self.intake.take(Letter {
            topic: &message.topic,
            payload: &message.payload,
            retained: message.retain,
            received: now(),
        });
        for entry in entries {
            self.order(Order::Write(entry)).await?;
        }
        Ok(())
    }

    async fn order(&self, order: Order) -> anyhow::Result<()> {
        let sent = self.orders.send(order).await;
        sent.ok().context("the writer has ended")
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
        if news.gaps > 0 {
            warn!(
                "events are missing in {} places: see the notes of the records",
                news.gaps
            );
        }
    }
}

fn now() -> Timestamp {
    Utc::now().into()
}
