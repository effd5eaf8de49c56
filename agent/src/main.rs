//! `labwatch-agent`: watches one lab PC; `replay` reads a capture file instead.

use std::{
    io::{BufWriter, Write as _, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use labwatch_agent::{
    replay::{ReplayError, replay},
    settings::AgentArgs,
};
use labwatch_link::service::{self, ServiceArgs};

/// Watches a lab PC's devices, volumes and network conversations and publishes them over MQTT
#[derive(Parser)]
#[command(
    name = "labwatch-agent",
    version,
    args_conflicts_with_subcommands = true
)]
struct Args {
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    agent: AgentArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Reads a capture file (pcap, pcapng) as if it were live, and prints who talked to whom as JSON lines
    Replay {
        /// The capture file
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    let Args {
        service,
        agent,
        command,
    } = Args::parse();
    match command {
        None => service::run(
            &service,
            |problems| agent.read(problems),
            labwatch_agent::run,
        ),
        Some(Command::Replay { file }) => match print(&file) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{}: {error}", file.display());
                ExitCode::FAILURE
            }
        },
    }
}

fn print(file: &Path) -> Result<(), ReplayError> {
    let mut out = BufWriter::new(stdout().lock());
    let result = replay(file, &mut out);
    out.flush()?;
    result
}
