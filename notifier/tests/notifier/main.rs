//! The notifier as its user meets it: the binary, a real broker, a real desktop.
//!
//! Each test brings up what it needs on random ports and addresses and takes it down again; where a program is
//! missing it says SKIPPED on stderr.

#![expect(
    clippy::disallowed_methods,
    reason = "starts programs and waits for them"
)]

#[cfg(test)]
mod broker;
#[cfg(test)]
mod desktop;
#[cfg(test)]
#[path = "../../src/lab.rs"]
#[expect(dead_code, reason = "shared with the unit tests, which use all of it")]
mod lab;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod staff;
