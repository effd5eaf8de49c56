//! When the journal is synced: at most 200 ms after an append, and never in the way of publishing.
//!
//! The disk is waited for by a thread of its own: whatever else hangs, evidence still comes to the disk.

use std::{
    fs::File,
    future::pending,
    io,
    sync::{Arc, mpsc as orders},
    thread,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// An event is on the disk at most so long after it was appended, as far as the disk can.
const WITHIN: Duration = Duration::from_millis(200);

type Files = Vec<Arc<File>>;

/// What is not known to be on the disk, and the sync that will bring it there.
#[derive(Debug)]
pub(crate) struct Syncer {
    due: Option<Instant>,
    /// Files that were written since; more than one just after a journal has ended.
    written: Files,
    is_running: bool,
    /// To the thread, which ends with it.
    orders: orders::Sender<Files>,
    results: mpsc::Receiver<io::Result<()>>,
}

impl Syncer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub(crate) fn start() -> io::Result<Self> {
        let (orders, ordered) = orders::channel::<Files>();
        let (done, results) = mpsc::channel(1);
        let sync_all = move || {
            for files in ordered {
                if done.blocking_send(sync(&files)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("sync".to_owned())
            .spawn(sync_all)?;
        Ok(Self {
            due: None,
            written: Vec::new(),
            is_running: false,
            orders,
            results,
        })
    }

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
        let ended = || io::Error::other("the thread that syncs has ended");
        if !self.is_running {
            match self.due {
                Some(due) => sleep_until(due).await,
                None => pending().await,
            }
            self.due = None;
            let files = std::mem::take(&mut self.written);
            self.orders.send(files).map_err(|_| ended())?;
            self.is_running = true;
        }
        let result = self.results.recv().await;
        self.is_running = false;
        result.unwrap_or_else(|| Err(ended()))
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

#[cfg(test)]
mod tests {
    use tokio::{runtime::Builder, task::spawn_blocking, time::timeout};

    use super::*;

    #[test]
    fn the_journal_is_synced_although_every_other_thread_hangs() {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let (release, held) = orders::channel::<()>();
        runtime.block_on(async {
            spawn_blocking(move || held.recv());
            let mut syncer = Syncer::start().unwrap();
            let file = Arc::new(tempfile::tempfile().unwrap());
            for _ in 0..2 {
                syncer.appended(file.clone());
                let synced = timeout(Duration::from_secs(10), syncer.synced()).await;
                synced.expect("in time").unwrap();
            }
        });
        drop(release);
    }

    #[tokio::test]
    async fn a_sync_that_was_not_waited_for_is_done_all_the_same() {
        let mut syncer = Syncer::start().unwrap();
        syncer.appended(Arc::new(tempfile::tempfile().unwrap()));
        let cancelled = timeout(WITHIN / 2, syncer.synced()).await;
        assert!(cancelled.is_err(), "before it was due");
        syncer.synced().await.unwrap();
        assert!(syncer.written.is_empty());
    }
}
