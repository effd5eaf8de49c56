//! The lines of the record: each must be one, and each event must continue its journal.
//!
//! The events go through a ledger; gap notes stand for the agents' words. After a finding the journal goes on with
//! the line that was found, so that one lie is told once. Pure.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use labwatch_contract::{
    chain::Digest,
    event::{Head, Place},
    status::JournalRange,
    time::Timestamp,
    topic::{Leaf, Topic},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Finding, Findings};
use crate::{
    filing::Folder,
    ledger::{Ledger, Refusal, Verdict},
    record::{Note, Sighting, topic_of},
    show::reel::RawLine,
};

/// An event of the record, and where it stands.
pub(super) struct Found {
    pub(super) file: PathBuf,
    pub(super) line: u64,
    pub(super) place: Place,
    pub(super) digest: Digest,
}

pub(super) struct Lines {
    ledger: Ledger,
    /// Where the last event of each journal stands.
    last: HashMap<Uuid, (Arc<Path>, u64)>,
    file: Arc<Path>,
    /// Folders of which retention has removed files.
    thinned: HashSet<String>,
    events: u64,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(default)]
    topic: String,
    #[serde(default, borrow)]
    payload: Option<&'a RawValue>,
    #[serde(default, borrow)]
    note: Option<&'a RawValue>,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Received {
    received: Timestamp,
}

/// When a line was received, as far as it says.
pub(super) fn received(text: &[u8]) -> Option<Timestamp> {
    let line: Received = serde_json::from_slice(text).ok()?;
    Some(line.received)
}

impl Lines {
    /// Journals may begin in the middle in folders of which files were `removed`.
    pub(super) fn new(removed: impl IntoIterator<Item = String>) -> Self {
        let folder = |file: String| Some(file.split_once('/')?.0.to_owned());
        Self {
            ledger: Ledger::new(Uuid::nil()),
            last: HashMap::new(),
            file: Path::new("").into(),
            thinned: removed.into_iter().filter_map(folder).collect(),
            events: 0,
        }
    }

    /// Events and journals so far.
    pub(super) fn counts(&self) -> (u64, usize) {
        (self.events, self.last.len())
    }

    /// Checks a line; gives the event in it.
    pub(super) fn take(
        &mut self,
        file: &Path,
        line: &RawLine,
        time: Option<Timestamp>,
        findings: &mut Findings,
    ) -> Option<Found> {
        let checked = match line.wrong {
            Some(wrong) => Err(wrong.to_owned()),
            None => match time {
                Some(time) => self.check(file, line, time, findings),
                None => Err("no line of a record: no time of receipt".to_owned()),
            },
        };
        match checked {
            Ok(found) => found,
            Err(what) => {
                findings.add(Finding::new(file, line.number, what));
                None
            }
        }
    }

    fn check(
        &mut self,
        file: &Path,
        line: &RawLine,
        time: Timestamp,
        findings: &mut Findings,
    ) -> Result<Option<Found>, String> {
        let text =
            str::from_utf8(&line.text).map_err(|error| format!("no line of a record: {error}"))?;
        let read: Line<'_> =
            serde_json::from_str(text).map_err(|error| format!("no line of a record: {error}"))?;
        let folder = file
            .parent()
            .and_then(Path::file_name)
            .and_then(|name| name.to_str());
        let Some(Folder::Pc(ip)) = folder.and_then(Folder::from_name) else {
            return Ok(None);
        };
        if read.reason.is_some() {
            return Err("a quarantined message among the records".to_owned());
        }
        if let Some(note) = read.note {
            // Words of another version are passed over.
            let known = serde_json::from_str(note.get()).ok();
            return known
                .map_or(Ok(()), |note| self.note(ip, &note, time))
                .map(|()| None);
        }
        let payload = read.payload.ok_or("neither payload nor note")?.get();
        let leaf = leaf_of(&read.topic, ip)?;
        // What is between `"payload":` and the last brace, white space included, is what was hashed.
        let payload = around(text, payload);
        let head = Head::from_payload(payload.as_bytes()).map_err(|error| error.to_string())?;
        head.check_topic(leaf).map_err(|error| error.to_string())?;
        let found = Found {
            file: file.to_owned(),
            line: line.number,
            place: head.place,
            digest: Digest::of(payload.as_bytes()),
        };
        self.events += 1;
        self.chain(ip, &found, time, findings);
        if *self.file != *file {
            self.file = file.into();
        }
        self.last
            .insert(found.place.journal, (self.file.clone(), line.number));
        Ok(Some(found))
    }

