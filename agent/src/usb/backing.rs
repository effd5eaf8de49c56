//! What lies under a mount: from sysfs and udevd's records to the fields of a volume.
//!
//! The size is that of the block device, as sysfs has it: a mounted file system is never asked, so that none can
//! hang the agent. What nothing says is left out. Labels and serial numbers are foreign text.
//! Sources: Linux `Documentation/ABI/stable/sysfs-block`, udevd's `/run/udev/data` and its `\x20` in names.

use labwatch_contract::event::usb::Volume;

use super::{
    mountinfo::Mount,
    snapshot::{Snapshot, tidy},
};

/// File systems whose data lies on another machine, or on this one's host.
const NETWORK: [&str; 18] = [
    "9p",
    "afs",
    "ceph",
    "cifs",
    "fuse.curlftpfs",
    "fuse.davfs",
    "fuse.glusterfs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.sshfs",
    "fuse.vmhgfs-fuse",
    "glusterfs",
    "ncpfs",
    "nfs",
    "nfs4",
    "smb3",
    "vboxsf",
    "virtiofs",
];

/// Bytes of a sector, as sysfs counts them whatever the disk.
const SECTOR: u64 = 512;

/// What sysfs and udevd say of the device under a mount; empty where there is none, or nothing is readable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backing {
    /// The block device, then those it is made of (the partition under an encrypted volume).
    pub blocks: Vec<Block>,
    /// The USB device that it is on.
    pub usb: Option<Snapshot>,
    /// udevd's record of the block device, as `/run/udev/data/b8:1` has it.
    pub udev: Option<String>,
    /// The name in `/dev/disk/by-label` that leads to the block device.
    pub label_link: Option<String>,
}

/// What sysfs says of a block device. Texts as the files hold them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    /// Its path below `/sys`.
    pub syspath: String,
    /// `size`, in sectors of 512 bytes.
    pub size: Option<String>,
    /// `removable` of its disk: `1` where the medium can be taken out.
    pub removable: Option<String>,
    /// `device/type` of its disk; an SD card's is `SD`.
    pub card: Option<String>,
    /// `serial` or `device/serial` of its disk.
    pub serial: Option<String>,
}

/// A mount and what lies under it, as the events write them.
pub(super) fn volume(mount: &Mount, backing: &Backing) -> Volume {
    let udev = |key| {
        backing
            .udev
            .as_deref()
            .and_then(|record| udev_value(record, key))
    };
    let usb_serial = backing.usb.as_ref().and_then(|usb| usb.serial.as_deref());
    let disk_serial = backing
        .blocks
        .iter()
        .find_map(|block| block.serial.as_deref());
    let serial = usb_serial.or(disk_serial).and_then(tidy);
    let label = udev("ID_FS_LABEL_ENC").or(backing.label_link.as_deref());
    Volume {
        device_name: mount.source.clone(),
        mount_name: mount.mount_point.clone(),
        file_system_type: mount.file_system_type.clone(),
        size: backing.blocks.first().and_then(size),
        removable: removable(backing),
        bus_type: bus_type(mount, backing).map(str::to_owned),
        serial_number: serial.or_else(|| udev("ID_SERIAL_SHORT").and_then(tidy)),
        label: label.and_then(|label| tidy(&decode(label))),
        writable: Some(mount.is_writable()),
    }
}

fn size(block: &Block) -> Option<u64> {
    block
        .size
        .as_deref()?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(SECTOR)
}

/// Whether it can be taken out: what is on USB, a card, a medium in a drive. `None` where nothing says so.
fn removable(backing: &Backing) -> Option<bool> {
    let word =
        |text: &Option<String>, word| text.as_deref().is_some_and(|text| text.trim() == word);
    let out = |block: &Block| word(&block.removable, "1") || word(&block.card, "SD");
    let known = backing.blocks.iter().any(|block| block.removable.is_some());
    let yes = backing.usb.is_some() || backing.blocks.iter().any(out);
    (yes || known).then_some(yes)
}

/// By what it is attached, the first that its block devices' paths tell.
fn bus_type(mount: &Mount, backing: &Backing) -> Option<&'static str> {
    if backing.usb.is_some() {
        return Some("usb");
    }
    if NETWORK.contains(&mount.file_system_type.as_str()) {
        return Some("network");
    }
    let buses: Vec<_> = backing
        .blocks
        .iter()
        .filter_map(|block| bus(&block.syspath))
        .collect();
    buses
        .iter()
        .find(|bus| **bus != "virtual")
        .or(buses.first())
        .copied()
}

