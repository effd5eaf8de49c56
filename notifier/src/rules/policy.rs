//! The rule on the policy file: one that cannot be taken is said, because the invigilator believes that it counts.

use labwatch_contract::{alert::Severity, text::harmless, time::Timestamp};

use super::{Finding, Rule};

const REFUSED: Rule = Rule::lasting("policy", "policy-refused", "Policy file refused");
const IN_FORCE: Rule = Rule::ending("policy", "policy-in-force", "Policy in force");
pub(super) const RULES: &[Rule] = &[REFUSED, IN_FORCE];

const OBJECT: &str = "policy file";

/// The file was changed and cannot be taken.
pub(crate) fn refused(why: &str, at: Timestamp) -> Finding {
    let text = format!(
        "policy file refused, the old one stays in force: {}",
        harmless(why)
    );
    Finding::of_the_lab(REFUSED, Severity::Technical, OBJECT, text, at)
}

/// Whoever looks at the file gets no answer: it lies on a network share that hangs.
pub(crate) fn unreachable(at: Timestamp) -> Finding {
    let text = "policy file out of reach, the old one stays in force: no answer for 10 s";
    Finding::of_the_lab(REFUSED, Severity::Technical, OBJECT, text.into(), at)
}

/// It answers again and has not changed.
pub(crate) fn reached(at: Timestamp) -> Finding {
    let text = "policy file within reach again, it is in force";
    Finding::of_the_lab(IN_FORCE, Severity::Info, OBJECT, text.into(), at)
}

/// The file was changed and counts from now on.
pub(crate) fn in_force(exam: &str, at: Timestamp) -> Finding {
    let exam = match exam {
        "" => String::new(),
        exam => format!(": {}", harmless(exam)),
    };
    let text = format!("changed policy in force{exam}");
    Finding::of_the_lab(IN_FORCE, Severity::Info, OBJECT, text, at)
}
