//! What is said of agents that come, go and fall silent: what was seen, and what that leaves open.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use labwatch_contract::{
    alert::{AlertHost, Severity},
    status::{Reason, Status},
    text::harmless,
    time::Timestamp,
};

use super::{
    Seats, Seen,
    pc::{Arrival, Cause, Sight, Who},
};
use crate::rules::{Finding, Rule, some};

/// What the incidents of one PC are about.
pub(crate) const SUBJECT: &str = "agent";
const CAME: Rule = Rule::ending(SUBJECT, "agent-online", "PC connected");
const PARTLY_BLIND: Rule =
    Rule::lasting(SUBJECT, "agent-degraded", "Agent does not see everything");
const SEES_ALL: Rule = Rule::ending(SUBJECT, "agent-sees-all", "Agent sees everything again");
const STOPPED: Rule = Rule::lasting(SUBJECT, "agent-offline", "PC gone");
const SHUTDOWN: Rule = Rule::lasting(SUBJECT, "agent-shutdown", "PC shut down");
const KILLED: Rule = Rule::lasting(SUBJECT, "agent-killed", "Agent ended without a farewell");
const FROZEN: Rule = Rule::lasting(SUBJECT, "agent-frozen", "Agent does not move");
const UNREACHABLE: Rule = Rule::lasting(SUBJECT, "agent-unreachable", "PC out of reach");
const NOT_BACK: Rule = Rule::lasting(SUBJECT, "agent-not-back", "PC not back after the broker");
const NEVER_SEEN: Rule = Rule::lasting(SUBJECT, "agent-never-seen", "Expected PC never seen");
const NOT_EXPECTED: Rule = Rule::ending(SUBJECT, "agent-not-expected", "PC no longer expected");
const MOVED: Rule = Rule::ending(SUBJECT, "agent-moved", "PC has another address");
const MANY: Rule = Rule::lasting("agents", "agents-silent", "Many PCs gone at once");
const ALL_BACK: Rule = Rule::ending("agents", "agents-back", "All PCs back");
/// All of them, for whoever writes a policy.
pub(crate) const RULES: &[Rule] = &[
    CAME,
    PARTLY_BLIND,
    SEES_ALL,
    STOPPED,
    SHUTDOWN,
    KILLED,
    FROZEN,
    UNREACHABLE,
    NOT_BACK,
    NEVER_SEEN,
    NOT_EXPECTED,
    MOVED,
    MANY,
    ALL_BACK,
];

/// A PC that says `online`, when that is news.
pub(super) fn came(address: IpAddr, status: &Status, news: Arrival) -> Option<Finding> {
    let blind: Vec<_> = status
        .lab
        .degraded
        .iter()
        .map(|word| harmless(word))
        .collect();
    let blind = some(&blind);
    let mut text = match news {
        Arrival::Same(Sight::Unchanged) => return None,
        Arrival::Same(Sight::Full) => {
            let rule = (SEES_ALL, Severity::Info);
            let text = "connected, sees everything again";
            return Some(about(
                address,
                &Who::of(status),
                rule,
                text,
                status.timestamp,
            ));
        }
        Arrival::Same(Sight::Partial) => "connected".into(),
        Arrival::New { retained, gone_for } => {
            format!("connected{}", how(status, retained, gone_for))
        }
    };
    let before = matches!(news, Arrival::New { retained: true, .. });
    let (rule, severity) = match (blind.as_str(), before) {
        ("", _) => (CAME, Severity::Info),
        (_, true) => (PARTLY_BLIND, Severity::Info),
        (_, false) => (PARTLY_BLIND, Severity::Technical),
    };
    if !blind.is_empty() {
        text += &format!(", does not see everything: {blind}");
    }
    Some(about(
        address,
        &Who::of(status),
        (rule, severity),
        &text,
        status.timestamp,
    ))
}

