//! Topic `ack`: how far the recorder has safely stored a PC's journals.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Most journals that one acknowledgement names.
pub const MAX_MARKS: usize = 64;

/// The recorder's marks for one PC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The store that these marks belong to.
    pub recorder: Uuid,
    /// One mark a journal.
    pub marks: Vec<Mark>,
    /// Journals that the recorder takes nothing more of.
    #[serde(default)]
    pub refused: Vec<Uuid>,
}

/// Everything of `journal` up to `sequence` is on the recorder's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The journal.
    pub journal: Uuid,
    /// The last event that is safe.
    pub sequence: u64,
}
