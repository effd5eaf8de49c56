//! Watches USB for as long as the agent runs: subscribes, looks what is there, then tells what changes.
//!
//! Subscribed first and looked after, so that nothing falls between; a uevent of what the look has already
//! seen changes nothing. When the kernel dropped notices or the socket had to be opened again, it looks again and tells the
//! difference. What cannot be seen stands in [`Degraded`] for as long as it is so.

use std::{fmt::Display, io, time::Duration};

use chrono::Utc;
use labwatch_contract::{event::Occurrence, time::Timestamp};
use labwatch_link::backoff::Backoff;
use tokio::{
    sync::mpsc,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use super::sysfs::Roots;
use super::{
    device::Devices,
    mounts::{self, Notice},
    snapshot::Snapshot,
    socket::{Received, Uevents},
    uevent::{Action, Uevent},
};
use crate::degraded::Degraded;

/// How long sysfs may take to describe a device that has just come, before it is told without.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many notices may wait for the volumes.
const NOTICES: usize = 256;

/// What both watchers need: where to look, and whom to tell.
#[derive(Clone)]
pub(super) struct Post {
    pub(super) roots: Roots,
    occurrences: mpsc::Sender<Occurrence>,
    degraded: Degraded,
}

/// The receiver of the occurrences is gone: nobody listens any more.
#[derive(Debug, thiserror::Error)]
#[error("nobody listens")]
pub(super) struct Deaf;

impl Post {
    pub(super) async fn tell(&self, occurrences: Vec<Occurrence>) -> Result<(), Deaf> {
        for occurrence in occurrences {
            self.occurrences.send(occurrence).await.map_err(|_| Deaf)?;
        }
        Ok(())
    }

    /// See [`Degraded::note`].
    pub(super) fn degrade(&self, word: &'static str, why: Option<&dyn Display>) {
        self.degraded.note(word, why);
    }
}

/// The time of an occurrence.
pub(super) fn now() -> Timestamp {
    Utc::now().into()
}

/// Waits before a source is opened again.
pub(super) async fn pause(backoff: &mut Backoff) {
    sleep(backoff.wait(fastrand::f64())).await;
}

/// Tells of devices and volumes until `stop`, or until nobody receives. What fails is tried again.
pub async fn watch(
    roots: Roots,
    occurrences: mpsc::Sender<Occurrence>,
    degraded: Degraded,
    stop: CancellationToken,
) {
    let post = Post {
        roots,
        occurrences,
        degraded,
    };
    let (notices, removed) = mpsc::channel(NOTICES);
    // The devices first: a disk's removal is told before the unmount that follows from it.
    let both = async {
        tokio::join!(biased; watch_devices(&post, notices), mounts::watch_volumes(&post, removed))
    };
    stop.run_until_cancelled(both).await;
}

async fn watch_devices(post: &Post, notices: mpsc::Sender<Notice>) {
    let mut devices = Devices::default();
    let mut started = false;
    let mut backoff = Backoff::default();
    loop {
        let failure = match Uevents::open() {
            Ok(uevents) => {
                let mut watcher = Watcher {
                    post,
                    uevents,
                    devices: &mut devices,
                    notices: &notices,
                };
                backoff.reset();
                let reopened = std::mem::replace(&mut started, true);
                match watcher.run(reopened).await {
                    Ok(error) => error,
                    Err(Deaf) => return,
                }
            }
            Err(error) => error,
        };
        post.degrade("no-usb", Some(&failure));
        pause(&mut backoff).await;
    }
}

struct Watcher<'a> {
    post: &'a Post,
    uevents: Uevents,
    devices: &'a mut Devices,
    notices: &'a mpsc::Sender<Notice>,
}

impl Watcher<'_> {
    /// Runs until the socket breaks, and says why.
    async fn run(&mut self, reopened: bool) -> Result<io::Error, Deaf> {
        if reopened {
            self.rescan("the socket had to be opened again").await?;
        } else {
            let present = self.look().await;
            self.post
                .tell(self.devices.handle_scan(&present, now()))
                .await?;
        }
        self.post.degrade("no-usb", None);
        loop {
            if let Err(error) = self.uevents.ready().await {
                return Ok(error);
            }
            if let Err(error) = self.drain().await? {
                return Ok(error);
            }
        }
    }

    /// Takes in what waits. Dropped notices are made up for afterwards: what was dropped is younger than what
    /// still waited, so an earlier look could be overtaken by it.
    async fn drain(&mut self) -> Result<io::Result<()>, Deaf> {
        let mut lost = false;
        loop {
            match self.uevents.receive() {
                Ok(Received::Uevent(uevent)) => self.handle(&uevent).await?,
                Ok(Received::Overrun) => lost = true,
                Ok(Received::Drained) => break,
                Err(error) => return Ok(Err(error)),
            }
        }
        self.post.tell(self.devices.handle_drained(now())).await?;
        if lost {
            self.rescan("the kernel dropped uevents").await?;
        }
        Ok(Ok(()))
    }

    async fn handle(&mut self, uevent: &Uevent) -> Result<(), Deaf> {
        let snapshot = if self.devices.wants_snapshot(uevent) {
            self.describe(&uevent.syspath).await
        } else {
            None
        };
        if uevent.action == Action::Remove && matches!(uevent.subsystem(), "block" | "usb") {
            let removed = Notice::Removed(uevent.syspath.clone());
            self.notices.send(removed).await.map_err(|_| Deaf)?;
        }
        self.post
            .tell(self.devices.handle_uevent(uevent, snapshot.as_ref(), now()))
            .await
    }

    async fn rescan(&mut self, reason: &str) -> Result<(), Deaf> {
        warn!("uevents were lost: {reason}");
        let present = self.look().await;
        self.post
            .tell(self.devices.handle_loss(&present, reason, now()))
            .await?;
        self.notices.send(Notice::Lost).await.map_err(|_| Deaf)
    }

    async fn look(&self) -> Vec<Snapshot> {
        let blind = (!self.post.roots.has_sysfs()).then_some("sysfs is not there");
        self.post.degrade(
            "no-sysfs",
            blind.as_ref().map(|why| -> &dyn Display { why }),
        );
        let roots = self.post.roots.clone();
        spawn_blocking(move || roots.usb_devices())
            .await
            .unwrap_or_default()
    }

    async fn describe(&self, syspath: &str) -> Option<Snapshot> {
        let (roots, syspath) = (self.post.roots.clone(), syspath.to_owned());
        let read = spawn_blocking(move || roots.usb_device(&syspath));
        timeout(PATIENCE, read).await.ok()?.ok()?
    }
}
