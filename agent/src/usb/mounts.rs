//! Watches the mount table: `/proc/self/mountinfo` is ready with priority (`POLLPRI`) after each change.
//!
//! The table is opened first and read after, so no change falls between. What lies under a new volume is read
//! from sysfs. Only a file system without a block device is asked itself, for its size; it may hang (see `question`).
//! Source: proc_pid_mountinfo(5), Linux `fs/proc_namespace.c`.

use std::{collections::BTreeMap, fs::File, io, os::fd::OwnedFd};

use labwatch_link::backoff::Backoff;
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc::Receiver,
    task::spawn_blocking,
};
use tracing::debug;

use super::{
    backing::Backing,
    mountinfo::{self, Mount},
    sysfs::Roots,
    volume::Volumes,
    watch::{Deaf, Post, now, pause},
};
use crate::ready::register;

/// What the volumes must know of the uevents.
pub(super) enum Notice {
    /// What was at this path below `/sys` is gone.
    Removed(String),
    /// Some of these notices may be missing.
    Lost,
    /// Look whether the table has changed without a word (the kernel makes a broken disk read-only).
    Look,
}

/// Who says its size. One name for all of them, so that many that hang are waited for once.
const FILE_SYSTEM: &str = "a file system without a disk";

/// Tells of volumes until nobody listens. What fails is tried again.
pub(super) async fn watch_volumes(post: &Post, mut notices: Receiver<Notice>) {
    let mut volumes = Volumes::default();
    let mut backoff = Backoff::default();
    loop {
        let failure = match open(post) {
            Ok(table) => {
                backoff.reset();
                match run(post, &table, &mut volumes, &mut notices).await {
                    Ok(error) => error,
                    Err(Deaf) => return,
                }
            }
            Err(error) => error,
        };
        post.degrade("no-mounts", Some(&failure));
        post.volumes.send_replace(Some(Vec::new()));
        tokio::select! {
            () = pause(&mut backoff) => {}
            () = pass_over(&mut notices) => return,
        }
    }
}

fn open(post: &Post) -> io::Result<AsyncFd<OwnedFd>> {
    register(
        OwnedFd::from(File::open(post.roots.mountinfo())?),
        Interest::PRIORITY,
    )
}

/// Runs until the table cannot be read, and says why.
async fn run(
    post: &Post,
    table: &AsyncFd<OwnedFd>,
    volumes: &mut Volumes,
    notices: &mut Receiver<Notice>,
) -> Result<io::Error, Deaf> {
    if let Err(error) = read(post, volumes).await? {
        return Ok(error);
    }
    post.degrade("no-mounts", None);
    loop {
        tokio::select! {
            // A pulled stick's removal comes before the unmount that a desktop answers it with.
            biased;
            notice = notices.recv() => {
                if let Err(error) = handle(post, volumes, notice.ok_or(Deaf)?).await? {
                    return Ok(error);
                }
            }
            ready = table.ready(Interest::PRIORITY) => {
                let read = match ready {
                    Ok(mut guard) => {
                        guard.clear_ready();
                        read(post, volumes).await?
                    }
                    Err(error) => Err(error),
                };
                if let Err(error) = read {
                    return Ok(error);
                }
            }
        }
    }
}

async fn handle(
    post: &Post,
    volumes: &mut Volumes,
    notice: Notice,
) -> Result<io::Result<()>, Deaf> {
    let gone = match notice {
        Notice::Removed(syspath) => vec![syspath],
        Notice::Lost => {
            let missing = volumes.syspaths().filter(|path| !post.roots.exists(path));
            missing.map(str::to_owned).collect()
        }
        Notice::Look => return read(post, volumes).await,
    };
    for syspath in gone {
        let removed = volumes.handle_removed(&syspath, now());
        if !removed.is_empty() {
            post.tell(removed).await?;
            publish(post, volumes);
        }
    }
    Ok(Ok(()))
}

/// Reads the table and tells what it has changed.
async fn read(post: &Post, volumes: &mut Volumes) -> Result<io::Result<()>, Deaf> {
    let roots = post.roots.clone();
    let table = match spawn_blocking(move || roots.mount_table()).await {
        Ok(Ok(table)) => mountinfo::parse(&table),
        Ok(Err(error)) => return Ok(Err(error)),
        Err(error) => return Ok(Err(io::Error::other(error))),
    };
    if table.malformed > 0 {
        debug!(
            lines = table.malformed,
            "lines of the mount table that are none"
        );
    }
    let change = volumes.compare(table);
    let news: Vec<_> = change.news().cloned().collect();
    let roots = post.roots.clone();
    let look = move || {
        news.iter()
            .map(|mount| (mount.device, backing(&roots, mount)))
            .collect()
    };
    let backings = spawn_blocking(look)
        .await
        .unwrap_or_else(|_| BTreeMap::new());
    post.tell(volumes.apply(&change, &backings, now())).await?;
    publish(post, volumes);
    Ok(Ok(()))
}

fn backing(roots: &Roots, mount: &Mount) -> Backing {
    let mut backing = roots.backing(mount);
    if backing.blocks.is_empty() {
        let place = mount.mount_point.clone();
        let size = roots.questions.ask(FILE_SYSTEM, move || size(&place));
        backing.capacity = size.flatten();
    }
    backing
}

/// The size in bytes that a file system gives itself.
fn size(place: &str) -> Option<u64> {
    let size = rustix::fs::statvfs(place).ok()?;
    let bytes = size.f_blocks.checked_mul(size.f_frsize);
    bytes.filter(|bytes| *bytes > 0)
}

/// For the next inventory.
fn publish(post: &Post, volumes: &Volumes) {
    post.volumes.send_replace(Some(volumes.items().collect()));
}

/// Keeps the sender of notices from waiting; ends when it is gone.
async fn pass_over(notices: &mut Receiver<Notice>) {
    while notices.recv().await.is_some() {}
}
