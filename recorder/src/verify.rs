//! `labwatch-recorder verify`: whether a record is whole and unchanged.
//!
//! ```text
//! lab/        checkpoints: signatures, numbers, roots --> how long each file must be, and its digest
//! all files   lines --ledger--> chain, holes, doubles, order, across files and folders
//!             bytes --seals---> what was signed, and what should have been
//! --journal   a PC's own journal beside the record's events of it
//! ```
//!
//! The events go through the same ledger that took them. Everything is read once and a little at a time; what is
//! remembered is one entry a journal and file. What the recorder has in its log and not yet in its files is known, so
//! that a record may be checked while it grows. Findings name file and line. A record that somebody has written and
//! signed anew from its beginning holds together: whether its key is the recorder's, only a copy kept elsewhere says.

mod checkpoints;
mod lines;
mod own_journal;
mod seals;

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fmt,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use labwatch_contract::{checkpoint::unhex, text::harmless, time::Timestamp};

use self::{checkpoints::Checkpoints, lines::Lines, own_journal::OwnJournal, seals::Seals};
use crate::{
    show::reel::{Library, RawLine, Reel},
    store,
};

/// Findings that are told; the rest is counted.
const MAX_TOLD: usize = 100;

/// What `verify` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct VerifyArgs {
    /// The recorder's directory
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,

    /// A PC's own journal, to compare the record with
    #[arg(long, value_name = "FILE", env = "LABWATCH_VERIFY_JOURNAL")]
    pub journal: Option<PathBuf>,

    /// The recorder's public key, as a kept copy of a checkpoint names it: 64 hex digits
    #[arg(long, value_name = "HEX", env = "LABWATCH_VERIFY_KEY", value_parser = read_key)]
    pub key: Option<String>,
}

fn read_key(text: &str) -> Result<String, &'static str> {
    let bytes = unhex::<32>(text);
    bytes
        .map(|_| text.to_owned())
        .ok_or("not 64 lower-case hex digits")
}

/// Where something is wrong, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    file: PathBuf,
    /// 0: the file as a whole.
    line: u64,
    what: String,
}

impl Finding {
    fn new(file: &Path, line: u64, what: impl fmt::Display) -> Self {
        Self {
            file: file.to_owned(),
            line,
            what: what.to_string(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, what) = (harmless(&self.file.to_string_lossy()), harmless(&self.what));
        match self.line {
            0 => write!(f, "{file}: {what}"),
            line => write!(f, "{file}:{line}: {what}"),
        }
    }
}

/// Findings, the first ones kept.
#[derive(Debug, Default)]
struct Findings {
    told: Vec<Finding>,
    count: usize,
}

impl Findings {
    fn add(&mut self, finding: Finding) {
        self.count += 1;
        if self.told.len() < MAX_TOLD {
            self.told.push(finding);
        }
    }
}

/// Checks what the arguments name and writes findings, those of the checkpoints first, and a summary; says whether all is
/// in order.
///
/// # Errors
/// When the directory holds no records, a file cannot be read, or `out` cannot be written.
pub fn verify(args: &VerifyArgs, out: &mut impl Write) -> anyhow::Result<bool> {
    if !args.dir.is_dir() {
        bail!("{} is no directory", args.dir.display());
    }
    // The log first: what leaves it while the files are read stands in them.
    let unwritten = store::unwritten(&args.dir)?;
    let checkpoints = Checkpoints::read(&args.dir, &unwritten)?;
    let mut seals = Seals::new(&args.dir, &checkpoints, unwritten.ends);
    let mut lines = Lines::new(checkpoints.removed.clone());
    let mut own = args.journal.as_deref().map(OwnJournal::open).transpose()?;
    // What is wrong with the checkpoints explains what follows.
    let mut findings = Findings::default();
    for finding in &checkpoints.findings {
        findings.add(finding.clone());
    }
    let mut library = Library::open(&args.dir, None)?;
    read_all(library.reels(), |file, line, time| {
        seals.take(file, line, time, &mut findings);
        let event = lines.take(file, line, time, &mut findings);
        if let (Some(own), Some(event)) = (&mut own, event) {
            own.compare(&event, &mut findings)?;
        }
        Ok(())
    })?;
    // A checkpoint in the log is signed by the key of the others.
    seals.finish(
        &checkpoints.removed,
        unwritten.checkpoint > 0,
        &mut findings,
    );
    if let Some(key) = &args.key {
        checkpoints.check_key(&args.dir, key, &mut findings);
    }
    if let Some(own) = &mut own {
        own.finish(&mut findings)?;
    }
    for finding in &findings.told {
        writeln!(out, "{finding}")?;
    }
    let (events, journals) = lines.counts();
    let verdict = match findings.count {
        0 => "in order".to_owned(),
        count => format!("{count} findings"),
    };
    let signed = checkpoints.count;
    let last = checkpoints.last.map_or_else(String::new, |last| {
        let (number, key) = (last.lab.number, harmless(&last.key));
        format!(", the last is number {number} by key {key}")
    });
    writeln!(
        out,
        "{events} events of {journals} journals, {signed} checkpoints{last}: {verdict}"
    )?;
    Ok(findings.count == 0)
}

/// Hands over every line of all folders, merged by time of receipt, each folder in its order.
fn read_all(
    reels: &mut [Reel],
    mut take: impl FnMut(&Path, &RawLine, Option<Timestamp>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut heads = Vec::with_capacity(reels.len());
    let mut order = BinaryHeap::with_capacity(reels.len());
    for (at, reel) in reels.iter_mut().enumerate() {
        let head = next(reel)?;
        order.extend(head.as_ref().map(|head| Reverse((head.2, at))));
        heads.push(head);
    }
    while let Some(Reverse((time, at))) = order.pop() {
        let (Some(reel), Some(head)) = (reels.get_mut(at), heads.get_mut(at)) else {
            continue;
        };
        if let Some((file, line, own)) = head.take() {
            take(&file, &line, own)?;
        }
        *head = next(reel)?;
        // A clock that was set back does not bring a folder before the others.
        order.extend(head.as_ref().map(|head| Reverse((head.2.max(time), at))));
    }
    Ok(())
}

type Head = (PathBuf, RawLine, Option<Timestamp>);

fn next(reel: &mut Reel) -> anyhow::Result<Option<Head>> {
    let Some(line) = reel.next_raw(true)? else {
        return Ok(None);
    };
    let file = reel.file().unwrap_or_else(|| Path::new("")).to_owned();
    let time = lines::received(&line.text);
    Ok(Some((file, line, time)))
}

/// The rest of `main` for `verify`: findings to stdout; exit 0 in order, 1 not, or not to be read.
pub fn run(args: &VerifyArgs) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let verified = verify(args, &mut out).and_then(|good| Ok(out.flush().map(|()| good)?));
    match verified.context("not all could be checked") {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
