//! Puts a descriptor under the runtime's readiness. The call is unsafe: tokio cannot see from a type that its
//! descriptor stays open and the same for as long as it is registered. [`StaysOpen`] says so.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use pcap::{Active, Capture};
use tokio::io::{Interest, unix::AsyncFd};

/// Owns one open descriptor, gives the same one each time, and closes it only when dropped.
pub(crate) trait StaysOpen: AsRawFd {}

impl StaysOpen for OwnedFd {}

/// libpcap opens the descriptor with the handle and closes it with the handle.
impl StaysOpen for Capture<Active> {}

/// Registers `source`. Must be called within a tokio runtime with I/O.
///
/// # Errors
/// When the descriptor cannot be waited for (a plain file), or the system's limit is reached.
#[expect(unsafe_code, reason = "tokio's registration is unsafe for every type")]
pub(crate) fn register<T: StaysOpen>(source: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: by `StaysOpen` the descriptor is open and the same until `source` is dropped; the AsyncFd owns
    // it, gives it out by reference only, and deregisters it before it is dropped.
    let registered = unsafe { AsyncFd::register_with_interest(source, interest) };
    Ok(registered?)
}
