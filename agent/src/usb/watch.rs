//! Watches USB for as long as the agent runs: subscribes, looks what is there, then tells what changes.
//!
//! Subscribed first and looked after, so that nothing falls between; a uevent of what the look has already
//! seen changes nothing. When the kernel dropped notices or the socket had to be opened again, it looks again and tells the
//! difference. Once a minute it compares, as a safety net. At each connection to the broker everything that is
//! there is told in one [`inventory`]. What cannot be seen stands in [`Degraded`] for as long as it is so.

use std::{fmt::Display, io, net::SocketAddr, time::Duration};

use chrono::Utc;
use labwatch_contract::{
    event::{Action as Happening, Fields, Occurrence},
    time::Timestamp,
};
use labwatch_link::backoff::Backoff;
use tokio::{
    sync::{mpsc, watch as state},
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use super::sysfs::Roots;
use super::{
    device::Devices,
    inventory::inventory,
    media::{Disk, Media},
    mounts::{self, Notice},
    snapshot::Snapshot,
    socket::{Received, Uevents},
    uevent::{Action, Uevent},
};
use crate::degraded::Degraded;

/// How often it is compared whether all notices came.
const COMPARE_EVERY: Duration = Duration::from_secs(60);

/// How often optical drives are asked, where there are any. By itself the kernel does so only where udevd has told it
/// to, and not all drives say that a disc was taken out.
const ASK_DRIVES_EVERY: Duration = Duration::from_secs(4);

/// How often a comparison is tried again when notices came in between.
const COMPARISONS: usize = 3;

/// Uevents that are taken in at most before what was lost is made up for, so that no flood puts that off.
const MAX_DRAIN: usize = 10_000;

/// Whose uevents are read: those of devices and disks.
const SUBSYSTEMS: &[&str] = &["usb", "block"];

/// How many notices may wait for the volumes.
const NOTICES: usize = 256;

/// What both watchers need: where to look, and whom to tell.
#[derive(Clone)]
pub(super) struct Post {
    pub(super) roots: Roots,
    /// What the inventory says of the volumes; `None` until the mount table has been read.
    pub(super) volumes: state::Sender<Option<Vec<String>>>,
    occurrences: mpsc::Sender<Occurrence>,
    degraded: Degraded,
}

/// The broker's address, written anew at each connection.
pub type Connections = state::Receiver<Option<SocketAddr>>;

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
    connections: Connections,
    stop: CancellationToken,
) {
    let post = Post {
        roots,
        volumes: state::Sender::new(None),
        occurrences,
        degraded,
    };
    let (notices, removed) = mpsc::channel(NOTICES);
    // The devices first: a disk's removal is told before the unmount that follows from it.
    let both = async {
        tokio::join!(biased; watch_devices(&post, notices, connections), mounts::watch_volumes(&post, removed))
    };
    stop.run_until_cancelled(both).await;
}

