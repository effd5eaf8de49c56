//! Hears from the kernel that the wall clock has jumped: it was set, or the PC woke from sleep. Nothing is asked meanwhile.
//!
//! Source: timerfd_create(2), `TFD_TIMER_CANCEL_ON_SET`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Context as _;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// A timer that never ends, and is cancelled by a jump.
pub(super) struct ClockBell(OwnedFd);

impl AsFd for ClockBell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl ClockBell {
    pub(super) fn new() -> anyhow::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Realtime, flags)
            .context("cannot hear of the clock's jumps")?;
        let never = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: i64::MAX,
                tv_nsec: 0,
            },
        };
        let on_jump = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        timerfd_settime(&timer, on_jump, &never).context("cannot hear of the clock's jumps")?;
        Ok(Self(timer))
    }

    /// It has rung: armed again by being read, which says that it was cancelled.
    pub(super) fn hear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}
