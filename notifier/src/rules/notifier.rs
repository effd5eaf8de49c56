//! The rules on ourselves: when nobody watched, and what is still open from before.

use std::time::Duration;

use labwatch_contract::{alert::Severity, time::Timestamp};

use super::{Finding, Rule};
use crate::board::{Before, Memory};

const AWAY: Rule = Rule::new("notifier", "not-watched", "No notifier watched");
const STILL_OPEN: Rule = Rule::new("board", "still-open", "Incidents from before");
pub(super) const RULES: &[Rule] = &[AWAY, STILL_OPEN];

/// A notifier that ended in order said when; one that was killed had said so at most 30 s before.
const UNNOTICED: Duration = Duration::from_secs(5);
const UNNOTICED_AFTER_CRASH: Duration = Duration::from_secs(45);

/// That no notifier watched for a while: events of that time are in the record alone.
pub(crate) fn away(before: &Before, at: Timestamp) -> Option<Finding> {
    let Before {
        watched, in_order, ..
    } = *before;
    let unnoticed = if in_order {
        UNNOTICED
    } else {
        UNNOTICED_AFTER_CRASH
    };
    let text = format!(
        "no notifier watched from {} to {}: events of that time stand in the record alone",
        watched.utc().format("%Y-%m-%dT%H:%M:%SZ"),
        at.utc().format("%H:%M:%SZ")
    );
    (at.since(watched) > unnoticed)
        .then(|| Finding::of_the_lab(AWAY, Severity::Technical, AWAY.id, text, at))
}

/// How many incidents are open from before we came.
pub(crate) fn still_open(memory: &Memory, at: Timestamp) -> Option<Finding> {
    let (open, unacknowledged) = (memory.open.len(), memory.unacknowledged());
    let text = format!(
        "incidents from before: {open} open, {unacknowledged} of them not acknowledged: labwatch-notifier list prints them"
    );
    (open > 0).then(|| Finding::of_the_lab(STILL_OPEN, Severity::Info, STILL_OPEN.id, text, at))
}
