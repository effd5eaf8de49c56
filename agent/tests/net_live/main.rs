//! Live capture on real interfaces: a veth pair between two network namespaces that the test makes and takes away.
//!
//! Needs root and `ip`; skipped loudly elsewhere. Each PC is a thread that enters its namespace with `setns`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test reads files and clocks, and fails by panicking"
)]

mod cable;
mod contacts;
mod interfaces;
mod reports;
mod watcher;
