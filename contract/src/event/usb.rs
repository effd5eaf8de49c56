//! Topic `usb`: devices and volumes (ECS `device`, `volume`).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::chain::Digest;

/// A USB device, as it describes itself. Every text is foreign and may hold anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Device {
    /// Who made it.
    pub vendor: Maker,
    /// What it is.
    pub product: Maker,
    /// The serial number it gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// What it can do; several for a composite device.
    #[serde(rename = "type")]
    pub kinds: Vec<DeviceKind>,
}

/// The number and name of a vendor or product.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Maker {
    /// Four lower-case hex digits.
    pub id: String,
    /// The name, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What a device can do, by its interface classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// Mass storage.
    Storage,
    /// MTP or PTP.
    Phone,
    /// A network card.
    Network,
    /// Types keys.
    Keyboard,
    /// Moves the pointer.
    Mouse,
    /// A Bluetooth adapter.
    Bluetooth,
    /// Sound.
    Audio,
    /// A camera.
    Video,
    /// A printer.
    Printer,
    /// A hub.
    Hub,
    /// Anything else, also what another version names.
    #[serde(other)]
    Other,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Storage => "storage",
            Self::Phone => "phone",
            Self::Network => "network",
            Self::Keyboard => "keyboard",
            Self::Mouse => "mouse",
            Self::Bluetooth => "bluetooth",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Printer => "printer",
            Self::Hub => "hub",
            Self::Other => "other",
        })
    }
}

/// Where and how a device is plugged in (`lab.usb`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsbPort {
    /// Bus and ports down to it: `1-2.3`.
    pub port: String,
    /// Class, subclass and protocol of each interface, hex: `08:06:50`.
    pub interfaces: Vec<String>,
    /// Speed in Mbit/s: 1.5, 12, 480, 5000 …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed_mbps: Option<f64>,
    /// Whether the kernel lets it work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorized: Option<bool>,
    /// Whether its port is one that people reach; `None` where the firmware does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removable: Option<bool>,
    /// The digest of its descriptors: the same model has the same, with the same serial number it is the same device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptors_sha256: Option<Digest>,
    /// Where it is several things at once, these in words: `storage and keyboard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub composite: Option<String>,
}

/// Which file system a volume is and what lies under it (`lab.volume`). Texts are foreign.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// UUID of the file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// The machine that has the data, where it comes by network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The block devices from the mounted one down: `luks dm-0`, `partition sdb1`, `disk sdb`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
}

/// Everything that is there at one moment (`lab.inventory`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The digest of the items, sorted, each followed by a line feed. It changes with them and with nothing else.
    pub sha256: Digest,
    /// `device 2-1 0951:1666 storage E0D5 <digest of its descriptors>`, `media /dev/sdb 64000000`, `volume 8:17 /dev/sdb1 /media/x`.
    /// No control characters in them.
    pub items: Vec<String>,
    /// How many more there are than fit; the digest is over all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: usize,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A mounted file system (ECS `volume`). Label and serial number are foreign text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// The block device: `/dev/sdb1`; a network file system's source.
    pub device_name: String,
    /// The mount point; empty for a medium that is not mounted.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mount_name: String,
    /// `vfat`, `exfat`, `ext4` …; empty for a medium that is not mounted.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file_system_type: String,
    /// Size of the file system in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Whether the medium or its device can be taken out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removable: Option<bool>,
    /// `usb`, `mmc`, `ata`, `nvme`, `virtual`, `network` …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bus_type: Option<String>,
    /// Serial number of the device it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// Label of the file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Whether it is mounted for writing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writable: Option<bool>,
}
