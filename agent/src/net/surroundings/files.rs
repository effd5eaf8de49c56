//! The system's text files about the network, read best effort: a line that makes no sense is passed over.
//!
//! `/etc/resolv.conf` (resolv.conf(5)); `timesyncd.conf`, `chrony.conf`, `ntp.conf` and DHCP leases of systemd-networkd for
//! time servers; `/proc/net/route` and `ipv6_route` for gateways; `/proc/net/dev` for counters.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The routes that matter here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// Default gateways by interface, the first one of each; `0.0.0.0` or `::` where the interface itself is the way (a VPN).
    pub gateways: HashMap<String, IpAddr>,
    /// Networks reached without a gateway.
    pub on_link: Vec<IpNet>,
}

impl Routes {
    fn add(&mut self, interface: &str, network: IpNet, gateway: IpAddr) {
        if network.prefix_len() == 0 {
            self.gateways.entry(interface.to_owned()).or_insert(gateway);
        } else if gateway.is_unspecified()
            && !network.addr().is_multicast()
            && is_of_a_site(network)
        {
            self.on_link.push(network);
        }
    }

    /// Adds what `/proc/net/route` says.
    pub fn read_ipv4(&mut self, text: &str) {
        for line in text.lines() {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            if let [interface, destination, gateway, _, _, _, _, mask, ..] = *fields
                && let (Some(destination), Some(gateway), Some(mask)) =
                    (ipv4(destination), ipv4(gateway), ipv4(mask))
                && let Ok(network) = Ipv4Net::with_netmask(destination, mask)
            {
                self.add(interface, network.into(), gateway.into());
            }
        }
    }

    /// Adds what `/proc/net/ipv6_route` says; host routes and those of the loopback are none that matter.
    pub fn read_ipv6(&mut self, text: &str) {
        for line in text.lines() {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            if let [destination, length, _, _, gateway, _, _, _, _, interface] = *fields
                && interface != "lo"
                && let (Some(destination), Some(gateway)) = (ipv6(destination), ipv6(gateway))
                && let Ok(length) = u8::from_str_radix(length, 16)
                && length < 128
                && let Ok(network) = Ipv6Net::new(destination, length)
            {
                self.add(interface, network.into(), gateway.into());
            }
        }
    }
}

/// A VPN takes half of the internet as `0.0.0.0/1`; no site's own network is as large.
fn is_of_a_site(network: IpNet) -> bool {
    match network {
        IpNet::V4(network) => network.prefix_len() >= 8,
        IpNet::V6(network) => network.prefix_len() >= 32,
    }
}

/// The kernel writes an IPv4 address as one number in its own byte order.
fn ipv4(hex: &str) -> Option<Ipv4Addr> {
    let number = u32::from_str_radix(hex, 16).ok()?;
    Some(Ipv4Addr::from(number.to_ne_bytes()))
}

fn ipv6(hex: &str) -> Option<Ipv6Addr> {
    (hex.len() == 32).then_some(())?;
    u128::from_str_radix(hex, 16).ok().map(Ipv6Addr::from)
}

/// Addresses of the lines `nameserver` of a `resolv.conf`. Loopback ones (a local stub) are left out.
#[must_use]
pub fn dns_servers(resolv_conf: &str) -> Vec<IpAddr> {
    let words = resolv_conf.lines().map(str::split_ascii_whitespace);
    words
        .filter_map(|mut words| (words.next()? == "nameserver").then(|| address(words.next()?))?)
        .filter(|ip| !ip.is_loopback())
        .collect()
}

/// Time servers: of `NTP=` lines (timesyncd.conf, leases of systemd-networkd) and of `server`, `peer` and `pool` lines (chrony,
/// ntpd). timesyncd.conf shows the servers that it is built with as a comment, `#FallbackNTP=`.
#[must_use]
pub fn time_servers(settings: &str) -> Vec<TimeServer> {
    settings.lines().flat_map(time_servers_of_line).collect()
}

