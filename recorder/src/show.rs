//! `labwatch-recorder show`: records, or a PC's own journal, as a person reads them.
//!
//! ```text
//! files --reel--> lines --entry--> what they say --words, traffic--> a time line on stdout
//! ```
//!
//! The lines of one folder stay in their order; folders are merged by time (of receipt by the recorder's one
//! clock; in a PC's own journal, the PC's). Memory is bounded however large the files are. A line that is no
//! record is shown as such, with file and number, and does not end the rest. Everything foreign is made harmless
//! for a terminal. Nothing is coloured.

mod entry;
#[expect(
    clippy::disallowed_methods,
    reason = "shell: reads the files of the record"
)]
pub(crate) mod reel;
mod traffic;
mod words;

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io::{self, ErrorKind, Write},
    net::IpAddr,
    path::PathBuf,
};

use anyhow::Context as _;
use labwatch_contract::time::Timestamp;

use self::{
    entry::Entry,
    reel::{Item, Library, Reel},
};

/// What `show` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct ShowArgs {
    /// The recorder's directory, one PC's folder of it, a single record file, or a PC's own journal
    #[arg(value_name = "DIR|FILE")]
    pub path: PathBuf,

    /// Only this PC
    #[arg(long, value_name = "IP", env = "LABWATCH_SHOW_IP")]
    pub ip: Option<IpAddr>,

    /// Only what was received at this time or later, e.g. 2026-11-22T09:00:00Z
    #[arg(long, value_name = "T", env = "LABWATCH_SHOW_FROM")]
    pub from: Option<Timestamp>,

    /// Only what was received until this time, this included
    #[arg(long, value_name = "T", env = "LABWATCH_SHOW_TO")]
    pub to: Option<Timestamp>,

    /// Go on with what is recorded from now on, until Ctrl-C
    #[arg(long, env = "LABWATCH_SHOW_FOLLOW", value_parser = clap::builder::BoolishValueParser::new())]
    pub follow: bool,
}

/// Writes what the arguments ask for. A reader of `out` that has had enough is a quiet end.
///
/// # Errors
/// When the path holds no records, a file cannot be read, or `out` cannot be written.
pub fn show(args: &ShowArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let mut library = Library::open(&args.path, args.ip)?;
    loop {
        let written = show_round(args, library.reels(), out);
        match written {
            Err(error) if is_broken_pipe(&error) => return Ok(()),
            written => written?,
        }
        if !args.follow {
            return Ok(());
        }
        reel::pause();
        library.look_again()?;
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Shows all that is there now, merged by time.
fn show_round(args: &ShowArgs, reels: &mut [Reel], out: &mut impl Write) -> anyhow::Result<()> {
    let mut heads = Vec::with_capacity(reels.len());
    let mut order = BinaryHeap::with_capacity(reels.len());
    for (at, reel) in reels.iter_mut().enumerate() {
        let head = reel.next(!args.follow)?;
        order.extend(head.as_ref().map(|head| Reverse((head.time, at))));
        heads.push(head);
    }
    while let Some(Reverse((_, at))) = order.pop() {
        let (Some(reel), Some(head)) = (reels.get_mut(at), heads.get_mut(at)) else {
            continue;
        };
        let next = reel.next(!args.follow)?;
        order.extend(next.as_ref().map(|next| Reverse((next.time, at))));
        if let Some(item) = std::mem::replace(head, next) {
            write_item(args, &item, out)?;
        }
    }
    Ok(out.flush()?)
}

fn write_item(args: &ShowArgs, item: &Item, out: &mut impl Write) -> io::Result<()> {
    match &item.content {
        Ok(entry) if args.wants(entry) => out.write_all(words::line(entry).as_bytes()),
        Ok(_) => Ok(()),
        Err(bad) => writeln!(out, "-- {bad}"),
    }
}

impl ShowArgs {
    fn wants(&self, entry: &Entry) -> bool {
        let ip = self.ip.map(|ip| ip.to_canonical());
        (ip.is_none() || entry.ip == ip)
            && self.from.is_none_or(|from| entry.time >= from)
            && self.to.is_none_or(|to| entry.time <= to)
    }
}

/// The rest of `main` for `show`: to stdout, errors to stderr; exit 0 or 1.
pub fn run(args: &ShowArgs) -> std::process::ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match show(args, &mut out).context("not all could be shown") {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
