//! Which file a line goes to.
//!
//! ```text
//! <dir>/lock                                     one recorder a directory
//! <dir>/192.168.0.133/2026-11-22T09-31-05Z.jsonl one folder a PC
//! <dir>/lab/2026-11-22T09-31-05Z-2.jsonl         policy, alerts, checkpoints
//! <dir>/quarantine/2026-11-22T09-31-05Z.jsonl    what was no valid event
//! ```
//!
//! A file is named after the time of its first line. A new one is begun each hour of UTC, at 64 MiB, and at each
//! start. The files of a folder are read in the order of their names: where a clock that was set back would bring a
//! new one before the last one, it takes the name of that with the next number. Only by a day at most: a clock that
//! was years ahead must not give its names to all that follows. A folder is a parsed address or one of two words: no
//! path is ever made from the text of a topic. Pure: the store asks, opens, and says what it found or had to begin.

use std::{fmt, net::IpAddr, sync::Arc};

use labwatch_contract::time::Timestamp;

use crate::recent::Recent;

/// A file takes no line beyond it.
pub(crate) const MAX_FILE: u64 = 64 * 1024 * 1024;
/// Folders whose current file is remembered; a forgotten one begins another file.
pub(crate) const MAX_FOLDERS: usize = 16 * 1024;
const HOUR_MS: i64 = 3_600_000;
/// A clock that is set back further may bring new files before older ones.
const BACK_MS: i64 = 24 * HOUR_MS;
const EXTENSION: &str = ".jsonl";

/// A folder below the recorder's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Folder {
    /// One PC's events and notes.
    Pc(IpAddr),
    /// Policy, alerts, acknowledgements, checkpoints.
    Lab,
    /// What was no valid event.
    Quarantine,
}

impl Folder {
    /// Reads a folder's name; `None` for any that is not ours.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "lab" => Some(Self::Lab),
            "quarantine" => Some(Self::Quarantine),
            address => {
                let folder = Self::Pc(address.parse().ok()?);
                (folder.to_string() == address).then_some(folder)
            }
        }
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pc(address) => address.to_canonical().fmt(f),
            Self::Lab => f.write_str("lab"),
            Self::Quarantine => f.write_str("quarantine"),
        }
    }
}

/// `2026-11-22T09-31-05Z.jsonl`, or `…Z-2.jsonl` where that name was taken. Ordered as they were begun.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName {
    stem: Arc<str>,
    number: u32,
}

impl FileName {
    /// The name of a file whose first line was received at `time`.
    #[must_use]
    pub fn at(time: Timestamp) -> Self {
        Self {
            stem: time.file_stem().into(),
            number: 1,
        }
    }

    /// The second in which its first line was received, as [`Timestamp::file_stem`] writes it.
    pub(crate) fn stem(&self) -> &str {
        &self.stem
    }

    /// The name to try when this one is taken.
    #[must_use]
    pub fn next(self) -> Self {
        Self {
            number: self.number.saturating_add(1),
            ..self
        }
    }

    /// The name of the file that follows on this one, and whose first line was received at `time`.
    fn successor(&self, time: Timestamp) -> Self {
        let name = Self::at(time);
        let day = Timestamp::from_unix_ms(time.unix_ms().saturating_add(BACK_MS));
        let near = day.is_some_and(|day| *self < Self::at(day));
        if name <= *self && near {
            self.clone().next()
        } else {
            name
        }
    }

    /// Reads a name; `None` for a file that is no record.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let (stem, suffix) = name.strip_suffix(EXTENSION)?.split_once('Z')?;
        let number = match suffix.strip_prefix('-') {
            Some(number) => number.parse().ok()?,
            None => 1,
        };
        let file = Self {
            stem: format!("{stem}Z").into(),
            number,
        };
        (file.to_string() == name && is_stem(stem)).then_some(file)
    }
}

