//! The oracle: every event that stands in a journal is in exactly one line of the record, byte for byte, in order.
//!
//! It reads both with code of its own, nothing of the recorder's: what the one writes wrongly the other must not read
//! wrongly.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt, fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use labwatch_contract::event::Head;
use serde_json::Value;
use uuid::Uuid;

/// Findings that are told; the rest is counted.
const TOLD: usize = 20;

/// A journal as its PC has it.
pub struct Journal {
    /// Its file.
    pub path: PathBuf,
    /// Its name.
    pub id: Uuid,
    /// Its lines, first to last, without line feeds.
    pub lines: Vec<Vec<u8>>,
}

impl Journal {
    /// The events with an action.
    #[must_use]
    pub fn count(&self, action: &str) -> u64 {
        let mark = format!("\"action\":\"{action}\"");
        let has = |line: &&Vec<u8>| line.windows(mark.len()).any(|part| part == mark.as_bytes());
        self.lines.iter().filter(has).count().try_into().unwrap()
    }
}

/// All journals below the state directories in `dir`; a line without its end is none.
#[must_use]
pub fn journals(dir: &Path) -> Vec<Journal> {
    let states = list(dir).into_iter().map(|state| state.join("journal"));
    let files = states.flat_map(|state| list(&state));
    let journal = |path: PathBuf| {
        let id = path.file_stem()?.to_str()?.parse().ok()?;
        let mut lines: Vec<_> = fs::read(&path)
            .ok()?
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        lines.pop();
        Some(Journal { path, id, lines })
    };
    files.filter_map(journal).collect()
}

/// One event of the record.
struct Line {
    ip: IpAddr,
    sequence: u64,
    payload: Vec<u8>,
}

/// The whole record, by journal.
#[derive(Default)]
pub struct Record {
    events: HashMap<Uuid, Vec<Line>>,
    /// First and last number of what is said to be missing.
    gaps: HashMap<Uuid, Vec<(u64, u64)>>,
    /// Notes, by their action.
    pub notes: BTreeMap<String, usize>,
    /// By how many milliseconds wall clocks have jumped.
    pub jumps: Vec<i64>,
}

impl Record {
    /// Reads a recorder's directory.
    #[must_use]
    pub fn read(dir: &Path) -> Self {
        let mut record = Self::default();
        for folder in list(dir) {
            let name = folder.file_name().and_then(|name| name.to_str());
            let Some(ip) = name.and_then(|name| name.parse().ok()) else {
                continue;
            };
            let mut files = list(&folder);
            files.sort_by_key(|file| order(file));
            for file in files {
                record.add(ip, &file);
            }
        }
        record
    }

    fn add(&mut self, ip: IpAddr, file: &Path) {
        let bytes = fs::read(file).unwrap();
        // While the recorder writes, its last line may have no end yet.
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some(line) = line.strip_suffix(b"}\n") else {
                continue;
            };
            match find(line, b"\"payload\":") {
                Some(at) => self.event(ip, &line[at..]),
                None => self.note(line),
            }
        }
    }

    fn event(&mut self, ip: IpAddr, payload: &[u8]) {
        let place = Head::from_payload(payload).unwrap().place;
        let event = Line {
            ip,
            sequence: place.sequence,
            payload: payload.to_vec(),
        };
        self.events.entry(place.journal).or_default().push(event);
    }

    fn note(&mut self, line: &[u8]) {
        let line: Value = serde_json::from_slice(&[line, b"}"].concat()).unwrap();
        let note = &line["note"];
        let action = note["action"].as_str().unwrap().to_owned();
        if action == "gap" {
            let journal = note["journal"].as_str().unwrap().parse().unwrap();
            let ends = [&note["from"], &note["to"]].map(|end| end.as_u64().unwrap());
            self.gaps
                .entry(journal)
                .or_default()
                .push((ends[0], ends[1]));
        }
        if action == "clock-jump" {
            self.jumps.push(note["ms"].as_i64().unwrap());
        }
        *self.notes.entry(action).or_default() += 1;
    }

    /// How many events it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.values().map(Vec::len).sum()
    }

    /// Whether it holds no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether events of a journal came by this address.
    #[must_use]
    pub fn came_by(&self, journal: Uuid, ip: IpAddr) -> bool {
        let lines = self.events.get(&journal);
        lines.is_some_and(|lines| lines.iter().any(|line| line.ip == ip))
    }

    /// Compares it with the journals of all PCs.
    #[must_use]
    pub fn compare(&self, journals: &[Journal]) -> Findings {
        let mut findings = Findings::default();
        for journal in journals {
            let recorded = self.events.get(&journal.id).map_or(&[][..], |lines| lines);
            let gaps = self.gaps.get(&journal.id).map_or(&[][..], |gaps| gaps);
            compare(journal, recorded, gaps, &mut findings);
        }
        let known: BTreeSet<_> = journals.iter().map(|journal| journal.id).collect();
        for id in self.events.keys().filter(|id| !known.contains(id)) {
            findings.add(format!("journal {id} is in the record and on no PC"));
        }
        findings
    }
}

