//! What the agent cannot see right now, as words for `status` and `health`: `no-capture`, `no-usb` …
//!
//! Each sensor sets and clears its own words; whoever publishes watches the set.

use std::collections::BTreeSet;

use tokio::sync::watch;

/// The set of words, shared by all sensors.
#[derive(Debug, Clone, Default)]
pub(crate) struct Degraded(watch::Sender<BTreeSet<&'static str>>);

impl Degraded {
    /// Says that something cannot be seen, or can be seen again.
    pub(crate) fn set(&self, word: &'static str, cannot_see: bool) {
        self.0.send_if_modified(|words| {
            if cannot_see {
                words.insert(word)
            } else {
                words.remove(word)
            }
        });
    }

    /// To be told of each change.
    #[must_use]
    pub(crate) fn watch(&self) -> watch::Receiver<BTreeSet<&'static str>> {
        self.0.subscribe()
    }

    /// The words, sorted.
    #[must_use]
    pub(crate) fn words(&self) -> Vec<String> {
        self.0
            .borrow()
            .iter()
            .map(|word| (*word).to_owned())
            .collect()
    }
}
