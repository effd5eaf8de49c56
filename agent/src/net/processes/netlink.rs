//! The two netlink sockets: questions about sockets, and notices of processes.
//!
//! Neither waits: the kernel answers a question while it is sent, and notices are read when there are some. Only what the
//! kernel itself says is read. Both speak for the network namespace of the thread that opens them; notices come in the
//! system's first one alone, before Linux 6.6 only with `CAP_NET_ADMIN`.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use labwatch_contract::scope::protocol;
use rustix::{
    io::Errno,
    net::{
        bind,
        netlink::{self, SocketAddrNetlink},
        sockopt,
    },
};

use super::{
    diag::{self, Entry, MAX_ANSWER, Verdict},
    notices::{self, MAX_NOTICE, Notice},
};
use crate::net::{
    flows::Socket,
    netlink::socket::{open, receive, send},
};

/// Answers to earlier questions that may still wait.
const MOST_STALE: usize = 16;
/// Bytes of notices that may wait in the kernel: some thousand.
const NOTICES: usize = 1024 * 1024;
/// Asks about sockets.
pub(super) struct Diag {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
    /// Protocols that the kernel answers for.
    known: Vec<u8>,
}

impl Diag {
    pub(super) fn open() -> io::Result<Self> {
        let mut diag = Self {
            socket: open(netlink::SOCK_DIAG)?,
            sequence: 0,
            buffer: vec![0; MAX_ANSWER],
            known: Vec::new(),
        };
        for protocol in [protocol::TCP, protocol::UDP] {
            if diag.ask(|sequence| diag::probe(protocol, sequence))? == Verdict::End {
                diag.known.push(protocol);
            }
        }
        Ok(diag)
    }

    /// Whether the kernel can tell about sockets of this protocol.
    pub(super) fn knows(&self, protocol: u8) -> bool {
        self.known.contains(&protocol)
    }

    /// The socket that the kernel would hand a packet to.
    pub(super) fn find(&mut self, socket: &Socket) -> io::Result<Option<Entry>> {
        match self.ask(|sequence| diag::lookup(socket, sequence))? {
            Verdict::Found(entry) => Ok(Some(entry)),
            Verdict::NotFound | Verdict::End => Ok(None),
            Verdict::Refused(number) => Err(io::Error::from_raw_os_error(number)),
        }
    }

    fn ask(&mut self, request: impl FnOnce(u32) -> Vec<u8>) -> io::Result<Verdict> {
        self.sequence = self.sequence.wrapping_add(1);
        send(&self.socket, &request(self.sequence))?;
        for _ in 0..MOST_STALE {
            let Some(datagram) = receive(&self.socket, &mut self.buffer)? else {
                continue;
            };
            match diag::parse(datagram) {
                Ok(answer) if answer.sequence == self.sequence => return Ok(answer.verdict),
                Ok(_) => {}
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// What [`Notices::receive`] found.
pub(super) enum Heard {
    Notice(Notice),
    /// The kernel dropped notices, because too many waited.
    Lost,
    /// Nothing more waits.
    Nothing,
}

/// Hears of processes.
pub(super) struct Notices {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Notices {
    pub(super) fn open() -> io::Result<Self> {
        let socket = open(netlink::CONNECTOR)?;
        // Beyond the system's limit with the right to; else up to the limit.
        sockopt::set_socket_recv_buffer_size_force(&socket, NOTICES)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, NOTICES))?;
        bind(&socket, &SocketAddrNetlink::new(0, notices::GROUP))?;
        send(&socket, &notices::subscription())?;
        Ok(Self {
            socket,
            buffer: vec![0; MAX_NOTICE],
        })
    }

    /// The next notice, without waiting.
    ///
    /// # Errors
    /// When the socket is broken.
    pub(super) fn receive(&mut self) -> io::Result<Heard> {
        loop {
            match receive(&self.socket, &mut self.buffer) {
                Ok(datagram) => {
                    if let Some(notice) = datagram.and_then(notices::parse) {
                        return Ok(Heard::Notice(notice));
                    }
                }
                Err(Errno::INTR | Errno::MSGSIZE) => {}
                Err(Errno::NOBUFS) => return Ok(Heard::Lost),
                Err(Errno::AGAIN) => return Ok(Heard::Nothing),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Notices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, process::Command, thread, time::Duration};

    use super::{super::notices::Change, *};

    #[test]
    #[expect(clippy::disallowed_methods, reason = "waits for the kernel")]
    fn a_programs_whole_life_is_heard_of() {
        let mut notices = match Notices::open() {
            Ok(notices) => notices,
            Err(error) => {
                let why = "the kernel gives no notices of processes here";
                let _ = writeln!(io::stderr(), "SKIPPED: {why}: {error}");
                return;
            }
        };
        let mut program = Command::new("true").spawn().unwrap();
        program.wait().unwrap();
        let mut heard = vec![];
        for _ in 0..1000 {
            match notices.receive().unwrap() {
                Heard::Notice(notice) if notice.pid == program.id() => heard.push(notice.change),
                Heard::Notice(_) => {}
                Heard::Lost | Heard::Nothing => thread::sleep(Duration::from_millis(5)),
            }
            if heard.last() == Some(&Change::Ended) {
                break;
            }
        }
        assert!(
            matches!(
                heard[..],
                [Change::Forked(_), .., Change::Executed, Change::Ended]
            ),
            "{heard:?}"
        );
    }
}
