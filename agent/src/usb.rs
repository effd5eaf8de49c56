//! USB devices and volumes: from the kernel's notices to occurrences of the topic `usb`.
//!
//! ```text
//! uevent socket --> uevent --> Devices, Media (ask sysfs) --+--> occurrences
//!                      `-- what was removed --v             |
//! mount table ----> mountinfo --> Volumes (asks sysfs) -----+
//! ```
//! Core, pure: [`uevent`], [`descriptors`], [`names`], [`drivers`], [`snapshot`], [`device`], [`media`], [`mountinfo`],
//! [`remote`], [`backing`], [`volume`], [`inventory`]. Shells: `socket`, `sysfs`, `drive`, `question`, `lists`, `mounts`,
//! `watch`. No udevd is needed, nor any right; at rest it wakes up once a minute, with an optical drive every 4 s.

pub mod backing;
pub mod descriptors;
pub mod device;
mod drive;
pub mod drivers;
pub mod inventory;
#[expect(clippy::disallowed_methods, reason = "shell: reads the system's lists")]
mod lists;
pub mod media;
pub mod mountinfo;
#[expect(
    clippy::disallowed_methods,
    reason = "shell: waits for the mount table"
)]
mod mounts;
pub mod names;
mod question;
pub mod remote;
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

pub use drive::Drives;
pub use lists::Lists;
pub use question::Questions;
pub use watch::{Connections, Roots, watch};
