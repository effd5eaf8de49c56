//! The system's text files about the network, read best effort: a line that makes no sense is passed over.
//!
//! `/etc/resolv.conf` (resolv.conf(5)); `timesyncd.conf`, `chrony.conf`, `ntp.conf` and DHCP leases of systemd-networkd for
//! time servers; `/proc/net/dev` for counters.

use std::{collections::HashMap, net::IpAddr};

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
                let _ = (dns_servers(&text), time_servers(&text), counters(&text));
            }
        }
    }
}