async fn watch_devices(post: &Post, notices: mpsc::Sender<Notice>, connections: Connections) {
    let mut tables = Tables {
        devices: Devices::default(),
        media: Media::default(),
        connections,
        volumes: post.volumes.subscribe(),
        inventory_due: false,
    };
    let mut started = false;
    let mut backoff = Backoff::default();
    loop {
        let failure = match Uevents::open(SUBSYSTEMS) {
            Ok(uevents) => {
                let mut watcher = Watcher {
                    post,
                    uevents,
                    tables: &mut tables,
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

/// What is known, and who wants to know it; outlives the socket.
struct Tables {
    devices: Devices,
    media: Media,
    connections: Connections,
    volumes: state::Receiver<Option<Vec<String>>>,
    /// A connection came, and has not been told the inventory yet.
    inventory_due: bool,
}

/// What a look at sysfs has found.
#[derive(Default)]
struct Found {
    devices: Vec<Snapshot>,
    disks: Vec<Disk>,
}

/// Why the watcher wakes up.
enum Call {
    Uevents,
    Connected,
    Inventory,
    Compare,
    Drives,
}

struct Watcher<'a> {
    post: &'a Post,
    uevents: Uevents,
    tables: &'a mut Tables,
    notices: &'a mpsc::Sender<Notice>,
}

impl Watcher<'_> {
    /// Runs until the socket breaks, and says why.
    async fn run(&mut self, reopened: bool) -> Result<io::Error, Deaf> {
        if reopened {
            self.rescan("the socket had to be opened again").await?;
        } else {
            let Found { devices, disks } = self.look().await;
            let mut told = self.tables.devices.handle_scan(&devices, now());
            told.extend(self.tables.media.handle_scan(&disks, now()));
            self.post.tell(told).await?;
        }
        self.post.degrade("no-usb", None);
        let mut compare = interval_at(Instant::now() + COMPARE_EVERY, COMPARE_EVERY);
        compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut drives = interval_at(Instant::now() + ASK_DRIVES_EVERY, ASK_DRIVES_EVERY);
        drives.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let has_drives = self.tables.media.drives().next().is_some();
            let call = tokio::select! {
                call = self.next_call() => call,
                _ = compare.tick() => Ok(Call::Compare),
                _ = drives.tick(), if has_drives => Ok(Call::Drives),
            };
            let done = match call {
                Ok(Call::Uevents) => self.drain().await?.map(drop),
                Ok(Call::Connected) => {
                    self.tables.inventory_due = true;
                    Ok(())
                }
                Ok(Call::Inventory) => self.tell_inventory().await?,
                Ok(Call::Compare) => self.compare().await?,
                Ok(Call::Drives) => {
                    self.ask_drives().await?;
                    Ok(())
                }
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                return Ok(error);
            }
        }
    }

    /// Waits until something is to be done. May be left and called again.
    async fn next_call(&mut self) -> io::Result<Call> {
        let Tables {
            connections,
            volumes,
            inventory_due,
            ..
        } = &mut *self.tables;
        tokio::select! {
            ready = self.uevents.ready() => ready.map(|()| Call::Uevents),
            Ok(()) = connections.changed() => Ok(Call::Connected),
            Ok(_) = volumes.wait_for(Option::is_some), if *inventory_due => Ok(Call::Inventory),
        }
    }

    /// Takes in what waits, and says how much it was. Dropped notices are made up for afterwards: what was dropped is
    /// younger than what still waited, so an earlier look could be overtaken by it.
    async fn drain(&mut self) -> Result<io::Result<usize>, Deaf> {
        let mut lost = false;
        let mut taken = 0;
        while taken < MAX_DRAIN {
            match self.uevents.receive() {
                Ok(Received::Uevent(uevent)) => self.handle(&uevent).await?,
                Ok(Received::Overrun) => lost = true,
                Ok(Received::Drained) => break,
                Err(error) => return Ok(Err(error)),
            }
            taken += 1;
        }
        self.post
            .tell(self.tables.devices.handle_drained(now()))
            .await?;
        if lost {
            self.rescan("the kernel dropped uevents").await?;
        }
        Ok(Ok(taken))
    }

    async fn handle(&mut self, uevent: &Uevent) -> Result<(), Deaf> {
        let gone = uevent.action == Action::Remove;
        if gone && matches!(uevent.subsystem(), "block" | "usb") {
            let removed = Notice::Removed(uevent.syspath.clone());
            self.notices.send(removed).await.map_err(|_| Deaf)?;
        }
        let snapshot = if self.tables.devices.wants_snapshot(uevent) {
            self.describe(uevent).await
        } else {
            None
        };
        let Tables { devices, media, .. } = &mut *self.tables;
        let mut told = devices.handle_uevent(uevent, snapshot.as_ref(), now());
        if gone {
            told.extend(media.handle_removed(&uevent.syspath, now()));
        } else if media.wants_disk(uevent)
            && let Some(disk) = self.describe_disk(&uevent.syspath).await
        {
            told.extend(self.tables.media.handle_disk(&disk, now()));
        }
        self.post.tell(told).await
    }

    async fn rescan(&mut self, reason: &str) -> Result<(), Deaf> {
        warn!("uevents were lost: {reason}");
        let Found { devices, disks } = self.look().await;
        let mut told = self.tables.devices.handle_loss(&devices, reason, now());
        told.extend(self.tables.media.handle_rescan(&disks, now()));
        self.post.tell(told).await?;
        self.notices.send(Notice::Lost).await.map_err(|_| Deaf)
    }

    /// The safety net: is there anything of which no notice came? A look counts only when no notice came during
    /// it, because it may have seen what that notice tells, or not yet.
    async fn compare(&mut self) -> Result<io::Result<()>, Deaf> {
        self.notices.send(Notice::Look).await.map_err(|_| Deaf)?;
        for _ in 0..COMPARISONS {
            let read = self.ask(|roots| (roots.usb_numbers(), roots.media()));
            let Some((devices, media)) = read.await else {
                break;
            };
            match self.drain().await? {
                Ok(0) => {}
                Ok(_) => continue,
                Err(error) => return Ok(Err(error)),
            }
            if self.tables.devices.differ(&devices) || self.tables.media.differ(&media) {
                self.rescan("something was there or gone of which no notice came")
                    .await?;
            }
            break;
        }
        Ok(Ok(()))
    }

    async fn ask_drives(&mut self) -> Result<(), Deaf> {
        let drives: Vec<_> = self.tables.media.drives().map(str::to_owned).collect();
        for drive in drives {
            if let Some(disk) = self.describe_disk(&drive).await {
                let told = self.tables.media.handle_disk(&disk, now());
                self.post.tell(told).await?;
            }
        }
        Ok(())
    }

    async fn tell_inventory(&mut self) -> Result<io::Result<()>, Deaf> {
        if let Err(error) = self.drain().await? {
            return Ok(Err(error));
        }
        self.tables.inventory_due = false;
        let volumes = self.tables.volumes.borrow().clone().unwrap_or_default();
        let Tables { devices, media, .. } = &*self.tables;
        let items = devices.items().chain(media.items()).chain(volumes);
        let mut fields = Fields::default();
        fields.lab.inventory = Some(inventory(items));
        let told = Occurrence {
            time: now(),
            action: Happening::Inventory,
            fields,
        };
        self.post.tell(vec![told]).await.map(Ok)
    }

    async fn look(&self) -> Found {
        let blind = (!self.post.roots.has_sysfs()).then_some("sysfs is not there");
        self.post.degrade(
            "no-sysfs",
            blind.as_ref().map(|why| -> &dyn Display { why }),
        );
        let look = |roots: &Roots| Found {
            devices: roots.usb_devices(),
            disks: roots.disks(),
        };
        self.ask(look).await.unwrap_or_default()
    }

    /// What sysfs says of a device that has come; what its uevent says where it is gone already.
    async fn describe(&self, uevent: &Uevent) -> Option<Snapshot> {
        let known = Snapshot::from_uevent(uevent);
        let read = move |roots: &Roots| {
            let path = &known.syspath;
            let found = roots.usb_device(path);
            found.unwrap_or_else(|| roots.lists.complete(known))
        };
        self.ask(read).await
    }

    async fn describe_disk(&self, syspath: &str) -> Option<Disk> {
        let syspath = syspath.to_owned();
        self.ask(move |roots| roots.disk(&syspath)).await?
    }

    /// Reads on a thread that waits for answers, for none of them long.
    async fn ask<T, F>(&self, read: F) -> Option<T>
    where
        T: Send + 'static,
        F: FnOnce(&Roots) -> T + Send + 'static,
    {
        let roots = self.post.roots.clone();
        spawn_blocking(move || read(&roots)).await.ok()
    }
}
