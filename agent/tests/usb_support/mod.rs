//! Recorded scenes of real hot-plug (`fixtures/uevents`), and what the tests of USB say of occurrences.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::disallowed_methods,
    reason = "a test reads its files, and fails by panicking"
)]

pub mod live;

use std::{fs, path::Path};

use labwatch_agent::usb::{
    snapshot::Snapshot,
    uevent::{self, Uevent},
};
use labwatch_contract::event::Occurrence;
use serde_json::Value;

/// One recorded scene.
pub struct Scene {
    /// The kernel's messages, in their order.
    pub messages: Vec<Vec<u8>>,
    /// The USB devices that sysfs held when it was over, root hubs included.
    pub devices: Vec<Snapshot>,
}

impl Scene {
    /// Reads `fixtures/uevents/NAME.json`.
    pub fn read(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/uevents/{name}.json"));
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let scene: Value = serde_json::from_str(&text).unwrap();
        let list = |key: &str| scene[key].as_array().cloned().unwrap_or_default();
        let sysfs = if scene["sysfs"].is_array() {
            "sysfs"
        } else {
            "sysfs_after"
        };
        Self {
            messages: list("uevents")
                .iter()
                .map(|message| bytes(&message["hex"]))
                .collect(),
            devices: list(sysfs).iter().filter_map(snapshot).collect(),
        }
    }

    /// The messages as values.
    pub fn uevents(&self) -> Vec<Uevent> {
        self.messages
            .iter()
            .map(|message| uevent::parse(message).unwrap())
            .collect()
    }

    /// What sysfs held at a path when the scene was over.
    pub fn snapshot(&self, syspath: &str) -> Option<&Snapshot> {
        self.devices.iter().find(|device| device.syspath == syspath)
    }
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// An entry of the recorded sysfs; `None` for an interface.
fn snapshot(entry: &Value) -> Option<Snapshot> {
    let text = |key: &str| entry[key].as_str().map(str::to_owned);
    Some(Snapshot {
        syspath: text("path")?.strip_prefix("/sys")?.to_owned(),
        vendor_id: text("idVendor")?,
        product_id: text("idProduct")?,
        manufacturer: text("manufacturer"),
        product: text("product"),
        serial: text("serial"),
        devnum: text("devnum"),
        speed: text("speed"),
        authorized: text("authorized"),
        descriptors: bytes(&entry["descriptors"]),
        ..Snapshot::default()
    })
}

/// An occurrence in one line: `device-connected 2-1 46f4:0001 storage 08:06:50 LW0001`.
pub fn line(occurrence: &Occurrence) -> String {
    let fields = &occurrence.fields;
    let mut words = vec![occurrence.action.to_string()];
    if let Some(volume) = &fields.volume {
        words.extend([volume.device_name.clone(), volume.mount_name.clone()]);
        return words.join(" ");
    }
    if let (Some(device), Some(port)) = (&fields.device, &fields.lab.usb) {
        let kinds: Vec<_> = device.kinds.iter().map(ToString::to_string).collect();
        words.push(port.port.clone());
        words.push(format!("{}:{}", device.vendor.id, device.product.id));
        words.push(kinds.join("+"));
        words.push(port.interfaces.join(","));
        words.extend(device.serial_number.clone());
    }
    words.join(" ")
}

/// Each occurrence in one line.
pub fn lines(occurrences: &[Occurrence]) -> Vec<String> {
    occurrences.iter().map(line).collect()
}

/// A device's bytes as sysfs has them: its descriptor, then each configuration (divided by `|`) with its interfaces
/// (`08:06:50`, divided by blanks).
pub fn descriptors(ids: &str, interfaces: &str) -> Vec<u8> {
    let number = |hex: &str| u16::from_str_radix(hex, 16).unwrap().to_le_bytes();
    let (vendor, product) = ids.split_once(':').unwrap();
    let (vendor, product) = (number(vendor), number(product));
    let configurations: Vec<_> = interfaces.split('|').collect();
    let count = configurations.len() as u8;
    let mut bytes = vec![18, 1, 0, 2, 0, 0, 0, 64];
    bytes.extend([
        vendor[0], vendor[1], product[0], product[1], 0, 1, 1, 2, 3, count,
    ]);
    for (value, configuration) in (1..).zip(configurations) {
        let classes: Vec<_> = configuration.split_whitespace().collect();
        let length = 9 + 9 * classes.len() as u8;
        bytes.extend([9, 2, length, 0, classes.len() as u8, value, 0, 0x80, 50]);
        for (number, class) in (0..).zip(classes) {
            let class: Vec<_> = class
                .split(':')
                .map(|hex| u8::from_str_radix(hex, 16).unwrap())
                .collect();
            bytes.extend([9, 4, number, 0, 0, class[0], class[1], class[2], 0]);
        }
    }
    bytes
}
