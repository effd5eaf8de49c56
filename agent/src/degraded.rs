//! What the agent cannot see right now, as words for `status` and `health`.
//!
//! `no-usb` (no uevents: plugging in is not seen), `no-sysfs` (no names and kinds of devices, nothing of what was
//! there at the start), `no-mounts` (no volumes), `no-capture` (no packets), `no-journal` (events are published
//! without standing on the disk). Each sensor notes its own words; whoever publishes watches the set.

use std::{collections::BTreeSet, fmt::Display};

use tokio::sync::watch;
use tracing::{info, warn};

/// The set of words, shared by all sensors.
#[derive(Debug, Clone, Default)]
pub struct Degraded(watch::Sender<BTreeSet<&'static str>>);

impl Degraded {
    /// Notes what cannot be seen (`why` says the reason), or can be again; one log line per change.
    pub fn note(&self, word: &'static str, why: Option<&dyn Display>) {
        self.0.send_if_modified(|words| match why {
            Some(why) if words.insert(word) => {
                warn!("{word}: {why}");
                true
            }
            None if words.remove(word) => {
                info!("{word}: over");
                true
            }
            _ => false,
        });
    }

    /// To be told of each change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<BTreeSet<&'static str>> {
        self.0.subscribe()
    }

    /// The words, sorted.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        self.0
            .borrow()
            .iter()
            .map(|word| (*word).to_owned())
            .collect()
    }
}
