//! The kernel's uevents as they come: netlink group 1 of `NETLINK_KOBJECT_UEVENT`.
//!
//! Needs no right and no udevd. Only messages of the kernel itself (sender port 0) are read; what programs send
//! to the group, and what is no uevent, is passed over. A full buffer is an error of its own ([`Received::Overrun`]), so
//! that a rescan can follow. Source: netlink(7).

use std::{io, os::fd::OwnedFd};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SocketFlags, SocketType, bind,
        netlink::{self, SocketAddrNetlink},
        recvfrom, socket_with, sockopt,
    },
};
use tokio::io::{Interest, unix::AsyncFd};
use tracing::debug;

use super::uevent::{self, MAX_MESSAGE, Uevent};
use crate::ready::register;

/// The kernel's own messages; group 2 is udevd's.
const KERNEL_GROUP: u32 = 1;

/// Bytes that may wait in the kernel, which counts each message as some 800: more than a full hub causes ten times
/// over. A larger one would only put off that a loss is noticed, and be paid for in kernel memory.
const BUFFER: usize = 1024 * 1024;

/// What [`Uevents::receive`] found.
pub(crate) enum Received {
    /// A uevent of the kernel.
    Uevent(Uevent),
    /// The kernel dropped messages, because too many waited.
    Overrun,
    /// Nothing more waits.
    Drained,
}

/// An open subscription to the kernel's uevents.
pub(crate) struct Uevents {
    socket: AsyncFd<OwnedFd>,
    subsystems: &'static [&'static str],
    buffer: Vec<u8>,
}

impl Uevents {
    /// Subscribes to what concerns these subsystems. Must be called within a tokio runtime with I/O.
    ///
    /// # Errors
    /// When the system refuses the socket.
    pub(crate) fn open(subsystems: &'static [&'static str]) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = Some(netlink::KOBJECT_UEVENT);
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, protocol)?;
        // Beyond the system's limit for root; up to the limit for others.
        sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, BUFFER))?;
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
        Ok(Self {
            socket: register(socket, Interest::READABLE)?,
            subsystems,
            buffer: vec![0; MAX_MESSAGE],
        })
    }

    /// Waits until something may have come.
    pub(crate) async fn ready(&self) -> io::Result<()> {
        // Readiness is only cleared when a read found nothing.
        self.socket
            .readable()
            .await
            .map(|mut guard| guard.retain_ready())
    }

    /// The next uevent, without waiting. Returns [`Received::Drained`] before [`Self::ready`] is to be called again.
    ///
    /// # Errors
    /// When the socket is broken; it has to be opened again.
    pub(crate) fn receive(&mut self) -> io::Result<Received> {
        loop {
            let received = self.socket.try_io(Interest::READABLE, |socket| {
                Ok(recvfrom(socket, &mut self.buffer[..], RecvFlags::TRUNC)?)
            });
            let (length, sender) = match received {
                Ok((_, length, sender)) => (length, sender),
                Err(e) => return failure(e),
            };
            let sender = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok());
            if sender.is_none_or(|sender| sender.pid() != 0) {
                debug!("a uevent that is not of the kernel");
                continue;
            }
            let message = self.buffer.get(..length).unwrap_or_default();
            if !uevent::is_about(message, self.subsystems) {
                continue;
            }
            match uevent::parse(message) {
                Ok(uevent) => return Ok(Received::Uevent(uevent)),
                Err(e) => debug!("no uevent: {e}"),
            }
        }
    }
}

fn failure(error: io::Error) -> io::Result<Received> {
    match Errno::from_io_error(&error) {
        Some(Errno::NOBUFS) => Ok(Received::Overrun),
        _ if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Drained),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "asks the kernel for a uevent")]
    async fn the_kernels_own_uevent_is_received() {
        let mut uevents = Uevents::open(&["net"]).unwrap();
        if let Err(e) = std::fs::write("/sys/class/net/lo/uevent", "change") {
            eprintln!("SKIPPED: the kernel cannot be asked for a uevent: {e}");
            return;
        }
        let found = async {
            loop {
                uevents.ready().await.unwrap();
                while let Received::Uevent(uevent) = uevents.receive().unwrap() {
                    if uevent.syspath.ends_with("/net/lo") {
                        return uevent;
                    }
                }
            }
        };
        let uevent = timeout(Duration::from_secs(20), found).await.unwrap();
        assert_eq!(uevent.get("INTERFACE"), Some("lo"));
    }
}
