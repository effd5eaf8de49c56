//! An entry as a line of the time line.
//!
//! Time (of receipt, UTC), PC, and in words: what, who, where, by which program, and how that is known. Where the
//! PC's own clock says something else than the recorder's, it is told too. Foreign text is made harmless. Pure.

use std::fmt::{Display, Write as _};

use labwatch_contract::{
    alert::AlertAck,
    event::{
        Action, Event, Fields,
        contact::{Attribution, Burst, Direction, Endpoint, NameSource, Process},
        interface::Interface,
        usb::{Device, Inventory, Maker, UsbPort, Volume},
    },
    text::harmless,
    time::Timestamp,
};
use serde::Serialize;

use super::{
    entry::{Content, Entry, Quarantined},
    traffic,
};
use crate::record::{Jump, Note, Sighting};

/// Clocks that are this near are the same, in milliseconds.
const SAME_TIME_MS: u64 = 5_000;

/// The entry with its line feed; a traffic report has several.
pub(super) fn line(entry: &Entry) -> String {
    let ip = entry
        .ip
        .map_or_else(|| "lab".to_owned(), |ip| ip.to_string());
    let mut text = format!("{}  {ip:<15}  ", clock(entry.time));
    match &entry.content {
        Content::Event(event) => text.push_str(&event_words(event)),
        Content::OddEvent(action, excerpt) => {
            let _ = write!(
                text,
                "{} in an unknown form: {excerpt}",
                harmless(action.name())
            );
        }
        Content::Note(note) => text.push_str(&note_words(note)),
        Content::OtherNote(excerpt) => {
            let _ = write!(text, "note: {excerpt}");
        }
        Content::Alert(alert) => {
            let (action, severity) = (alert.event.action, alert.event.severity);
            let message = harmless(&alert.message);
            let _ = write!(
                text,
                "alert {} ({}): {message}",
                word(action),
                word(severity)
            );
        }
        Content::AlertAck(topic, ack) => text.push_str(&ack_words(topic, ack)),
        Content::Paper(topic, excerpt) => {
            let _ = write!(text, "{topic}: {excerpt}");
        }
        Content::Quarantined(message) => text.push_str(&quarantine_words(message)),
    }
    if let Some(about) = entry.about {
        let _ = write!(text, " [about {about}]");
    }
    if let Some(own) = own_clock(entry) {
        let _ = write!(text, " [by the PC's clock {}]", clock(own));
    }
    text.push('\n');
    if let Content::Event(event) = &entry.content
        && event.occurrence.action == Action::TrafficReport
    {
        let _ = traffic::write(event, &mut text);
    }
    text
}

fn clock(time: Timestamp) -> String {
    time.to_string().replacen('T', " ", 1)
}

/// The PC's own time of an event, where it differs.
fn own_clock(entry: &Entry) -> Option<Timestamp> {
    let Content::Event(event) = &entry.content else {
        return None;
    };
    let own = event.occurrence.time;
    (own.unix_ms().abs_diff(entry.time.unix_ms()) > SAME_TIME_MS).then_some(own)
}

fn event_words(event: &Event) -> String {
    let Fields {
        device,
        volume,
        lab,
        ..
    } = &event.occurrence.fields;
    let name = harmless(&event.host.name);
    let what = what(&event.occurrence.action);
    let mut text = format!("{name}{}{what}", if name.is_empty() { "" } else { "  " });
    let mut details = Vec::new();
    details.extend(volume.as_ref().map(volume_words));
    details.extend(device.as_ref().map(device_words));
    details.extend(lab.usb.as_ref().and_then(port_words));
    details.extend(contact_words(&event.occurrence.fields));
    details.extend(lab.burst.as_ref().map(burst_words));
    details.extend(lab.interface.as_ref().map(interface_words));
    details.extend(
        lab.mount_options
            .as_deref()
            .map(|options| format!("options {}", harmless(options))),
    );
    details.extend(lab.inventory.as_ref().map(inventory_words));
    details.extend(report_words(event));
    details.extend(lab.reason.as_deref().map(harmless));
    if let Action::Other(_) = event.occurrence.action {
        details.push(harmless(&unknown_words(&event.occurrence.fields)));
    }
    if !details.is_empty() {
        let _ = write!(text, ": {}", details.join(", "));
    }
    text
}

