//! The policy file (TOML 1.1): from text to a [`Policy`], or all that is wrong with it, each with its line.
//!
//! The text is walked value by value, so that one mistake does not hide the next. A key that is not known is a
//! mistake, because a typing error in `allow` would otherwise be an alarm. Times need an offset (`Z`, `+01:00`). Bounded: 1 MiB
//! of text, 1,000 seats, 1,000 entries in each list, and what is published must fit into one message.

mod parts;

use std::{collections::HashSet, fmt, ops::Range};

use labwatch_contract::{
    MAX_PAYLOAD,
    policy::{Allowed, Policy, Unfit, Window},
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use self::parts::{allowed, level, seat, seconds, time};
use super::seats;
use crate::rules;

/// Longest file that is read, in bytes.
pub const MAX_TEXT: usize = 1024 * 1024;
/// Most seats of a room.
pub(super) const MOST_SEATS: usize = 1000;
const MOST_ENTRIES: usize = 1000;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file of seats, where it stands there; else it is the policy file itself.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: usize,
    /// In words.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{file} line {}: {}", self.line, self.what),
            None => write!(f, "line {}: {}", self.line, self.what),
        }
    }
}

/// All that is wrong, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Mistakes(pub Vec<Mistake>);

/// Reads a policy file. `open` gives the text of a file that it names, or says why it cannot.
///
/// # Errors
/// All [`Mistakes`]; then nothing of it counts.
pub fn read(
    text: &str,
    open: impl FnMut(&str) -> Result<String, String>,
) -> Result<Policy, Mistakes> {
    let mut reader = Reader {
        text,
        open,
        policy: Policy::default(),
        taken: HashSet::new(),
        mistakes: Vec::new(),
    };
    if text.len() > MAX_TEXT {
        reader.wrong(0..0, format!("the file is longer than {MAX_TEXT} bytes"));
    } else {
        reader.document();
    }
    reader.finish()
}

struct Reader<'a, F> {
    text: &'a str,
    open: F,
    policy: Policy,
    /// What belongs to a seat already.
    taken: HashSet<String>,
    mistakes: Vec<Mistake>,
}

type Value<'a> = Spanned<DeValue<'a>>;