/// ` again`, ` since 09:12:04Z`, ` (formerly 192.168.0.7)`, ` after 34 s`.
fn how(status: &Status, retained: bool, gone_for: Option<Duration>) -> String {
    if retained {
        return format!(" since {}", status.timestamp.utc().format("%H:%M:%SZ"));
    }
    let mut text = match (status.lab.reason, status.lab.previous_ip) {
        (Reason::AddressChanged, Some(previous)) => format!(" (formerly {previous})"),
        (Reason::Reconnected, _) => " again".into(),
        _ => String::new(),
    };
    if let Some(gone_for) = gone_for {
        text += &format!(" after {} s", gone_for.as_secs());
    }
    text
}

/// A PC that goes on under another address.
pub(super) fn moved(address: IpAddr, from: IpAddr, status: &Status) -> Finding {
    let text = format!("connected (formerly {from}): its address has changed");
    let rule = (MOVED, Severity::Info);
    about(address, &Who::of(status), rule, &text, status.timestamp)
}

/// A PC that went and said so.
pub(super) fn went(address: IpAddr, status: &Status, cause: Cause, seen: Seen) -> Finding {
    // A will was written when the PC connected; when it is published, that is the news.
    let time = match status.lab.reason {
        Reason::Lost => seen.at,
        _ => status.timestamp,
    };
    silent(address, &Who::of(status), cause, time)
}

/// A PC that had gone when we came.
pub(super) fn went_unseen(address: IpAddr, status: &Status, cause: Option<Cause>) -> Finding {
    let known = cause.map(|cause| silent(address, &Who::of(status), cause, status.timestamp));
    let Some(mut finding) = known else {
        let text = "gone: its connection was lost while no notifier watched";
        let rule = (UNREACHABLE, Severity::Technical);
        return about(address, &Who::of(status), rule, text, status.timestamp);
    };
    finding.message += " while no notifier watched";
    finding
}

/// A PC that is silent, and why.
pub(super) fn silent(address: IpAddr, who: &Who, cause: Cause, time: Timestamp) -> Finding {
    let (rule, severity, text) = match cause {
        Cause::Stopped => (
            STOPPED,
            Severity::Warning,
            "gone: its agent was stopped".into(),
        ),
        Cause::Shutdown => (SHUTDOWN, Severity::Info, "gone: it was shut down".into()),
        Cause::Unsaid => (
            STOPPED,
            Severity::Warning,
            "gone: it did not say why".into(),
        ),
        Cause::Killed => (
            KILLED,
            Severity::Warning,
            "gone: the connection was lost, but the PC answers: its agent was killed or has crashed"
                .into(),
        ),
        Cause::Vanished => (
            KILLED,
            Severity::Warning,
            "gone: the connection was closed and the PC does not answer: switched off, asleep, or its agent \
             was killed behind a firewall"
                .into(),
        ),
        Cause::Frozen => (
            FROZEN,
            Severity::Warning,
            "silent: no heartbeat for 6 s, but the PC answers: its agent is frozen".into(),
        ),
        Cause::Unreachable => (
            UNREACHABLE,
            Severity::Technical,
            "gone: the connection was lost and the PC does not answer (cable, Wi-Fi, power or network)"
                .into(),
        ),
        Cause::NotBack(answers) => (
            NOT_BACK,
            severity_of_absence(answers),
            format!("gone: it has not come back since the broker did{}", reach(answers)),
        ),
        Cause::NeverSeen(answers) => (
            NEVER_SEEN,
            severity_of_absence(answers),
            format!("expected, but never seen{}", reach(answers)),
        ),
        Cause::Moved(to) => (
            MOVED,
            Severity::Info,
            format!("left for {to}: its address has changed"),
        ),
    };
    about(address, who, (rule, severity), &text, time)
}

/// A PC that runs without its agent is worth a look; one that is off, or off the network, is broken or not needed.
fn severity_of_absence(answers: bool) -> Severity {
    if answers {
        Severity::Warning
    } else {
        Severity::Technical
    }
}

