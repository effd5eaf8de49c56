//! Puts a descriptor under the runtime's readiness. The only unsafe call: tokio cannot see from the type that an
//! [`OwnedFd`] stays open and the same for as long as it is registered.

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

/// Registers `descriptor`. Must be called within a tokio runtime with I/O.
///
/// # Errors
/// When the descriptor cannot be waited for (a plain file), or the system's limit is reached.
#[expect(unsafe_code, reason = "tokio's registration is unsafe for every type")]
pub(super) fn register(
    descriptor: impl Into<OwnedFd>,
    interest: Interest,
) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd holds an open descriptor, always returns the same one, and is owned by the AsyncFd,
    // which gives it out by shared reference only and deregisters it before it is closed.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor.into(), interest) };
    Ok(registered?)
}
