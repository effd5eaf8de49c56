//! The rule on our own connection: without the broker nothing is seen, and silence must not look like peace.

use labwatch_contract::{alert::Severity, text::harmless, time::Timestamp};

use super::{Finding, Rule};

const LOST: Rule = Rule::lasting("broker", "broker-lost", "Broker out of reach");
const BACK: Rule = Rule::ending("broker", "broker-back", "Broker in reach again");
pub(super) const RULES: &[Rule] = &[LOST, BACK];

const OBJECT: &str = "broker";

/// The connection broke.
pub(crate) fn lost(reason: &str, at: Timestamp) -> Finding {
    let text = format!(
        "broker out of reach, nothing is seen until it is back: {}",
        harmless(reason)
    );
    Finding::of_the_lab(LOST, Severity::Warning, OBJECT, text, at)
}

/// The connection is there again.
pub(crate) fn back(at: Timestamp) -> Finding {
    let text = "broker in reach again".into();
    Finding::of_the_lab(BACK, Severity::Info, OBJECT, text, at)
}