fn reach(answers: bool) -> &'static str {
    if answers {
        "; the PC answers, its agent does not connect"
    } else {
        "; the PC does not answer (cable, Wi-Fi, power or network)"
    }
}

/// A PC that was told as silent and is heard again on the same connection.
pub(super) fn heard_again(
    address: IpAddr,
    who: &Who,
    silent_for: Duration,
    at: Timestamp,
) -> Finding {
    let text = format!("heard again after {} s", silent_for.as_secs());
    about(address, who, (CAME, Severity::Info), &text, at)
}

/// A PC that was told as missing has no seat any more.
pub(super) fn not_expected(address: IpAddr, at: Timestamp) -> Finding {
    let rule = (NOT_EXPECTED, Severity::Info);
    let text = "no longer expected: it has no seat in the policy any more";
    about(address, &Who::default(), rule, text, at)
}

/// PCs that are silent together, so many, called `missing`.
pub(super) fn many(
    count: usize,
    missing: &str,
    first: IpAddr,
    cause: Cause,
    at: Timestamp,
) -> Finding {
    let (severity, text) = match cause {
        Cause::Killed => (
            Severity::Warning,
            "their agents have ended, but the PCs answer",
        ),
        Cause::Frozen => (
            Severity::Technical,
            "no heartbeat comes, but the PCs answer: the broker hangs, or their agents do",
        ),
        Cause::NotBack(true) | Cause::NeverSeen(true) => (
            Severity::Warning,
            "the PCs answer, their agents do not connect",
        ),
        _ => (
            Severity::Technical,
            "no PC of them answers: a row, a switch, the network or the power",
        ),
    };
    let state = match cause {
        Cause::NeverSeen(_) => "never seen",
        Cause::NotBack(_) => "not back since the broker is",
        Cause::Frozen => "silent at once",
        _ => "gone at once",
    };
    let message = format!("{count} PCs {state}: {text} ({missing})");
    lab(MANY, severity, first, message, at)
}

/// All of them are back.
pub(super) fn all_back(size: usize, first: IpAddr, away: Duration, at: Timestamp) -> Finding {
    let message = match size {
        0 => "none of the missing PCs is expected any more".into(),
        size => format!("all {size} PCs are back after {} s", away.as_secs()),
    };
    lab(ALL_BACK, Severity::Info, first, message, at)
}

/// So many of so many are not, called `missing`.
pub(super) fn stragglers(
    (count, size): (usize, usize),
    missing: &str,
    first: IpAddr,
    at: Timestamp,
) -> Finding {
    let message = format!("{count} of {size} PCs are still gone: {missing}");
    lab(MANY, Severity::Technical, first, message, at)
}

/// The first few PCs by their seats, where they have one, else by their addresses.
pub(super) fn names(addresses: &BTreeSet<IpAddr>, seats: &Seats) -> String {
    let called = |address: &IpAddr| match seats.get(address) {
        Some(seat) => seat.clone(),
        None => address.to_string(),
    };
    some(&addresses.iter().map(called).collect::<Vec<_>>())
}

fn lab(rule: Rule, severity: Severity, first: IpAddr, message: String, time: Timestamp) -> Finding {
    Finding::of_the_lab(rule, severity, &format!("from {first}"), message, time)
}

fn about(
    address: IpAddr,
    who: &Who,
    (rule, severity): (Rule, Severity),
    text: &str,
    time: Timestamp,
) -> Finding {
    let known_as = match (who.name.as_str(), who.version.as_str()) {
        ("", "") => String::new(),
        ("", version) => format!(" (agent {version})"),
        (name, version) => format!(" ({name}, agent {version})"),
    };
    Finding {
        rule,
        severity,
        host: Some(AlertHost {
            ip: address,
            name: who.name.clone(),
        }),
        seat: None,
        object: "agent".into(),
        // The address stands right before the word: `192.168.0.133 connected`.
        message: format!("{address} {text}{known_as}"),
        time,
    }
}
