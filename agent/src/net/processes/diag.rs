//! Questions to the kernel about one socket, and its answers: `NETLINK_SOCK_DIAG` (sock_diag(7), `linux/inet_diag.h`).
//!
//! A question names both ends; the kernel looks the socket up as it does for a packet, so an unconnected UDP socket and a
//! listener are found too. The answer tells the user and the inode of the socket, and needs no right. Bytes that are no
//! answer are an error, never a panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use labwatch_contract::scope::protocol;

use crate::net::flows::Socket;

/// Longest answer: `inet_diag_msg` and its attributes, of which none are asked for.
pub const MAX_ANSWER: usize = 4096;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const ALL_STATES: u32 = u32::MAX;
const NO_COOKIE: u32 = u32::MAX;
/// `nlmsghdr` and `inet_diag_req_v2`.
const REQUEST: usize = 16 + 56;
const ENOENT: i32 = 2;

/// What the kernel says to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The number of the question.
    pub sequence: u32,
    /// What it says.
    pub verdict: Verdict,
}

/// What the kernel says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This socket.
    Found(Entry),
    /// No such socket; or, before Linux can answer for the protocol at all, no such protocol.
    NotFound,
    /// The end of a list.
    End,
    /// The question was refused with this error number.
    Refused(i32),
}

/// A socket as the kernel describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// This PC's end. Unspecified where it is not bound to an address.
    pub own: SocketAddr,
    /// The other end; unspecified and port 0 where there is none.
    pub peer: SocketAddr,
    /// Who made it.
    pub uid: u32,
    /// Its inode in `sockfs`; 0 where no program has it (not yet accepted, or closed already).
    pub inode: u32,
}

/// Bytes that are no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no answer about a socket")]
pub struct NoAnswer;

/// The question for the socket with these ends.
#[must_use]
pub fn lookup(socket: &Socket, sequence: u32) -> Vec<u8> {
    // For UDP the kernel takes the ends as in a packet that comes in ("swapped for historical reasons").
    let (first, second) = match socket.protocol {
        protocol::UDP => (socket.peer, socket.own),
        _ => (socket.own, socket.peer),
    };
    let mut request = header(NLM_F_REQUEST, sequence);
    request.extend([family(socket.own.ip()), socket.protocol, 0, 0]);
    request.extend(ALL_STATES.to_ne_bytes());
    request.extend(first.port().to_be_bytes());
    request.extend(second.port().to_be_bytes());
    request.extend(address(first.ip()));
    request.extend(address(second.ip()));
    request.extend(socket.interface.to_ne_bytes());
    request.extend(NO_COOKIE.to_ne_bytes());
    request.extend(NO_COOKIE.to_ne_bytes());
    request
}

/// The question for a list of no sockets at all: [`Verdict::End`] where the kernel can answer for the protocol.
#[must_use]
pub fn probe(protocol: u8, sequence: u32) -> Vec<u8> {
    let mut request = header(NLM_F_REQUEST | NLM_F_DUMP, sequence);
    request.extend([AF_INET, protocol, 0, 0]);
    request.resize(REQUEST, 0);
    request
}

