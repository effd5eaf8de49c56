//! The table of media: from disks and uevents to `media-present`, `-inserted`, `-removed`.
//!
//! It tells what no mount and no USB device tells: a card or disc put into a reader or drive that was there already
//! (the kernel says `change` with `DISK_MEDIA_CHANGE=1`, or an SD slot's disk comes), and a disk that is plugged in
//! by another way than USB (SATA, NVMe, Thunderbolt). A USB disk that comes or goes as a whole is its device's
//! affair. Disks made of others (loop, LUKS, LVM) are none.
//!
//! Invariant: each told arrival is followed by at most one departure. An exchange between two looks of the kernel
//! for a medium of the very same size is not seen. Source: Linux `block/disk-events.c`, `drivers/scsi/sr.c`.

use std::collections::{BTreeMap, BTreeSet};

use labwatch_contract::{
    event::{Action as Happening, Fields, Occurrence},
    time::Timestamp,
};

use super::{
    backing::{Backing, Block, disk},
    snapshot::{Plugged, name},
    uevent::{Action, Uevent},
};

/// Most disks that are kept.
const MAX_DISKS: usize = 1024;

/// The size in bytes that `sr` gives a drive that has never had a disc.
const EMPTY_DRIVE: u64 = 0x1f_ffff * 512;

/// A disk as sysfs shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Its path below `/sys`.
    pub syspath: String,
    /// What is known of it; its first block is the disk itself.
    pub backing: Backing,
}

#[derive(Debug)]
struct Entry {
    /// Size of the medium in bytes; `None` for an empty drive.
    medium: Option<u64>,
    fields: Fields,
    on_usb: bool,
}

/// The disks of this PC, by syspath.
#[derive(Debug, Default)]
pub struct Media {
    entries: BTreeMap<String, Entry>,
}

impl Media {
    /// What was there at the start: each medium that can be taken out and is not on USB as `media-present`.
    pub fn handle_scan(&mut self, disks: &[Disk], now: Timestamp) -> Vec<Occurrence> {
        let mut told = Vec::new();
        for disk in disks {
            let entry = Entry::new(disk);
            let volume = entry.fields.volume.as_ref();
            let loose = volume.is_some_and(|volume| volume.removable == Some(true));
            if entry.medium.is_some() && loose && !entry.on_usb {
                told.push(entry.occurrence(Happening::MediaPresent, now));
            }
            self.insert(disk, entry);
        }
        told
    }

    /// What there is now, after notices were lost: tells what has changed.
    pub fn handle_rescan(&mut self, disks: &[Disk], now: Timestamp) -> Vec<Occurrence> {
        let present: BTreeSet<_> = disks.iter().map(|disk| disk.syspath.as_str()).collect();
        let gone = self
            .entries
            .keys()
            .filter(|path| !present.contains(path.as_str()));
        let gone: Vec<_> = gone.cloned().collect();
        let removed = gone
            .iter()
            .filter_map(|path| self.handle_removed(path, now));
        let mut told: Vec<_> = removed.collect();
        told.extend(disks.iter().flat_map(|disk| self.handle_disk(disk, now)));
        told
    }

    /// Whether a uevent tells of a disk at which sysfs should be asked (a [`Disk`] for [`Self::handle_disk`]).
    #[must_use]
    pub fn wants_disk(&self, uevent: &Uevent) -> bool {
        let says = |key| uevent.get(key) == Some("1");
        is_disk(uevent)
            && match uevent.action {
                Action::Add => !self.entries.contains_key(&uevent.syspath),
                Action::Remove | Action::Bind => false,
                Action::Other => says("DISK_MEDIA_CHANGE") || says("RESIZE"),
            }
    }

    /// Takes in what sysfs says of a disk that has come or whose medium has changed.
    pub fn handle_disk(&mut self, disk: &Disk, now: Timestamp) -> Vec<Occurrence> {
        let new = Entry::new(disk);
        let known = self.entries.get(&disk.syspath);
        let before = known.and_then(|known| known.medium.map(|_| known));
        // What comes together with its USB device is that device's affair.
        let quiet = known.is_none() && new.on_usb;
        let mut told = Vec::new();
        if !quiet && known.and_then(|known| known.medium) != new.medium {
            told.extend(before.map(|before| before.occurrence(Happening::MediaRemoved, now)));
            let came = new.medium.is_some();
            told.extend(came.then(|| new.occurrence(Happening::MediaInserted, now)));
        }
        self.insert(disk, new);
        told
    }

