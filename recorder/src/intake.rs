//! From a message to the lines that are written for it.
//!
//! ```text
//! topic --parse--> events      head, action --> ledger --> [notes +] record line in <ip>/
//!                  status      presence --> note line in <ip>/; ledger --> gaps, note lines in <ip>/
//!                  policy, alerts --> record line in lab/
//!                  health, ack, the recorder's own checkpoint --> nothing
//! whatever is none of it --> quarantine/
//! ```
//!
//! The payload of a recorded line is valid UTF-8 and JSON on one line, byte for byte as it came. Bad input is
//! counted and kept in the quarantine, never an error. Pure; `received` is the caller's clock.

use std::net::IpAddr;

use labwatch_contract::{
    chain::Digest,
    checkpoint::Checkpoint,
    event::Head,
    status::{Presence, Status},
    time::Timestamp,
    topic::{Leaf, Root, Topic, TopicError},
};
use serde::de::IgnoredAny;

use crate::{
    continuity::Continuity,
    filing::Folder,
    ledger::{Ledger, Verdict},
    presence::Attendance,
    quarantine::Quarantine,
    recent::Recent,
    record::{Missing, Note, Sighting, message_line, note_line},
};

/// Retained topics of the lab whose last payload is remembered.
const MAX_PAPERS: usize = 16 * 1024;
/// Bytes of lines that wait in memory for a disk that takes nothing.
const HELD: usize = 4 * 1024 * 1024;

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

impl Entry {
    pub(crate) fn new(folder: Folder, received: Timestamp, line: Vec<u8>) -> Self {
        Self {
            folder,
            received,
            line,
        }
    }
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
    /// Messages that nobody sends again, and that the disk did not take.
    pub(crate) untaken: u64,
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
    /// The same as text, written once for all that came together.
    pub(crate) stamp: &'a str,
}

impl Letter<'_> {
    fn record(&self, folder: Folder, payload: &[u8]) -> Entry {
        let line = message_line(self.stamp, self.topic, payload);
        Entry::new(folder, self.received, line)
    }

    fn note(&self, ip: IpAddr, note: &Note) -> Entry {
        Entry::new(
            Folder::Pc(ip),
            self.received,
            note_line(self.received, note),
        )
    }
}

/// Why a message is kept in the quarantine.
type Refusal = String;

/// Decides on every message.
#[derive(Debug)]
pub(crate) struct Intake {
    root: Root,
    ledger: Ledger,
    /// The recorder's public key.
    key: String,
    attendance: Attendance,
    continuity: Continuity,
    papers: Recent<Topic, Digest>,
    quarantine: Quarantine,
    tally: Tally,
    /// Bytes of lines made since the disk takes nothing.
    held: usize,
}

impl Intake {
    /// Takes messages under `root`; `ledger` and `quarantine` know what is kept already, `key` is the recorder's.
    pub(crate) fn new(root: Root, ledger: Ledger, key: String, quarantine: Quarantine) -> Self {
        Self {
            root,
            ledger,
            key,
            attendance: Attendance::default(),
            continuity: Continuity::default(),
            papers: Recent::new(MAX_PAPERS),
            quarantine,
            tally: Tally::default(),
            held: 0,
        }
    }

    /// What became of the messages so far.
    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// The marks.
    pub(crate) fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// Appends the lines of a message to `entries`, in the order in which they are to be written. While the disk is
    /// not `taking`, events are left alone: their agents send them again. Of the rest so much is taken as may wait in
    /// memory; what comes beyond that is counted.
    pub(crate) fn take(&mut self, letter: Letter<'_>, taking: bool, entries: &mut Vec<Entry>) {
        let before = entries.len();
        let topic = self.root.parse(letter.topic);
        match topic {
            Ok(Topic::Pc(_, Leaf::Health | Leaf::Ack)) => {}
            Ok(Topic::Pc(_, leaf)) if leaf.carries_events() && !taking => {}
            _ if taking || self.held < HELD => self.take_now(topic, letter, entries),
            _ => self.tally.untaken += 1,
        }
        let new = entries.iter().skip(before);
        let bytes: usize = new.map(|entry| entry.line.len()).sum();
        self.held = if taking { 0 } else { self.held + bytes };
    }