fn header(flags: u16, sequence: u32) -> Vec<u8> {
    let mut request = Vec::with_capacity(REQUEST);
    request.extend(u32::try_from(REQUEST).unwrap_or_default().to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend(sequence.to_ne_bytes());
    request.extend([0; 4]);
    request
}

fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let mut words = [0; 16];
            words
                .iter_mut()
                .zip(ip.octets())
                .for_each(|(word, octet)| *word = octet);
            words
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Reads the first message of a datagram.
///
/// # Errors
/// When the bytes are no answer.
pub fn parse(datagram: &[u8]) -> Result<Answer, NoAnswer> {
    read(datagram).ok_or(NoAnswer)
}

fn read(datagram: &[u8]) -> Option<Answer> {
    let length = usize::try_from(u32_at(datagram, 0)?).ok()?;
    let message = datagram.get(..length)?;
    let kind = u16::from_ne_bytes(at(message, 4)?);
    let sequence = u32_at(message, 8)?;
    let verdict = match kind {
        SOCK_DIAG_BY_FAMILY => Verdict::Found(entry(message.get(16..)?)?),
        NLMSG_ERROR => error(u32_at(message, 16)?),
        NLMSG_DONE => match u32_at(message, 16).map(error) {
            None | Some(Verdict::End) => Verdict::End,
            Some(other) => other,
        },
        _ => return None,
    };
    Some(Answer { sequence, verdict })
}

/// Error numbers are negative; 0 is none.
fn error(number: u32) -> Verdict {
    match number.cast_signed().wrapping_neg() {
        0 => Verdict::End,
        ENOENT => Verdict::NotFound,
        number => Verdict::Refused(number),
    }
}

/// `inet_diag_msg`: family, state, timer, retransmissions; ports, addresses, interface, cookie; expiry, queues, user, inode.
fn entry(message: &[u8]) -> Option<Entry> {
    let family = *message.first()?;
    let end = |port: usize, ip: usize| {
        let port = u16::from_be_bytes(at(message, port)?);
        let ip = match family {
            AF_INET => IpAddr::V4(Ipv4Addr::from(at::<4>(message, ip)?)),
            AF_INET6 => IpAddr::V6(Ipv6Addr::from(at::<16>(message, ip)?)),
            _ => return None,
        };
        Some(SocketAddr::new(ip.to_canonical(), port))
    };
    Some(Entry {
        own: end(4, 8)?,
        peer: end(6, 24)?,
        uid: u32_at(message, 64)?,
        inode: u32_at(message, 68)?,
    })
}

fn at<const LENGTH: usize>(bytes: &[u8], from: usize) -> Option<[u8; LENGTH]> {
    bytes.get(from..)?.first_chunk().copied()
}

fn u32_at(bytes: &[u8], from: usize) -> Option<u32> {
    at(bytes, from).map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use labwatch_contract::event::contact::Direction;
    use proptest::prelude::*;

    use super::*;

    fn socket(protocol: u8) -> Socket {
        Socket {
            protocol,
            own: "192.168.0.7:40000".parse().unwrap(),
            peer: "192.168.0.8:80".parse().unwrap(),
            direction: Direction::Egress,
            interface: 3,
        }
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut message = u32::try_from(16 + body.len())
            .unwrap()
            .to_ne_bytes()
            .to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(0_u16.to_ne_bytes());
        message.extend(7_u32.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(body);
        message
    }

    fn found(family: u8, own: IpAddr, peer: IpAddr) -> Vec<u8> {
        let mut body = vec![family, 1, 0, 0];
        body.extend(40_000_u16.to_be_bytes());
        body.extend(80_u16.to_be_bytes());
        body.extend(address(own));
        body.extend(address(peer));
        body.extend([0; 4 + 8 + 4 + 4 + 4]);
        body.extend(1000_u32.to_ne_bytes());
        body.extend(4_242_u32.to_ne_bytes());
        message(SOCK_DIAG_BY_FAMILY, &body)
    }

    #[test]
    fn a_question_has_the_kernels_length_and_names_both_ends() {
        let tcp = lookup(&socket(protocol::TCP), 7);
        assert_eq!((tcp.len(), &tcp[..4]), (72, &72_u32.to_ne_bytes()[..]));
        assert_eq!(&tcp[24..28], &[0x9c, 0x40, 0, 80]);
        assert_eq!(
            (&tcp[28..32], &tcp[44..48]),
            (&[192, 168, 0, 7][..], &[192, 168, 0, 8][..])
        );
        let udp = lookup(&socket(protocol::UDP), 7);
        assert_eq!(&udp[24..28], &[0, 80, 0x9c, 0x40]);
        assert_eq!(probe(protocol::TCP, 7).len(), 72);
    }

    #[test]
    fn the_answer_tells_user_and_inode() {
        let (own, peer): (IpAddr, IpAddr) = (
            "192.168.0.7".parse().unwrap(),
            "192.168.0.8".parse().unwrap(),
        );
        let mapped = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => IpAddr::V6(ip.to_ipv6_mapped()),
            IpAddr::V6(_) => ip,
        };
        for bytes in [
            found(AF_INET, own, peer),
            found(AF_INET6, mapped(own), mapped(peer)),
        ] {
            let answer = parse(&bytes).unwrap();
            assert_eq!(answer.sequence, 7);
            let Verdict::Found(entry) = answer.verdict else {
                panic!("{answer:?}");
            };
            assert_eq!((entry.own, entry.peer), (socket(6).own, socket(6).peer));
            assert_eq!((entry.uid, entry.inode), (1000, 4242));
        }
    }

    #[test]
    fn refusals_and_ends_are_told_apart() {
        let verdict = |kind, number: i32| {
            let body = number.to_ne_bytes();
            parse(&message(kind, &body)).unwrap().verdict
        };
        assert_eq!(verdict(NLMSG_ERROR, -2), Verdict::NotFound);
        assert_eq!(verdict(NLMSG_ERROR, -1), Verdict::Refused(1));
        assert_eq!(verdict(NLMSG_DONE, 0), Verdict::End);
        assert_eq!(verdict(NLMSG_DONE, -2), Verdict::NotFound);
        assert_eq!(parse(&message(99, &[])), Err(NoAnswer));
        assert_eq!(parse(&[]), Err(NoAnswer));
    }

    proptest! {
        #[test]
        fn no_datagram_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_cut_or_spoilt_answer_panics(length in 0..88_usize, place in 0..88_usize, byte: u8) {
            let mut bytes = found(AF_INET6, Ipv6Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
            bytes[place] = byte;
            let _ = parse(&bytes[..length]);
        }
    }
}
