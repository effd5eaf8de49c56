//! The invigilator's own command (`--exec`): run for each alert, the alert as one line of JSON on its stdin.
//!
//! One at a time, in the order of the alerts, by `/bin/sh -c`, in a process group of its own. It may take 10 s; then
//! the whole group is killed. The queue is bounded; what does not fit is counted, and the log says so. It never
//! holds up the other channels. What it prints on stdout is thrown away: stdout is the console's.

use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use labwatch_contract::alert::Alert;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command as Process},
    sync::mpsc,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::line::Style;

/// Room for alerts while the command runs.
const QUEUE: usize = 64;
/// How long one run may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The way to the command.
pub(crate) struct Command {
    alerts: mpsc::Sender<Alert>,
    missed: Arc<AtomicU64>,
}

impl Command {
    /// Queues an alert, never waits.
    pub(crate) fn run(&self, alert: &Alert) {
        if self.alerts.try_send(alert.clone()).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The other end of the queue; [`Runner::run`] it.
pub(crate) struct Runner {
    line: String,
    alerts: mpsc::Receiver<Alert>,
    missed: Arc<AtomicU64>,
    /// Whether the last run went well, so that only a change is logged.
    works: bool,
}

/// The way to a command line and the task that runs it.
pub(crate) fn command(line: String) -> (Command, Runner) {
    let (sender, alerts) = mpsc::channel(QUEUE);
    let missed = Arc::new(AtomicU64::new(0));
    let runner = Runner {
        line,
        alerts,
        missed: Arc::clone(&missed),
        works: true,
    };
    (
        Command {
            alerts: sender,
            missed,
        },
        runner,
    )
}

impl Runner {
    /// Runs the command for what comes until `stop`; what runs then is killed.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let work = async {
            while let Some(alert) = self.alerts.recv().await {
                let result = once(&self.line, &alert).await;
                self.say(result);
            }
        };
        stop.run_until_cancelled(work).await;
    }

    fn say(&mut self, result: anyhow::Result<()>) {
        match self.missed.swap(0, Ordering::Relaxed) {
            0 => {}
            missed => {
                warn!("--exec: {missed} alerts were not handed over, the command is too slow")
            }
        }
        let worked = std::mem::replace(&mut self.works, result.is_ok());
        match result {
            Ok(()) if !worked => info!("--exec works again"),
            Err(error) if worked => warn!("--exec: {error:#}"),
            Ok(()) | Err(_) => {}
        }
    }
}

/// A process group that does not outlive its alert.
struct Group {
    child: Child,
    leader: Option<Pid>,
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            // Who has ended in time is not there any more; its children may be.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

async fn once(line: &str, alert: &Alert) -> anyhow::Result<()> {
    let child = Process::new("/bin/sh")
        .args(["-c", line])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("the command cannot be started")?;
    let leader = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
    let mut group = Group { child, leader };
    let run = async {
        if let Some(mut stdin) = group.child.stdin.take() {
            let json = Style::Json.line(alert) + "\n";
            // A command that does not read what it is told may do so.
            let _ = stdin.write_all(json.as_bytes()).await;
        }
        group.child.wait().await
    };
    match timeout(PATIENCE, run).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => bail!("the command failed: {status}"),
        Ok(Err(error)) => Err(error).context("the command was lost"),
        Err(_) => bail!(
            "the command took longer than {} s and was killed",
            PATIENCE.as_secs()
        ),
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "reads what the command wrote, and waits for it"
)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::console::tests::alert;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    }

    fn written(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn the_command_reads_the_alert_as_one_line_of_json() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("alert");
        let line = format!("cat > {}", file.display());
        runtime().block_on(once(&line, &alert())).unwrap();
        let read: Alert = serde_json::from_str(written(&file).trim_end()).unwrap();
        assert_eq!(read, alert());
    }

    #[test]
    fn a_command_that_fails_or_does_not_read_is_an_error_and_no_more() {
        assert!(runtime().block_on(once("exit 3", &alert())).is_err());
        assert!(runtime().block_on(once("exec <&-; true", &alert())).is_ok());
        assert!(
            runtime()
                .block_on(once("/nonexistent/program", &alert()))
                .is_err()
        );
    }

    #[test]
    fn at_the_end_the_command_and_its_children_are_killed() {
        let dir = tempfile::tempdir().unwrap();
        let (started, survived) = (dir.path().join("started"), dir.path().join("survived"));
        let line = format!(
            "(sleep 1; touch {}) & touch {}; wait",
            survived.display(),
            started.display()
        );
        runtime().block_on(async {
            let (command, runner) = command(line);
            let stop = CancellationToken::new();
            command.run(&alert());
            let stopping = async {
                while !started.exists() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                stop.cancel();
            };
            tokio::join!(runner.run(stop.clone()), stopping);
            tokio::time::sleep(Duration::from_millis(1500)).await;
        });
        assert!(!survived.exists());
    }

    #[test]
    fn a_command_that_hangs_holds_nobody_up_and_what_does_not_fit_is_counted() {
        let (command, _runner) = command("sleep 60".into());
        for _ in 0..QUEUE + 5 {
            command.run(&alert());
        }
        assert_eq!(command.missed.load(Ordering::Relaxed), 5);
    }
}