fn what(action: &Action) -> String {
    let known = match action {
        Action::DevicePresent => "USB device present at the start",
        Action::DeviceConnected => "USB device connected",
        Action::DeviceDisconnected => "USB device disconnected",
        Action::VolumePresent => "volume mounted at the start",
        Action::VolumeMounted => "volume mounted",
        Action::VolumeUnmounted => "volume unmounted",
        Action::VolumeRemounted => "volume mounted anew",
        Action::MediaPresent => "medium in its drive at the start",
        Action::MediaInserted => "medium inserted",
        Action::MediaRemoved => "medium taken out",
        Action::Inventory => "inventory",
        Action::VolumeRemoved => "volume pulled without unmount",
        Action::EventsLost => "the kernel dropped notices of devices",
        Action::EventsDropped => "events of this PC will never come",
        Action::TrafficReport => "traffic",
        Action::IntranetAccess => "intranet access",
        Action::InternetAccess => "internet access",
        Action::ConversationBurst => "burst of conversations",
        Action::InterfaceUp => "interface up",
        Action::InterfaceDown => "interface down",
        Action::AddressChanged => "addresses changed",
        Action::RouteChanged => "default route changed",
        Action::CaptureGap => "packets were not seen",
        Action::Other(name) => return harmless(name),
    };
    known.to_owned()
}

fn device_words(device: &Device) -> String {
    let name = |maker: &Maker| maker.name.as_deref().map(harmless);
    let names = [name(&device.vendor), name(&device.product)];
    let mut text = names.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let (vendor, product) = (harmless(&device.vendor.id), harmless(&device.product.id));
    let _ = write!(
        text,
        "{}({vendor}:{product})",
        if text.is_empty() { "" } else { " " }
    );
    if let Some(serial) = &device.serial_number {
        let _ = write!(text, " serial {}", harmless(serial));
    }
    if !device.kinds.is_empty() {
        let _ = write!(text, ", {}", list(&device.kinds));
    }
    text
}

