//! Rules on topic `usb`: devices and volumes that come and go.
//!
//! A device is judged by what it can do. Storage that also types keys is the mark of a keystroke injector and
//! gravest; one that types and is a network card, a phone or Bluetooth does more than a keyboard should. Pointers and
//! hubs are good to know. What was there at the start is told, never an alarm by itself ([`brought`] says what is one
//! when the exam begins); hubs are part of any PC and not told then.

use std::collections::BTreeSet;

use labwatch_contract::{
    alert::Severity,
    event::{
        Action, Fields, Occurrence,
        usb::{Device, DeviceKind, UsbPort, Volume},
    },
    text::harmless,
};

use super::{Incomplete, Rule, Verdict, because};

const INJECTOR: Rule = Rule::lasting("usb", "usb-storage-keyboard", "USB storage that types keys");
const COMPOSITE: Rule = Rule::lasting(
    "usb",
    "usb-composite",
    "USB device that types keys and does more",
);
const STORAGE: Rule = Rule::lasting("usb", "usb-storage", "USB storage connected");
const PHONE: Rule = Rule::lasting("usb", "usb-phone", "Phone connected");
const NETWORK: Rule = Rule::lasting("usb", "usb-network", "USB network card connected");
const BLUETOOTH: Rule = Rule::lasting("usb", "usb-bluetooth", "Bluetooth adapter connected");
const KEYBOARD: Rule = Rule::lasting("usb", "usb-keyboard", "Keyboard connected");
const POINTER: Rule = Rule::lasting("usb", "usb-mouse", "Mouse connected");
const HUB: Rule = Rule::lasting("usb", "usb-hub", "USB hub connected");
const OTHER: Rule = Rule::lasting("usb", "usb-other", "USB device connected");
const PRESENT: Rule = Rule::lasting("usb", "usb-present", "USB device there at the start");
const DISCONNECTED: Rule = Rule::ending("usb", "usb-disconnected", "USB device disconnected");
const NOTICES_LOST: Rule = Rule::new("usb-watch", "usb-events-lost", "USB notices lost");
const MOUNTED: Rule = Rule::lasting("volume", "volume-mounted", "Volume mounted");
const READ_ONLY: Rule = Rule::lasting("volume", "volume-read-only", "Volume mounted read-only");
const SHARE: Rule = Rule::lasting("volume", "network-share", "Network share mounted");
const VOLUME_PRESENT: Rule = Rule::lasting("volume", "volume-present", "Volume there at the start");
const UNMOUNTED: Rule = Rule::ending("volume", "volume-unmounted", "Volume unmounted");
const REMOUNTED: Rule = Rule::lasting("volume", "volume-remounted", "Volume mounted anew");
const PULLED: Rule = Rule::ending("volume", "volume-removed", "Volume pulled while mounted");
const MEDIA: Rule = Rule::lasting("media", "media-inserted", "Medium inserted");
const MEDIA_PRESENT: Rule = Rule::lasting("media", "media-present", "Medium there at the start");
const MEDIA_GONE: Rule = Rule::ending("media", "media-removed", "Medium taken out");
const DROPPED: Rule = Rule::new("journal-gap", "events-dropped", "Events never recorded");

pub(super) const RULES: &[Rule] = &[
    INJECTOR,
    COMPOSITE,
    STORAGE,
    PHONE,
    NETWORK,
    BLUETOOTH,
    KEYBOARD,
    POINTER,
    HUB,
    OTHER,
    PRESENT,
    DISCONNECTED,
    NOTICES_LOST,
    MOUNTED,
    READ_ONLY,
    SHARE,
    VOLUME_PRESENT,
    UNMOUNTED,
    REMOUNTED,
    PULLED,
    MEDIA,
    MEDIA_PRESENT,
    MEDIA_GONE,
    DROPPED,
];

/// What tells what was there at the start.
pub(super) const AT_START: [Rule; 3] = [PRESENT, VOLUME_PRESENT, MEDIA_PRESENT];

pub(super) fn judge(occurrence: &Occurrence) -> Result<Option<Verdict>, Incomplete> {
    let fields = &occurrence.fields;
    Ok(Some(match occurrence.action {
        Action::DevicePresent => return present(fields),
        Action::DeviceConnected => connected(fields)?,
        Action::DeviceDisconnected => device_verdict(
            fields,
            DISCONNECTED,
            Severity::Info,
            "usb device disconnected",
        )?,
        Action::EventsLost => events_lost(fields),
        Action::EventsDropped => events_dropped(fields),
        _ => return of_volume(&occurrence.action, fields),
    }))
}

