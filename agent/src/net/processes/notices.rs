//! The kernel's notices of processes that begin, become another program, change their user and end: the process
//! connector (`linux/cn_proc.h`, over `NETLINK_CONNECTOR`).
//!
//! From a datagram to a [`Notice`]; threads are passed over, and so is what is no notice.

use std::time::Duration;

const NLMSG_DONE: u16 = 3;
/// `CN_IDX_PROC` and `CN_VAL_PROC`.
const PROCESSES: u32 = 1;
const LISTEN: u32 = 1;
/// `nlmsghdr`, then `cn_msg`.
const CONNECTOR: usize = 16;
const EVENT: usize = CONNECTOR + 20;
/// Behind kind, processor and time.
const DETAILS: usize = EVENT + 16;

const FORK: u32 = 0x1;
const EXEC: u32 = 0x2;
const USER: u32 = 0x4;
const EXIT: u32 = 0x8000_0000;

/// Longest datagram that is read.
pub const MAX_NOTICE: usize = 1024;
/// The multicast group of the notices.
pub const GROUP: u32 = PROCESSES;

/// What happened to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// When, on the clock that never jumps (`CLOCK_MONOTONIC`).
    pub at: Duration,
    /// Its id.
    pub pid: u32,
    /// What.
    pub change: Change,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It began, as a copy of this process.
    Forked(u32),
    /// It became another program.
    Executed,
    /// Its effective user is now this one.
    User(u32),
    /// It ended.
    Ended,
}

/// The message that asks for notices.
#[must_use]
pub fn subscription() -> Vec<u8> {
    let mut message = Vec::with_capacity(EVENT + 4);
    message.extend(u32::try_from(EVENT + 4).unwrap_or_default().to_ne_bytes());
    message.extend(NLMSG_DONE.to_ne_bytes());
    message.extend([0; 10]);
    message.extend(PROCESSES.to_ne_bytes());
    message.extend(PROCESSES.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(4_u16.to_ne_bytes());
    message.extend([0; 2]);
    message.extend(LISTEN.to_ne_bytes());
    message
}

/// Reads a datagram. `None`: no notice, or one that is of no interest (a thread, a session).
#[must_use]
pub fn parse(datagram: &[u8]) -> Option<Notice> {
    let is_of_processes =
        u32_at(datagram, CONNECTOR)? == PROCESSES && u32_at(datagram, CONNECTOR + 4)? == PROCESSES;
    if !is_of_processes {
        return None;
    }
    let nanoseconds = u64::from_ne_bytes(*datagram.get(EVENT + 8..)?.first_chunk()?);
    let detail = |number: usize| u32_at(datagram, DETAILS + 4 * number);
    // Each begins with thread and process; a fork with those of the parent.
    let (thread, pid, change) = match u32_at(datagram, EVENT)? {
        FORK => (detail(2)?, detail(3)?, Change::Forked(detail(1)?)),
        EXEC => (detail(0)?, detail(1)?, Change::Executed),
        USER => (detail(0)?, detail(1)?, Change::User(detail(3)?)),
        EXIT => (detail(0)?, detail(1)?, Change::Ended),
        _ => return None,
    };
    (thread == pid).then_some(Notice {
        at: Duration::from_nanos(nanoseconds),
        pid,
        change,
    })
}

fn u32_at(bytes: &[u8], from: usize) -> Option<u32> {
    bytes
        .get(from..)?
        .first_chunk()
        .copied()
        .map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn datagram(kind: u32, details: &[u32]) -> Vec<u8> {
        let mut datagram = subscription();
        datagram.truncate(EVENT);
        datagram.extend(kind.to_ne_bytes());
        datagram.extend(0_u32.to_ne_bytes());
        datagram.extend(5_000_000_000_u64.to_ne_bytes());
        datagram.extend(details.iter().flat_map(|word| word.to_ne_bytes()));
        datagram
    }

    fn change(kind: u32, details: &[u32]) -> Option<(u32, Change)> {
        parse(&datagram(kind, details)).map(|notice| {
            assert_eq!(notice.at, Duration::from_secs(5));
            (notice.pid, notice.change)
        })
    }

    #[test]
    fn each_kind_names_its_process() {
        assert_eq!(change(FORK, &[1, 2, 30, 30]), Some((30, Change::Forked(2))));
        assert_eq!(change(EXEC, &[30, 30]), Some((30, Change::Executed)));
        assert_eq!(
            change(USER, &[30, 30, 0, 1000]),
            Some((30, Change::User(1000)))
        );
        assert_eq!(
            change(EXIT, &[30, 30, 0, 17, 1, 1]),
            Some((30, Change::Ended))
        );
    }

    #[test]
    fn threads_and_other_notices_are_passed_over() {
        assert_eq!(change(FORK, &[1, 1, 31, 30]), None);
        assert_eq!(change(EXIT, &[31, 30, 0, 0]), None);
        assert_eq!(change(0x80, &[30, 30]), None);
        assert_eq!(change(0, &[0]), None);
        assert_eq!(change(FORK, &[1, 2, 30]), None);
    }

    #[test]
    fn the_subscription_has_the_kernels_length() {
        let message = subscription();
        assert_eq!(
            (message.len(), &message[..4]),
            (40, &40_u32.to_ne_bytes()[..])
        );
    }

    proptest! {
        #[test]
        fn no_datagram_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_cut_or_spoilt_notice_panics(length in 0..68_usize, place in 0..68_usize, byte: u8) {
            let mut bytes = datagram(FORK, &[1, 2, 30, 30]);
            bytes[place] = byte;
            let _ = parse(&bytes[..length]);
        }
    }
}
