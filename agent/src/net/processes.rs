//! Finds the program and the user behind a socket, off the packet path on one thread of its own.
//!
//! ```text
//! socket -> diag: the kernel names user and inode  -> holders: who has it open -> program, exact
//!      `--> no such kernel, or in a container: tables --^                      -> program, polled
//!      `--> closed already: notices of processes that ended meanwhile          -> program, polled; or none
//! ```
//! `diag`, `notices`, `tables` and `programs` are pure; `netlink`, `holders` and `users` ask the system. All questions that
//! wait are answered by one search, which ends when nobody waits for its answer any more; when too many questions wait, new
//! ones get none. Without the right to look at other users' programs their name is missing, their user is not.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    time::{ClockId, clock_gettime},
};

use super::{
    flows::{Owner, Socket, Ticket},
    poller::Waker,
};

pub mod diag;
mod finder;
#[expect(clippy::disallowed_methods, reason = "shell: looks through /proc")]
mod holders;
mod netlink;
pub mod notices;
mod programs;
pub mod tables;
mod users;

use finder::Finder;

const MOST_WAITING: usize = 256;

#[derive(Debug, Clone, Copy)]
struct Question {
    ticket: Ticket,
    socket: Socket,
    asked: Duration,
}

/// Asks the thread; its answers come by the receiver of [`start`].
pub(super) struct Processes {
    questions: SyncSender<Question>,
    /// A byte wakes the thread, the end of the stream ends it.
    bell: UnixStream,
}

impl Processes {
    pub(super) fn ask(&mut self, ticket: Ticket, socket: Socket) {
        let question = Question {
            ticket,
            socket,
            asked: monotonic(),
        };
        if self.questions.try_send(question).is_err() {
            tracing::debug!("too many sockets wait for their program's name");
        }
        // A full stream has rung already.
        let _ = self.bell.write(&[0]);
    }
}

/// Starts the thread, which rings `waker` when there are answers; it ends when the [`Processes`] is dropped. It sees the network
/// namespace of the caller.
pub(super) fn start(waker: Waker) -> anyhow::Result<(Processes, Receiver<(Ticket, Owner)>)> {
    let (ask, questions) = sync_channel(MOST_WAITING);
    let (answer, answers) = sync_channel(MOST_WAITING);
    let (bell, rung) =
        UnixStream::pair().context("cannot make the bell of the thread that finds programs")?;
    bell.set_nonblocking(true)?;
    rung.set_nonblocking(true)?;
    thread::Builder::new()
        .name("processes".into())
        .spawn(move || run(&questions, rung, &answer, &waker))
        .context("cannot start the thread that finds programs")?;
    let processes = Processes {
        questions: ask,
        bell,
    };
    Ok((processes, answers))
}

fn run(
    questions: &Receiver<Question>,
    mut bell: UnixStream,
    answers: &SyncSender<(Ticket, Owner)>,
    waker: &Waker,
) {
    let mut finder = Finder::new();
    loop {
        wait(&bell, &finder);
        if has_ended(&mut bell) {
            return;
        }
        finder.hear();
        let waiting: Vec<Question> = questions.try_iter().take(MOST_WAITING).collect();
        for answer in finder.answer(&waiting) {
            if answers.send(answer).is_err() {
                return;
            }
            waker.wake();
        }
    }
}

/// Until a question, a notice, or the moment at which a question that was put off is due.
fn wait(bell: &UnixStream, finder: &Finder) {
    let mut sources = vec![PollFd::new(bell, PollFlags::IN)];
    sources.extend(
        finder
            .notices()
            .map(|notices| PollFd::new(notices, PollFlags::IN)),
    );
    let timeout = finder
        .due()
        .and_then(|due| Timespec::try_from(due.saturating_sub(monotonic())).ok());
    if let Err(error) = poll(&mut sources, timeout.as_ref()) {
        tracing::debug!("waiting for questions: {error}");
    }
}

fn has_ended(bell: &mut UnixStream) -> bool {
    let mut rings = [0; 2 * MOST_WAITING];
    loop {
        match bell.read(&mut rings) {
            Ok(0) => return true,
            Ok(length) if length == rings.len() => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => return false,
        }
    }
}

/// On the clock that never jumps and that the kernel stamps its notices with.
fn monotonic() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}