    fn take_now(
        &mut self,
        topic: Result<Topic, TopicError>,
        letter: Letter<'_>,
        entries: &mut Vec<Entry>,
    ) {
        let taken = match topic {
            Ok(Topic::Pc(address, Leaf::Status)) => self.status(address, letter, entries),
            Ok(Topic::Pc(address, leaf)) => self.event(address, leaf, letter, entries),
            Ok(Topic::Checkpoint) => self.checkpoint(letter),
            Ok(paper) => self.paper(paper, letter, entries),
            Err(error) => Err(error.to_string()),
        };
        if let Err(refusal) = taken {
            entries.extend(self.refuse(letter, &refusal));
        }
    }

    fn event(
        &mut self,
        ip: IpAddr,
        leaf: Leaf,
        letter: Letter<'_>,
        entries: &mut Vec<Entry>,
    ) -> Result<(), Refusal> {
        let head = Head::from_payload(letter.payload).map_err(said)?;
        head.check_topic(leaf).map_err(said)?;
        match self
            .ledger
            .handle_event(ip, &head.place, Digest::of(letter.payload), letter.received)
        {
            Verdict::New => {}
            Verdict::Duplicate => {
                self.tally.duplicates += 1;
                return Ok(());
            }
            Verdict::Ahead => return Ok(()),
            Verdict::Refused(refusal) => return Err(refusal.to_string()),
        }
        self.tally.events += 1;
        let notes = self.continuity.take(ip, &head, letter.received);
        entries.extend(notes.iter().map(|note| letter.note(ip, note)));
        entries.push(letter.record(Folder::Pc(ip), letter.payload));
        Ok(())
    }

    fn status(
        &mut self,
        ip: IpAddr,
        letter: Letter<'_>,
        entries: &mut Vec<Entry>,
    ) -> Result<(), Refusal> {
        // An empty payload takes a retained message back; nobody came or went.
        if letter.payload.is_empty() {
            return Ok(());
        }
        let status: Status = serde_json::from_slice(letter.payload).map_err(said)?;
        if status.host.ip.to_canonical() != ip {
            return Err("host.ip is another address than the topic's".to_owned());
        }
        let gaps = match status.event.action {
            Presence::Online => {
                if let Some(from) = status.lab.previous_ip {
                    let from = from.to_canonical();
                    self.ledger.handle_return(ip, from, &status.lab.journals);
                }
                self.ledger
                    .handle_online(ip, &status.lab.journals, letter.received)
            }
            Presence::Offline => Vec::new(),
        };
        if self
            .attendance
            .is_news(ip, &status, Digest::of(letter.payload))
        {
            let action = status.event.action;
            let sighting = Sighting::of(ip, status, letter.retained);
            let note = match action {
                Presence::Online => Note::Online(sighting),
                Presence::Offline => Note::Offline(sighting),
            };
            entries.push(letter.note(ip, &note));
        }
        self.tally.gaps += u64::try_from(gaps.len()).unwrap_or(u64::MAX);
        let missing = gaps.into_iter().map(|gap| Missing::of(ip, gap));
        entries.extend(missing.map(|missing| letter.note(ip, &Note::Gap(missing))));
        Ok(())
    }

    /// The recorder's own checkpoint comes back, and stands in the record already.
    fn checkpoint(&self, letter: Letter<'_>) -> Result<(), Refusal> {
        if letter.payload.is_empty() {
            return Ok(());
        }
        let checkpoint: Checkpoint = serde_json::from_slice(letter.payload).map_err(said)?;
        checkpoint.verify().map_err(said)?;
        if checkpoint.key == self.key {
            Ok(())
        } else {
            Err("it was signed with another key than this recorder's".to_owned())
        }
    }

    /// Policy, alerts, acknowledgements: kept as they came, but not what the broker only repeats.
    fn paper(
        &mut self,
        topic: Topic,
        letter: Letter<'_>,
        entries: &mut Vec<Entry>,
    ) -> Result<(), Refusal> {
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
            return Ok(());
        }
        self.papers.insert(topic, digest);
        entries.push(letter.record(Folder::Lab, payload));
        Ok(())
    }

    fn refuse(&mut self, letter: Letter<'_>, refusal: &Refusal) -> Option<Entry> {
        self.tally.refused += 1;
        let line = self
            .quarantine
            .take(letter.topic, letter.payload, refusal, letter.received);
        self.tally.overflow += u64::from(line.is_none());
        Some(Entry::new(Folder::Quarantine, letter.received, line?))
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
