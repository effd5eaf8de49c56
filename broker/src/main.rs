//! `labwatch-broker`: the MQTT broker of a lab.

use std::{
    io::{IsTerminal as _, Read as _, stderr, stdin},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use labwatch_broker::{password, settings};
use labwatch_link::service::{self, ServiceArgs};

/// MQTT broker in which each PC writes and reads its own topics alone.
#[derive(Parser)]
#[command(
    name = "labwatch-broker",
    version,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(flatten)]
    args: settings::Args,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Make a line for the file of --staff-passwords; the password is the first line of stdin
    HashPassword {
        /// The staff's user name: letters, digits, `.`, `_`, `-`
        user: String,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::HashPassword { user }) => hash_password(&user),
        None => service::run(
            &cli.service,
            |problems| cli.args.read(problems),
            labwatch_broker::run,
        ),
    }
}

fn hash_password(user: &str) -> ExitCode {
    if stdin().is_terminal() && stderr().is_terminal() {
        eprintln!("Password (it will be seen), then Enter and Ctrl-D:");
    }
    let mut text = String::new();
    if let Err(error) = stdin().read_to_string(&mut text) {
        eprintln!("stdin: {error}");
        return ExitCode::FAILURE;
    }
    match password::hash_password(user, text.lines().next().unwrap_or_default()) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
