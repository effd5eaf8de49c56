//! `labwatch-notifier learn`: listens to a quiet lab for a time and prints what it did as a proposed allow list.

use std::{
    io::{Write as _, stdout},
    time::Duration,
};

use labwatch_link::{
    service,
    session::{Incoming, SessionSettings, session},
    settings::{BrokerArgs, Connection, Problems},
};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::info;
use uuid::Uuid;

use crate::policy::lesson::Lesson;

/// Longest that it listens.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What `learn` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    broker: BrokerArgs,

    /// How long to listen
    #[arg(long = "for", value_name = "TIME", default_value = "10m")]
    time: String,
}

/// The settings of `learn`, checked.
#[derive(Clone)]
pub struct Settings {
    connection: Connection,
    time: Duration,
}

impl Args {
    /// Reads every setting; `None` when one of them is wrong, and `problems` says which.
    pub fn read(&self, problems: &mut Problems) -> Option<Settings> {
        let connection = self.broker.read(problems);
        let time = problems.check("--for", humantime::parse_duration(&self.time));
        let time = time.filter(|time| !time.is_zero() && *time <= LONGEST);
        if time.is_none() {
            problems.add("--for", "a time between 1s and 24h is wanted");
        }
        Some(Settings {
            connection: connection?,
            time: time?,
        })
    }
}

/// Listens, then prints the proposal; also when it is told to stop before its time.
///
/// # Errors
/// When stdout cannot be written.
pub async fn run(settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    let root = settings.connection.root.clone();
    let id = Uuid::new_v4().simple().to_string();
    let parts = SessionSettings {
        filters: vec![format!("{root}/+/net/intranet")],
        // At most 23 characters: any broker takes it.
        client_id: format!("learner-{id:.12}"),
        connection: settings.connection,
        outgoing_queue: 1,
        incoming_queue: 1024,
    };
    let (session, publisher, mut incoming) = session(parts, (), stop.clone());
    let end = Instant::now() + settings.time;
    service::ready();
    info!(
        "listening for {}",
        humantime::format_duration(settings.time)
    );
    let mut lesson = Lesson::new(root);
    let listen = async {
        while let Ok(Some(message)) = timeout_at(end, incoming.recv()).await {
            if let Incoming::Message(message) = message {
                lesson.handle(&message.topic, &message.payload, message.retain);
            }
        }
        drop(publisher);
        stop.cancel();
    };
    tokio::join!(session.run(), listen);
    stdout().write_all(lesson.proposal().as_bytes())?;
    Ok(())
}
