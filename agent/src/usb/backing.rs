//! What lies under a mount, or a disk that is not mounted: from sysfs and udevd's records to the fields of a volume.
//!
//! The size is that of the block device, as sysfs has it; only a file system without one (network, FUSE) is asked
//! itself. What nothing says is left out. Labels and serial numbers are foreign text.
//! Sources: Linux `Documentation/ABI/stable/sysfs-block`, udevd's `/run/udev/data` and its `\x20` in names.

use labwatch_contract::event::usb::{Origin, Volume};

use super::{
    mountinfo::Mount,
    remote,
    snapshot::{Snapshot, name, number, tidy},
};

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
    /// The name in `/dev/disk/by-uuid` that leads to the block device.
    pub uuid_link: Option<String>,
    /// The size in bytes that a file system without a block device gives.
    pub capacity: Option<u64>,
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
    /// `dm/uuid`, as `CRYPT-LUKS2-…` or `LVM-…`.
    pub mapping: Option<String>,
    /// `loop/backing_file`: the image behind a loop device.
    pub image: Option<String>,
    /// The drive says that no disc is in it, whatever size it shows.
    pub is_empty: bool,
    /// Whether it is a part of a disk.
    pub is_partition: bool,
    /// The firmware says that people reach the port it hangs on (a Thunderbolt disk).
    pub is_external: bool,
}

impl Block {
    /// Its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        let sectors: u64 = number(self.size.as_deref())?;
        sectors.checked_mul(SECTOR)
    }

    /// What it is, and its name: `luks dm-0`, `partition sdb1`, `loop loop3 /home/ada/image`.
    fn layer(&self) -> String {
        let own = name(&self.syspath);
        let mapping = self.mapping.as_deref().unwrap_or_default().trim();
        let starts = |prefix| mapping.starts_with(prefix);
        let kind = match own {
            _ if self.is_partition => "partition",
            _ if starts("CRYPT-LUKS") => "luks",
            _ if starts("CRYPT-") => "crypt",
            _ if starts("LVM-") => "lvm",
            _ if own.starts_with("dm-") => "mapping",
            _ if own.starts_with("md") => "raid",
            _ if own.starts_with("loop") => "loop",
            _ => "disk",
        };
        let image = self.image.as_deref().and_then(tidy);
        let image = image.map_or_else(String::new, |image| format!(" {image}"));
        format!("{kind} {own}{image}")
    }
}

impl Backing {
    /// What udevd's record of the block device says under `key`.
    fn udev(&self, key: &str) -> Option<&str> {
        self.udev
            .as_deref()
            .and_then(|record| udev_value(record, key))
    }

    /// Which file system it is and what it is made of; `None` where nothing says anything.
    pub(super) fn origin(&self, mount: Option<&Mount>) -> Option<Origin> {
        let uuid = self.udev("ID_FS_UUID_ENC").or(self.uuid_link.as_deref());
        let origin = Origin {
            uuid: uuid.and_then(|uuid| tidy(&decode(uuid))),
            server: mount.and_then(remote::server),
            layers: self.blocks.iter().map(Block::layer).collect(),
        };
        (origin != Origin::default()).then_some(origin)
    }
}

/// A mount and what lies under it, as the events write them.
pub(super) fn volume(mount: &Mount, backing: &Backing) -> Volume {
    let bus = if remote::is_remote(mount) {
        Some("network")
    } else {
        remote::bus(mount)
    };
    let mut volume = disk(mount.source.clone(), backing);
    volume.mount_name.clone_from(&mount.mount_point);
    volume.file_system_type.clone_from(&mount.file_system_type);
    volume.size = volume.size.or(backing.capacity);
    volume.bus_type = volume.bus_type.or(bus.map(str::to_owned));
    volume.writable = Some(mount.is_writable());
    volume
}

/// A disk that need not be mounted, as the events write it.
pub(super) fn disk(device_name: String, backing: &Backing) -> Volume {
    let udev = |key| backing.udev(key);
    let usb_serial = backing.usb.as_ref().and_then(|usb| usb.serial.as_deref());
    let disk_serial = backing
        .blocks
        .iter()
        .find_map(|block| block.serial.as_deref());
    let serial = usb_serial.or(disk_serial).and_then(tidy);
    let label = udev("ID_FS_LABEL_ENC").or(backing.label_link.as_deref());
    Volume {
        device_name,
        size: backing.blocks.first().and_then(Block::bytes),
        removable: removable(backing),
        bus_type: bus_type(backing).map(str::to_owned),
        serial_number: serial.or_else(|| udev("ID_SERIAL_SHORT").and_then(tidy)),
        label: label.and_then(|label| tidy(&decode(label))),
        ..Volume::default()
    }
}

/// Whether it can be taken out: what is on USB, a card, a medium in a drive. `None` where nothing says so.
fn removable(backing: &Backing) -> Option<bool> {
    let word =
        |text: &Option<String>, word| text.as_deref().is_some_and(|text| text.trim() == word);
    let out =
        |block: &Block| word(&block.removable, "1") || word(&block.card, "SD") || block.is_external;
    let known = backing.blocks.iter().any(|block| block.removable.is_some());
    let yes = backing.usb.is_some() || backing.blocks.iter().any(out);
    (yes || known).then_some(yes)
}

/// By what it is attached, the first that its block devices' paths tell.
fn bus_type(backing: &Backing) -> Option<&'static str> {
    if backing.usb.is_some() {
        return Some("usb");
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
        assert_eq!(bus_type(&over_nvme), Some("nvme"));
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
    fn the_layers_are_named_from_the_mount_down() {
        let block = |path: &str, mapping: Option<&str>| Block {
            syspath: path.into(),
            mapping: mapping.map(str::to_owned),
            is_partition: path.ends_with("sdb1"),
            ..Block::default()
        };
        let backing = Backing {
            blocks: vec![
                block("/devices/virtual/block/dm-1", Some("LVM-x1\n")),
                block(
                    "/devices/virtual/block/dm-0",
                    Some("CRYPT-LUKS2-5d0f-safe\n"),
                ),
                block("/devices/pci0/block/sdb/sdb1", None),
                block("/devices/pci0/block/sdb", None),
            ],
            ..Backing::default()
        };
        assert_eq!(
            backing.origin(None).unwrap().layers,
            ["lvm dm-1", "luks dm-0", "partition sdb1", "disk sdb"]
        );
        assert_eq!(Backing::default().origin(None), None);
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
