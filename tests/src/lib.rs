//! What the end-to-end tests share: Labwatch's real programs, and a laboratory of network namespaces.
//!
//! | module | owns |
//! |---|---|
//! | [`program`] | one running program, the lines it prints, its end |
//! | [`lab`] | a server, three lab PCs, a gateway and an internet host, each in a namespace of its own |
//! | [`traffic`] | what the machines of the lab say to each other |
//! | [`record`] | what the recorder has written |
//! | [`chaos`] | a room under load in which everything breaks, and the comparison of journals with records |
//!
//! A test that needs root or a tool that is not there says so on stderr and passes; see [`skipped`].
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::disallowed_methods,
    reason = "a test talks to the world, and fails by a panic"
)]

pub mod chaos;
pub mod lab;
pub mod program;
pub mod record;
pub mod traffic;

use std::{
    io::{Write as _, stderr},
    process::Command,
};

/// Why a test cannot run here, said loudly; `None` when it can: it needs root and all of `tools`.
#[must_use]
pub fn skipped(tools: &[&str]) -> Option<String> {
    let missing = tools.iter().find(|tool| !is_installed(tool));
    let why = match missing {
        _ if !nix::unistd::geteuid().is_root() => "it needs root".to_owned(),
        Some(tool) => format!("{tool} is not installed"),
        None => return None,
    };
    // Not `eprintln!`, which the test harness keeps to itself when a test passes.
    let _ = writeln!(stderr(), "\nSKIPPED, NOTHING WAS TESTED: {why}\n");
    Some(why)
}

fn is_installed(tool: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$0\"", tool])
        .output();
    found.is_ok_and(|found| found.status.success())
}
