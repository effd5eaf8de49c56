//! `labwatch-recorder`: without a subcommand the service; `show` and `verify` read its records.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use labwatch_link::service::{self, ServiceArgs};
use labwatch_recorder::{
    service::record,
    settings::RecorderArgs,
    show::{self, ShowArgs},
    verify::{self, VerifyArgs},
};

/// Keeps what the agents say, per PC, in time-stamped files
#[derive(Parser)]
#[command(
    name = "labwatch-recorder",
    version,
    args_conflicts_with_subcommands = true
)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    recorder: RecorderArgs,

    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Show records, or a PC's own journal, as a person reads them
    Show(ShowArgs),
    /// Check that a record is whole and unchanged; exit 1 names the first bad line
    Verify(VerifyArgs),
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.command {
        Some(Command::Show(args)) => show::run(&args),
        Some(Command::Verify(args)) => verify::run(&args),
        None => service::run(
            &args.service,
            |problems| args.recorder.read(problems),
            record,
        ),
    }
}
