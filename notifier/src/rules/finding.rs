//! What a rule is, and what it says: a verdict on one event, and with the PC that it is about a [`Finding`].
//!
//! A rule has a stable id, a subject and a course; its incidents begin, go on and end by these alone. All texts are
//! harmless already: whoever makes a verdict sees to that.

use std::net::IpAddr;

use labwatch_contract::{
    alert::{AlertHost, Severity},
    event::Event,
    text::harmless,
    time::Timestamp,
};

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// A stable word: `usb-storage`.
    pub id: &'static str,
    /// The same for people.
    pub name: &'static str,
    /// What incidents are about: rules of one subject, PC and object are one incident (a stick came, a stick went).
    pub subject: &'static str,
    /// What becomes of the incident.
    pub course: Course,
}

/// What becomes of an incident after a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Course {
    /// It was a moment; the incident is over when no more of it comes for a while.
    Passing,
    /// It goes on until an [`Course::Ending`] rule of the same subject ends it.
    Lasting,
    /// What went on is over.
    Ending,
}

impl Rule {
    pub(crate) const fn new(subject: &'static str, id: &'static str, name: &'static str) -> Self {
        Self {
            id,
            name,
            subject,
            course: Course::Passing,
        }
    }

    pub(crate) const fn lasting(
        subject: &'static str,
        id: &'static str,
        name: &'static str,
    ) -> Self {
        Self {
            course: Course::Lasting,
            ..Self::new(subject, id, name)
        }
    }

    pub(crate) const fn ending(
        subject: &'static str,
        id: &'static str,
        name: &'static str,
    ) -> Self {
        Self {
            course: Course::Ending,
            ..Self::new(subject, id, name)
        }
    }
}

/// What a rule says of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// How grave it is.
    pub severity: Severity,
    /// The PC, its name made harmless; none for what concerns the whole lab.
    pub host: Option<AlertHost>,
    /// What stands on its desk, where the policy says so. Harmless.
    pub seat: Option<String>,
    /// What it is about, within the rule's subject: a device and its port, a peer and its port. Harmless.
    pub object: String,
    /// One line for people, complete in itself. Harmless.
    pub message: String,
    /// When it happened, by the PC's clock.
    pub time: Timestamp,
}

impl Finding {
    /// What concerns the lab rather than one PC.
    pub(crate) fn of_the_lab(
        rule: Rule,
        severity: Severity,
        object: &str,
        message: String,
        time: Timestamp,
    ) -> Self {
        Self {
            rule,
            severity,
            host: None,
            seat: None,
            object: object.to_owned(),
            message,
            time,
        }
    }
}

/// A finding without the PC.
pub(super) struct Verdict {
    pub(super) rule: Rule,
    pub(super) severity: Severity,
    pub(super) object: String,
    pub(super) text: String,
}

impl Verdict {
    pub(super) fn into_finding(self, host: AlertHost, message: String, time: Timestamp) -> Finding {
        Finding {
            rule: self.rule,
            severity: self.severity,
            host: Some(host),
            seat: None,
            object: self.object,
            message,
            time,
        }
    }

    pub(super) fn about(self, address: IpAddr, event: &Event) -> Finding {
        let host = AlertHost {
            ip: address,
            name: harmless(&event.host.name),
        };
        let mut message = format!("{}: {}", who(&host), self.text);
        let then = event.host.ip.to_canonical();
        if then != address {
            message += &format!(", as it says under its earlier address {then}");
        }
        self.into_finding(host, message, event.occurrence.time)
    }
}

/// `192.168.0.133 (pc-33)`.
pub(crate) fn who(host: &AlertHost) -> String {
    match host.name.as_str() {
        "" => host.ip.to_string(),
        name => format!("{} ({name})", host.ip),
    }
}