fn bus(syspath: &str) -> Option<&'static str> {
    if syspath.starts_with("/devices/virtual/block/") {
        return Some("virtual");
    }
    // "scsi" stands for what has no bus of its own in the path, so it is looked for last.
    let buses = [
        ("usb", "usb"),
        ("mmc", "mmc"),
        ("nvme", "nvme"),
        ("ata", "ata"),
        ("virtio", "virtio"),
        ("host", "scsi"),
    ];
    let numbered = |level: &str, name| {
        let number = level.strip_prefix(name);
        number.is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()))
    };
    let found = buses
        .iter()
        .find(|(name, _)| syspath.split('/').any(|level| numbered(level, name)));
    found.map(|(_, bus)| *bus)
}

/// A value of udevd's record: a line `E:KEY=VALUE`.
fn udev_value<'a>(record: &'a str, key: &str) -> Option<&'a str> {
    let mut lines = record
        .lines()
        .filter_map(|line| line.strip_prefix("E:")?.split_once('='));
    lines.find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// Undoes `\x20`, as udevd writes blanks and foreign bytes in labels and names of links.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        let escaped = match tail {
            [b'x', hex @ ..] if *byte == b'\\' => hex.split_at_checked(2),
            _ => None,
        };
        let decoded = escaped.and_then(|(digits, after)| {
            let digits = std::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 16).ok()?, after))
        });
        let (byte, after) = decoded.unwrap_or((*byte, tail));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::usb::mountinfo;

    #[test]
    fn the_bus_is_told_by_the_path() {
        for (path, expected) in [
            (
                "/devices/pci0/ata3/host2/target2:0:0/2:0:0:0/block/sda/sda2",
                Some("ata"),
            ),
            (
                "/devices/pci0/0000:01:00.0/nvme/nvme0/nvme0n1/nvme0n1p2",
                Some("nvme"),
            ),
            (
                "/devices/platform/x.sdhci/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0",
                Some("mmc"),
            ),
            (
                "/devices/pci0/0000:00:01.0/virtio0/block/vda",
                Some("virtio"),
            ),
            (
                "/devices/pci0/host0/target0:0:0/0:0:0:0/block/sda",
                Some("scsi"),
            ),
            ("/devices/virtual/block/loop0", Some("virtual")),
            (
                "/devices/pci0/usb2/2-1/2-1:1.0/host0/target0:0:0/0:0:0:0/block/sda",
                Some("usb"),
            ),
            ("/devices/hostess/usb/block/x", None),
        ] {
            assert_eq!(bus(path), expected, "{path}");
        }
        let nfs = mountinfo::parse(b"1 2 0:52 / /mnt rw - nfs4 server:/export rw")
            .mounts
            .remove(0);
        assert_eq!(bus_type(&nfs, &Backing::default()), Some("network"));
        let dm = |path: &str| Block {
            syspath: path.into(),
            ..Block::default()
        };
        let over_nvme = Backing {
            blocks: vec![
                dm("/devices/virtual/block/dm-0"),
                dm("/devices/pci0/nvme/nvme0/nvme0n1"),
            ],
            ..Backing::default()
        };
        let ext4 = mountinfo::parse(b"27 1 253:0 / / rw - ext4 /dev/mapper/root rw")
            .mounts
            .remove(0);
        assert_eq!(bus_type(&ext4, &over_nvme), Some("nvme"));
    }

    #[test]
    fn a_card_can_be_taken_out_and_soldered_memory_cannot() {
        let backing = |card: &str| Backing {
            blocks: vec![Block {
                removable: Some("0".into()),
                card: Some(card.into()),
                ..Block::default()
            }],
            ..Backing::default()
        };
        assert_eq!(removable(&backing("SD\n")), Some(true));
        assert_eq!(removable(&backing("MMC\n")), Some(false));
        assert_eq!(removable(&Backing::default()), None);
    }

    #[test]
    fn a_label_is_decoded() {
        assert_eq!(decode(r"MY\x20STICK\xc3\xa4"), "MY STICKä");
        assert_eq!(decode(r"\x2\xzz\"), r"\x2\xzz\");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(label in any::<String>(), record in any::<String>()) {
            let _ = decode(&label);
            let _ = udev_value(&record, "ID_FS_LABEL_ENC");
        }
    }
}
