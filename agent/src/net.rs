//! The network: who this PC talks to, how much, over which interface.
//!
//! ```text
//! capture (all, cut; openings, at once) -> packet -> flows (scope, names, announcements, totals) -> report -> occurrences
//! links   -> surroundings ---^  ^--- processes, lookup (answers from their own threads)
//! ```
//! `packet`, `flows`, `gaps`, `names`, `netlink`, `rtnetlink`, `wifi`, `report` and `surroundings` are pure; `capture`,
//! `links`, `poller`, `processes`, `lookup` and `watch` are the shell around them, on threads of their own: no runtime
//! stands between a frame and its sum. Bytes from the network are hostile: they are counted or passed over, never a panic.

#[expect(clippy::disallowed_methods, reason = "shell: reads packets")]
mod capture;
mod clock_bell;
pub mod flows;
pub mod gaps;
#[expect(
    clippy::disallowed_methods,
    reason = "shell: reads the system's network state"
)]
mod links;
#[expect(
    clippy::disallowed_methods,
    reason = "shell: looks names up on its own thread"
)]
mod lookup;
pub mod names;
pub mod netlink;
pub mod packet;
mod poller;
pub mod processes;
mod recent;
pub mod report;
pub mod rtnetlink;
pub mod surroundings;
#[expect(clippy::disallowed_methods, reason = "shell: waits, reads the clocks")]
mod watch;
pub mod wifi;

use std::time::Duration;

use labwatch_contract::time::Timestamp;

pub use watch::{NetHealth, NetSettings, Watching, start};

/// A moment on both clocks: the one that never jumps, and the one on the wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since the agent's start; never goes back.
    pub uptime: Duration,
    /// UTC.
    pub time: Timestamp,
}