    /// A disk is gone.
    pub fn handle_removed(&mut self, syspath: &str, now: Timestamp) -> Option<Occurrence> {
        let gone = self.entries.remove(syspath)?;
        let tell = gone.medium.is_some() && !gone.on_usb;
        tell.then(|| gone.occurrence(Happening::MediaRemoved, now))
    }

    /// Whether other media are there than the table holds; `present` has each disk's syspath and [`medium`].
    #[must_use]
    pub fn differ(&self, present: &[(String, Option<u64>)]) -> bool {
        let bounded = present.len().min(MAX_DISKS);
        let same = |(path, medium): &(String, Option<u64>)| {
            self.entries
                .get(path)
                .is_some_and(|known| known.medium == *medium)
        };
        bounded != self.entries.len() || bounded < MAX_DISKS && !present.iter().all(same)
    }

    /// The optical drives, by syspath.
    pub fn drives(&self) -> impl Iterator<Item = &str> {
        let paths = self.entries.keys().map(String::as_str);
        paths.filter(|path| is_drive(path))
    }

    /// Each disk with a medium in one line, for the inventory.
    pub fn items(&self) -> impl Iterator<Item = String> {
        self.entries.values().filter_map(|entry| {
            let volume = entry.fields.volume.as_ref()?;
            let serial = volume.serial_number.as_deref().unwrap_or("-");
            Some(format!(
                "media {} {} {serial}",
                volume.device_name, entry.medium?
            ))
        })
    }

    fn insert(&mut self, disk: &Disk, entry: Entry) {
        if self.entries.len() < MAX_DISKS || self.entries.contains_key(&disk.syspath) {
            self.entries.insert(disk.syspath.clone(), entry);
        }
    }
}

impl Entry {
    fn new(of: &Disk) -> Self {
        let backing = &of.backing;
        let plugged = backing.usb.as_ref().map(Plugged::from);
        let mut fields = plugged.map_or_else(Fields::default, Plugged::fields);
        let medium = backing.blocks.first().and_then(medium);
        let mut volume = disk(format!("/dev/{}", name(&of.syspath)), backing);
        volume.size = medium;
        fields.volume = Some(volume);
        fields.lab.volume = backing.origin(None);
        Self {
            medium,
            fields,
            on_usb: backing.usb.is_some(),
        }
    }

    fn occurrence(&self, action: Happening, time: Timestamp) -> Occurrence {
        Occurrence {
            time,
            action,
            fields: self.fields.clone(),
        }
    }
}

/// The size in bytes of the medium in a disk; `None` where it is empty.
#[must_use]
pub fn medium(disk: &Block) -> Option<u64> {
    let bytes = disk.bytes().filter(|bytes| *bytes > 0)?;
    let new_drive = is_drive(&disk.syspath) && bytes == EMPTY_DRIVE;
    (!disk.is_empty && !new_drive).then_some(bytes)
}

/// Whether a path below `/sys` is that of a disk of its own, not one made of others.
#[must_use]
pub fn is_real(syspath: &str) -> bool {
    !syspath.starts_with("/devices/virtual/")
}

/// Whether a disk is an optical drive.
#[must_use]
pub fn is_drive(syspath: &str) -> bool {
    name(syspath).starts_with("sr")
}

