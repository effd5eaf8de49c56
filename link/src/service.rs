//! The frame of a service: settings first, then logging, signals, systemd, and an end in order.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong settings. SIGTERM and SIGINT cancel the service's token; it then has
//! [`GRACE`] to finish. The watchdog is fed by the same thread that does the work, so a service that hangs is
//! restarted.

use std::{
    future::Future,
    io::{IsTerminal as _, stderr},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::builder::BoolishValueParser;
use sd_notify::NotifyState;
use tokio::{
    runtime::{Builder, LocalOptions},
    signal::unix::{Signal, SignalKind, signal},
    task::{JoinHandle, spawn_local},
    time::{Interval, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use crate::settings::Problems;

/// How long a service may take to end after a signal.
pub const GRACE: Duration = Duration::from_millis(4500);

/// Routers tell each subscription at INFO; who wants that says so in `--log`.
const QUIET: &str = "rumqttd=warn";

/// What every service takes.
#[derive(Debug, Clone, clap::Args)]
pub struct ServiceArgs {
    /// Read every setting, say all that is wrong, start nothing
    #[arg(long, env = "LABWATCH_CHECK", value_parser = BoolishValueParser::new())]
    pub check: bool,

    /// How much to log: error, warn, info, debug, trace, or a filter such as labwatch_link=debug
    #[arg(
        long,
        value_name = "LEVEL",
        env = "LABWATCH_LOG",
        default_value = "info"
    )]
    pub log: String,
}

/// The rest of a service's `main`: reads the settings, then runs `start` until it ends or a signal comes.
pub fn run<S, F>(
    args: &ServiceArgs,
    read: impl FnOnce(&mut Problems) -> Option<S>,
    start: impl FnOnce(S, CancellationToken) -> F,
) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>> + 'static,
{
    let mut problems = Problems::default();
    let filter = problems.check("--log", EnvFilter::try_new(format!("{QUIET},{}", args.log)));
    let settings = read(&mut problems);
    let (Some(filter), Some(settings), true) = (filter, settings, problems.is_empty()) else {
        eprintln!("{problems}");
        return ExitCode::from(2);
    };
    if args.check {
        println!("The settings are in order.");
        return ExitCode::SUCCESS;
    }
    log_to_stderr(filter);
    match serve(settings, start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Tells systemd that the service works; call it once it does.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!("systemd could not be told: {error}");
    }
}

fn log_to_stderr(filter: EnvFilter) {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_target(false);
    let lines = lines.with_ansi(stderr().is_terminal());
    // A second start in one process (a test) keeps the first one's log.
    let _ = lines.try_init();
}

fn serve<S, F>(settings: S, start: impl FnOnce(S, CancellationToken) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + 'static,
{
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build_local(LocalOptions::default())
        .context("the runtime cannot start")?;
    let stop = CancellationToken::new();
    let result = runtime.block_on(async {
        // A task of its own: what wakes it need not look at the signals, nor park in between.
        let service = spawn_local(start(settings, stop.clone()));
        attend(service, stop).await
    });
    // A thread that hangs in a foreign call (a name server, a dead mount) must not keep the service from ending.
    runtime.shutdown_background();
    result
}

/// Waits for the service, feeds the watchdog, and passes signals on.
async fn attend(
    mut service: JoinHandle<anyhow::Result<()>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be watched")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be watched")?;
    let mut watchdog = watchdog();
    loop {
        tokio::select! {
            ended = &mut service => return ended.context("the service failed")?,
            name = either(&mut terminate, &mut interrupt) => {
                info!("{name}: ending");
                break;
            }
            () = beat(&mut watchdog) => notify(&[NotifyState::Watchdog]),
        }
    }
    stop.cancel();
    notify(&[NotifyState::Stopping]);
    match timeout(GRACE, service).await {
        Ok(ended) => ended.context("the service failed")?,
        Err(_) => anyhow::bail!("did not end within {} s", GRACE.as_secs_f32()),
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

fn watchdog() -> Option<Interval> {
    let mut ticks = interval(sd_notify::watchdog_enabled()? / 2);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Some(ticks)
}

async fn beat(watchdog: &mut Option<Interval>) {
    match watchdog {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}
