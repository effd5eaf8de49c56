//! What is known of one USB device: from sysfs or a uevent to the fields of an event.
//!
//! Invariant: ids are four lower-case hex digits or nothing, foreign texts are cut to [`MAX_TEXT`] and otherwise
//! left as they are: who shows them makes them harmless. What sysfs does not say is left out; only a name that the
//! device does not give is taken from the system's list of USB ids.
//! Source: Linux `Documentation/ABI/testing/sysfs-bus-usb`.

use std::collections::BTreeSet;

use labwatch_contract::{
    chain::Digest,
    event::{
        Fields, LabFields,
        usb::{Device, DeviceKind, Maker, UsbPort},
    },
};

use super::{
    descriptors::{self, Interface, Outline},
    names::Names,
    uevent::Uevent,
};

/// Longest foreign text that is kept, in bytes: a USB string has at most 126 UTF-16 units.
pub const MAX_TEXT: usize = 378;

/// What sysfs says of one device. Texts are foreign, as the files hold them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Its path below `/sys`, as `/devices/pci0000:00/0000:00:04.0/usb2/2-1`.
    pub syspath: String,
    /// `idVendor`, hex.
    pub vendor_id: String,
    /// `idProduct`, hex.
    pub product_id: String,
    /// `manufacturer`.
    pub manufacturer: Option<String>,
    /// `product`.
    pub product: Option<String>,
    /// `serial`.
    pub serial: Option<String>,
    /// `devnum`.
    pub devnum: Option<String>,
    /// `speed` in Mbit/s: `1.5`, `12`, `480` …
    pub speed: Option<String>,
    /// `authorized`: `0` or `1`.
    pub authorized: Option<String>,
    /// `removable`: what the firmware says of the port: `removable`, `fixed`, `unknown`.
    pub removable: Option<String>,
    /// `descriptors`: the device's and all configurations', raw.
    pub descriptors: Vec<u8>,
    /// What the system's list of USB ids calls it; asked only where the device gives no name.
    pub listed: Names,
    /// What the kernel's drivers would make of it; asked only where a class says nothing.
    pub driven: BTreeSet<DeviceKind>,
}

impl Snapshot {
    /// What a uevent alone tells, when sysfs has nothing more to say: the numbers in `PRODUCT=46f4/1/0`.
    #[must_use]
    pub fn from_uevent(uevent: &Uevent) -> Self {
        let mut ids = uevent.get("PRODUCT").unwrap_or_default().split('/');
        let mut id = || ids.next().unwrap_or_default().to_owned();
        Self {
            syspath: uevent.syspath.clone(),
            vendor_id: id(),
            product_id: id(),
            devnum: uevent.get("DEVNUM").map(str::to_owned),
            ..Self::default()
        }
    }
}

/// A device and where it is plugged in, as the events write them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plugged {
    /// ECS `device`.
    pub device: Device,
    /// `lab.usb`.
    pub port: UsbPort,
}

impl From<&Snapshot> for Plugged {
    fn from(snapshot: &Snapshot) -> Self {
        let maker = |id: &str, own: &Option<String>, listed: &Option<String>| Maker {
            id: four_digits(id),
            name: own.as_deref().and_then(tidy).or_else(|| listed.clone()),
        };
        let Snapshot {
            vendor_id,
            product_id,
            listed,
            descriptors,
            ..
        } = snapshot;
        let word = |text: &Option<String>| text.as_deref().map(|word| word.trim().to_owned());
        let mut plugged = Self {
            device: Device {
                vendor: maker(vendor_id, &snapshot.manufacturer, &listed.vendor),
                product: maker(product_id, &snapshot.product, &listed.product),
                serial_number: snapshot.serial.as_deref().and_then(tidy),
                kinds: Vec::new(),
            },
            port: UsbPort {
                port: name(&snapshot.syspath).to_owned(),
                speed_mbps: number(snapshot.speed.as_deref())
                    .filter(|speed: &f64| speed.is_finite()),
                authorized: word(&snapshot.authorized).map(|word| word != "0"),
                removable: word(&snapshot.removable).and_then(|word| match word.as_str() {
                    "removable" => Some(true),
                    "fixed" => Some(false),
                    _ => None,
                }),
                descriptors_sha256: (!descriptors.is_empty()).then(|| Digest::of(descriptors)),
                ..UsbPort::default()
            },
        };
        plugged.set_outline(&descriptors::outline(descriptors), &snapshot.driven);
        plugged
    }
}