    fn note(&mut self, ip: IpAddr, note: &Note, time: Timestamp) -> Result<(), String> {
        if let Note::Online(Sighting {
            previous_ip: Some(from),
            journals,
            ..
        }) = note
        {
            self.ledger.handle_return(ip, from.to_canonical(), journals);
        }
        if let Note::Gap(gap) = note {
            let range = JournalRange {
                journal: gap.journal,
                first: gap.to.saturating_add(1),
                last: gap.to,
            };
            let known = self.ledger.handle_online(ip, &[range], time);
            let follows = known.first().is_some_and(|known| known.from == gap.from);
            if gap.ip != ip || !(follows || self.may_begin(ip, gap.journal)) {
                return Err("a gap that does not follow on what was recorded".to_owned());
            }
        }
        Ok(())
    }

    fn chain(&mut self, ip: IpAddr, found: &Found, time: Timestamp, findings: &mut Findings) {
        let Place {
            journal, sequence, ..
        } = found.place;
        let verdict = self
            .ledger
            .handle_event(ip, &found.place, found.digest, time);
        let mut tell =
            |line: (&Path, u64), what: String| findings.add(Finding::new(line.0, line.1, what));
        let here = (found.file.as_path(), found.line);
        match verdict {
            Verdict::New => {}
            Verdict::Duplicate => tell(
                here,
                format!(
                    "event {sequence} of journal {journal} stands here again, or late: doubled or out of order"
                ),
            ),
            Verdict::Refused(Refusal::Chain) => {
                let before = self
                    .last
                    .get(&journal)
                    .map_or(here, |(file, line)| (file.as_ref(), *line));
                let (file, line) = (found.file.display(), found.line);
                tell(
                    before,
                    format!(
                        "changed: the event after it ({file}:{line}) has another digest in lab.prev"
                    ),
                );
            }
            Verdict::Refused(refusal) => tell(here, refusal.to_string()),
            Verdict::Ahead => {
                if !self.may_begin(ip, journal) {
                    tell(
                        here,
                        format!("events of journal {journal} before number {sequence} are missing"),
                    );
                }
            }
        }
        if matches!(verdict, Verdict::Ahead | Verdict::Refused(Refusal::Chain)) {
            self.go_on(ip, found, time);
        }
        self.ledger.take_moved();
    }

    /// Whether what comes now of a journal may be its first line here, because retention has removed those before.
    fn may_begin(&self, ip: IpAddr, journal: Uuid) -> bool {
        !self.last.contains_key(&journal) && self.thinned.contains(&Folder::Pc(ip).to_string())
    }

    /// Takes an event that does not fit, so that the next one is judged by it.
    fn go_on(&mut self, ip: IpAddr, found: &Found, time: Timestamp) {
        let Place {
            journal, sequence, ..
        } = found.place;
        let range = JournalRange {
            journal,
            first: sequence.saturating_add(1),
            last: sequence,
        };
        self.ledger.handle_online(ip, &[range], time);
        self.ledger.set_digest(ip, journal, found.digest);
    }
}

fn leaf_of(topic: &str, ip: IpAddr) -> Result<Leaf, String> {
    match topic_of(topic) {
        Ok(Topic::Pc(address, leaf)) if address == ip && leaf.carries_events() => Ok(leaf),
        Ok(_) => Err(format!("topic {topic} does not belong into this folder")),
        Err(error) => Err(format!("topic {topic}: {error}")),
    }
}

/// `value` with the white space around it, up to the line's last brace.
fn around<'a>(line: &'a str, value: &'a str) -> &'a str {
    const KEY: &str = "\"payload\":";
    let begin = line.find(KEY).map(|at| at + KEY.len());
    let whole = begin.and_then(|at| line.get(at..)?.strip_suffix('}'));
    whole.filter(|whole| whole.trim() == value).unwrap_or(value)
}
