//! `labwatch-notifier`: raises the alerts of a lab, on the console and on the desktop; `learn` proposes what to allow.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use labwatch_link::service::{self, ServiceArgs};
use labwatch_notifier::{learn, settings, staff, watch};

/// Raises the alerts of a lab: one line each on the console, and pop-ups on the desktop
#[derive(Debug, Parser)]
#[command(
    name = "labwatch-notifier",
    version,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(flatten)]
    notifier: settings::Args,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Staff(staff::Command),
    /// Listens to a quiet lab and prints what it does as a proposed allow list for the policy file
    Learn {
        #[command(flatten)]
        learn: learn::Args,
        #[command(flatten)]
        service: ServiceArgs,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        None => service::run(
            &cli.service,
            |problems| cli.notifier.read(problems),
            watch::run,
        ),
        Some(Command::Staff(command)) => command.run(),
        Some(Command::Learn { learn, service }) => {
            service::run(&service, |problems| learn.read(problems), learn::run)
        }
    }
}