/// A time server, as it stands in the settings.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TimeServer {
    /// By its address.
    Address(IpAddr),
    /// By its name, in lower case.
    Name(String),
}

impl TimeServer {
    /// Its address, where the settings have one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(ip) => Some(*ip),
            Self::Name(_) => None,
        }
    }
}

fn time_servers_of_line(line: &str) -> Vec<TimeServer> {
    let server = |text: &str| {
        let name = || TimeServer::Name(text.trim_end_matches('.').to_ascii_lowercase());
        address(text).map_or_else(name, TimeServer::Address)
    };
    let line = line.trim();
    if let Some(("NTP" | "FallbackNTP" | "#FallbackNTP", values)) = line.split_once('=') {
        return values.split_ascii_whitespace().map(server).collect();
    }
    let mut words = line.split_ascii_whitespace();
    match words.next() {
        Some("server" | "peer" | "pool") => words.next().map(server).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn address(text: &str) -> Option<IpAddr> {
    let without_zone = text.split('%').next()?;
    without_zone.parse().ok()
}

/// Received plus sent bytes of each interface, by `/proc/net/dev`.
#[must_use]
pub fn counters(proc_net_dev: &str) -> HashMap<String, u64> {
    let of_line = |line: &str| {
        let (name, figures) = line.split_once(':')?;
        let mut figures = figures.split_ascii_whitespace();
        let received: u64 = figures.next()?.parse().ok()?;
        let sent: u64 = figures.nth(7)?.parse().ok()?;
        Some((name.trim().to_owned(), received.wrapping_add(sent)))
    };
    proc_net_dev.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn routes_give_gateways_and_networks_on_link() {
        let mut routes = Routes::default();
        routes.read_ipv4(
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
             eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
             eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
             wg0\t00000080\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n",
        );
        routes.read_ipv6(
            "20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n\
             00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth1\n\
             ff000000000000000000000000000000 08 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000002 00000000 00000001     eth0\n\
             00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 80200001       lo\n",
        );
        assert_eq!(routes.gateways["eth0"].to_string(), "192.168.0.1");
        assert_eq!(routes.gateways["eth1"].to_string(), "fe80::1");
        let on_link: Vec<String> = routes.on_link.iter().map(ToString::to_string).collect();
        assert_eq!(on_link, ["192.168.0.0/16", "2001:db8::/64"]);
    }

    #[test]
    fn servers_are_read_from_each_kind_of_file() {
        let ips = |list: Vec<IpAddr>| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let resolv = "# nameserver 1.1.1.1\nsearch lab\nnameserver 127.0.0.53\nnameserver 192.168.0.1\nnameserver fe80::1%eth0\n";
        assert_eq!(ips(dns_servers(resolv)), ["192.168.0.1", "fe80::1"]);
        let times = "[Time]\n#NTP=1.1.1.1\nNTP=192.168.0.1 time.Example.\nserver 10.0.0.1 iburst\n\
                     #FallbackNTP=0.pool.example\nNTPSYNCED=1.1.1.1\n";
        let name = |name: &str| TimeServer::Name(name.to_owned());
        let address = |ip: &str| TimeServer::Address(ip.parse().unwrap());
        let expected = [
            address("192.168.0.1"),
            name("time.example"),
            address("10.0.0.1"),
            name("0.pool.example"),
        ];
        assert_eq!(time_servers(times), expected);
    }

    #[test]
    fn counters_are_the_sum_of_both_directions() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets errs\n  eth0: 100 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\n";
        assert_eq!(counters(text), HashMap::from([("eth0".to_owned(), 120)]));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9A-Fa-f:=. \t\nserverNTPname]{0,300}", any in ".{0,300}") {
            for text in [text, any] {
                let mut routes = Routes::default();
                routes.read_ipv4(&text);
                routes.read_ipv6(&text);
                let _ = (dns_servers(&text), time_servers(&text), counters(&text));
            }
        }
    }
}
