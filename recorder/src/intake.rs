//! From a message to the lines that are written for it.
//!
//! ```text
//! topic --parse--> events      head, host.ip, action --> ledger --> [note +] record line in <ip>/
//!                  status      presence --> note line in <ip>/
//!                  policy, alerts, checkpoint --> record line in lab/
//!                  health, ack --> nothing
//! whatever is none of it --> quarantine/
//! ```
//!
//! The payload of a recorded line is valid UTF-8 and JSON on one line, byte for byte as it came. Bad input is
//! counted and kept in the quarantine, never an error. Pure; `received` is the caller's clock.

use std::net::IpAddr;

use labwatch_contract::{
    chain::Digest,
    event::Head,
    status::{Presence, Status},
    time::Timestamp,
    topic::{Leaf, Root, Topic},
};
use serde::de::IgnoredAny;

use crate::{
    filing::Folder,
    ledger::{Ledger, Verdict},
    presence::Attendance,
    quarantine::Quarantine,
    recent::Recent,
    record::{Missing, Note, Sighting, message_line, note_line},
};

/// Retained topics of the lab whose last payload is remembered.
const MAX_PAPERS: usize = 16 * 1024;

/// A line for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where it goes.
    pub(crate) folder: Folder,
    /// When its message came.
    pub(crate) received: Timestamp,
    /// The line, line feed included.
    pub(crate) line: Vec<u8>,
}

/// What became of the messages, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Events recorded.
    pub(crate) events: u64,
    /// Events dropped because they were recorded before.
    pub(crate) duplicates: u64,
    /// Notes of missing events.
    pub(crate) gaps: u64,
    /// Messages that were no valid event, kept or not.
    pub(crate) refused: u64,
    /// Those of them that were not kept because the quarantine is full.
    pub(crate) overflow: u64,
}

/// A message, as it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Letter<'a> {
    /// The whole topic, root included; anything.
    pub(crate) topic: &'a str,
    /// Anything.
    pub(crate) payload: &'a [u8],
    /// Whether the broker had kept it.
    pub(crate) retained: bool,
    /// When it came.
    pub(crate) received: Timestamp,
}

impl Letter<'_> {
    fn record(&self, folder: Folder, payload: &[u8]) -> Entry {
        self.entry(folder, message_line(self.received, self.topic, payload))
    }

    fn note(&self, note: &Note) -> Entry {
        self.entry(Folder::Pc(note.ip()), note_line(self.received, note))
    }

    fn entry(&self, folder: Folder, line: Vec<u8>) -> Entry {
        Entry {
            folder,
            received: self.received,
            line,
        }
    }
}

/// Why a message is kept in the quarantine.
type Refusal = String;

/// Decides on every message.
#[derive(Debug)]
pub(crate) struct Intake {
    root: Root,
    ledger: Ledger,
    attendance: Attendance,
    papers: Recent<Topic, Digest>,
    quarantine: Quarantine,
    tally: Tally,
}

impl Intake {
    /// Takes messages under `root`; `quarantine` knows what is kept already.
    pub(crate) fn new(root: Root, quarantine: Quarantine) -> Self {
        Self {
            root,
            ledger: Ledger::default(),
            attendance: Attendance::default(),
            papers: Recent::new(MAX_PAPERS),
            quarantine,
            tally: Tally::default(),
        }
    }

    /// What became of the messages so far.
    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// The lines of a message, in the order in which they are to be written.
    pub(crate) fn take(&mut self, letter: Letter<'_>) -> Vec<Entry> {
        let taken = match self.root.parse(letter.topic) {
            Ok(Topic::Pc(_, Leaf::Health | Leaf::Ack)) => Ok(Vec::new()),
            Ok(Topic::Pc(address, Leaf::Status)) => self.status(address, letter),
            Ok(Topic::Pc(address, leaf)) => self.event(address, leaf, letter),
            Ok(paper) => self.paper(paper, letter),
            Err(error) => Err(error.to_string()),
        };
        taken.unwrap_or_else(|refusal| self.refuse(letter, &refusal))
    }

    fn event(&mut self, ip: IpAddr, leaf: Leaf, letter: Letter<'_>) -> Result<Vec<Entry>, Refusal> {
        let head = Head::from_payload(letter.payload).map_err(said)?;
        head.check_topic(leaf).map_err(said)?;
        let missing = |from, to| Missing {
            ip,
            journal: head.place.journal,
            from,
            to,
        };
        let note = match self.ledger.take(&head.place, Digest::of(letter.payload)) {
            Verdict::New => None,
            Verdict::Late { to } => Some(Note::Late(missing(1, to))),
            Verdict::Gap { from, to } => Some(Note::Gap(missing(from, to))),
            Verdict::Duplicate => {
                self.tally.duplicates += 1;
                return Ok(Vec::new());
            }
            Verdict::Refused(refusal) => return Err(refusal.to_string()),
        };
        self.tally.events += 1;
        self.tally.gaps += u64::from(matches!(note, Some(Note::Gap(_))));
        let record = letter.record(Folder::Pc(ip), letter.payload);
        Ok(note
            .map(|note| letter.note(&note))
            .into_iter()
            .chain([record])
            .collect())
    }

    fn status(&mut self, ip: IpAddr, letter: Letter<'_>) -> Result<Vec<Entry>, Refusal> {
        // An empty payload takes a retained message back; nobody came or went.
        if letter.payload.is_empty() {
            return Ok(Vec::new());
        }
        let status: Status = serde_json::from_slice(letter.payload).map_err(said)?;
        if status.host.ip.to_canonical() != ip {
            return Err("host.ip is another address than the topic's".to_owned());
        }
        if !self.attendance.is_news(ip, &status) {
            return Ok(Vec::new());
        }
        let action = status.event.action;
        let sighting = Sighting::of(ip, status, letter.retained);
        Ok(vec![letter.note(&match action {
            Presence::Online => Note::Online(sighting),
            Presence::Offline => Note::Offline(sighting),
        })])
    }

    /// Policy, alerts, acknowledgements, checkpoints: kept as they came, but not what the broker only repeats.
    fn paper(&mut self, topic: Topic, letter: Letter<'_>) -> Result<Vec<Entry>, Refusal> {
        // An empty payload takes a retained message back.
        let payload = match letter.payload {
            [] => b"null",
            payload => payload,
        };
        check_text(payload)?;
        serde_json::from_slice::<IgnoredAny>(payload).map_err(said)?;
        let digest = Digest::of(payload);
        let known = self
            .papers
            .get_mut(&topic)
            .is_some_and(|known| *known == digest);
        if known && letter.retained {
            return Ok(Vec::new());
        }
        self.papers.insert(topic, digest);
        Ok(vec![letter.record(Folder::Lab, payload)])
    }

    fn refuse(&mut self, letter: Letter<'_>, refusal: &Refusal) -> Vec<Entry> {
        self.tally.refused += 1;
        let line = self
            .quarantine
            .take(letter.topic, letter.payload, refusal, letter.received);
        match line {
            Some(line) => vec![letter.entry(Folder::Quarantine, line)],
            None => {
                self.tally.overflow += 1;
                Vec::new()
            }
        }
    }
}

/// Bytes inside fields that nobody reads may be no UTF-8, and a line feed is white space in JSON.
fn check_text(payload: &[u8]) -> Result<(), Refusal> {
    if payload.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Err("the payload is not a single line".to_owned());
    }
    str::from_utf8(payload).map(|_| ()).map_err(said)
}

fn said(error: impl ToString) -> Refusal {
    error.to_string()
}

#[cfg(test)]
mod tests;
