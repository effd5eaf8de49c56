//! Labwatch's agent: watches one lab PC and publishes what it sees.
//!
//! ```text
//! usb/   uevents, sysfs, mount table --+
//!                                      +--> pipeline: sealer --> journal --> outbox --> session (MQTT)
//! net/   frames, interfaces, names   --+
//! ```

mod announcer;
pub mod degraded;
mod health;
#[expect(
    clippy::disallowed_methods,
    reason = "shell: asks the system who this PC is"
)]
mod identity;
#[expect(clippy::disallowed_methods, reason = "shell: the journal's files")]
pub mod journal;
pub mod net;
pub mod outbox;
#[expect(
    clippy::disallowed_methods,
    reason = "shell: joins sensors, journal and session by time"
)]
mod pipeline;
mod policy;
mod presence;
mod ready;
pub mod replay;
pub mod retention;
pub mod sealer;
pub mod settings;
#[expect(
    clippy::disallowed_methods,
    reason = "shell: asks systemd, and waits a moment for the answer"
)]
mod shutdown;
#[expect(clippy::disallowed_methods, reason = "shell: waits for the disk")]
mod syncer;
pub mod usb;

use labwatch_link::{
    service,
    session::{SessionSettings, session},
    settings::Connection,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    announcer::Announcer,
    degraded::Degraded,
    net::{NetHealth, NetSettings},
    pipeline::{Parts, Pipeline},
    policy::Standing,
    settings::Settings,
};

/// Occurrences that may wait for the journal.
const OCCURRENCES: usize = 1024;
/// Messages that may wait for the connection; events wait in the outbox instead.
const OUTGOING: usize = 64;
/// Acknowledgements and statuses of our own that may wait to be read.
const INCOMING: usize = 16;

/// Watches this PC until `stop`; then what was seen is journalled, published, and the farewell said.
///
/// # Errors
/// When the state directory cannot be used, or a sensor cannot go on.
pub async fn run(settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    let degraded = Degraded::default();
    let net_health = NetHealth {
        degraded: degraded.clone(),
        ..NetHealth::default()
    };
    let (broker, broker_seen) = watch::channel(settings.connection.broker.address());
    let policy = Standing::new(settings.local_networks);
    let local_networks = policy.networks();
    let pipeline = Pipeline::open(Parts {
        root: settings.connection.root.clone(),
        ip: settings.ip,
        state_dir: settings.state_dir.clone(),
        bounds: settings.bounds,
        degraded: degraded.clone(),
        capture_dropped: net_health.dropped.clone(),
        broker,
        policy,
    })?;
    let announcer = Announcer::new(
        settings.connection.root.clone(),
        settings.ip,
        degraded.clone(),
        pipeline.journals(),
    );
    let (session, publisher, incoming) = session(
        session_settings(settings.connection.clone()),
        announcer,
        stop.clone(),
    );
    let (occurrences, taken) = mpsc::channel(OCCURRENCES);
    let net_settings = NetSettings {
        interfaces: settings.interfaces,
        local_networks,
        report_every: settings.report_every,
    };
    let devices = usb::watch(
        usb::Roots::default(),
        occurrences.clone(),
        degraded,
        broker_seen.clone(),
        stop.clone(),
    );
    let network = net::start(
        net_settings,
        broker_seen,
        occurrences,
        net_health,
        stop.clone(),
    );
    // Nobody hears of this agent before it sees.
    let network = network.await?;
    service::ready();
    let mut parts = JoinSet::new();
    parts.spawn(infallible(session.run()));
    parts.spawn(infallible(pipeline.run(taken, publisher, incoming)));
    parts.spawn(infallible(devices));
    parts.spawn(network.ended());
    all_ended(parts, &stop).await
}

async fn infallible(part: impl Future<Output = ()>) -> anyhow::Result<()> {
    part.await;
    Ok(())
}

/// A part that fails ends the others too, in order; systemd starts all of them again.
async fn all_ended(
    mut parts: JoinSet<anyhow::Result<()>>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut result = Ok(());
    while let Some(ended) = parts.join_next().await {
        let ended = ended.map_err(anyhow::Error::from).flatten();
        if ended.is_err() {
            stop.cancel();
        }
        result = result.and(ended);
    }
    result
}

fn session_settings(connection: Connection) -> SessionSettings {
    SessionSettings {
        connection,
        client_id: format!("labwatch-agent-{}", Uuid::new_v4().simple()),
        filters: Vec::new(),
        outgoing_queue: OUTGOING,
        incoming_queue: INCOMING,
    }
}
