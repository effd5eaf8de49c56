//! The pipeline's way with its journals: append, begin another, go on without a disk, clear away, read back.
//!
//! Whatever the disk does, an event has a place in some journal before it is sent, and the outbox and the next `online` know of
//! every journal that there is.

use std::{io, time::Duration};

use bytes::Bytes;
use labwatch_contract::{event::Place, topic::Leaf};
use tokio::time::Instant;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::Pipeline;
use crate::{
    identity,
    journal::ReadError,
    sealer::{SealError, Sealed},
};

/// How soon a journal that could not be written is tried again.
const REOPEN_AFTER: Duration = Duration::from_secs(5);
/// How often what the recorder confirmed is remembered at most.
const REMEMBER_EVERY: Duration = Duration::from_secs(5);
/// Word for a journal that cannot be written.
const NO_JOURNAL: &str = "no-journal";

impl Pipeline {
    /// Keeps `last` of the present journal up to date for the next `online`.
    pub(super) fn tell(&self, place: Place) {
        self.journals.send_modify(|journals| {
            let present = journals.last_mut();
            if let Some(present) = present.filter(|range| range.journal == place.journal) {
                present.last = place.sequence;
            }
        });
    }

    /// Appends an event to the journal; where the disk does not take it, it becomes the first in memory.
    pub(super) fn append(&mut self, sealed: Sealed) -> Result<Sealed, SealError> {
        let Err(error) = self.journal.append(&sealed.payload, identity::now()) else {
            if let Some(file) = self.journal.file() {
                self.syncer.appended(file);
            }
            return Ok(sealed);
        };
        let name = self.journal.next_name();
        let sealed = self.sealer.seal_again(&sealed, name)?;
        self.lose_journal(&error, name);
        self.outbox.handle_begun(name);
        self.journals.send_replace(self.outbox.journals());
        // Memory takes everything.
        let _ = self.journal.append(&sealed.payload, identity::now());
        Ok(sealed)
    }

    /// Begins a new journal, on the disk if it can be.
    pub(super) fn begin_journal(&mut self) {
        let name = self.journal.next_name();
        match self.journal.begin(name, identity::now()) {
            Ok(()) => {
                info!("journal {name} begun");
                self.parts.degraded.note(NO_JOURNAL, None);
            }
            Err(error) => self.lose_journal(&error, name),
        }
        self.begun(name);
        self.tidy();
    }

    /// Events are of this journal from now on.
    pub(super) fn begun(&mut self, name: Uuid) {
        self.sealer.begin(name);
        self.outbox.handle_begun(name);
        self.journals.send_replace(self.outbox.journals());
    }

    /// Goes on in memory.
    pub(super) fn lose_journal(&mut self, error: &io::Error, name: Uuid) {
        self.journal.begin_in_memory(name);
        self.reopen_at = Instant::now() + REOPEN_AFTER;
        self.parts.degraded.note(NO_JOURNAL, Some(error));
    }

    /// Takes away what is beyond the bounds, and remembers what the recorder has confirmed.
    pub(super) fn tidy(&mut self) {
        let outbox = &self.outbox;
        let is_finished = |journal| outbox.is_finished(journal);
        let surplus = self.journal.surplus(identity::now(), is_finished);
        for journal in &surplus {
            if let Err(error) = self.journal.drop_journal(*journal) {
                warn!("journal {journal} cannot be removed: {error}");
            }
            self.outbox.handle_dropped(*journal);
        }
        if !surplus.is_empty() {
            self.journals.send_replace(self.outbox.journals());
        }
        if Instant::now() >= self.remember_at {
            self.remember();
        }
    }

    /// Keeps what the recorder has confirmed for the next start, where it has changed.
    pub(super) fn remember(&mut self) {
        self.remember_at = Instant::now() + REMEMBER_EVERY;
        let confirmed = self.outbox.confirmed();
        if confirmed == self.remembered {
            return;
        }
        match self.journal.remember(&confirmed) {
            Ok(()) => self.remembered = confirmed,
            Err(error) => debug!("what the recorder has confirmed is not remembered: {error}"),
        }
    }

    /// An event as it stands in the journal; what cannot be read is the outbox's to tell.
    pub(super) fn read_back(&mut self, journal: Uuid, sequence: u64) -> Option<(Leaf, Bytes)> {
        match self.journal.read(journal, sequence) {
            Ok(event) => return Some(event),
            Err(ReadError::Damaged { next }) => {
                warn!("journal {journal} is damaged at event {sequence}");
                self.outbox.handle_damage(journal, sequence, next);
            }
            Err(ReadError::Disk(error)) => {
                warn!("journal {journal} cannot be read: {error}");
                let now = self.uptime();
                self.outbox.handle_unreadable(journal, sequence, now);
            }
        }
        None
    }
}
