//! Rules on the state of a PC, by its heartbeats: slow, out of memory, its disk full or failing, packets dropped.
//!
//! Each figure must be bad for a while before it is told and clearly better before it is over, so that a busy moment is
//! nothing. All of it is technical: a slow PC is an excuse, never guilt.

use std::time::Duration;

use labwatch_contract::{alert::Severity, health::HealthLab, time::Timestamp};

use super::{Rule, Verdict};

const SLOW: Rule = Rule::lasting("processor", "pc-slow", "PC slow");
const FAST: Rule = Rule::ending("processor", "pc-slow-over", "PC no longer slow");
const MEMORY: Rule = Rule::lasting("memory", "pc-memory-full", "PC out of memory");
const MEMORY_OVER: Rule = Rule::ending("memory", "pc-memory-over", "PC has memory again");
const DISK: Rule = Rule::lasting("disk", "pc-disk-full", "PC's disk full");
const DISK_OVER: Rule = Rule::ending("disk", "pc-disk-over", "PC's disk has room again");
const FAILING: Rule = Rule::lasting(
    "journal-disk",
    "pc-disk-errors",
    "PC's disk takes no journal",
);
const FAILING_OVER: Rule = Rule::ending(
    "journal-disk",
    "pc-disk-errors-over",
    "PC's disk takes the journal again",
);
const DROPPED: Rule = Rule::new("capture", "capture-dropped", "Packets dropped");
pub(super) const RULES: &[Rule] = &[
    SLOW,
    FAST,
    MEMORY,
    MEMORY_OVER,
    DISK,
    DISK_OVER,
    FAILING,
    FAILING_OVER,
    DROPPED,
];

/// The agent's word for a journal that cannot be written.
const NO_JOURNAL: &str = "no-journal";

/// When a figure is bad, and for how long it must be.
struct Limit {
    bad: f32,
    good: f32,
    hold: Duration,
    rules: (Rule, Rule),
    what: &'static str,
    /// What the end of it means.
    over: &'static str,
}

const PROCESSOR: Limit = Limit {
    bad: 95.0,
    good: 80.0,
    hold: Duration::from_secs(60),
    rules: (SLOW, FAST),
    what: "processor in use",
    over: "no longer slow",
};
const RAM: Limit = Limit {
    bad: 95.0,
    good: 90.0,
    hold: Duration::from_secs(30),
    rules: (MEMORY, MEMORY_OVER),
    what: "memory in use",
    over: "there is memory again",
};
const SPACE: Limit = Limit {
    bad: 95.0,
    good: 93.0,
    hold: Duration::from_secs(10),
    rules: (DISK, DISK_OVER),
    what: "disk in use",
    over: "there is room again",
};
const WRITING: Limit = Limit {
    bad: 1.0,
    good: 0.0,
    hold: Duration::ZERO,
    rules: (FAILING, FAILING_OVER),
    what: "journal on the disk",
    over: "its disk takes the journal again",
};

/// What is remembered of a PC's heartbeats.
#[derive(Debug, Default)]
pub(super) struct Condition {
    processor: Gauge,
    memory: Gauge,
    disk: Gauge,
    journal: Gauge,
    dropped: Option<u64>,
}

#[derive(Debug, Default)]
struct Gauge {
    bad_since: Option<Timestamp>,
    told: bool,
}

impl Condition {
    /// What a heartbeat that came at `at` changes.
    pub(super) fn handle(&mut self, health: &HealthLab, at: Timestamp) -> Vec<Verdict> {
        let fails = health.degraded.iter().any(|word| word == NO_JOURNAL);
        let failing = if fails { 1.0 } else { 0.0 };
        let mut verdicts: Vec<Verdict> = [
            self.processor.step(&PROCESSOR, health.cpu_percent, at),
            self.memory.step(&RAM, health.memory_used_percent, at),
            self.disk.step(&SPACE, health.disk_used_percent, at),
            self.journal.step(&WRITING, failing, at),
        ]
        .into_iter()
        .flatten()
        .collect();
        let dropped = health.capture_dropped;
        let before = self.dropped.replace(dropped).unwrap_or(dropped);
        if dropped > before {
            verdicts.push(Verdict {
                rule: DROPPED,
                severity: Severity::Technical,
                object: "packets".into(),
                text: format!(
                    "{} packets were dropped before they were seen",
                    dropped - before
                ),
            });
        }
        verdicts
    }
}

impl Gauge {
    fn step(&mut self, limit: &Limit, value: f32, at: Timestamp) -> Option<Verdict> {
        if value >= limit.bad {
            let since = *self.bad_since.get_or_insert(at);
            let tell = !self.told && at.since(since) >= limit.hold;
            self.told |= tell;
            return tell.then(|| limit.verdict(limit.rules.0, Severity::Technical, value));
        }
        self.bad_since = None;
        let over = self.told && value <= limit.good;
        self.told &= !over;
        over.then(|| limit.verdict(limit.rules.1, Severity::Info, value))
    }
}

impl Limit {
    fn verdict(&self, rule: Rule, severity: Severity, value: f32) -> Verdict {
        let text = match rule.id {
            id if id == FAILING.id => "its disk takes no journal: events are sent, not kept".into(),
            id if id == FAILING_OVER.id => self.over.into(),
            id if id == self.rules.1.id => format!("{}: {value:.0} %, {}", self.what, self.over),
            _ => format!("{}: {value:.0} %", self.what),
        };
        Verdict {
            rule,
            severity,
            object: self.what.into(),
            text,
        }
    }
}
