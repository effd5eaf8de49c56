//! The one timer of the service: set anew for each message, armed anew only where the moment has changed.

use std::{future::pending, pin::Pin};

use tokio::time::{Instant, Sleep, sleep_until};

/// A moment to wake at, or none.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Rings at this moment instead of the one before.
    pub(super) fn set(&mut self, moment: Option<Instant>) {
        match (&mut self.0, moment) {
            (Some(sleep), Some(moment)) if sleep.deadline() == moment => {}
            (Some(sleep), Some(moment)) => sleep.as_mut().reset(moment),
            (sleep, moment) => *sleep = moment.map(|moment| Box::pin(sleep_until(moment))),
        }
    }

    /// Ends once the moment has come.
    pub(super) async fn rings(&mut self) {
        match &mut self.0 {
            Some(sleep) => sleep.await,
            None => pending().await,
        }
    }
}
