//! What still lasts when the exam begins: a stick that was plugged in a minute before, a VPN, a PC that is gone.
//!
//! Outside the exam it is recorded and not alarmed; what has not ended by its beginning is told then, as grave as it
//! is. What was there when the PC or its agent started is told as if it had come then, if it can have been brought along
//! ([`usb::brought`]). Bounded: the newest 2,048, of one PC the newest 64.

use std::{collections::BTreeMap, net::IpAddr};

use labwatch_contract::{alert::Severity, event::Event, time::Timestamp};

use super::{Course, Finding, Rules, usb};

const MOST: usize = 2048;
const MOST_OF_ONE: usize = 64;

/// What an incident is about.
type Matter = (Option<IpAddr>, &'static str, String);

/// What began outside the exam and has not ended.
#[derive(Debug, Default)]
pub(super) struct Lasting {
    /// With their numbers in the order in which they came.
    findings: BTreeMap<Matter, (u64, Finding)>,
    count: u64,
}

impl Lasting {
    fn begins(&mut self, finding: &Finding) {
        let matter = matter(finding);
        let of_one = |(address, ..): &Matter| *address == matter.0;
        if !self.findings.contains_key(&matter) {
            if self.findings.keys().filter(|known| of_one(known)).count() >= MOST_OF_ONE {
                self.drop_oldest(of_one);
            } else if self.findings.len() >= MOST {
                self.drop_oldest(|_| true);
            }
        }
        self.count += 1;
        self.findings.insert(matter, (self.count, finding.clone()));
    }

    fn drop_oldest(&mut self, of: impl Fn(&Matter) -> bool) {
        let all = self.findings.iter().filter(|(matter, _)| of(matter));
        let oldest = all.min_by_key(|(_, (number, _))| *number);
        if let Some(matter) = oldest.map(|(matter, _)| matter.clone()) {
            self.findings.remove(&matter);
        }
    }

    fn ends(&mut self, finding: &Finding) {
        if !self.findings.is_empty() {
            self.findings.remove(&matter(finding));
        }
    }
}

fn matter(finding: &Finding) -> Matter {
    let address = finding.host.as_ref().map(|host| host.ip);
    (address, finding.rule.subject, finding.object.clone())
}

impl Rules {
    /// Findings as the policy wants them, see [`Rules::dress`]; what lasts is remembered for the exam's beginning.
    pub(crate) fn admit(
        &mut self,
        findings: impl IntoIterator<Item = Finding>,
        came: Timestamp,
    ) -> Vec<Finding> {
        let mut dressed = Vec::new();
        for finding in findings {
            let in_force = self.book.is_in_force(finding.time, came);
            match finding.rule.course {
                Course::Lasting if !in_force && self.is_alarm(&finding) => {
                    self.lasting.begins(&finding);
                }
                // An agent that starts again does not undo what came before it.
                Course::Lasting if usb::AT_START.contains(&finding.rule) => {}
                Course::Lasting | Course::Ending => self.lasting.ends(&finding),
                Course::Passing => {}
            }
            dressed.extend(self.dress(finding, came));
        }
        dressed
    }

    /// Whether it is one within the exam, by what the policy says of its rule.
    fn is_alarm(&self, finding: &Finding) -> bool {
        let severity = self.severity(finding);
        severity.is_some_and(|severity| severity > Severity::Info)
    }

    /// Remembers for the exam's beginning what was there at a PC's start, if it can have been brought along.
    pub(super) fn keep(&mut self, address: IpAddr, event: &Event, came: Timestamp) {
        let Some(brought) = usb::brought(&event.occurrence) else {
            return;
        };
        let brought = brought.about(address, event);
        if !self.book.is_in_force(brought.time, came) && self.is_alarm(&brought) {
            self.lasting.begins(&brought);
        }
    }

    /// Once the exam has begun by `at`, what has lasted since before.
    pub(crate) fn begin(&mut self, at: Timestamp) -> Vec<Finding> {
        if self.lasting.findings.is_empty() || !self.book.is_in_force(at, at) {
            return Vec::new();
        }
        let lasting = std::mem::take(&mut self.lasting.findings);
        let told = lasting.into_values().filter_map(|(_, mut finding)| {
            finding.message += "; from before the exam, and still so";
            self.dress(finding, at)
        });
        told.collect()
    }
}
