//! A netlink socket, and what the kernel itself says over it.
//!
//! It never waits: the kernel answers a question while it is sent, and the first part of a list too; the next parts are
//! made as the ones before are read. Speaks for the network namespace of the thread that opens it. Messages of other
//! programs are passed over.

use std::{io, os::fd::OwnedFd};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType,
        netlink::SocketAddrNetlink, recvfrom, sendto, socket_with,
    },
};

const KERNEL: SocketAddrNetlink = SocketAddrNetlink::new(0, 0);

/// The protocol of links, addresses and routes: its number is 0, as is the default's.
pub(in crate::net) const ROUTE: Option<Protocol> = None;

pub(in crate::net) fn open(protocol: impl Into<Option<Protocol>>) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        flags,
        protocol.into(),
    )?)
}

pub(in crate::net) fn send(socket: &OwnedFd, request: &[u8]) -> rustix::io::Result<()> {
    sendto(socket, request, SendFlags::empty(), &KERNEL).map(drop)
}

/// The next datagram, without waiting; `None` where it is not the kernel's.
///
/// # Errors
/// `AGAIN` where there is none, `NOBUFS` where some were dropped, `MSGSIZE` where it is longer than the buffer.
pub(in crate::net) fn receive<'a>(
    socket: &OwnedFd,
    buffer: &'a mut [u8],
) -> rustix::io::Result<Option<&'a [u8]>> {
    let (_, length, sender) = recvfrom(socket, &mut *buffer, RecvFlags::TRUNC)?;
    let sender = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok());
    let is_kernels = sender.is_some_and(|sender| sender.pid() == 0);
    let datagram = buffer.get(..length).ok_or(Errno::MSGSIZE)?;
    Ok(Some(datagram).filter(|_| is_kernels))
}
