//! Who this PC is: its name, its machine id (hashed), its boot, and the MAC of the address it is known by.
//!
//! The machine id is hashed because `machine-id(5)` asks that the real one never leaves the machine. What
//! cannot be read is left empty; an agent without a name is better than none.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    sync::LazyLock,
};

use labwatch_contract::{
    chain::Digest,
    event::{Boot, Host},
    time::Timestamp,
};
use nix::{ifaddrs::getifaddrs, sys::socket::SockaddrStorage};
use rustix::time::{ClockId, clock_gettime};

/// Digits of the hash that are kept; 128 bits tell all PCs apart.
const ID_DIGITS: usize = 32;

/// The present time.
#[must_use]
pub(crate) fn now() -> Timestamp {
    chrono::Utc::now().into()
}

/// Milliseconds since boot, time asleep included, so that a change of the wall clock shows against it.
#[must_use]
pub(crate) fn uptime_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let milliseconds = time
        .tv_sec
        .saturating_mul(1000)
        .saturating_add(time.tv_nsec / 1_000_000);
    u64::try_from(milliseconds).unwrap_or_default()
}

/// This PC under an address.
#[must_use]
pub(crate) fn host(ip: IpAddr) -> Host {
    Host {
        ip,
        name: host_name(),
        id: MACHINE_ID.clone(),
        mac: mac_of(ip),
        boot: Boot {
            id: BOOT_ID.clone(),
        },
    }
}

/// The address that this PC is most likely known by while there is no connection to say so: the first that is
/// neither loopback nor link-local, IPv4 before IPv6.
#[must_use]
pub(crate) fn likely_address() -> IpAddr {
    let mut addresses: Vec<_> = interface_addresses()
        .into_iter()
        .map(|(_, address)| address)
        .collect();
    let useful = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    };
    addresses.retain(useful);
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses
        .first()
        .copied()
        .unwrap_or(Ipv4Addr::LOCALHOST.into())
}

fn host_name() -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// Neither changes while the agent runs; each try to reach the broker asks for them.
static MACHINE_ID: LazyLock<String> = LazyLock::new(machine_id);
static BOOT_ID: LazyLock<String> = LazyLock::new(boot_id);

fn machine_id() -> String {
    let read = ["/etc/machine-id", "/var/lib/dbus/machine-id"]
        .into_iter()
        .find_map(|path| fs::read_to_string(path).ok());
    let Some(id) = read else { return String::new() };
    let digest = Digest::of(format!("labwatch host.id {}", id.trim()).as_bytes());
    digest.to_string().chars().take(ID_DIGITS).collect()
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn interface_addresses() -> Vec<(String, IpAddr)> {
    let Ok(addresses) = getifaddrs() else {
        return Vec::new();
    };
    let read = |address: nix::ifaddrs::InterfaceAddress| {
        let ip = ip_of(address.address.as_ref()?)?;
        Some((address.interface_name, ip))
    };
    addresses.filter_map(read).collect()
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address
        .as_sockaddr_in()
        .map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| {
        address
            .as_sockaddr_in6()
            .map(|address| IpAddr::V6(address.ip()))
    })
}

/// ECS writes a MAC with dashes. Loopback has none.
fn mac_of(ip: IpAddr) -> Option<String> {
    if ip.is_loopback() {
        return None;
    }
    let name = interface_addresses()
        .into_iter()
        .find(|(_, address)| *address == ip)?
        .0;
    let mac = fs::read_to_string(format!("/sys/class/net/{name}/address")).ok()?;
    let mac = mac.trim().replace(':', "-");
    Some(mac).filter(|mac| mac.len() == 17 && mac != "00-00-00-00-00-00")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_pc_has_a_name_a_boot_and_an_id_that_is_not_its_machine_id() {
        let host = host(likely_address());
        assert!(!host.name.is_empty());
        assert_eq!(host.boot.id.len(), 36);
        let real = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        assert!(real.trim().is_empty() || (host.id.len() == ID_DIGITS && host.id != real.trim()));
    }

    #[test]
    fn the_time_since_boot_goes_forward() {
        let earlier = uptime_ms();
        assert!(earlier > 0 && uptime_ms() >= earlier);
    }
}