fn port_words(usb: &UsbPort) -> Option<String> {
    let speed = usb.speed_mbps.map(|speed| format!("{speed} Mbit/s"));
    let port = Some(&usb.port).filter(|port| !port.is_empty());
    let parts = [
        port.map(|port| format!("port {}", harmless(port))),
        speed,
        (usb.authorized == Some(false)).then(|| "not authorized".to_owned()),
        usb.composite
            .as_deref()
            .map(|kinds| format!("{} in one device", harmless(kinds))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn inventory_words(inventory: &Inventory) -> String {
    let items = inventory.items.iter().map(|item| harmless(item));
    let items = items.collect::<Vec<_>>().join("; ");
    format!("sha256 {}: {items}", inventory.sha256)
}

fn volume_words(volume: &Volume) -> String {
    let Volume {
        device_name,
        mount_name,
        file_system_type,
        ..
    } = volume;
    let parts = [
        Some(file_system_type)
            .filter(|kind| !kind.is_empty())
            .map(|kind| harmless(kind)),
        volume.size.map(traffic::bytes),
        volume.bus_type.as_deref().map(harmless),
        (volume.removable == Some(true)).then(|| "removable".to_owned()),
        volume
            .label
            .as_deref()
            .map(|label| format!("label {}", harmless(label))),
        volume
            .serial_number
            .as_deref()
            .map(|serial| format!("serial {}", harmless(serial))),
        volume
            .writable
            .map(|writable| if writable { "writable" } else { "read-only" }.to_owned()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let mut text = harmless(device_name);
    // A medium that is not mounted has neither a place nor perhaps a file system.
    if !mount_name.is_empty() {
        let _ = write!(text, " on {}", harmless(mount_name));
    }
    if !parts.is_empty() {
        let _ = write!(text, " ({})", parts.join(", "));
    }
    text
}

fn contact_words(fields: &Fields) -> Option<String> {
    let (source, destination) = (fields.source.as_ref()?, fields.destination.as_ref()?);
    let known_by = fields.lab.name_source.filter(|by| *by != NameSource::None);
    let known_by = known_by.map(word).unwrap_or_default();
    let mut text = format!("{} => {}", end(source, ""), end(destination, &known_by));
    if let Some(network) = &fields.network {
        let direction = match network.direction {
            Direction::Egress => "opened here",
            Direction::Ingress => "opened by the peer",
            Direction::Unknown => "opened by an unknown side",
        };
        let _ = write!(text, ", {}", harmless(&network.transport));
        if let Some(protocol) = &network.protocol {
            let _ = write!(text, " {}", harmless(protocol));
        }
        let _ = write!(text, ", {direction}");
    }
    let attribution = fields.lab.attribution.unwrap_or(Attribution::None);
    let _ = write!(text, ", {}", program(fields.process.as_ref(), attribution));
    Some(text)
}

fn end(endpoint: &Endpoint, known_by: &str) -> String {
    match &endpoint.domain {
        Some(name) if known_by.is_empty() => format!("{endpoint} ({})", harmless(name)),
        Some(name) => format!("{endpoint} ({} by {known_by})", harmless(name)),
        None => endpoint.to_string(),
    }
}

fn program(process: Option<&Process>, attribution: Attribution) -> String {
    let Some(process) = process else {
        return "program unknown".to_owned();
    };
    let mut text = format!(
        "by {}",
        process.name.as_deref().map_or("?".to_owned(), harmless)
    );
    let user = process.user.as_ref().map(|user| harmless(&user.name));
    let parts = [
        process.pid.map(|pid| format!("pid {pid}")),
        user.map(|user| format!("user {user}")),
        process.executable.as_deref().map(harmless),
        match attribution {
            Attribution::Exact => Some("named by the kernel".to_owned()),
            Attribution::Polled => Some("found by polling".to_owned()),
            Attribution::None => None,
        },
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if !parts.is_empty() {
        let _ = write!(text, " ({})", parts.join(", "));
    }
    text
}

fn burst_words(burst: &Burst) -> String {
    format!(
        "{} more, peers {}, ports {}",
        burst.count,
        list(&burst.peers),
        list(&burst.ports)
    )
}

fn interface_words(interface: &Interface) -> String {
    let kind = word(interface.kind);
    let mut text = format!("{} ({kind}", harmless(&interface.name));
    if let Some(driver) = &interface.driver {
        let _ = write!(text, ", {}", harmless(driver));
    }
    text.push(')');
    if let Some(ssid) = &interface.ssid {
        let _ = write!(text, " in the Wi-Fi {}", harmless(ssid));
    }
    if !interface.addresses.is_empty() {
        let _ = write!(text, " {}", list(&interface.addresses));
    }
    if let Some(gateway) = interface.gateway {
        let _ = write!(text, ", gateway {gateway}");
    }
    text
}

/// The interval of a report or burst, and which part of a split report it is.
fn report_words(event: &Event) -> Option<String> {
    let fields = &event.occurrence.fields;
    let interval = fields.interval?;
    let mut text = format!("from {} to {}", clock(interval.start), clock(interval.end));
    if let (Some(part), Some(parts @ 2..)) = (fields.lab.part, fields.lab.parts) {
        let _ = write!(text, ", part {part} of {parts}");
    }
    Some(text)
}

fn unknown_words(fields: &Fields) -> String {
    let of = |fields: &_| serde_json::to_string(fields).unwrap_or_default();
    format!("{} {}", of(&fields.unknown), of(&fields.lab.unknown))
}

fn note_words(note: &Note) -> String {
    match note {
        Note::Gap(missing) => format!(
            "GAP: the agent has lost events {} to {} of journal {}",
            missing.from, missing.to, missing.journal
        ),
        Note::Late(oddity) => format!(
            "LATE: what follows happened {} before it came",
            span(oddity.ms.unwrap_or_default())
        ),
        Note::ClockJump(Jump::Pc(oddity)) => format!(
            "CLOCK: the PC's clock jumped by {}",
            span(oddity.ms.unwrap_or_default())
        ),
        Note::ClockJump(Jump::Own { ms }) => {
            format!("CLOCK: the recorder's own clock jumped by {}", span(*ms))
        }
        Note::SecondJournal(oddity) => format!(
            "TWO AGENTS: journal {} goes on although another was begun since",
            oddity.journal
        ),
        Note::OtherHost(_) => "ANOTHER MACHINE speaks under this address from here on".to_owned(),
        Note::Heads { heads } => format!("signed state of {} files", heads.len()),
        Note::Retention { before, files } => format!(
            "removed {} files with records from before {}",
            files.len(),
            clock(*before)
        ),
        Note::Online(sighting) => format!("agent online ({})", sighting_words(sighting)),
        Note::Offline(sighting) => format!("agent offline ({})", sighting_words(sighting)),
    }
}

fn span(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let seconds = ms.unsigned_abs() / 1000;
    format!("{sign}{seconds} s")
}

fn sighting_words(sighting: &Sighting) -> String {
    let mut text = format!(
        "{}, version {}",
        word(sighting.reason),
        harmless(&sighting.version)
    );
    if let Some(previous) = sighting.previous_ip {
        let _ = write!(text, ", before {previous}");
    }
    if !sighting.degraded.is_empty() {
        let _ = write!(text, ", {}", harmless(&sighting.degraded.join(", ")));
    }
    if sighting.retained {
        let _ = write!(
            text,
            ", kept by the broker since {}",
            clock(sighting.timestamp)
        );
    }
    text
}

fn ack_words(topic: &str, ack: &AlertAck) -> String {
    let verdict = word(ack.lab.verdict);
    let mut text = format!("{topic}: {verdict}, says {}", harmless(&ack.user.name));
    if let Some(note) = &ack.lab.note {
        let _ = write!(text, ": {}", harmless(note));
    }
    text
}

fn quarantine_words(message: &Quarantined) -> String {
    let Quarantined {
        topic,
        reason,
        bytes,
        excerpt,
    } = message;
    format!("quarantine: {reason}; topic {topic}, {bytes} bytes: {excerpt}")
}

/// The word that a value without fields has in the contract: `reconnected`, `sni`.
pub(super) fn word(value: impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// Values in a row: `1, 2, 3`.
pub(super) fn list(values: &[impl Display]) -> String {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    values.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(volume: serde_json::Value) -> String {
        volume_words(&serde_json::from_value(volume).unwrap())
    }

    #[test]
    fn of_a_volume_only_what_is_known_is_told() {
        let medium = serde_json::json!({
            "device_name": "/dev/sdb", "mount_name": "", "file_system_type": "", "size": 1024, "bus_type": "usb",
        });
        assert_eq!(words(medium), "/dev/sdb (1.00KB, usb)");
        let mounted = serde_json::json!({
            "device_name": "/dev/sdb1", "mount_name": "/media/x", "file_system_type": "vfat",
        });
        assert_eq!(words(mounted), "/dev/sdb1 on /media/x (vfat)");
        let nothing = serde_json::json!({
            "device_name": "/dev/sdb", "mount_name": "", "file_system_type": "",
        });
        assert_eq!(words(nothing), "/dev/sdb");
    }
}
