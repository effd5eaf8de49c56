//! Questions to rtnetlink and nl80211, and the socket on which rtnetlink tells its news.
//!
//! A list that changed while the kernel made it is asked for again, [`ATTEMPTS`] times; then it is taken as it is, for the change
//! rings the bell.

use std::{io, os::fd::OwnedFd};

use rustix::{
    io::Errno,
    net::{
        bind,
        netlink::{GENERIC, SocketAddrNetlink},
        sockopt,
    },
};

use crate::net::{
    netlink::{
        Message, messages,
        socket::{ROUTE, open, receive, send},
    },
    rtnetlink::{self, GROUPS, LISTS},
    surroundings::kernel::Lists,
    wifi,
};

/// The kernel makes a list in pieces of at most this.
const PIECE: usize = 32 * 1024;
const ATTEMPTS: usize = 4;
/// Bytes of notices that may wait in the kernel.
const NOTICES: usize = 256 * 1024;

/// A socket that hears of links, addresses and routes.
pub(super) fn notices() -> io::Result<OwnedFd> {
    let socket = open(ROUTE)?;
    sockopt::set_socket_recv_buffer_size(&socket, NOTICES)?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    Ok(socket)
}

/// The kernel's lists.
pub(super) fn lists() -> io::Result<Lists> {
    let mut asker = Asker::new(open(ROUTE)?);
    for _ in 1..ATTEMPTS {
        let (lists, is_torn) = ask_for_lists(&mut asker)?;
        if !is_torn {
            return Ok(lists);
        }
    }
    ask_for_lists(&mut asker).map(|(lists, _)| lists)
}

fn ask_for_lists(asker: &mut Asker) -> io::Result<(Lists, bool)> {
    let (mut lists, mut is_torn) = (Lists::default(), false);
    for kind in LISTS {
        asker.ask(
            |sequence| rtnetlink::list(kind, sequence),
            |message| {
                is_torn |= message.is_torn;
                lists.take(rtnetlink::read(message));
                true
            },
        )?;
    }
    Ok((lists, is_torn))
}

/// Asks about Wi-Fi.
pub(super) struct Wifi {
    family: u16,
}

impl Wifi {
    /// `None` where this kernel has no Wi-Fi.
    pub(super) fn find() -> Option<Self> {
        let mut family = None;
        let mut asker = Asker::new(open(GENERIC).ok()?);
        let hear = |answer: &Message<'_>| {
            family = family.or(wifi::family(answer));
            false
        };
        asker.ask(wifi::family_request, hear).ok()?;
        family.map(|family| Self { family })
    }

    /// The name of the network that an interface has joined.
    pub(super) fn ssid(&self, interface: u32) -> Option<String> {
        let mut ssid = None;
        let mut asker = Asker::new(open(GENERIC).ok()?);
        let hear = |answer: &Message<'_>| {
            ssid = wifi::ssid(self.family, answer);
            false
        };
        let request = |sequence| wifi::request(self.family, interface, sequence);
        asker.ask(request, hear).ok()?;
        ssid
    }
}

struct Asker {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Asker {
    fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            sequence: 0,
            buffer: vec![0; PIECE],
        }
    }

    /// Hands the messages of the answer to `hear` as long as that wants more; the end of a list is the end.
    fn ask(
        &mut self,
        request: impl FnOnce(u32) -> Vec<u8>,
        mut hear: impl FnMut(&Message<'_>) -> bool,
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        send(&self.socket, &request(self.sequence))?;
        loop {
            let datagram = match receive(&self.socket, &mut self.buffer) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            for message in messages(datagram.unwrap_or_default()) {
                match message.end() {
                    _ if message.sequence != self.sequence => {}
                    Some(0) => return Ok(()),
                    Some(number) => return Err(io::Error::from_raw_os_error(number)),
                    None if hear(&message) => {}
                    None => return Ok(()),
                }
            }
        }
    }
}
