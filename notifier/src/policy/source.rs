//! The policy file on the disk: read once at the start, and again whenever it or its file of seats has changed.
//!
//! A look is one `stat` for each file, once a second, which notices also what replaces the file (an editor's rename) or
//! lies on a network share, where the kernel gives no notice. A share that hangs holds up the thread that looks and nobody else.
//! A file that is wrong or gone changes nothing: the reason is given once, and the old policy stays.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

use labwatch_contract::policy::Policy;
use tokio::sync::mpsc;

use super::file::{self, MAX_TEXT};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a look has found: nothing new, the new policy, or why the old one stays.
pub type Look = Option<Result<Policy, String>>;

/// Where the policy comes from.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    seen: Vec<Seen>,
}

/// What tells whether a file is another one now.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    state: Option<(u64, Option<SystemTime>)>,
}

impl Seen {
    fn of(path: PathBuf) -> Self {
        let state = fs::metadata(&path).ok();
        Self {
            path,
            state: state.map(|state| (state.len(), state.modified().ok())),
        }
    }
}

impl Source {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// In words: it cannot be read, or all that is wrong in it.
    pub fn open(path: &Path) -> Result<(Self, Policy), String> {
        let mut source = Self {
            path: path.to_owned(),
            seen: Vec::new(),
        };
        let policy = source.read()?;
        Ok((source, policy))
    }

    /// Looks once a second, on a thread of its own, until nobody listens.
    ///
    /// # Errors
    /// The thread cannot start.
    pub fn follow(mut self, looks: mpsc::Sender<Look>) -> io::Result<()> {
        let look = move || {
            loop {
                thread::sleep(LOOK_EVERY);
                if looks.blocking_send(self.look()).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("policy".into())
            .spawn(look)
            .map(drop)
    }

    fn look(&mut self) -> Look {
        let same = self
            .seen
            .iter()
            .all(|seen| Seen::of(seen.path.clone()) == *seen);
        (!same).then(|| self.read())
    }

    fn read(&mut self) -> Result<Policy, String> {
        // The state is taken before the text: what changes between them is read again at the next look.
        let mut seen = vec![Seen::of(self.path.clone())];
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let policy = text(&self.path).and_then(|text| {
            let open = |name: &str| {
                let path = folder.join(name);
                seen.push(Seen::of(path.clone()));
                self::text(&path)
            };
            file::read(&text, open).map_err(|mistakes| mistakes.to_string())
        });
        self.seen = seen;
        policy.map_err(|what| format!("{}: {what}", self.path.display()))
    }
}

/// The text of a file, one byte more than may be read at most.
fn text(path: &Path) -> Result<String, String> {
    let limit = u64::try_from(MAX_TEXT)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text));
    read.map_err(|error| error.to_string())?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_and_a_mistake_keeps_what_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        fs::write(&path, "exam = \"one\"\nseats = \"room.csv\"\n").unwrap();
        assert!(
            Source::open(&path)
                .unwrap_err()
                .contains("line 2: room.csv: ")
        );
        fs::write(folder.path().join("room.csv"), "seat\nA\n").unwrap();
        let (mut source, policy) = Source::open(&path).unwrap();
        assert_eq!(policy.exam, "one");
        assert_eq!(source.look(), None);
        fs::write(folder.path().join("room.csv"), "seat\nA\nB\n").unwrap();
        assert_eq!(source.look().unwrap().unwrap().seats.len(), 2);
        fs::write(&path, "exam = three\n").unwrap();
        let refused = source.look().unwrap().unwrap_err();
        assert!(refused.contains("policy.toml: line 1: "), "{refused}");
        assert_eq!(source.look(), None, "said once");
        fs::write(&path, "exam = \"three\"\n").unwrap();
        assert_eq!(source.look().unwrap().unwrap().exam, "three");
        fs::remove_file(&path).unwrap();
        assert!(source.look().unwrap().is_err());
    }
}
