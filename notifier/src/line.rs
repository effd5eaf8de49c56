//! An alert as one line: for people, or as JSON.
//!
//! `09:31:05Z  WARNING    192.168.0.133 (pc-33): usb device connected: storage, QEMU USB HARDDRIVE, port 2-1`. Where the
//! policy knows the seat, it stands before the address: `A-07 · 192.168.0.133 (pc-33): …`. The time is when it happened, by
//! the PC's clock. What is told a minute or more after it happened (a reminder, an end, what a PC could not send before)
//! stands at the time it is told, so that times go on down the console, and when it happened stands behind it. The line is
//! never cut; foreign text in an alert has been made harmless where the alert was made, and colour is only around the
//! severity, so nothing but our own codes moves the terminal.

use std::time::Duration;

use labwatch_contract::{
    alert::{Alert, Severity},
    time::Timestamp,
};

use crate::incidents::word;

/// What is told so much later than it happened says both times.
const LATE: Duration = Duration::from_secs(60);

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Text without colour.
    Plain,
    /// Text for a terminal, the severity coloured.
    Coloured,
    /// One JSON object a line.
    Json,
}

impl Style {
    /// The line without its end.
    #[must_use]
    pub fn line(self, alert: &Alert) -> String {
        match self {
            Self::Plain => text(alert, "", ""),
            Self::Coloured => text(alert, colour(alert.event.severity), "\x1b[0m"),
            // Strings and numbers can always be written.
            Self::Json => serde_json::to_string(alert).unwrap_or_default(),
        }
    }
}

/// Whether somebody should look up from the desk.
#[must_use]
pub fn rings(severity: Severity) -> bool {
    severity >= Severity::Warning
}

fn text(alert: &Alert, before: &str, after: &str) -> String {
    let severity = word(alert.event.severity).to_uppercase();
    let (happened, written) = (alert.lab.last, alert.timestamp);
    let apart = written.since(happened).max(happened.since(written));
    let (shown, late) = if apart < LATE {
        (time(happened, written), String::new())
    } else {
        let late = format!(" [happened {}]", time(happened, written));
        (time(written, written), late)
    };
    let seat = alert.lab.seat.as_ref();
    let seat = seat.map(|seat| format!("{seat} · ")).unwrap_or_default();
    format!(
        "{shown}  {before}{severity:<9}{after}  {seat}{}{late}",
        alert.message
    )
}

/// When something happened, in UTC; with its date when that is not the day it is written.
pub(crate) fn time(happened: Timestamp, written: Timestamp) -> String {
    let (happened, written) = (happened.utc(), written.utc());
    let format = if happened.date_naive() == written.date_naive() {
        "%H:%M:%SZ"
    } else {
        "%Y-%m-%dT%H:%M:%SZ"
    };
    happened.format(format).to_string()
}

/// Bold red, yellow, dim, magenta.
fn colour(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "\x1b[1;31m",
        Severity::Warning => "\x1b[33m",
        Severity::Info => "\x1b[2m",
        Severity::Technical => "\x1b[35m",
    }
}

#[cfg(test)]
mod tests;
