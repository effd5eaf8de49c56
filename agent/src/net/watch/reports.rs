//! The traffic report: at a moment in which captures and counters agree, as far as there is one; drops, gaps, health.

use std::{fmt::Display, sync::atomic::Ordering, time::Duration};

use super::Watch;
use crate::net::{
    capture::{Capture, LONGEST_WAY},
    gaps::{self, Gap},
    links, report, surroundings,
};

/// A report waits so long for a moment in which frames read and the interfaces' counters agree; then for the next frames, so
/// that its rates go up to its end.
const SETTLE: Duration = LONGEST_WAY;
/// Word for an interface that cannot be captured.
const NO_CAPTURE: &str = "no-capture";

impl Watch {
    /// Called when a report is due, after each read from then on, and when none comes.
    pub(super) fn report_when_settled(&mut self, now: Duration) {
        let since = *self.settle_since.get_or_insert(now);
        let waited = now.saturating_sub(since);
        if waited < SETTLE && !self.is_settled() {
            self.report_at = since + SETTLE + LONGEST_WAY;
            return;
        }
        self.settle_since = None;
        self.report_at = now.max(since + self.settings.report_every);
        self.report();
    }

    /// All that the interfaces have counted has been read, but for what is known to differ.
    pub(super) fn is_settled(&self) -> bool {
        let counters = links::counters();
        let mut captures = self.captures.iter();
        captures.all(|capture| {
            let unread = capture.unread(counters.get(capture.name()).copied());
            let known = self.told_unread.get(&capture.index());
            unread.is_none_or(|unread| unread == 0 || Some(&unread) == known)
        })
    }

    pub(super) fn report(&mut self) {
        self.count_all();
        let now = self.clock.now();
        self.reported_time = now.time;
        self.flows.end_interval(now);
        self.tell_health();
    }

    pub(super) fn finish(&mut self) {
        self.count_all();
        self.flows.finish(self.clock.now());
    }

    pub(super) fn count_all(&mut self) {
        let counters = links::counters();
        let mut captures = std::mem::take(&mut self.captures);
        for capture in &mut captures {
            let counter = counters.get(capture.name()).copied();
            self.count(capture, counter);
        }
        self.captures = captures;
    }

    pub(super) fn count(&mut self, capture: &mut Capture, counter: Option<u64>) {
        let drops = capture.take_drops();
        self.drops_told += drops;
        self.tell_difference(capture, counter);
        self.flows
            .count(capture.index(), drops, capture.take_counter(counter));
        if drops > 0 {
            let reason = format!("the kernel dropped {drops} frames");
            let now = self.clock.now().time;
            self.tell_gap(capture.index(), gaps::gap(self.reported_time, now, reason));
        }
    }

    /// A difference that stays the same is said once.
    pub(super) fn tell_difference(&mut self, capture: &Capture, counter: Option<u64>) {
        let unread = capture.unread(counter).unwrap_or_default();
        let told = self.told_unread.insert(capture.index(), unread);
        if told.unwrap_or_default() != unread {
            self.flows
                .remark(report::difference(capture.name(), unread));
        }
    }

    pub(super) fn tell_gap(&mut self, index: u32, gap: Gap) {
        let mut interfaces = self.here.interfaces.iter();
        if let Some(interface) = interfaces.find(|one| one.index == index) {
            self.flows.tell(surroundings::gap(interface, gap));
        }
    }

    pub(super) fn tell_health(&self) {
        let untold: u64 = self.captures.iter().map(Capture::untold_drops).sum();
        self.health
            .dropped
            .store(self.drops_told + untold, Ordering::Relaxed);
        let why = self.failed.values().next();
        let degraded = &self.health.degraded;
        degraded.note(NO_CAPTURE, why.map(|why| -> &dyn Display { why }));
    }
}
