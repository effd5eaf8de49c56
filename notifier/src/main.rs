//! `labwatch-notifier`: raises the alerts of a lab, on the console and on the desktop.

use std::process::ExitCode;

use clap::Parser;
use labwatch_link::service::{self, ServiceArgs};
use labwatch_notifier::{settings, staff, watch};

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
    command: Option<staff::Command>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(command) => command.run(),
        None => service::run(
            &cli.service,
            |problems| cli.notifier.read(problems),
            watch::run,
        ),
    }
}
