//! Reads the PC's own network from the system, and hears from the kernel when it has changed.
//!
//! Netlink (rtnetlink(7), groups for links, addresses and routes) serves as a bell only: whatever it says, everything is read
//! anew from `getifaddrs`, `/proc/net`, `/sys/class/net` and the resolver's and time services' settings. So a lost notice costs
//! nothing. What cannot be read is left out.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    net::IpAddr,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    time::Duration,
};

use anyhow::Context as _;
use ipnet::IpNet;
use labwatch_contract::event::interface::InterfaceKind;
use nix::{
    errno::Errno,
    ifaddrs::{InterfaceAddress, getifaddrs},
    net::if_::InterfaceFlags,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, SockaddrStorage,
        bind, recv, socket,
    },
};
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{Interest, unix::AsyncFd};

use super::surroundings::{
    Interface, Surroundings,
    files::{self, Routes},
};
use crate::ready::register;

/// RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE of `linux/rtnetlink.h`.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

const RESOLVER_FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
const TIME_FILES: [&str; 5] = [
    "/etc/systemd/timesyncd.conf",
    "/etc/chrony/chrony.conf",
    "/etc/chrony.conf",
    "/etc/ntp.conf",
    "/etc/ntpsec/ntp.conf",
];
const TIME_FOLDERS: [&str; 3] = [
    "/run/systemd/netif/leases",
    "/etc/systemd/timesyncd.conf.d",
    "/run/chrony-dhcp",
];

/// Rings when links, addresses or routes change.
pub(super) struct Bell(AsyncFd<OwnedFd>);

impl Bell {
    pub(super) fn new() -> anyhow::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            flags,
            SockProtocol::NetlinkRoute,
        )
        .context("cannot hear of network changes: socket")?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))
            .context("cannot hear of network changes: bind")?;
        Ok(Self(register(socket, Interest::READABLE)?))
    }

    /// Returns when it has rung; all notices that are there count as one.
    pub(super) async fn rung(&self) {
        let drain = |socket: &OwnedFd| {
            let mut notice = [0; 4096];
            loop {
                match recv(socket.as_raw_fd(), &mut notice, MsgFlags::MSG_DONTWAIT) {
                    // A full buffer is a bell that rang too often to be counted.
                    Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => {}
                    Err(_) => return,
                }
            }
        };
        if let Ok(mut ready) = self.0.readable().await {
            drain(self.0.get_ref());
            ready.clear_ready();
        }
    }
}

/// Reads everything.
pub(super) fn look() -> anyhow::Result<Surroundings> {
    let routes = routes();
    Ok(Surroundings {
        interfaces: interfaces(&routes).context("cannot read the interfaces")?,
        on_link: routes.on_link,
        dns_servers: RESOLVER_FILES
            .iter()
            .flat_map(|path| files::dns_servers(&text(path)))
            .collect(),
        time_servers: time_settings()
            .iter()
            .flat_map(|settings| files::time_servers(settings))
            .collect(),
    })
}

/// Received plus sent bytes of each interface.
pub(super) fn counters() -> HashMap<String, u64> {
    files::counters(&text("/proc/thread-self/net/dev"))
}

/// How long the PC has slept since its boot: CLOCK_BOOTTIME counts sleep, CLOCK_MONOTONIC does not (clock_gettime(2)).
pub(super) fn sleep_so_far() -> Duration {
    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    let awake = read(ClockId::Monotonic);
    read(ClockId::Boottime).saturating_sub(awake)
}

fn routes() -> Routes {
    let mut routes = Routes::default();
    routes.read_ipv4(&text("/proc/thread-self/net/route"));
    routes.read_ipv6(&text("/proc/thread-self/net/ipv6_route"));
    routes
}

fn time_settings() -> Vec<String> {
    let in_folders = TIME_FOLDERS
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flat_map(|entries| entries.flatten().take(64).map(|entry| text(entry.path())));
    TIME_FILES.iter().map(text).chain(in_folders).collect()
}

/// Settings are small; what is absent or no text is empty.
fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn interfaces(routes: &Routes) -> io::Result<Vec<Interface>> {
    let mut by_name = BTreeMap::<String, Interface>::new();
    for address in getifaddrs()? {
        let is_wanted = address.flags.contains(InterfaceFlags::IFF_UP)
            && !address.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        if is_wanted {
            // `eth0:1`, an alias, is `eth0`.
            let name = address.interface_name.split(':').next().unwrap_or_default();
            let interface = by_name.entry(name.to_owned()).or_default();
            add(interface, &address);
        }
    }
    let described = by_name.into_iter().filter_map(|(name, mut one)| {
        one.shown.kind = kind(&name);
        one.shown.gateway = routes.gateways.get(&name).copied();
        one.shown.addresses.sort_unstable();
        one.shown.name = name;
        // Without an index it went while we looked.
        (one.index != 0).then_some(one)
    });
    Ok(described.collect())
}

fn add(interface: &mut Interface, address: &InterfaceAddress) {
    if let Some(link) = address
        .address
        .as_ref()
        .and_then(SockaddrStorage::as_link_addr)
    {
        interface.index = u32::try_from(link.ifindex()).unwrap_or_default();
        interface.mac = link.addr().filter(|mac| *mac != [0; 6]).map(mac_text);
    }
    let ip = address.address.as_ref().and_then(ip_of);
    let mask = address.netmask.as_ref().and_then(ip_of);
    if let (Some(ip), Some(mask)) = (ip, mask)
        && let Ok(network) = IpNet::with_netmask(ip, mask)
    {
        interface.shown.addresses.push(network);
    }
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join("-")
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

/// By what `/sys/class/net/<name>` has (kernel: Documentation/ABI/testing/sysfs-class-net).
fn kind(name: &str) -> InterfaceKind {
    let folder = Path::new("/sys/class/net").join(name);
    let has = |entry: &str| folder.join(entry).exists();
    let real = |entry: &str| fs::canonicalize(folder.join(entry)).unwrap_or_default();
    let arp_type = text(folder.join("type"));
    match arp_type.trim() {
        _ if has("wireless") || has("phy80211") => InterfaceKind::Wifi,
        _ if has("tun_flags") => InterfaceKind::Tunnel,
        // ARPHRD_PPP, _TUNNEL, _TUNNEL6, _SIT, _IPGRE, _IP6GRE, _NONE
        "512" | "768" | "769" | "776" | "778" | "823" | "65534" => InterfaceKind::Tunnel,
        _ if has("bridge") => InterfaceKind::Bridge,
        _ if real("device/subsystem").ends_with("usb") => InterfaceKind::Usb,
        _ if real("").starts_with("/sys/devices/virtual") => InterfaceKind::Virtual,
        "1" => InterfaceKind::Ethernet,
        _ => InterfaceKind::Other,
    }
}