/// `2026-11-22T09-31-05`: digits where digits belong.
fn is_stem(text: &str) -> bool {
    let form = "dddd-dd-ddTdd-dd-dd";
    let fits = |(byte, form)| match form {
        b'd' => u8::is_ascii_digit(&byte),
        other => byte == other,
    };
    text.len() == form.len() && text.bytes().zip(form.bytes()).all(fits)
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.stem)?;
        if self.number > 1 {
            write!(f, "-{}", self.number)?;
        }
        f.write_str(EXTENSION)
    }
}

/// Where a line goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Placement {
    /// To the folder's current file, at this offset.
    Current(FileName, u64),
    /// To a new one of this name, or of the next that is not taken.
    Begin(FileName),
}

/// The current file of each folder.
#[derive(Debug)]
pub(crate) struct Filing {
    current: Recent<Folder, Current>,
}

#[derive(Debug)]
struct Current {
    name: FileName,
    /// The hour that it takes lines of; none: an earlier run's, which takes no more.
    hour: Option<i64>,
    size: u64,
}

impl Default for Filing {
    fn default() -> Self {
        Self {
            current: Recent::new(MAX_FOLDERS),
        }
    }
}

impl Filing {
    /// Where a line of `size` bytes goes that was received at `time`. It is counted as written if that is the
    /// current file; otherwise [`Filing::begun`] is to be called.
    pub(crate) fn place(&mut self, folder: Folder, size: u64, time: Timestamp) -> Placement {
        match self.current.get_mut(&folder) {
            Some(file) if file.hour == Some(hour(time)) && file.size + size <= MAX_FILE => {
                let offset = file.size;
                file.size += size;
                Placement::Current(file.name.clone(), offset)
            }
            Some(file) => Placement::Begin(file.name.successor(time)),
            None => Placement::Begin(FileName::at(time)),
        }
    }

    /// The last file that earlier runs have begun in a folder.
    pub(crate) fn found(&mut self, folder: Folder, name: FileName) {
        let (hour, size) = (None, 0);
        self.current.insert(folder, Current { name, hour, size });
    }

    /// A file was begun with a line of `size` bytes that was received at `time`.
    pub(crate) fn begun(&mut self, folder: Folder, name: FileName, size: u64, time: Timestamp) {
        let hour = Some(hour(time));
        self.current.insert(folder, Current { name, hour, size });
    }
}

