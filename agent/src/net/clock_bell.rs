//! Hears from the kernel that the wall clock has jumped: it was set, or the PC woke from sleep. Nothing is asked meanwhile.
//!
//! Source: timerfd_create(2), `TFD_TIMER_CANCEL_ON_SET`.

use std::os::fd::OwnedFd;

use anyhow::Context as _;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::{Interest, unix::AsyncFd};

use crate::ready::register;

/// A timer that never ends, and is cancelled by a jump.
pub(super) struct ClockBell(AsyncFd<OwnedFd>);

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
        Ok(Self(register(timer, Interest::READABLE)?))
    }

    /// Returns when it has rung.
    pub(super) async fn rung(&self) {
        if let Ok(mut ready) = self.0.readable().await {
            // It says that it was cancelled, and is armed again by being read.
            let _ = rustix::io::read(self.0.get_ref(), &mut [0; 8]);
            ready.clear_ready();
        }
    }
}
