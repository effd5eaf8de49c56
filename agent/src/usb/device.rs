//! The table of USB devices: from uevents and sysfs to `device-present`, `-connected`, `-disconnected`.
//!
//! A device is told once, whole, when its `usb_device` comes: all its interfaces already stand in sysfs then.
//! Where sysfs has nothing more to say (in and out within milliseconds), its uevents tell what they know: it is
//! held until its interfaces have come, at most until no more uevents wait ([`Devices::handle_drained`]). Its
//! `remove` carries no name or serial number, so the table keeps them by syspath.
//!
//! Invariant: each told arrival is followed by at most one departure of the same device. `DEVNUM` is new for
//! each plug-in of a bus, so what sysfs says of the next device at a port is never taken for the one before.
//! The kernel's own root hubs are no devices. Source: Linux `drivers/usb/core`.

use std::collections::{BTreeMap, BTreeSet};

use labwatch_contract::{
    event::{Action as Happening, Fields, Occurrence},
    time::Timestamp,
};

use super::{
    descriptors::{Interface, MAX_INTERFACES},
    snapshot::{Plugged, Snapshot, name, number},
    uevent::{Action, Uevent},
};

/// Most devices that are kept; eight full buses.
const MAX_DEVICES: usize = 1024;

#[derive(Debug)]
struct Entry {
    plugged: Plugged,
    devnum: Option<u32>,
    /// What its interfaces' uevents said, while it waits to be told; `None` once it is told.
    waiting: Option<Vec<Interface>>,
}

/// The USB devices that are plugged in, by syspath.
#[derive(Debug, Default)]
pub struct Devices {
    entries: BTreeMap<String, Entry>,
}

impl Devices {
    /// What was there at the start: each as `device-present`.
    pub fn handle_scan(&mut self, snapshots: &[Snapshot], now: Timestamp) -> Vec<Occurrence> {
        self.take_in(snapshots, Happening::DevicePresent, now)
    }

    /// The kernel dropped notices, because of `reason`; `snapshots` is what there is now. Tells `events-lost`,
    /// then what has changed since.
    pub fn handle_loss(
        &mut self,
        snapshots: &[Snapshot],
        reason: &str,
        now: Timestamp,
    ) -> Vec<Occurrence> {
        let mut lost = Fields::default();
        lost.lab.reason = Some(reason.to_owned());
        let mut told = vec![occurrence(Happening::EventsLost, lost, now)];
        let present: BTreeSet<_> = snapshots
            .iter()
            .map(|device| device.syspath.as_str())
            .collect();
        let gone = self
            .entries
            .keys()
            .filter(|path| !present.contains(path.as_str()));
        for path in gone.cloned().collect::<Vec<_>>() {
            told.extend(self.forget(&path, now));
        }
        told.extend(self.take_in(snapshots, Happening::DeviceConnected, now));
        told
    }

    /// Whether other devices are plugged in than the table holds; `present` has each one's syspath and `devnum`.
    #[must_use]
    pub fn differ(&self, present: &[(String, Option<u32>)]) -> bool {
        let present: Vec<_> = present
            .iter()
            .filter(|(path, _)| !is_root_hub(path))
            .collect();
        // Beyond its bound the table knows of no device whether it is new.
        let bounded = present.len().min(MAX_DEVICES);
        bounded != self.entries.len()
            || bounded < MAX_DEVICES
                && !present
                    .iter()
                    .all(|(path, devnum)| self.knows(path, *devnum))
    }

    /// Each device in one line, for the inventory.
    pub fn items(&self) -> impl Iterator<Item = String> {
        self.entries.values().map(|entry| {
            let Plugged { device, port } = &entry.plugged;
            let kinds: Vec<_> = device.kinds.iter().map(ToString::to_string).collect();
            let words = [
                "device".to_owned(),
                port.port.clone(),
                format!("{}:{}", device.vendor.id, device.product.id),
                kinds.join("+"),
                device.serial_number.clone().unwrap_or_else(|| "-".into()),
                port.descriptors_sha256
                    .map_or_else(|| "-".into(), |digest| digest.to_string()),
            ];
            words.join(" ")
        })
    }

    /// Whether a uevent tells of a device of which sysfs should be asked (a [`Snapshot`] of its syspath).
    #[must_use]
    pub fn wants_snapshot(&self, uevent: &Uevent) -> bool {
        is_device(uevent)
            && uevent.action == Action::Add
            && !self.knows(&uevent.syspath, devnum(uevent))
    }