fn is_disk(uevent: &Uevent) -> bool {
    uevent.subsystem() == "block" && uevent.device_type() == "disk" && is_real(&uevent.syspath)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::usb::{snapshot::Snapshot, uevent};

    const CARD: &str = "/devices/pci0/mmc_host/mmc0/mmc0:1/block/mmcblk0";
    const DRIVE: &str = "/devices/pci0/ata2/host1/target1:0:0/1:0:0:0/block/sr0";
    const READER: &str = "/devices/pci0/usb2/2-1/2-1:1.0/host0/target0:0:0/0:0:0:0/block/sdb";

    fn now() -> Timestamp {
        Timestamp::from_unix_ms(0).unwrap()
    }

    fn disk(path: &str, sectors: u64) -> Disk {
        let usb = path.contains("/usb").then(|| Snapshot {
            syspath: "/devices/pci0/usb2/2-1".into(),
            ..Snapshot::default()
        });
        Disk {
            syspath: path.into(),
            backing: Backing {
                blocks: vec![Block {
                    syspath: path.into(),
                    size: Some(format!("{sectors}\n")),
                    removable: Some("1".into()),
                    ..Block::default()
                }],
                usb,
                ..Backing::default()
            },
        }
    }

    fn told(occurrences: impl IntoIterator<Item = Occurrence>) -> Vec<String> {
        let line = |occurrence: Occurrence| {
            let volume = occurrence.fields.volume.unwrap();
            let size = volume.size.unwrap_or_default();
            format!("{} {} {size}", occurrence.action, volume.device_name)
        };
        occurrences.into_iter().map(line).collect()
    }

    #[test]
    fn a_card_in_a_slot_is_told_coming_and_going() {
        let mut media = Media::default();
        assert_eq!(media.handle_scan(&[], now()), []);
        let came = media.handle_disk(&disk(CARD, 2), now());
        assert_eq!(told(came), ["media-inserted /dev/mmcblk0 1024"]);
        assert_eq!(media.handle_disk(&disk(CARD, 2), now()), []);
        let went = media.handle_removed(CARD, now());
        assert_eq!(told(went), ["media-removed /dev/mmcblk0 1024"]);
        assert_eq!(media.handle_removed(CARD, now()), None);
    }

    #[test]
    fn a_disc_in_an_empty_drive_is_told() {
        let mut media = Media::default();
        assert_eq!(media.handle_scan(&[disk(DRIVE, 0x1f_ffff)], now()), []);
        let came = media.handle_disk(&disk(DRIVE, 1000), now());
        assert_eq!(told(came), ["media-inserted /dev/sr0 512000"]);
        let other = media.handle_disk(&disk(DRIVE, 2000), now());
        assert_eq!(
            told(other),
            [
                "media-removed /dev/sr0 512000",
                "media-inserted /dev/sr0 1024000"
            ]
        );
        // The size stays; the drive itself says that it is empty.
        let mut out = disk(DRIVE, 2000);
        out.backing.blocks[0].is_empty = true;
        let went = media.handle_disk(&out, now());
        assert_eq!(told(went), ["media-removed /dev/sr0 1024000"]);
    }

    #[test]
    fn a_stick_is_its_devices_affair_and_a_card_in_its_reader_is_not() {
        let mut media = Media::default();
        assert_eq!(media.handle_disk(&disk(READER, 0), now()), []);
        let came = media.handle_disk(&disk(READER, 8), now());
        assert_eq!(came[0].fields.lab.usb.as_ref().unwrap().port, "2-1");
        assert_eq!(told(came), ["media-inserted /dev/sdb 4096"]);
        assert_eq!(media.handle_removed(READER, now()), None);
        assert_eq!(media.handle_disk(&disk(READER, 8), now()), []);
    }

    #[test]
    fn at_the_start_what_can_be_taken_out_is_told() {
        let mut fixed = disk("/devices/pci0/nvme/nvme0/nvme0n1", 8);
        fixed.backing.blocks[0].removable = Some("0".into());
        let all = [disk(CARD, 2), disk(READER, 8), fixed];
        let mut media = Media::default();
        assert_eq!(
            told(media.handle_scan(&all, now())),
            ["media-present /dev/mmcblk0 1024"]
        );
        assert_eq!(media.handle_rescan(&all, now()), []);
        assert_eq!(media.items().count(), 3);
        let rest = media.handle_rescan(&all[1..2], now());
        assert_eq!(
            told(rest),
            [
                "media-removed /dev/mmcblk0 1024",
                "media-removed /dev/nvme0n1 4096"
            ]
        );
    }

    #[test]
    fn sysfs_is_asked_only_when_a_medium_may_have_changed() {
        let mut media = Media::default();
        let wants = |media: &Media, header: &str, more: &str| {
            let message = format!("{header}\0SUBSYSTEM=block\0DEVTYPE=disk\0{more}\0");
            media.wants_disk(&uevent::parse(message.as_bytes()).unwrap())
        };
        assert!(wants(&media, &format!("add@{DRIVE}"), ""));
        media.handle_disk(&disk(DRIVE, 8), now());
        assert!(!wants(&media, &format!("add@{DRIVE}"), ""));
        assert!(!wants(&media, &format!("change@{DRIVE}"), ""));
        assert!(wants(
            &media,
            &format!("change@{DRIVE}"),
            "DISK_MEDIA_CHANGE=1"
        ));
        assert!(!wants(&media, "add@/devices/virtual/block/loop0", ""));
    }

    proptest! {
        #[test]
        fn arrivals_and_departures_alternate(steps in proptest::collection::vec((0..3_u8, 0..3_u64), 0..40)) {
            let mut media = Media::default();
            let mut all = Vec::new();
            for (what, sectors) in steps {
                match what {
                    0 => all.extend(media.handle_disk(&disk(DRIVE, sectors), now())),
                    1 => all.extend(media.handle_removed(DRIVE, now())),
                    _ => all.extend(media.handle_rescan(&[disk(DRIVE, sectors)], now())),
                }
            }
            for (at, occurrence) in all.iter().enumerate() {
                prop_assert_eq!(occurrence.action == Happening::MediaInserted, at % 2 == 0);
            }
        }
    }
}
