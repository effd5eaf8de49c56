//! Topic `net/interface`: network interfaces, addresses, VPNs, default routes (`lab.interface`).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// `eth0`.
    pub name: String,
    /// What it is.
    pub kind: InterfaceKind,
    /// What drives or made it, in the kernel's words: `e1000e`, `cdc_ether`, `wireguard`, `veth`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// The Wi-Fi that it has joined, as its owner named it: foreign text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssid: Option<String>,
    /// It is switched on, but no cable is in or no Wi-Fi joined.
    #[serde(skip_serializing_if = "is_false")]
    pub no_carrier: bool,
    /// Its addresses with their networks: `192.168.0.133/24`.
    pub addresses: Vec<ipnet::IpNet>,
    /// The default gateway over it, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// The default gateway of IPv6, where `gateway` is one of IPv4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_gateway: Option<IpAddr>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !value
}

/// What an interface is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InterfaceKind {
    /// A cable.
    Ethernet,
    /// A wireless card.
    Wifi,
    /// A network card on USB.
    Usb,
    /// tun, WireGuard, PPP: a way out of the lab's network.
    Tunnel,
    /// A bridge.
    Bridge,
    /// A pair of virtual interfaces, a VLAN and the like.
    Virtual,
    /// Anything else, also what another version names.
    #[default]
    #[serde(other)]
    Other,
}
