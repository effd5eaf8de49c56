//! When the journal is synced: at most 200 ms after an append, and never in the way of publishing.

use std::{fs::File, future::pending, io, sync::Arc, time::Duration};

use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until},
};

/// An event is on the disk at most so long after it was appended, as far as the disk can.
const WITHIN: Duration = Duration::from_millis(200);

/// What is not known to be on the disk, and the sync that will bring it there.
#[derive(Debug, Default)]
pub(crate) struct Syncer {
    due: Option<Instant>,
    /// Files that were written since; more than one just after a journal has ended.
    written: Vec<Arc<File>>,
    running: Option<JoinHandle<io::Result<()>>>,
}

impl Syncer {
    /// Something was appended to the file.
    pub(crate) fn appended(&mut self, file: Arc<File>) {
        if !self
            .written
            .last()
            .is_some_and(|last| Arc::ptr_eq(last, &file))
        {
            self.written.push(file);
        }
        self.due.get_or_insert_with(|| Instant::now() + WITHIN);
    }

    /// Waits until a sync is due, and until it is done. May be cancelled and called again.
    ///
    /// # Errors
    /// The disk's; the data may be gone then.
    pub(crate) async fn synced(&mut self) -> io::Result<()> {
        if self.running.is_none() {
            match self.due {
                Some(due) => sleep_until(due).await,
                None => pending().await,
            }
            self.due = None;
            let files = std::mem::take(&mut self.written);
            self.running = Some(spawn_blocking(move || sync(&files)));
        }
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let result = running.await;
        self.running = None;
        result.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// Syncs what is left, at once.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        sync(&std::mem::take(&mut self.written))
    }
}

fn sync(files: &[Arc<File>]) -> io::Result<()> {
    files.iter().try_for_each(|file| file.sync_data())
}