/// What volumes and media do; nothing of other actions.
fn of_volume(action: &Action, fields: &Fields) -> Result<Option<Verdict>, Incomplete> {
    let (rule, severity, happened) = match action {
        Action::VolumePresent => (VOLUME_PRESENT, Severity::Info, "volume there at the start"),
        Action::VolumeMounted => mounted(volume(fields)?),
        Action::VolumeRemounted => (REMOUNTED, Severity::Warning, "volume mounted anew"),
        Action::VolumeUnmounted => (UNMOUNTED, Severity::Info, "volume unmounted"),
        Action::VolumeRemoved => (PULLED, Severity::Warning, "volume pulled without unmount"),
        Action::MediaPresent => (MEDIA_PRESENT, Severity::Info, "medium there at the start"),
        Action::MediaInserted => (MEDIA, Severity::Warning, "medium inserted"),
        Action::MediaRemoved => (MEDIA_GONE, Severity::Info, "medium taken out"),
        _ => return Ok(None),
    };
    volume_verdict(fields, rule, severity, happened).map(Some)
}

fn present(fields: &Fields) -> Result<Option<Verdict>, Incomplete> {
    if kinds(device(fields)?).iter().eq([&DeviceKind::Hub]) {
        return Ok(None);
    }
    device_verdict(
        fields,
        PRESENT,
        Severity::Info,
        "usb device there at the start",
    )
    .map(Some)
}

fn connected(fields: &Fields) -> Result<Verdict, Incomplete> {
    let (rule, severity) = rule_for(&kinds(device(fields)?));
    device_verdict(fields, rule, severity, "usb device connected")
}

/// The first kind that matters decides.
fn rule_for(kinds: &BTreeSet<DeviceKind>) -> (Rule, Severity) {
    let can = |kind| kinds.contains(&kind);
    if can(DeviceKind::Storage) && can(DeviceKind::Keyboard) {
        return (INJECTOR, Severity::Critical);
    }
    let does_more = [
        DeviceKind::Network,
        DeviceKind::Phone,
        DeviceKind::Bluetooth,
    ];
    if can(DeviceKind::Keyboard) && does_more.into_iter().any(can) {
        return (COMPOSITE, Severity::Warning);
    }
    let harmless_ones = [(DeviceKind::Mouse, POINTER), (DeviceKind::Hub, HUB)];
    for (kind, rule) in harmless_ones {
        if kinds.iter().eq([&kind]) {
            return (rule, Severity::Info);
        }
    }
    let rules = [
        (DeviceKind::Storage, STORAGE),
        (DeviceKind::Phone, PHONE),
        (DeviceKind::Network, NETWORK),
        (DeviceKind::Bluetooth, BLUETOOTH),
        (DeviceKind::Keyboard, KEYBOARD),
    ];
    let rule = rules.into_iter().find(|(kind, _)| can(*kind));
    (rule.map_or(OTHER, |(_, rule)| rule), Severity::Warning)
}

/// What was there at the start and can have been brought along, as grave as if it came now. Nothing of what a PC
/// is built with: keyboards, Bluetooth, cameras, its own disks, the lab's shares.
pub(super) fn brought(occurrence: &Occurrence) -> Option<Verdict> {
    let fields = &occurrence.fields;
    let mut verdict = judge(occurrence).ok()??;
    (verdict.rule, verdict.severity) = match occurrence.action {
        Action::DevicePresent => rule_for(&kinds(device(fields).ok()?)),
        Action::VolumePresent => {
            let volume = volume(fields).ok()?;
            let is_loose =
                volume.removable == Some(true) || volume.bus_type.as_deref() == Some("usb");
            let (rule, severity, _) = mounted(volume);
            is_loose.then_some((rule, severity))?
        }
        Action::MediaPresent => (MEDIA, Severity::Warning),
        _ => return None,
    };
    let parts = [BLUETOOTH, KEYBOARD, POINTER, HUB, OTHER];
    (!parts.contains(&verdict.rule)).then_some(verdict)
}

fn device(fields: &Fields) -> Result<&Device, Incomplete> {
    fields.device.as_ref().ok_or(Incomplete("device"))
}

/// Each kind once; a foreign list may be long.
fn kinds(device: &Device) -> BTreeSet<DeviceKind> {
    device.kinds.iter().copied().collect()
}

fn device_verdict(
    fields: &Fields,
    rule: Rule,
    severity: Severity,
    happened: &str,
) -> Result<Verdict, Incomplete> {
    let device = device(fields)?;
    let serial = device.serial_number.as_deref().unwrap_or_default();
    let UsbPort {
        port, authorized, ..
    } = fields.lab.usb.clone().unwrap_or_default();
    let mut parts = vec![kinds_in_words(&kinds(device)), device_name(device)];
    if !serial.is_empty() {
        parts.push(format!("serial {}", harmless(serial)));
    }
    if !port.is_empty() {
        parts.push(format!("port {}", harmless(&port)));
    }
    if authorized == Some(false) {
        parts.push("which the PC does not let work".into());
    }
    let object = format!(
        "port {port} device {}:{} serial {serial}",
        device.vendor.id, device.product.id
    );
    Ok(Verdict {
        rule,
        severity,
        object: harmless(&object),
        text: format!("{happened}: {}", parts.join(", ")),
    })
}

