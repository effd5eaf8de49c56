//! `labwatch-agent`: watches one lab PC; `replay` reads a capture file instead.

use std::process::ExitCode;

use clap::Parser;
use labwatch_agent::settings::AgentArgs;
use labwatch_link::service::{self, ServiceArgs};

/// Watches a lab PC's devices, volumes and network conversations and publishes them over MQTT
#[derive(Parser)]
#[command(name = "labwatch-agent", version)]
struct Args {
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    agent: AgentArgs,
}

fn main() -> ExitCode {
    let Args { service, agent } = Args::parse();
    service::run(
        &service,
        |problems| agent.read(problems),
        labwatch_agent::run,
    )
}
