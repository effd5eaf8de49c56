//! What the PC knows of its own network: interfaces, addresses, gateways, the servers it is set up to use.
//!
//! A value, read anew by the shell whenever the kernel says that something changed; the difference between two of them is
//! what the topic `net/interface` reports. [`kernel`] makes it of the kernel's lists, [`files`] of the system's settings;
//! what came and went between two of them is remembered by [`glimpses`]. An interface is known by its index, whatever its
//! name.

pub mod files;
pub mod glimpses;
pub mod kernel;

use std::net::{IpAddr, SocketAddr};

use self::{files::TimeServer, kernel::Idle};
use super::gaps::Gap;
use ipnet::IpNet;
use labwatch_contract::{
    event::{
        Action, Fields, LabFields, Occurrence, interface,
        usb::{Device, DeviceKind, Maker, UsbPort},
    },
    scope::Networks,
    time::Timestamp,
};

/// A network interface that is up; loopback is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number, never used twice within a boot.
    pub index: u32,
    /// Its hardware address: `2c-6e-85-00-b6-3a`.
    pub mac: Option<String>,
    /// Name, kind, addresses, gateway: what others are told of it.
    pub shown: interface::Interface,
    /// The USB device that it is, or is a part of.
    pub usb: Option<UsbCard>,
}

/// A USB device with a network interface, so that its events can be found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsbCard {
    /// Bus and ports down to it: `1-2.3`.
    pub port: String,
    /// Four hex digits.
    pub vendor_id: String,
    /// Four hex digits.
    pub product_id: String,
}

/// The PC's own network at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Interfaces that are up.
    pub interfaces: Vec<Interface>,
    /// Those that are not.
    pub idle: Vec<Idle>,
    /// Networks reached without a gateway, beside those of the addresses.
    pub on_link: Vec<IpNet>,
    /// DNS servers.
    pub dns_servers: Vec<IpAddr>,
    /// NTP servers.
    pub time_servers: Vec<TimeServer>,
}

impl Surroundings {
    /// The PC's own addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.networks_of_addresses().map(|network| network.addr())
    }

    /// What decides scopes: these surroundings, the networks an administrator named, and the broker.
    #[must_use]
    pub fn networks(&self, named: &[IpNet], broker: Option<SocketAddr>) -> Networks {
        let mut local: Vec<IpNet> = self
            .networks_of_addresses()
            .chain(self.on_link.iter().copied())
            .chain(named.iter().copied())
            .map(|network| network.trunc())
            .collect();
        local.sort_unstable();
        local.dedup();
        let gateways = || self.interfaces.iter().filter_map(|one| one.shown.gateway);
        let time_servers = self.time_servers.iter().filter_map(TimeServer::address);
        Networks {
            local,
            // A gateway often answers for both without being named as either.
            dns_servers: gateways().chain(self.dns_servers.iter().copied()).collect(),
            ntp_servers: gateways().chain(time_servers).collect(),
            broker,
        }
    }

    /// What has to be reported when `self` has become `newer`.
    #[must_use]
    pub fn changes(&self, newer: &Self, time: Timestamp) -> Vec<Occurrence> {
        let went = self.interfaces.iter().filter_map(|old| {
            let reason = newer.why_gone(old)?;
            Some(because(
                reason,
                occurrence(Action::InterfaceDown, old, time),
            ))
        });
        let changed = newer.interfaces.iter().flat_map(|new| {
            let came = self.why_here(new).map(|reason| {
                let up = occurrence(Action::InterfaceUp, new, time);
                because(reason, up)
            });
            let others = self.find(new.index).map(|old| changes_of(old, new));
            let others = others.into_iter().flatten();
            let others = others.map(|action| occurrence(action, new, time));
            came.into_iter().chain(others).collect::<Vec<_>>()
        });
        went.chain(changed).collect()
    }

    /// Keeps in mind what the idle links were in an older state.
    pub fn remember(&mut self, older: &Self) {
        let is_first = older.interfaces.is_empty() && older.idle.is_empty();
        for idle in &mut self.idle {
            let was_idle = older.idle.iter().find(|old| old.index == idle.index);
            (idle.up_as, idle.is_new) = match (older.find(idle.index), was_idle) {
                (Some(old), _) => (Some(old.shown.name.clone()), false),
                (None, Some(old)) => (old.up_as.clone(), old.is_new),
                (None, None) => (None, !is_first),
            };
        }
    }

    /// Why `old` is here no more, or not as it was; `None` where it is.
    fn why_gone(&self, old: &Interface) -> Option<String> {
        if let Some(new) = self.find(old.index) {
            return together([
                renamed(old, new).map(|(_, name)| format!("renamed to {name}")),
                lost_carrier(old, new).then(|| NO_CARRIER.to_owned()),
                left_wifi(old, new).map(|ssid| format!("left the Wi-Fi {ssid}")),
            ]);
        }
        let is_idle = self.idle.iter().any(|idle| idle.index == old.index);
        let reason = if is_idle { "switched off" } else { "gone" };
        Some(reason.to_owned())
    }

    /// Why `new` is here since this state, or is not as it was in it; `None` where it is.
    fn why_here(&self, new: &Interface) -> Option<String> {
        if let Some(old) = self.find(new.index) {
            return together([
                renamed(old, new).map(|(name, _)| format!("renamed from {name}")),
                lost_carrier(new, old).then(|| "carrier is there".to_owned()),
                left_wifi(new, old).map(|ssid| format!("joined the Wi-Fi {ssid}")),
            ]);
        }
        let idle = self.idle.iter().find(|idle| idle.index == new.index);
        let idle = idle.filter(|idle| !idle.is_new);
        let former = idle.and_then(|idle| idle.up_as.as_ref());
        let renamed = former.filter(|former| **former != new.shown.name);
        Some(match (idle, renamed) {
            (None, _) => "new".to_owned(),
            (Some(_), None) => "switched on".to_owned(),
            (Some(_), Some(former)) => format!("switched on, renamed from {former}"),
        })
    }

    /// Whether there is an interface with this index, be it up or not.
    #[must_use]
    pub fn has(&self, index: u32) -> bool {
        self.find(index).is_some() || self.idle.iter().any(|idle| idle.index == index)
    }

    fn find(&self, index: u32) -> Option<&Interface> {
        self.interfaces.iter().find(|one| one.index == index)
    }

    fn networks_of_addresses(&self) -> impl Iterator<Item = IpNet> {
        self.interfaces
            .iter()
            .flat_map(|one| one.shown.addresses.iter().copied())
    }
}