impl<F: FnMut(&str) -> Result<String, String>> Reader<'_, F> {
    fn document(&mut self) {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let at = error.span().unwrap_or(0..0);
            self.wrong(at, error.message().to_owned());
        }
        if errors.is_empty() {
            for (key, value) in document.get_ref() {
                self.entry(key, value);
            }
        }
    }

    fn entry(&mut self, key: &Spanned<std::borrow::Cow<'_, str>>, value: &Value<'_>) {
        match key.get_ref().as_ref() {
            "exam" => self.policy.exam = self.string(value).unwrap_or_default(),
            "window" => self.window(value),
            "local-networks" => {
                let texts = self.strings(value);
                self.policy.local_networks = self.each(texts, parts::local_network);
                // What agents would refuse is refused here, with its line.
                if let Err(unfit @ Unfit::TooMany(_)) = self.policy.for_agents().check() {
                    self.wrong(value.span(), unfit.to_string());
                }
            }
            "seats" => self.seats(value),
            "allow" => self.allow(value),
            "denied-names" => {
                let texts = self.strings(value);
                self.policy.denied = self.each(texts, parts::domain);
            }
            "severity" => self.severities(value),
            "cool-down" => self.cool_downs(value),
            other => {
                let what = format!(
                    "{other:?} is not known here: exam, window, local-networks, seats, allow, denied-names, \
                     severity, cool-down"
                );
                self.wrong(key.span(), what);
            }
        }
    }

    fn window(&mut self, value: &Value<'_>) {
        let Some(table) = self.table(value) else {
            return;
        };
        let (mut start, mut end) = (None, None);
        for (key, value) in table {
            let place = match key.get_ref().as_ref() {
                "start" => &mut start,
                "end" => &mut end,
                other => {
                    self.wrong(
                        key.span(),
                        format!("a window has start and end, not {other:?}"),
                    );
                    continue;
                }
            };
            match time(value.get_ref()) {
                Ok(time) => *place = Some(time),
                Err(what) => self.wrong(value.span(), what),
            }
        }
        match (start, end) {
            (Some(start), Some(end)) if start < end => {
                self.policy.window = Some(Window { start, end });
            }
            (Some(_), Some(_)) => {
                self.wrong(value.span(), "the window ends before it starts".into())
            }
            _ => self.wrong(value.span(), "a window needs start and end".into()),
        }
    }

    /// Seats as the name of a CSV file, or as an array of tables.
    fn seats(&mut self, value: &Value<'_>) {
        match value.get_ref() {
            DeValue::String(file) => match (self.open)(file) {
                Ok(text) => {
                    let (seats, wrong) = seats::read(&text);
                    self.policy.seats = seats;
                    self.mistakes
                        .extend(wrong.into_iter().map(|(line, what)| Mistake {
                            file: Some(file.to_string()),
                            line,
                            what,
                        }));
                }
                Err(what) => self.wrong(value.span(), format!("{file}: {what}")),
            },
            _ => {
                for (span, table) in self.tables(value) {
                    match seat(table, &mut self.taken) {
                        Ok(seat) => self.policy.seats.push(seat),
                        Err(wrong) => self.wrongs(&span, wrong),
                    }
                }
            }
        }
    }

    fn allow(&mut self, value: &Value<'_>) {
        for (span, table) in self.tables(value) {
            match allowed(table) {
                Ok(all) if all == Allowed::default() => {
                    self.wrong(span, "this would allow everything".into());
                }
                Ok(one) => self.policy.allowed.push(one),
                Err(wrong) => self.wrongs(&span, wrong),
            }
        }
    }

    fn severities(&mut self, value: &Value<'_>) {
        for (key, value) in self.table(value).into_iter().flatten() {
            let rule = self.rule(key);
            match level(value.get_ref()) {
                Ok(level) => self
                    .policy
                    .severities
                    .extend(rule.map(|rule| (rule, level))),
                Err(what) => self.wrong(value.span(), what),
            }
        }
    }

    fn cool_downs(&mut self, value: &Value<'_>) {
        for (key, value) in self.table(value).into_iter().flatten() {
            let rule = self.rule(key);
            match seconds(value.get_ref()) {
                Ok(seconds) => self
                    .policy
                    .cool_downs
                    .extend(rule.map(|rule| (rule, seconds))),
                Err(what) => self.wrong(value.span(), what),
            }
        }
    }

    fn rule(&mut self, key: &Spanned<std::borrow::Cow<'_, str>>) -> Option<String> {
        let id = key.get_ref().as_ref();
        if rules::ids().any(|known| known == id) {
            return Some(id.to_owned());
        }
        self.wrong(key.span(), format!("no rule is called {id:?}"));
        None
    }

    fn string(&mut self, value: &Value<'_>) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            _ => {
                self.wrong(value.span(), "this must be a text in quotes".into());
                None
            }
        }
    }

    fn table<'v>(&mut self, value: &'v Value<'v>) -> Option<&'v DeTable<'v>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => {
                self.wrong(value.span(), "this must be a table".into());
                None
            }
        }
    }

    fn tables<'v>(&mut self, value: &'v Value<'v>) -> Vec<(Range<usize>, &'v DeTable<'v>)> {
        let values = self.array(value);
        let tables = values.iter().filter_map(|value| {
            let table = self.table(value)?;
            Some((value.span(), table))
        });
        tables.collect()
    }

    fn strings(&mut self, value: &Value<'_>) -> Vec<(Range<usize>, String)> {
        let values = self.array(value);
        let strings = values.iter().filter_map(|value| {
            let text = self.string(value)?;
            Some((value.span(), text))
        });
        strings.collect()
    }

    fn array<'v>(&mut self, value: &'v Value<'v>) -> &'v [Value<'v>] {
        match value.get_ref() {
            DeValue::Array(values) if values.len() <= MOST_ENTRIES => values,
            DeValue::Array(_) => {
                self.wrong(value.span(), format!("more than {MOST_ENTRIES} entries"));
                &[]
            }
            _ => {
                self.wrong(value.span(), "this must be a list".into());
                &[]
            }
        }
    }

    fn each<T>(
        &mut self,
        texts: Vec<(Range<usize>, String)>,
        read: fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let mut all = Vec::new();
        for (span, text) in texts {
            match read(&text) {
                Ok(one) => all.push(one),
                Err(what) => self.wrong(span, what),
            }
        }
        all
    }

    /// Mistakes in a table; without a place of their own they are of the table's first line.
    fn wrongs(&mut self, table: &Range<usize>, wrong: Vec<(Option<Range<usize>>, String)>) {
        for (span, what) in wrong {
            self.wrong(span.unwrap_or(table.clone()), what);
        }
    }

    fn wrong(&mut self, at: Range<usize>, what: String) {
        let before = self.text.bytes().take(at.start);
        let line = before.filter(|byte| *byte == b'\n').count() + 1;
        self.mistakes.push(Mistake {
            file: None,
            line,
            what,
        });
    }

    fn finish(mut self) -> Result<Policy, Mistakes> {
        let payload = serde_json::to_vec(&self.policy).map_or(0, |payload| payload.len());
        if payload > MAX_PAYLOAD {
            self.wrong(
                0..0,
                format!("it makes a message of {payload} bytes, at most {MAX_PAYLOAD} go"),
            );
        }
        if self.mistakes.is_empty() {
            return Ok(self.policy);
        }
        // The table of a TOML text is sorted by key; people read by line.
        self.mistakes
            .sort_by_key(|mistake| (mistake.file.is_some(), mistake.line));
        Err(Mistakes(self.mistakes))
    }
}

#[cfg(test)]
mod tests;
