//! What the recorder has written, read back.

use std::{fs, net::IpAddr, path::Path};

use labwatch_contract::event::{Action, Event};
use serde_json::Value;

/// All lines of a PC's record, in the order of its files.
///
/// # Panics
/// When a line is not JSON.
#[must_use]
pub fn lines(records: &Path, ip: IpAddr) -> Vec<Value> {
    let Ok(dir) = fs::read_dir(records.join(ip.to_string())) else {
        return Vec::new();
    };
    let mut files: Vec<_> = dir.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    let whole = |text: String| {
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect::<Vec<_>>()
    };
    texts.flat_map(whole).collect()
}

/// All events of a PC's record with an action.
#[must_use]
pub fn events(records: &Path, ip: IpAddr, action: &Action) -> Vec<Event> {
    let read = |line: Value| serde_json::from_value::<Event>(line.get("payload")?.clone()).ok();
    let all = lines(records, ip).into_iter().filter_map(read);
    all.filter(|event| event.occurrence.action == *action)
        .collect()
}
