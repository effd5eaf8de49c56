//! What the PC knows of its own network: interfaces, addresses, gateways, the servers it is set up to use.
//!
//! A value, read anew by the shell whenever the kernel says that something changed; the difference between two of them is what
//! the topic `net/interface` reports. [`files`] reads the system's text files into parts of it.

pub mod files;

use std::net::{IpAddr, SocketAddr};

use self::files::TimeServer;
use ipnet::IpNet;
use labwatch_contract::{
    event::{Action, Fields, LabFields, Occurrence, interface},
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
}

/// The PC's own network at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Interfaces that are up.
    pub interfaces: Vec<Interface>,
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
        let gone = self
            .interfaces
            .iter()
            .filter(|old| newer.find(old).is_none());
        let gone = gone.map(|old| occurrence(Action::InterfaceDown, old, time));
        let changed = newer.interfaces.iter().flat_map(|new| {
            let actions = match self.find(new) {
                None => vec![Action::InterfaceUp],
                Some(old) => changes_of(old, new),
            };
            actions
                .into_iter()
                .map(move |action| occurrence(action, new, time))
        });
        gone.chain(changed).collect()
    }

    fn find(&self, wanted: &Interface) -> Option<&Interface> {
        self.interfaces
            .iter()
            .find(|one| one.index == wanted.index && one.shown.name == wanted.shown.name)
    }

    fn networks_of_addresses(&self) -> impl Iterator<Item = IpNet> {
        self.interfaces
            .iter()
            .flat_map(|one| one.shown.addresses.iter().copied())
    }
}

fn changes_of(old: &Interface, new: &Interface) -> Vec<Action> {
    let addresses = (old.shown.addresses != new.shown.addresses).then_some(Action::AddressChanged);
    let route = (old.shown.gateway != new.shown.gateway).then_some(Action::RouteChanged);
    addresses.into_iter().chain(route).collect()
}

/// An event of the topic `net/interface`.
#[must_use]
pub fn occurrence(action: Action, interface: &Interface, time: Timestamp) -> Occurrence {
    let lab = LabFields {
        interface: Some(interface.shown.clone()),
        ..LabFields::default()
    };
    Occurrence {
        time,
        action,
        fields: Fields {
            lab,
            ..Fields::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, addresses: &[&str], gateway: Option<&str>) -> Interface {
        Interface {
            index,
            mac: None,
            shown: interface::Interface {
                name: format!("eth{index}"),
                addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
                gateway: gateway.map(|text| text.parse().unwrap()),
                ..Default::default()
            },
        }
    }

    fn surroundings(interfaces: Vec<Interface>) -> Surroundings {
        Surroundings {
            interfaces,
            ..Surroundings::default()
        }
    }

    fn actions(old: &Surroundings, new: &Surroundings) -> Vec<String> {
        let changes = old.changes(new, Timestamp::from_unix_ms(0).unwrap());
        changes
            .iter()
            .map(|one| {
                format!(
                    "{} {}",
                    one.action,
                    one.fields.lab.interface.as_ref().unwrap().name
                )
            })
            .collect()
    }

    #[test]
    fn every_change_is_reported_once() {
        let old = surroundings(vec![
            interface(1, &["10.0.0.2/8"], None),
            interface(2, &[], None),
        ]);
        let new = surroundings(vec![
            interface(1, &["10.0.0.3/8"], Some("10.0.0.1")),
            interface(3, &["192.168.0.2/24"], None),
        ]);
        let expected = [
            "interface-down eth2",
            "address-changed eth1",
            "route-changed eth1",
            "interface-up eth3",
        ];
        assert_eq!(actions(&old, &new), expected);
        assert_eq!(actions(&new, &new), [""; 0]);
    }

    #[test]
    fn an_interface_replaced_under_its_name_went_and_came() {
        let mut other = interface(2, &[], None);
        other.shown.name = "eth1".into();
        let old = surroundings(vec![interface(1, &[], None)]);
        assert_eq!(
            actions(&old, &surroundings(vec![other])),
            ["interface-down eth1", "interface-up eth1"]
        );
    }

    #[test]
    fn local_networks_are_those_of_the_addresses_the_routes_and_the_administrator() {
        let here = Surroundings {
            on_link: vec!["172.16.0.0/12".parse().unwrap()],
            ..surroundings(vec![interface(1, &["203.0.113.7/24"], None)])
        };
        let local = here
            .networks(&["198.51.100.9/25".parse().unwrap()], None)
            .local;
        let local: Vec<String> = local.iter().map(ToString::to_string).collect();
        assert_eq!(
            local,
            ["172.16.0.0/12", "198.51.100.0/25", "203.0.113.0/24"]
        );
    }
}