fn compare(journal: &Journal, recorded: &[Line], gaps: &[(u64, u64)], findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    let mut last: HashMap<IpAddr, u64> = HashMap::new();
    for line in recorded {
        let (id, number) = (journal.id, line.sequence);
        if !seen.insert(number) {
            findings.add(format!("event {number} of {id} is recorded twice"));
        }
        if last
            .insert(line.ip, number)
            .is_some_and(|last| last >= number)
        {
            findings.add(format!("event {number} of {id} is out of order"));
        }
        let own = usize::try_from(number - 1).unwrap();
        if journal.lines.get(own) != Some(&line.payload) {
            findings.add(format!("event {number} of {id} is not what the PC has"));
        }
    }
    let missing = (1..=journal.lines.len() as u64).filter(|number| !seen.contains(number));
    let named: Vec<_> = gaps.iter().flat_map(|(from, to)| *from..=*to).collect();
    for number in missing.filter(|number| !named.contains(number)) {
        findings.missing += 1;
        findings.holes += usize::from(seen.last().is_some_and(|last| *last > number));
        findings.add(format!("event {number} of {} is missing", journal.id));
    }
    for number in named.iter().filter(|number| seen.contains(number)) {
        findings.add(format!(
            "event {number} of {} is called missing and is there",
            journal.id
        ));
    }
}

/// What does not agree.
#[derive(Debug, Default)]
pub struct Findings {
    told: Vec<String>,
    count: usize,
    /// Of these: events that are in a journal and not in the record.
    pub missing: usize,
    /// Of these: events before one that is in the record.
    holes: usize,
}

impl Findings {
    fn add(&mut self, finding: String) {
        self.count += 1;
        if self.told.len() < TOLD {
            self.told.push(finding);
        }
    }

    /// Whether nothing is wrong but that the ends of journals are missing.
    #[must_use]
    pub fn is_but_short(&self) -> bool {
        self.count == self.missing && self.holes == 0
    }

    /// Whether everything agrees.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} findings:", self.count)?;
        self.told
            .iter()
            .try_for_each(|told| writeln!(f, "  {told}"))
    }
}

/// The order of record files: by time, then by number.
fn order(file: &Path) -> (String, u64) {
    let stem = file.file_stem().unwrap().to_str().unwrap();
    match stem.split_once("Z-") {
        Some((time, number)) => (time.to_owned(), number.parse().unwrap()),
        None => (stem.trim_end_matches('Z').to_owned(), 1),
    }
}

/// What is in a directory; nothing if it is not there.
pub(super) fn list(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Where `bytes` go on behind the first `key`.
fn find(bytes: &[u8], key: &[u8]) -> Option<usize> {
    let at = bytes.windows(key.len()).position(|part| part == key)?;
    Some(at + key.len())
}
