//! The console: alerts to stdout, written by a thread of its own.
//!
//! A terminal that is held (Ctrl-S) or a pipe that nobody reads blocks the thread, never the session: the queue
//! between them is bounded, what does not fit is counted, and the log says so once lines are taken again. When
//! stdout is closed the thread ends and [`Console::closed`] tells. The bell goes to stderr, so that stdout holds
//! lines only.

use std::{
    io::{self, Write, stderr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use labwatch_contract::alert::Alert;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::line::{Style, rings};

/// Room for alerts while the console does not take them.
const QUEUE: usize = 1024;
/// How long the end waits for what is queued.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The way to the console.
pub(crate) struct Console {
    alerts: SyncSender<Alert>,
    missed: Arc<AtomicU64>,
    closed: CancellationToken,
}

impl Console {
    /// Starts the writing thread.
    pub(crate) fn start(
        out: impl Write + Send + 'static,
        style: Style,
        bell: bool,
    ) -> io::Result<Self> {
        let (alerts, queue) = sync_channel(QUEUE);
        let missed = Arc::new(AtomicU64::new(0));
        let closed = CancellationToken::new();
        let writer = Writer {
            out,
            style,
            bell,
            missed: Arc::clone(&missed),
        };
        let ended = closed.clone().drop_guard();
        thread::Builder::new()
            .name("console".into())
            .spawn(move || {
                let _ended = ended;
                writer.run(&queue);
            })?;
        Ok(Self {
            alerts,
            missed,
            closed,
        })
    }

    /// Queues an alert, never waits.
    pub(crate) fn show(&self, alert: &Alert) {
        if self.alerts.try_send(alert.clone()).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Cancelled once nothing can be written any more.
    pub(crate) fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }

    /// Waits a moment for what is queued.
    pub(crate) async fn finish(self) {
        drop(self.alerts);
        // What a held terminal has not taken by then stays unwritten; the record holds it.
        let _ = timeout(LAST_LINES, self.closed.cancelled()).await;
    }
}

struct Writer<W> {
    out: W,
    style: Style,
    bell: bool,
    missed: Arc<AtomicU64>,
}

impl<W: Write> Writer<W> {
    fn run(mut self, queue: &Receiver<Alert>) {
        while let Ok(alert) = queue.recv() {
            if let Err(error) = self.write(&alert) {
                warn!("the console is closed: {error}");
                return;
            }
            match self.missed.swap(0, Ordering::Relaxed) {
                0 => {}
                missed => warn!("{missed} alerts were not shown: the console did not take them"),
            }
        }
    }

    fn write(&mut self, alert: &Alert) -> io::Result<()> {
        writeln!(self.out, "{}", self.style.line(alert))?;
        self.out.flush()?;
        if self.bell && rings(alert.event.severity) {
            // A bell that cannot be rung is no reason to stop writing.
            let _ = stderr().write_all(b"\x07");
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
