//! What a quiet lab does, as a proposed allow list: `labwatch-notifier learn --for 10m > proposal.toml`.
//!
//! Each local conversation that an agent reports becomes an entry by the machine that was asked, transport, port and
//! program of the opener, with how often and by how many PCs. It is a proposal: somebody reads it before it counts, because
//! what a lab does while nobody looks may be what must not happen. Bounded: 500 entries; how many more there were is said.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::IpAddr,
};

use labwatch_contract::{
    event::{
        Action, Event, Head,
        contact::{Direction, Endpoint},
    },
    text::harmless,
    topic::{Leaf, Root, Topic},
};

/// Most entries that are proposed.
const MOST: usize = 500;
/// Most PCs that are counted for an entry.
const MOST_PCS: usize = 1000;

/// What has been seen so far.
#[derive(Debug)]
pub struct Lesson {
    root: Root,
    entries: BTreeMap<Entry, Uses>,
    /// Conversations beyond what is kept.
    beyond: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    asked: IpAddr,
    transport: String,
    port: Option<u16>,
    program: Option<String>,
}

#[derive(Debug, Default)]
struct Uses {
    count: u64,
    name: Option<String>,
    by: BTreeSet<IpAddr>,
}

impl Lesson {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(root: Root) -> Self {
        Self {
            root,
            entries: BTreeMap::new(),
            beyond: 0,
        }
    }

    /// Takes a message; whatever is no live event of a local conversation teaches nothing.
    pub fn handle(&mut self, topic: &str, payload: &[u8], retained: bool) {
        let Ok(Topic::Pc(address, Leaf::Intranet)) = self.root.parse(topic) else {
            return;
        };
        let belongs = Head::from_payload(payload).and_then(|head| head.check_topic(Leaf::Intranet));
        if retained || belongs.is_err() {
            return;
        }
        if let Ok(event) = Event::from_payload(payload) {
            self.learn(address, &event);
        }
    }

    fn learn(&mut self, address: IpAddr, event: &Event) {
        let fields = &event.occurrence.fields;
        let (Some(asked), Some(network)) = (&fields.destination, &fields.network) else {
            return;
        };
        if event.occurrence.action != Action::IntranetAccess {
            return;
        }
        let opener = network.direction == Direction::Egress;
        let program = fields
            .process
            .as_ref()
            .and_then(|process| process.name.clone());
        let entry = Entry {
            asked: asked.ip.to_canonical(),
            transport: network.transport.clone(),
            port: asked.port,
            // Seen from the other end it is the server's program, which the opener's end does not know.
            program: program.filter(|_| opener),
        };
        if !self.entries.contains_key(&entry) && self.entries.len() == MOST {
            self.beyond += 1;
            return;
        }
        let uses = self.entries.entry(entry).or_default();
        uses.count += 1;
        let Endpoint { domain, .. } = asked;
        uses.name = domain.clone().filter(|_| opener).or(uses.name.take());
        if uses.by.len() < MOST_PCS {
            uses.by.insert(address);
        }
    }

    /// The proposal in TOML, as `[[allow]]` tables for the policy file.
    #[must_use]
    pub fn proposal(&self) -> String {
        let mut text = String::from(
            "# Proposed by `labwatch-notifier learn`: read every entry before it goes into the policy file.\n",
        );
        if self.entries.is_empty() {
            text += "# No local conversation was seen.\n";
        }
        for (entry, uses) in &self.entries {
            // Writing to a String does not fail.
            let _ = write!(text, "\n[[allow]]\n{}", lines(entry, uses));
        }
        if self.beyond > 0 {
            let _ = write!(
                text,
                "\n# {} conversations more were too many to list.\n",
                self.beyond
            );
        }
        text
    }
}

fn lines(entry: &Entry, uses: &Uses) -> String {
    let mut lines = format!("address = {}\n", quoted(&entry.asked.to_string()));
    lines += &format!("transport = {}\n", quoted(&entry.transport));
    if let Some(port) = entry.port {
        lines += &format!("port = {port}\n");
    }
    if let Some(program) = &entry.program {
        lines += &format!("program = {}\n", quoted(program));
    }
    let name = uses
        .name
        .as_deref()
        .map(|name| format!(", {}", harmless(name)));
    let note = format!(
        "{} times by {} PCs{}",
        uses.count,
        uses.by.len(),
        name.unwrap_or_default()
    );
    lines + &format!("note = {}\n", quoted(&note))
}

/// A TOML basic string; what [`harmless`] shows as a number stays one.
fn quoted(text: &str) -> String {
    let text = harmless(text).replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        lab::{self, PC33, PC34},
        policy::file,
    };

    #[test]
    fn what_was_seen_is_proposed_as_entries_that_the_policy_file_takes() {
        let mut lesson = Lesson::new(Root::default());
        let hostile = json!("cu\"rl\n[x]");
        for ip in [PC33, PC33, PC34] {
            let topic = format!("lab/{ip}/net/intranet");
            lesson.handle(&topic, &lab::contact(ip, 80), false);
        }
        let payload = lab::with(&lab::contact(PC33, 22), "/process/name", hostile);
        lesson.handle("lab/192.168.0.133/net/intranet", &payload, false);
        lesson.handle("lab/192.168.0.133/net/intranet", b"{}", false);
        lesson.handle("lab/192.168.0.133/net/intranet", &payload, true);
        let proposal = lesson.proposal();
        assert!(
            proposal.contains(
                "[[allow]]\naddress = \"192.168.0.134\"\ntransport = \"tcp\"\nport = 80\nprogram = \"curl\"\n\
                 note = \"2 times by 1 PCs\"\n"
            ),
            "{proposal}"
        );
        let policy = file::read(&proposal, |_| Err(String::new())).unwrap();
        assert_eq!(policy.allowed.len(), 3);
        let from_the_other_end = policy.allowed.iter().filter(|one| one.program.is_none());
        assert_eq!(from_the_other_end.count(), 1);
    }

    #[test]
    fn the_list_is_bounded_and_says_what_is_left_out() {
        let mut lesson = Lesson::new(Root::default());
        for port in 1..=600 {
            lesson.handle(
                "lab/192.168.0.133/net/intranet",
                &lab::contact(PC33, port),
                false,
            );
        }
        assert_eq!(lesson.entries.len(), MOST);
        assert!(lesson.proposal().contains("# 100 conversations more"));
        assert!(Lesson::new(Root::default()).proposal().contains("No local"));
    }
}
