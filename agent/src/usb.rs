//! USB devices and volumes: from the kernel's notices to occurrences of the topic `usb`.
//!
//! ```text
//! uevent socket --> uevent --> Devices (asks sysfs) --+--> occurrences
//!                      `-- what was removed --v       |
//! mount table ----> mountinfo --> Volumes (asks sysfs)-+
//! ```
//! Core, pure: [`uevent`], [`descriptors`], [`snapshot`], [`device`], [`mountinfo`], [`backing`], [`volume`].
//! Shells: `socket`, `sysfs`, `mounts`, `watch`. No udevd is needed, nor any right; at rest nothing
//! wakes up.

pub mod backing;
pub mod descriptors;
pub mod device;
pub mod mountinfo;
#[expect(
    clippy::disallowed_methods,
    reason = "shell: waits for the mount table"
)]
mod mounts;
pub mod snapshot;
mod socket;
#[expect(clippy::disallowed_methods, reason = "shell: reads sysfs")]
mod sysfs;
pub mod uevent;
pub mod volume;
#[expect(
    clippy::disallowed_methods,
    reason = "shell: reads the clock, waits between attempts"
)]
mod watch;

pub use watch::{Roots, watch};
