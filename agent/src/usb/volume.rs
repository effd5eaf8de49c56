//! The table of volumes: from mount tables and uevents to `volume-present`, `-mounted`, `-remounted`, `-unmounted`,
//! `-removed`.
//!
//! A volume is a mounted file system, by its device number: bind mounts, subvolumes and second mount points of
//! it are the same volume, which is told when its first mount comes, when it becomes writable or read-only, and
//! when its last one goes.
//!
//! Invariant: each told arrival is followed by at most one departure. A stick that is pulled stays in the mount
//! table, so the `remove` uevent of its disk or USB device makes it `volume-removed`; when the mount goes later
//! nothing more is told. What no volume is, says [`is_volume`].
//!
//! [`Volumes::compare`] says what has changed, a shell asks sysfs about what is new, [`Volumes::apply`] tells it.

use std::collections::{BTreeMap, BTreeSet};

use labwatch_contract::{
    event::{
        Action as Happening, Fields, Occurrence,
        usb::{Origin, Volume},
    },
    time::Timestamp,
};

use super::{
    backing::{Backing, volume},
    mountinfo::{DeviceNumber, Mount, Table},
    snapshot::Plugged,
};

/// File systems of the kernel, in memory, or shown through another one: no data can leave the PC by them.
/// Sorted, for the search.
const PSEUDO: [&str; 37] = [
    "aufs",
    "autofs",
    "bdev",
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "cpuset",
    "debugfs",
    "devpts",
    "devtmpfs",
    "drm",
    "ecryptfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nfsd",
    "nsfs",
    "overlay",
    "pidfs",
    "pipefs",
    "proc",
    "pstore",
    "ramfs",
    "resctrl",
    "rootfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "sockfs",
    "sysfs",
    "tmpfs",
    "tracefs",
];

/// Where snap packages are mounted; root alone may mount there.
const SNAPS: [&str; 2] = ["/snap/", "/var/lib/snapd/"];

/// Where containers have their file systems; root alone may mount there.
const CONTAINERS: [&str; 2] = ["/var/lib/containers/", "/var/lib/docker/"];

/// Whether a mount is a volume that is worth telling. It is, unless it is
/// - a pseudo file system (`proc`, `tmpfs`, `overlay` of containers …),
/// - the image of a snap package (`squashfs` below `/snap` or `/var/lib/snapd`),
/// - or a FUSE file system of the desktop or of containers, where those have theirs: by its type alone any share could
///   call itself one.
///
/// So disks, loop devices, network and FUSE file systems are, and so is any type that is not known here.
#[must_use]
pub fn is_volume(mount: &Mount) -> bool {
    let kind = mount.file_system_type.as_str();
    PSEUDO.binary_search(&kind).is_err()
        && !(kind == "squashfs" && is_below(mount, &SNAPS))
        && !is_furniture(mount)
}

/// Whether a FUSE file system is one of those that a PC has anyway.
fn is_furniture(mount: &Mount) -> bool {
    let source = mount.source.as_str();
    match mount.file_system_type.as_str() {
        "fuse.portal" => source == "portal" && is_of_session(mount, "doc"),
        "fuse.gvfsd-fuse" => source == "gvfsd-fuse" && is_of_session(mount, "gvfs"),
        "fuse.lxcfs" => mount.mount_point == "/var/lib/lxcfs",
        "fuse.snapfuse" | "fuse.squashfuse" => is_below(mount, &SNAPS),
        "fuse.fuse-overlayfs" => is_below(mount, &CONTAINERS),
        _ => false,
    }
}

fn is_below(mount: &Mount, folders: &[&str]) -> bool {
    folders
        .iter()
        .any(|folder| mount.mount_point.starts_with(folder))
}

/// Whether it is the folder of that name in a user's `/run/user/1000`.
fn is_of_session(mount: &Mount, folder: &str) -> bool {
    let rest = mount.mount_point.strip_prefix("/run/user/");
    let place = rest.and_then(|rest| rest.split_once('/'));
    place.is_some_and(|(_, name)| name == folder)
}

#[derive(Debug)]
struct Entry {
    volume: Volume,
    origin: Option<Origin>,
    mount_options: String,
    usb: Option<Plugged>,
    /// Paths below `/sys` of what it lies on.
    syspaths: Vec<String>,
    mounts: BTreeSet<(u32, String)>,
    /// It was pulled, and that has been told.
    removed: bool,
}

/// The volumes that are mounted, by device number.
#[derive(Debug, Default)]
pub struct Volumes {
    entries: BTreeMap<DeviceNumber, Entry>,
    started: bool,
}

/// What a mount table has changed.
#[derive(Debug)]
pub struct Change {
    mounts: BTreeMap<DeviceNumber, Vec<Mount>>,
    gone: Vec<DeviceNumber>,
    new: Vec<DeviceNumber>,
}

impl Change {
    /// The mounts about which sysfs is to be asked: one of each new volume.
    pub fn news(&self) -> impl Iterator<Item = &Mount> {
        self.new
            .iter()
            .filter_map(|device| shown(self.mounts.get(device)?))
    }
}

