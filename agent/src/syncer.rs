//! When the journal is synced: at most 200 ms after an append, and never in the way of publishing.

use std::{fs::File, future::pending, io, sync::Arc, time::Duration};

use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until},
};

/// An event is on the disk at most so long after it was appended, as far as the disk can.
const WITHIN: Duration = Duration::from_millis(200);

/// The next sync, or the running one.
#[derive(Debug, Default)]
pub(crate) struct Syncer {
    due: Option<Instant>,
    running: Option<JoinHandle<io::Result<()>>>,
}

impl Syncer {
    /// Something was appended.
    pub(crate) fn appended(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + WITHIN);
    }

    /// Waits until a sync is due, and until it is done. May be cancelled and called again.
    ///
    /// # Errors
    /// The disk's; the data may be gone then.
    pub(crate) async fn synced(&mut self, file: Option<Arc<File>>) -> io::Result<()> {
        if self.running.is_none() {
            match self.due {
                Some(due) => sleep_until(due).await,
                None => pending().await,
            }
            self.due = None;
            self.running = file.map(|file| spawn_blocking(move || file.sync_data()));
        }
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let result = running.await;
        self.running = None;
        result.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}
