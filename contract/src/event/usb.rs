//! Topic `usb`: devices and volumes (ECS `device`, `volume`).

use std::fmt;

use serde::{Deserialize, Serialize};

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
}

/// A mounted file system (ECS `volume`). Label and serial number are foreign text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// The block device: `/dev/sdb1`; a network file system's source.
    pub device_name: String,
    /// The mount point.
    pub mount_name: String,
    /// `vfat`, `exfat`, `ext4` …
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