impl Plugged {
    /// Takes over its own class (`TYPE=9/0/1` of its uevent), where sysfs said nothing.
    pub(super) fn set_class(&mut self, uevent: &Uevent) {
        let class = uevent.get("TYPE").and_then(Interface::from_uevent);
        let outline = Outline {
            interfaces: class.into_iter().collect(),
            ..Outline::default()
        };
        self.device.kinds = descriptors::kinds(&outline, &BTreeSet::new());
    }

    /// Takes over what its interfaces' uevents said, where sysfs said nothing.
    pub(super) fn set_interfaces(&mut self, interfaces: Vec<Interface>) {
        let outline = Outline {
            interfaces,
            ..Outline::default()
        };
        self.set_outline(&outline, &BTreeSet::new());
    }

    fn set_outline(&mut self, outline: &Outline, driven: &BTreeSet<DeviceKind>) {
        self.device.kinds = descriptors::kinds(outline, driven);
        self.port.composite = composite(&self.device.kinds);
        self.port.interfaces = outline.interfaces.iter().map(ToString::to_string).collect();
    }

    /// Its part of an event.
    #[must_use]
    pub fn fields(self) -> Fields {
        Fields {
            device: Some(self.device),
            lab: LabFields {
                usb: Some(self.port),
                ..LabFields::default()
            },
            ..Fields::default()
        }
    }
}

/// Several kinds in words: `storage and keyboard`.
fn composite(kinds: &[DeviceKind]) -> Option<String> {
    let (last, others) = kinds
        .split_last()
        .filter(|(_, others)| !others.is_empty())?;
    let others: Vec<_> = others.iter().map(ToString::to_string).collect();
    Some(format!("{} and {last}", others.join(", ")))
}

/// The syspath of the USB device that `syspath` lies in or is, the innermost; `None` outside of USB.
#[must_use]
pub fn usb_ancestor(syspath: &str) -> Option<&str> {
    let mut path = syspath;
    while let Some((parent, level)) = path.rsplit_once('/') {
        if is_port(level) {
            return Some(path);
        }
        path = parent;
    }
    None
}

/// A foreign text without blanks around it, cut to a bounded length; `None` where nothing remains.
pub(super) fn tidy(text: &str) -> Option<String> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    let end = text.floor_char_boundary(MAX_TEXT);
    text.get(..end)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

/// The last level of a path below `/sys`.
pub(super) fn name(syspath: &str) -> &str {
    syspath.rsplit('/').next().unwrap_or_default()
}

/// `2-1`, `1-2.3`: a bus and the ports down to a device.
fn is_port(level: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    level
        .split_once('-')
        .is_some_and(|(bus, ports)| digits(bus) && ports.split('.').all(digits))
}

/// A number as sysfs and uevents write it.
pub(super) fn number<T: std::str::FromStr>(text: Option<&str>) -> Option<T> {
    text?.trim().parse().ok()
}

/// Four lower-case hex digits; nothing where it is no such number.
fn four_digits(hex: &str) -> String {
    u16::from_str_radix(hex.trim(), 16)
        .map(|id| format!("{id:04x}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usb_device_of_a_block_device_is_found_by_its_path() {
        let disk = "/devices/pci0000:00/0000:00:04.0/usb1/1-2/1-2.3/1-2.3:1.0/host0/target0:0:0/0:0:0:0/block/sda";
        let device = "/devices/pci0000:00/0000:00:04.0/usb1/1-2/1-2.3";
        assert_eq!(usb_ancestor(disk), Some(device));
        assert_eq!(usb_ancestor(device), Some(device));
        assert_eq!(usb_ancestor("/devices/virtual/block/dm-0"), None);
        assert_eq!(usb_ancestor(""), None);
    }

    #[test]
    fn foreign_text_is_cut_at_a_character() {
        assert_eq!(tidy(" \0\n"), None);
        let long = "ä".repeat(1000);
        assert_eq!(tidy(&long).unwrap().len(), MAX_TEXT);
    }

    #[test]
    fn numbers_that_are_none_are_left_out() {
        let snapshot = Snapshot {
            vendor_id: "46F4".into(),
            product_id: "1 and more".into(),
            speed: Some("nan".into()),
            ..Snapshot::default()
        };
        let plugged = Plugged::from(&snapshot);
        assert_eq!(plugged.device.vendor.id, "46f4");
        assert_eq!(plugged.device.product.id, "");
        assert_eq!(plugged.port.speed_mbps, None);
        assert_eq!(plugged.port.authorized, None);
    }
}