fn hour(time: Timestamp) -> i64 {
    time.unix_ms().div_euclid(HOUR_MS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PC: Folder = Folder::Pc(IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 0, 133)));

    fn time(text: &str) -> Timestamp {
        format!("2026-11-22T{text}Z").parse().unwrap()
    }

    /// Places a line and begins the file if there is to be one; gives the file's name.
    fn file(filing: &mut Filing, size: u64, at: &str) -> String {
        match filing.place(PC, size, time(at)) {
            Placement::Current(name, _) => name.to_string(),
            Placement::Begin(name) => {
                filing.begun(PC, name.clone(), size, time(at));
                name.to_string()
            }
        }
    }

    #[test]
    fn a_new_file_is_begun_each_hour() {
        let mut filing = Filing::default();
        let first = "2026-11-22T09-31-05Z.jsonl";
        assert_eq!(file(&mut filing, 100, "09:31:05.140"), first);
        assert_eq!(file(&mut filing, 100, "09:59:59.999"), first);
        let second = "2026-11-22T10-00-00Z.jsonl";
        assert_eq!(file(&mut filing, 100, "10:00:00.000"), second);
        assert_eq!(file(&mut filing, 100, "10:30:00"), second);
    }

    #[test]
    fn a_clock_that_goes_back_an_hour_begins_a_file_that_is_read_after_the_last() {
        let mut filing = Filing::default();
        file(&mut filing, 100, "10:00:05");
        let second = "2026-11-22T10-00-05Z-2.jsonl";
        assert_eq!(file(&mut filing, 100, "09:59:00"), second);
        assert_eq!(file(&mut filing, 100, "09:59:59"), second);
        let third = "2026-11-22T10-00-05Z-3.jsonl";
        assert_eq!(file(&mut filing, 100, "10:00:00"), third);
        assert_eq!(
            file(&mut filing, 100, "11:00:00"),
            "2026-11-22T11-00-00Z.jsonl"
        );
    }

    #[test]
    fn a_clock_that_was_set_back_before_the_start_does_not_either() {
        let mut filing = Filing::default();
        filing.found(PC, FileName::at(time("10:00:05")));
        let second = "2026-11-22T10-00-05Z-2.jsonl";
        assert_eq!(file(&mut filing, 100, "10:00:05"), second);
        filing.found(PC, FileName::at(time("10:00:05")));
        assert_eq!(file(&mut filing, 100, "09:59:00"), second);
    }

    #[test]
    fn a_clock_that_was_days_ahead_names_nothing_that_follows() {
        let mut filing = Filing::default();
        filing.found(PC, FileName::at("2040-01-01T00:00:00Z".parse().unwrap()));
        let name = "2026-11-22T09-31-05Z.jsonl";
        assert_eq!(file(&mut filing, 100, "09:31:05"), name);
    }

    #[test]
    fn no_file_grows_past_64_mib() {
        let mut filing = Filing::default();
        file(&mut filing, MAX_FILE - 100, "09:31:05");
        assert_eq!(
            file(&mut filing, 100, "09:31:06"),
            "2026-11-22T09-31-05Z.jsonl"
        );
        assert_eq!(
            file(&mut filing, 1, "09:31:07"),
            "2026-11-22T09-31-07Z.jsonl"
        );
    }

    #[test]
    fn each_start_begins_a_new_file() {
        assert!(matches!(
            Filing::default().place(PC, 1, time("09:31:05")),
            Placement::Begin(_)
        ));
    }

    #[test]
    fn a_taken_name_gets_a_number_and_sorts_after_it() {
        let first = FileName::at(time("09:31:05"));
        let second = first.clone().next();
        assert_eq!(second.to_string(), "2026-11-22T09-31-05Z-2.jsonl");
        let mut tenth = second.clone();
        while tenth.number < 10 {
            tenth = tenth.next();
        }
        let later = FileName::at(time("09:31:06"));
        assert!(first < second && second < tenth && tenth < later);
    }

    #[test]
    fn only_the_names_of_records_are_read() {
        for name in [
            "2026-11-22T09-31-05Z.jsonl",
            "2026-11-22T09-31-05Z-12.jsonl",
        ] {
            assert_eq!(FileName::from_name(name).unwrap().to_string(), name);
        }
        for name in [
            "",
            "lock",
            "Z.jsonl",
            "notes.jsonl",
            "2026-11-22T09-31-05Z",
            "2026-11-22T09-31-05Z-1.jsonl",
            "2026-11-22T09-31-05Z-02.jsonl",
            "2026-11-22T09-31-05Z-.jsonl",
            "2026-11-22T09:31:05Z.jsonl",
        ] {
            assert_eq!(FileName::from_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_folder_is_an_address_or_one_of_two_words() {
        for name in ["192.168.0.133", "2001:db8::1", "lab", "quarantine"] {
            assert_eq!(Folder::from_name(name).unwrap().to_string(), name);
        }
        for name in [
            "",
            ".",
            "..",
            "010.0.0.1",
            "::ffff:10.0.0.1",
            "LAB",
            "policy",
        ] {
            assert_eq!(Folder::from_name(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_written_name_is_read_back(ms in 0_i64..253_402_300_799_999, number in 1_u32..) {
            let name = FileName { number, ..FileName::at(Timestamp::from_unix_ms(ms).unwrap()) };
            prop_assert_eq!(FileName::from_name(&name.to_string()), Some(name));
        }

        #[test]
        fn no_address_leaves_the_directory(address: IpAddr) {
            let name = Folder::Pc(address).to_string();
            prop_assert!(!name.contains('/') && !name.starts_with('.'));
        }
    }
}