    /// Takes a uevent in, with what sysfs says where [`Self::wants_snapshot`] asked for it.
    pub fn handle_uevent(
        &mut self,
        uevent: &Uevent,
        snapshot: Option<&Snapshot>,
        now: Timestamp,
    ) -> Vec<Occurrence> {
        if uevent.subsystem() != "usb" || is_root_hub(&uevent.syspath) {
            return Vec::new();
        }
        match (uevent.device_type(), uevent.action) {
            ("usb_device", Action::Add) => self.handle_add(uevent, snapshot, now),
            ("usb_device", Action::Bind) => self.tell(&uevent.syspath, now).into_iter().collect(),
            ("usb_device", Action::Remove) => self.handle_remove(uevent, now),
            ("usb_interface", Action::Add) => {
                self.handle_interface(uevent);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// No more uevents wait: what was held is told with what is known of it.
    pub fn handle_drained(&mut self, now: Timestamp) -> Vec<Occurrence> {
        let waiting = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.waiting.is_some());
        let waiting: Vec<_> = waiting.map(|(path, _)| path.clone()).collect();
        waiting
            .iter()
            .filter_map(|path| self.tell(path, now))
            .collect()
    }

    fn handle_add(
        &mut self,
        uevent: &Uevent,
        snapshot: Option<&Snapshot>,
        now: Timestamp,
    ) -> Vec<Occurrence> {
        let (path, devnum) = (&uevent.syspath, devnum(uevent));
        if self.knows(path, devnum) {
            return Vec::new();
        }
        let mut told = self.forget(path, now);
        // Sysfs may already speak of the next device at this port.
        let own = snapshot
            .filter(|snapshot| devnum.is_none() || number(snapshot.devnum.as_deref()) == devnum);
        let mut plugged = own.map_or_else(
            || Plugged::from(&Snapshot::from_uevent(uevent)),
            Plugged::from,
        );
        let whole = !plugged.port.interfaces.is_empty();
        if !whole {
            plugged.set_class(uevent);
        }
        let entry = Entry {
            plugged,
            devnum,
            waiting: Some(Vec::new()),
        };
        if self.entries.len() < MAX_DEVICES {
            self.entries.insert(path.clone(), entry);
            told.extend(whole.then(|| self.tell(path, now)).flatten());
        } else {
            told.push(occurrence(
                Happening::DeviceConnected,
                entry.plugged.fields(),
                now,
            ));
        }
        told
    }

    fn handle_interface(&mut self, uevent: &Uevent) {
        let device = uevent.syspath.rsplit_once('/').map(|(device, _)| device);
        let entry = device.and_then(|device| self.entries.get_mut(device));
        let waiting = entry.and_then(|entry| entry.waiting.as_mut());
        let interface = uevent.get("INTERFACE").and_then(Interface::from_uevent);
        if let (Some(waiting), Some(interface)) = (waiting, interface)
            && waiting.len() < MAX_INTERFACES
        {
            waiting.push(interface);
        }
    }

    fn handle_remove(&mut self, uevent: &Uevent, now: Timestamp) -> Vec<Occurrence> {
        let devnum = devnum(uevent);
        let known = self.entries.get(&uevent.syspath);
        // A remove of the device before, still under way when a scan saw the next one.
        if known.is_some_and(|entry| {
            devnum.is_some() && entry.devnum.is_some() && entry.devnum != devnum
        }) {
            return Vec::new();
        }
        self.forget(&uevent.syspath, now)
    }

    fn take_in(
        &mut self,
        snapshots: &[Snapshot],
        action: Happening,
        now: Timestamp,
    ) -> Vec<Occurrence> {
        let mut told = Vec::new();
        for snapshot in snapshots
            .iter()
            .filter(|snapshot| !is_root_hub(&snapshot.syspath))
        {
            let devnum = number(snapshot.devnum.as_deref());
            if self.knows(&snapshot.syspath, devnum) {
                continue;
            }
            told.extend(self.forget(&snapshot.syspath, now));
            let plugged = Plugged::from(snapshot);
            told.push(occurrence(action.clone(), plugged.clone().fields(), now));
            if self.entries.len() < MAX_DEVICES {
                let waiting = None;
                let entry = Entry {
                    plugged,
                    devnum,
                    waiting,
                };
                self.entries.insert(snapshot.syspath.clone(), entry);
            }
        }
        told
    }

    fn knows(&self, syspath: &str, devnum: Option<u32>) -> bool {
        let known = self.entries.get(syspath);
        known.is_some_and(|entry| {
            entry.devnum.is_none() || devnum.is_none() || entry.devnum == devnum
        })
    }

    /// Tells of a device that was held until now.
    fn tell(&mut self, syspath: &str, now: Timestamp) -> Option<Occurrence> {
        let entry = self.entries.get_mut(syspath)?;
        let interfaces = entry.waiting.take()?;
        if !interfaces.is_empty() {
            entry.plugged.set_interfaces(interfaces);
        }
        let fields = entry.plugged.clone().fields();
        Some(occurrence(Happening::DeviceConnected, fields, now))
    }

    /// Tells that a device is gone, and before that, that it had come, where it was held.
    fn forget(&mut self, syspath: &str, now: Timestamp) -> Vec<Occurrence> {
        let came = self.tell(syspath, now);
        let went = self
            .entries
            .remove(syspath)
            .map(|entry| occurrence(Happening::DeviceDisconnected, entry.plugged.fields(), now));
        came.into_iter().chain(went).collect()
    }
}

fn occurrence(action: Happening, fields: Fields, time: Timestamp) -> Occurrence {
    Occurrence {
        time,
        action,
        fields,
    }
}

fn is_device(uevent: &Uevent) -> bool {
    uevent.subsystem() == "usb"
        && uevent.device_type() == "usb_device"
        && !is_root_hub(&uevent.syspath)
}

fn devnum(uevent: &Uevent) -> Option<u32> {
    number(uevent.get("DEVNUM"))
}

/// `usb1`, `usb2` …: the kernel's own end of a bus.
fn is_root_hub(syspath: &str) -> bool {
    let bus = name(syspath).strip_prefix("usb");
    bus.is_some_and(|bus| !bus.is_empty() && bus.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
