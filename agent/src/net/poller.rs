//! Waits for everything that the network side waits for, in one call of epoll(7).
//!
//! ```text
//! captures, the kernel's notices, the clock --+
//! other threads --> Waker ------------------- +--> Poller::wait --> what is ready
//! ```
//! The network side has a thread of its own and no runtime: on a busy interface a block of frames wakes it hundreds of times
//! a second, and the way from the kernel to the frames is to be as short as it can be. A source is ready again as long as it has
//! something; so nothing is lost for what a turn leaves behind.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use rustix::{
    event::{
        EventfdFlags, Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
        eventfd,
    },
    io::Errno,
};

/// So many sources are told of at a time; the others wait for the next turn.
const MOST_READY: usize = 64;

/// What there is to wait for. Openings of an interface go before its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// Another thread has something.
    Waker,
    /// The kernel says that links, addresses or routes have changed.
    Notices,
    /// The clock has jumped.
    Clock,
    /// Openings on the interface with this index.
    Openings(u32),
    /// Frames on the interface with this index.
    Frames(u32),
}

/// Waits for sources.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
    waker: Waker,
}

/// Ends the wait of a [`Poller`], from any thread.
#[derive(Debug, Clone)]
pub(super) struct Waker(Arc<OwnedFd>);

impl Waker {
    /// The next wait, or the present one, ends with [`Source::Waker`]; rung twice it ends once.
    pub(super) fn wake(&self) {
        // It refuses only when its counter of 64 bits is full: then it has been rung.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

impl Poller {
    /// # Errors
    /// When the system's limit of descriptors is reached.
    pub(super) fn new() -> anyhow::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let waker = eventfd(0, flags).context("cannot make an eventfd")?;
        let poller = Self {
            epoll: epoll::create(CreateFlags::CLOEXEC).context("cannot make an epoll")?,
            waker: Waker(Arc::new(waker)),
        };
        poller.add(&*poller.waker.0, Source::Waker)?;
        Ok(poller)
    }

    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Waits for `source` from now on, which is ready when `descriptor` can be read.
    ///
    /// # Errors
    /// When it is waited for already, or the system's limit is reached.
    pub(super) fn add(&self, descriptor: impl AsFd, source: Source) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            descriptor,
            source.into(),
            EventFlags::IN,
        )?)
    }

    /// Whether frames make the source ready, or only its end does.
    pub(super) fn set_heard(&self, descriptor: impl AsFd, source: Source, is_heard: bool) {
        let flags = match is_heard {
            true => EventFlags::IN,
            false => EventFlags::empty(),
        };
        if let Err(error) = epoll::modify(&self.epoll, descriptor, source.into(), flags) {
            tracing::warn!("cannot change how {source:?} is waited for: {error}");
        }
    }

    /// Waits for it no more.
    pub(super) fn remove(&self, descriptor: impl AsFd) {
        if let Err(error) = epoll::delete(&self.epoll, descriptor) {
            tracing::debug!("was not waited for: {error}");
        }
    }

    /// Waits until a source is ready or `timeout` is over; the ready ones are left in `ready`, in their order.
    ///
    /// # Errors
    /// Those of epoll_wait(2), interruptions excepted.
    pub(super) fn wait(&self, timeout: Duration, ready: &mut Vec<Source>) -> io::Result<()> {
        ready.clear();
        let mut events = [const { MaybeUninit::uninit() }; MOST_READY];
        let timeout = Timespec::try_from(timeout).ok();
        match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok((events, _)) => {
                ready.extend(events.iter().filter_map(|event| Source::of(event.data)));
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.sort_unstable();
        if ready.first() == Some(&Source::Waker) {
            // Empties the counter; what rings from here on rings again.
            let _ = rustix::io::read(&*self.waker.0, &mut [0; 8]);
        }
        Ok(())
    }
}

impl Source {
    fn of(data: EventData) -> Option<Self> {
        let data = data.u64();
        let index = u32::try_from(data & u64::from(u32::MAX)).ok()?;
        match data >> 32 {
            0 => Some(Self::Waker),
            1 => Some(Self::Notices),
            2 => Some(Self::Clock),
            3 => Some(Self::Openings(index)),
            4 => Some(Self::Frames(index)),
            _ => None,
        }
    }
}

impl From<Source> for EventData {
    fn from(source: Source) -> Self {
        let (kind, index) = match source {
            Source::Waker => (0, 0),
            Source::Notices => (1, 0),
            Source::Clock => (2, 0),
            Source::Openings(index) => (3, index),
            Source::Frames(index) => (4, index),
        };
        Self::new_u64(kind << 32 | u64::from(index))
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::unix::net::UnixStream, thread};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn ready(poller: &Poller, timeout: Duration) -> Vec<Source> {
        let mut ready = Vec::new();
        poller.wait(timeout, &mut ready).unwrap();
        ready
    }

    #[test]
    fn a_source_comes_out_as_it_went_in() {
        for source in [
            Source::Waker,
            Source::Notices,
            Source::Clock,
            Source::Openings(0),
            Source::Openings(u32::MAX),
            Source::Frames(7),
        ] {
            assert_eq!(Source::of(source.into()), Some(source));
        }
    }

    #[test]
    fn another_thread_ends_the_wait_once() {
        let poller = Poller::new().unwrap();
        let waker = poller.waker();
        thread::scope(|scope| {
            scope.spawn(|| {
                waker.wake();
                waker.wake();
            });
            assert_eq!(ready(&poller, LONG), [Source::Waker]);
        });
        ready(&poller, Duration::ZERO);
        assert_eq!(ready(&poller, Duration::ZERO), []);
    }

    #[test]
    fn a_source_is_ready_as_long_as_it_has_something_and_is_heard() {
        let poller = Poller::new().unwrap();
        let (mut far, near) = UnixStream::pair().unwrap();
        let source = Source::Openings(3);
        poller.add(&near, source).unwrap();
        assert_eq!(ready(&poller, Duration::ZERO), []);
        far.write_all(b"frame").unwrap();
        assert_eq!(ready(&poller, LONG), [source]);
        assert_eq!(ready(&poller, LONG), [source]);
        poller.set_heard(&near, source, false);
        assert_eq!(ready(&poller, Duration::ZERO), []);
        poller.set_heard(&near, source, true);
        assert_eq!(ready(&poller, LONG), [source]);
        poller.remove(&near);
        assert_eq!(ready(&poller, Duration::ZERO), []);
    }

    #[test]
    fn the_end_of_a_source_is_told_although_it_is_not_heard() {
        let poller = Poller::new().unwrap();
        let (far, near) = UnixStream::pair().unwrap();
        poller.add(&near, Source::Openings(3)).unwrap();
        poller.set_heard(&near, Source::Openings(3), false);
        drop(far);
        assert_eq!(ready(&poller, LONG), [Source::Openings(3)]);
    }

    #[test]
    fn openings_go_before_frames() {
        let poller = Poller::new().unwrap();
        let (mut far, near) = UnixStream::pair().unwrap();
        let (mut other_far, other_near) = UnixStream::pair().unwrap();
        poller.add(&near, Source::Frames(1)).unwrap();
        poller.add(&other_near, Source::Openings(2)).unwrap();
        far.write_all(b"f").unwrap();
        other_far.write_all(b"o").unwrap();
        assert_eq!(
            ready(&poller, LONG),
            [Source::Openings(2), Source::Frames(1)]
        );
    }
}