fn kinds_in_words(kinds: &BTreeSet<DeviceKind>) -> String {
    let words: Vec<&str> = kinds.iter().map(|kind| in_words(*kind)).collect();
    match words.as_slice() {
        [] => "unknown kind".into(),
        [one] => (*one).into(),
        [first @ .., last] => format!("{} and {last} in one device", first.join(", ")),
    }
}

fn in_words(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Storage => "storage",
        DeviceKind::Phone => "phone or camera",
        DeviceKind::Network => "network card",
        DeviceKind::Keyboard => "keyboard",
        DeviceKind::Mouse => "mouse",
        DeviceKind::Bluetooth => "bluetooth adapter",
        DeviceKind::Audio => "sound",
        DeviceKind::Video => "camera",
        DeviceKind::Printer => "printer",
        DeviceKind::Hub => "hub",
        DeviceKind::Other => "other kind",
    }
}

/// `QEMU USB HARDDRIVE`; by its ids where it has no product name.
fn device_name(device: &Device) -> String {
    let name = |name: &Option<String>| name.as_deref().map(str::trim).map(harmless);
    let vendor = name(&device.vendor.name).unwrap_or_default();
    match name(&device.product.name) {
        Some(product) if !product.is_empty() => {
            format!("{vendor} {product}").trim_start().to_owned()
        }
        _ => {
            let ids = harmless(&format!("{}:{}", device.vendor.id, device.product.id));
            format!("{vendor} {ids}").trim_start().to_owned()
        }
    }
}

fn volume(fields: &Fields) -> Result<&Volume, Incomplete> {
    fields.volume.as_ref().ok_or(Incomplete("volume"))
}

fn mounted(volume: &Volume) -> (Rule, Severity, &'static str) {
    let shared =
        volume.bus_type.as_deref() == Some("network") || volume.file_system_type == "fuse.sshfs";
    match volume.writable {
        _ if shared => (SHARE, Severity::Warning, "network share mounted"),
        Some(false) => (READ_ONLY, Severity::Warning, "volume mounted"),
        _ => (MOUNTED, Severity::Warning, "volume mounted"),
    }
}

fn volume_verdict(
    fields: &Fields,
    rule: Rule,
    severity: Severity,
    happened: &str,
) -> Result<Verdict, Incomplete> {
    let volume = volume(fields)?;
    let mut text = format!("{happened}: {}", volume_in_words(volume));
    if let Some(device) = &fields.device {
        text += &format!(", on {}", device_name(device));
    }
    let object = match volume.mount_name.as_str() {
        "" => volume.device_name.clone(),
        place => format!("{} on {place}", volume.device_name),
    };
    Ok(Verdict {
        rule,
        severity,
        object: harmless(&object),
        text,
    })
}

/// `/dev/sdb1 at /media/STICK (vfat, 8.1 GB, label STICK, writable, usb)`.
fn volume_in_words(volume: &Volume) -> String {
    let label = volume.label.as_deref().filter(|label| !label.is_empty());
    let details = [
        Some(volume.file_system_type.as_str())
            .filter(|kind| !kind.is_empty())
            .map(harmless),
        volume.size.map(size),
        label.map(|label| format!("label {}", harmless(label))),
        volume
            .writable
            .map(|yes| if yes { "writable" } else { "read-only" }.into()),
        volume.bus_type.as_deref().map(harmless),
    ];
    let details: Vec<String> = details.into_iter().flatten().collect();
    let mut text = harmless(&volume.device_name);
    if !volume.mount_name.is_empty() {
        text += &format!(" at {}", harmless(&volume.mount_name));
    }
    if !details.is_empty() {
        text += &format!(" ({})", details.join(", "));
    }
    text
}

/// Bytes as they stand on the packet of a stick: `8.1 GB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1_000_000_000_000, "TB"),
        (1_000_000_000, "GB"),
        (1_000_000, "MB"),
        (1_000, "kB"),
    ];
    match UNITS.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => {
            let tenths = bytes.saturating_add(unit / 20) / (unit / 10);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

fn events_lost(fields: &Fields) -> Verdict {
    let reason = fields.lab.reason.as_deref().map(harmless);
    let reason = reason.unwrap_or_else(|| "the kernel dropped some".into());
    Verdict {
        rule: NOTICES_LOST,
        severity: Severity::Technical,
        object: "usb".into(),
        text: format!("usb notices lost: {reason}; the PC looks again"),
    }
}

fn events_dropped(fields: &Fields) -> Verdict {
    let reason = because(fields);
    Verdict {
        rule: DROPPED,
        severity: Severity::Technical,
        object: "journal".into(),
        text: format!("events of this PC were dropped before they were recorded{reason}"),
    }
}
