//! The writer's thread: when what is brought to the disk.
//!
//! A commit is made at once when the last one is [`PAUSE`] ago, else as soon as it is. The files follow
//! [`FILES_EVERY`], or when [`FLUSH_BYTES`] wait. A checkpoint is made each minute in which something came, and when
//! the log turns. First what an earlier run left is brought to its end. What cannot be written is tried again each
//! second; the service is told and takes nothing meanwhile.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use chrono::Utc;
use tracing::{info, warn};

use super::{Failure, Store};
use crate::exchange::{Exchange, News};

/// Commits are at least this far apart under load.
const PAUSE: Duration = Duration::from_millis(50);
/// Lines reach the files this long after the log at the latest.
const FILES_EVERY: Duration = Duration::from_millis(200);
/// So many bytes do not wait for it.
pub(super) const FLUSH_BYTES: usize = 4 * 1024 * 1024;
/// A checkpoint is due.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// Files whose time is over are looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(3600);
/// What could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Does what the exchange brings until it is closed, then brings everything to the disk. Files older than
/// `retention` go.
///
/// # Errors
/// When something cannot be brought to the disk: nothing more must be written then.
pub(crate) fn write(
    store: Store,
    exchange: &Arc<Exchange>,
    retention: Option<Duration>,
) -> anyhow::Result<()> {
    let _ending = exchange.end_when_dropped();
    let now = Instant::now();
    let mut writer = Writer {
        store,
        exchange,
        retention,
        troubled: false,
        committed: now - PAUSE,
        flushed: now - FILES_EVERY,
        signed: None,
        expired: None,
    };
    let ended = writer.work();
    ended.and_then(|()| writer.store.close(Utc::now().into()))
}

struct Writer<'a> {
    store: Store,
    exchange: &'a Exchange,
    retention: Option<Duration>,
    troubled: bool,
    committed: Instant,
    flushed: Instant,
    signed: Option<Instant>,
    expired: Option<Instant>,
}

impl Writer<'_> {
    fn work(&mut self) -> anyhow::Result<()> {
        loop {
            let (batch, closed) = self.exchange.take(self.next());
            if !batch.entries.is_empty() && self.committed.elapsed() < PAUSE {
                self.store.stage(batch.entries, batch.marks);
                self.exchange.gather(self.committed + PAUSE);
                let (more, _) = self.exchange.take(Instant::now());
                self.store.stage(more.entries, more.marks);
            } else {
                self.store.stage(batch.entries, batch.marks);
            }
            match self.round() {
                Ok(()) => self.relieved(),
                // At the end nothing is tried again: what is acknowledged is in the log.
                Err(Failure::Retry(why)) if closed => anyhow::bail!(why),
                Err(Failure::Retry(why)) => self.in_trouble(&why),
                Err(Failure::Fatal(error)) => return Err(error),
            }
            if closed {
                return Ok(());
            }
        }
    }

    /// When something is to be done even if nothing comes.
    fn next(&self) -> Instant {
        let wait = match self.store.waiting() {
            _ if !self.store.is_recovered() => Duration::ZERO,
            0 => RETRY,
            _ => FILES_EVERY,
        };
        Instant::now() + wait
    }

    fn round(&mut self) -> Result<(), Failure> {
        self.store.recover(Utc::now().into())?;
        let marks = self.store.commit()?;
        if !marks.is_empty() {
            self.exchange.tell(News::Committed(marks));
        }
        self.committed = Instant::now();
        if self.store.waiting() > FLUSH_BYTES || self.flushed.elapsed() >= FILES_EVERY {
            self.store.flush()?;
            self.flushed = Instant::now();
        }
        if self.due(self.expired, EXPIRE_EVERY) {
            self.expired = Some(Instant::now());
            self.expire()?;
        }
        if self
            .store
            .wants_checkpoint(self.due(self.signed, CHECKPOINT_EVERY))
        {
            let payload = self.store.checkpoint(Utc::now().into())?;
            self.signed = Some(Instant::now());
            self.exchange.tell(News::Checkpoint(payload));
        }
        self.store.settle(Utc::now().into())
    }

    fn due(&self, last: Option<Instant>, every: Duration) -> bool {
        last.is_none_or(|last| last.elapsed() >= every)
    }

    fn expire(&mut self) -> Result<(), Failure> {
        let Some(age) = self.retention else {
            return Ok(());
        };
        match self.store.expire(age, Utc::now().into()) {
            // A checkpoint follows at once, so that the word is signed.
            Ok(true) => self.signed = None,
            Ok(false) => {}
            // What is new can be recorded all the same; it is tried again in an hour.
            Err(Failure::Retry(why)) => warn!("old records could not be removed: {why}"),
            Err(fatal) => return Err(fatal),
        }
        Ok(())
    }

    fn relieved(&mut self) {
        if std::mem::take(&mut self.troubled) {
            info!("records can be written again");
            self.exchange.tell(News::Relief);
        }
    }

    fn in_trouble(&mut self, why: &str) {
        if !std::mem::replace(&mut self.troubled, true) {
            warn!("nothing is acknowledged until this works again: {why}");
            self.exchange.tell(News::Trouble(why.to_owned()));
        }
        thread::sleep(RETRY);
    }
}