/// `lab.reason` of an interface that is switched on and cut off.
const NO_CARRIER: &str = "no carrier: its cable was pulled, or its Wi-Fi left";

fn renamed<'a>(old: &'a Interface, new: &'a Interface) -> Option<(&'a str, &'a str)> {
    let names = (old.shown.name.as_str(), new.shown.name.as_str());
    (names.0 != names.1).then_some(names)
}

fn lost_carrier(old: &Interface, new: &Interface) -> bool {
    new.shown.no_carrier && !old.shown.no_carrier
}

/// The Wi-Fi that `old` was in and `new` is not.
fn left_wifi<'a>(old: &'a Interface, new: &Interface) -> Option<&'a str> {
    let ssid = old.shown.ssid.as_deref()?;
    (new.shown.ssid.as_deref() != Some(ssid)).then_some(ssid)
}

fn together<const COUNT: usize>(reasons: [Option<String>; COUNT]) -> Option<String> {
    let reasons: Vec<String> = reasons.into_iter().flatten().collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn changes_of(old: &Interface, new: &Interface) -> Vec<Action> {
    let addresses = (old.shown.addresses != new.shown.addresses).then_some(Action::AddressChanged);
    let routes = |one: &Interface| (one.shown.gateway, one.shown.ipv6_gateway);
    let route = (routes(old) != routes(new)).then_some(Action::RouteChanged);
    addresses.into_iter().chain(route).collect()
}

/// An event of the topic `net/interface`.
#[must_use]
pub fn occurrence(action: Action, interface: &Interface, time: Timestamp) -> Occurrence {
    let usb = interface.usb.as_ref();
    let lab = LabFields {
        interface: Some(interface.shown.clone()),
        usb: usb.map(|usb| UsbPort {
            port: usb.port.clone(),
            ..UsbPort::default()
        }),
        ..LabFields::default()
    };
    Occurrence {
        time,
        action,
        fields: Fields {
            device: usb.map(UsbCard::device),
            lab,
            ..Fields::default()
        },
    }
}

impl UsbCard {
    fn device(&self) -> Device {
        let made = |id: &str| Maker {
            id: id.to_owned(),
            name: None,
        };
        Device {
            vendor: made(&self.vendor_id),
            product: made(&self.product_id),
            kinds: vec![DeviceKind::Network],
            ..Device::default()
        }
    }
}

/// A moment in which packets of an interface may not have been seen.
#[must_use]
pub fn gap(interface: &Interface, Gap { interval, reason }: Gap) -> Occurrence {
    let mut gap = occurrence(Action::CaptureGap, interface, interval.end);
    gap.fields.interval = Some(interval);
    because(reason, gap)
}

/// The same, and why.
#[must_use]
pub fn because(reason: impl Into<String>, mut occurrence: Occurrence) -> Occurrence {
    occurrence.fields.lab.reason = Some(reason.into());
    occurrence
}

#[cfg(test)]
mod tests;
