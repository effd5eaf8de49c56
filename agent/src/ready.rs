//! Puts a descriptor under the runtime's readiness. The call is unsafe: tokio cannot see from a type that its
//! descriptor stays open and the same for as long as it is registered. An [`OwnedFd`] keeps both promises.

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

/// Registers `source`. Must be called within a tokio runtime with I/O.
///
/// # Errors
/// When the descriptor cannot be waited for (a plain file), or the system's limit is reached.
#[expect(unsafe_code, reason = "tokio's registration is unsafe for every type")]
pub(crate) fn register(source: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open and the same until it is dropped; the AsyncFd owns it, gives it out by reference
    // only, and deregisters it before it is dropped.
    let registered = unsafe { AsyncFd::register_with_interest(source, interest) };
    Ok(registered?)
}