impl Volumes {
    /// What `table` has changed. Nothing is changed here until it is applied.
    #[must_use]
    pub fn compare(&self, table: Table) -> Change {
        let mut mounts: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for mount in table.mounts.into_iter().filter(is_volume) {
            mounts.entry(mount.device).or_default().push(mount);
        }
        // One of the mounts is still the same: it is the same volume.
        let same = |device: &DeviceNumber| {
            let known = self.entries.get(device).map(|entry| &entry.mounts);
            let now = mounts.get(device).map(|mounts| keys(mounts));
            known
                .zip(now)
                .is_some_and(|(known, now)| !known.is_disjoint(&now))
        };
        let gone = self
            .entries
            .keys()
            .filter(|device| !same(device))
            .copied()
            .collect();
        let new = mounts
            .keys()
            .filter(|device| !same(device))
            .copied()
            .collect();
        Change { mounts, gone, new }
    }

    /// Takes a change in, with what is known of the devices of [`Change::news`], and tells it. The first one
    /// is what was there at the start.
    pub fn apply(
        &mut self,
        change: &Change,
        backings: &BTreeMap<DeviceNumber, Backing>,
        now: Timestamp,
    ) -> Vec<Occurrence> {
        let arrival = if self.started {
            Happening::VolumeMounted
        } else {
            Happening::VolumePresent
        };
        self.started = true;
        let mut told = Vec::new();
        for device in &change.gone {
            if let Some(entry) = self.entries.remove(device).filter(|entry| !entry.removed) {
                told.push(entry.occurrence(Happening::VolumeUnmounted, now));
            }
        }
        for (device, mounts) in &change.mounts {
            if let Some(entry) = self.entries.get_mut(device) {
                entry.mounts = keys(mounts);
                let remounted = entry.remount(mounts) && !entry.removed;
                told.extend(remounted.then(|| entry.occurrence(Happening::VolumeRemounted, now)));
            } else if let Some(mount) = shown(mounts) {
                let mut entry = Entry::new(mount, backings.get(device), keys(mounts));
                entry.remount(mounts);
                told.push(entry.occurrence(arrival.clone(), now));
                self.entries.insert(*device, entry);
            }
        }
        told
    }

    /// Something below `/sys` is gone: tells the volumes that lay on it and are still mounted.
    pub fn handle_removed(&mut self, syspath: &str, now: Timestamp) -> Vec<Occurrence> {
        let lay_on = |path: &String| {
            path.strip_prefix(syspath)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let mut told = Vec::new();
        for entry in self.entries.values_mut() {
            if !entry.removed && entry.syspaths.iter().any(lay_on) {
                entry.removed = true;
                told.push(entry.occurrence(Happening::VolumeRemoved, now));
            }
        }
        told
    }

    /// Each volume in one line, for the inventory.
    pub fn items(&self) -> impl Iterator<Item = String> {
        let mounted = self.entries.values().filter(|entry| !entry.removed);
        mounted.map(|entry| {
            let volume = &entry.volume;
            let access = if volume.writable == Some(true) {
                "rw"
            } else {
                "ro"
            };
            format!(
                "volume {} {} {access} {}",
                volume.device_name, volume.file_system_type, volume.mount_name
            )
        })
    }

    /// What the mounted volumes lie on, as paths below `/sys`: what must still be there after lost notices.
    pub fn syspaths(&self) -> impl Iterator<Item = &str> {
        let mounted = self.entries.values().filter(|entry| !entry.removed);
        mounted.flat_map(|entry| entry.syspaths.iter().map(String::as_str))
    }
}

impl Entry {
    fn new(mount: &Mount, backing: Option<&Backing>, mounts: BTreeSet<(u32, String)>) -> Self {
        let backing = backing.cloned().unwrap_or_default();
        let usb = backing.usb.as_ref().map(Plugged::from);
        let mut syspaths: Vec<_> = backing
            .blocks
            .iter()
            .map(|block| block.syspath.clone())
            .collect();
        syspaths.extend(backing.usb.as_ref().map(|usb| usb.syspath.clone()));
        Self {
            volume: volume(mount, &backing),
            origin: backing.origin(Some(mount)),
            mount_options: mount.all_options(),
            usb,
            syspaths,
            mounts,
            removed: false,
        }
    }

    /// Takes over the options of the mounts that are left. Says whether the volume may be written to now and was
    /// not before, or the other way round: by any of them.
    fn remount(&mut self, mounts: &[Mount]) -> bool {
        let writable = mounts.iter().find(|mount| mount.is_writable());
        if self.volume.writable == Some(writable.is_some()) {
            return false;
        }
        let Some(mount) = writable.or_else(|| shown(mounts)) else {
            return false;
        };
        self.volume.writable = Some(writable.is_some());
        self.volume.mount_name.clone_from(&mount.mount_point);
        self.mount_options = mount.all_options();
        true
    }

    fn occurrence(&self, action: Happening, time: Timestamp) -> Occurrence {
        let mut fields = self
            .usb
            .clone()
            .map_or_else(Fields::default, Plugged::fields);
        fields.volume = Some(self.volume.clone());
        fields.lab.mount_options = Some(self.mount_options.clone());
        fields.lab.volume.clone_from(&self.origin);
        Occurrence {
            time,
            action,
            fields,
        }
    }
}

fn keys(mounts: &[Mount]) -> BTreeSet<(u32, String)> {
    mounts
        .iter()
        .map(|mount| (mount.id, mount.mount_point.clone()))
        .collect()
}

/// The mount that stands for its volume: that of the whole file system before one of a part of it.
fn shown(mounts: &[Mount]) -> Option<&Mount> {
    mounts
        .iter()
        .find(|mount| mount.root == "/")
        .or_else(|| mounts.first())
}

#[cfg(test)]
mod tests;
