//! Which frames are openings, in the language of pcap-filter(7).
//!
//! TCP's first packet; ICMP that is a conversation; UDP within the local networks; answers of DNS, mDNS and LLMNR;
//! questions to everybody, so that their answers are known as such; and what names a peer: a TLS ClientHello on any port,
//! on the ports of HTTP and HTTPS whatever a program hands over at once (so also the later segments of a long ClientHello),
//! a QUIC packet with a long header. Infrastructure that is frequent is left out. The choice may let too much through or
//! too little (frames with two VLAN tags, extension headers): nothing depends on it but how soon a thing is told.

use std::fmt::Write as _;

use ipnet::IpNet;
use labwatch_contract::scope::Networks;

/// RFC 1918, 6598, 3927, 4193, 4291: local wherever the PC is.
const PRIVATE: [&str; 7] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "100.64.0.0/10",
    "fc00::/7",
    "fe80::/10",
];

/// More would make the program longer than the kernel takes.
const MOST_NETWORKS: usize = 32;

/// What does not depend on the networks.
const EVERYWHERE: &str = "\
    (tcp[13] & 0x12 = 2) or (ip6[6] = 6 and ip6[53] & 0x12 = 2) \
    or (icmp and (icmp[0] = 0 or icmp[0] = 8 or icmp[0] > 12)) \
    or (ip6[6] = 58 and (ip6[40] = 128 or ip6[40] = 129)) \
    or port 53 or (udp and (src port 5353 or src port 5355)) \
    or (udp and (dst port 161 or dst port 3702 or dst port 5353 or dst port 5355)) \
    or (udp dst port 1900 and (udp[8:4] = 0x4d2d5345 or (ip6[6] = 17 and ip6[48:4] = 0x4d2d5345))) \
    or (tcp[(tcp[12] & 0xf0) >> 2 : 2] = 0x1603 and tcp[((tcp[12] & 0xf0) >> 2) + 5] = 1) \
    or (ip6[6] = 6 and ip6[40 + ((ip6[52] & 0xf0) >> 2) : 2] = 0x1603 \
        and ip6[45 + ((ip6[52] & 0xf0) >> 2)] = 1) \
    or ((dst port 80 or dst port 443) and (tcp[13] & 8 != 0 or (ip6[6] = 6 and ip6[53] & 8 != 0))) \
    or (udp dst port 443 and (udp[8] & 0xc0 = 0xc0 or (ip6[6] = 17 and ip6[48] & 0xc0 = 0xc0)))";

/// The program for a PC in these networks.
pub(super) fn openings(networks: &Networks) -> String {
    let mut nets: Vec<String> = PRIVATE.map(str::to_owned).to_vec();
    let own = networks.local.iter().take(MOST_NETWORKS);
    nets.extend(own.map(ToString::to_string));
    let either = |end: &str| {
        let each: Vec<String> = nets.iter().map(|net| format!("{end} net {net}")).collect();
        each.join(" or ")
    };
    let mut program = format!(
        "{EVERYWHERE} or (udp and ({}) and ({}) and not (port 67 or port 123 or port 546 or port 1900)",
        either("src"),
        either("dst")
    );
    for network in networks.local.iter().take(MOST_NETWORKS) {
        if let IpNet::V4(network) = network
            && network.prefix_len() < 31
        {
            // Writing to a String cannot fail.
            let _ = write!(program, " and not dst host {}", network.broadcast());
        }
    }
    program.push(')');
    program
}

#[cfg(test)]
mod tests {
    use pcap::{Capture, Linktype};

    use super::*;

    fn networks() -> Networks {
        Networks {
            local: vec![
                "203.0.113.0/24".parse().unwrap(),
                "2001:db8::/64".parse().unwrap(),
            ],
            ..Networks::default()
        }
    }

    fn passes(frame: &[u8]) -> bool {
        let program = Capture::dead(Linktype(1)).unwrap();
        let program = program.compile(&openings(&networks()), true).unwrap();
        program.filter(frame)
    }

    /// Ethernet, the packet of `protocol` between two addresses, the transport's bytes.
    fn frame(protocol: u8, from: &str, to: &str, transport: &[u8]) -> Vec<u8> {
        let (from, to): (std::net::IpAddr, std::net::IpAddr) =
            (from.parse().unwrap(), to.parse().unwrap());
        let mut bytes = vec![0; 12];
        let len = u8::try_from(transport.len()).unwrap();
        match (from, to) {
            (std::net::IpAddr::V4(from), std::net::IpAddr::V4(to)) => {
                bytes.extend([8, 0, 0x45, 0, 0, 20 + len, 0, 0, 0, 0, 64, protocol, 0, 0]);
                bytes.extend(from.octets());
                bytes.extend(to.octets());
            }
            (std::net::IpAddr::V6(from), std::net::IpAddr::V6(to)) => {
                bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, len, protocol, 64]);
                bytes.extend(from.octets());
                bytes.extend(to.octets());
            }
            _ => panic!(),
        }
        bytes.extend(transport);
        bytes
    }

    fn tcp(port: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
        let [high, low] = port.to_be_bytes();
        let mut bytes = vec![
            200, 0, high, low, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 1, 0, 0, 0, 0, 0,
        ];
        bytes.extend(payload);
        bytes
    }

    fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
        let [high, low] = port.to_be_bytes();
        let mut bytes = vec![200, 0, high, low, 0, 8, 0, 0];
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn openings_pass_and_the_rest_does_not() {
        let hello = [0x16, 3, 1, 2, 0, 1, 0];
        for (protocol, transport, expected) in [
            (6, tcp(22, 0x02, &[]), true),
            (6, tcp(22, 0x12, &[]), false),
            (6, tcp(22, 0x18, b"ssh"), false),
            (6, tcp(8443, 0x10, &hello), true),
            (6, tcp(443, 0x10, b"bulk"), false),
            (6, tcp(443, 0x18, b"end of it"), true),
            (6, tcp(80, 0x18, b"GET / HTTP/1.1"), true),
            (6, tcp(53, 0x18, b"?"), true),
            (17, udp(443, &[0xc3, 0, 0, 0, 1]), true),
            (17, udp(443, &[0x43, 0, 0, 0, 1]), false),
            (17, udp(53, b"?"), true),
            (17, udp(5000, b"?"), false),
            (17, udp(1900, b"M-SEARCH * HTTP/1.1"), true),
            (17, udp(1900, b"NOTIFY * HTTP/1.1"), false),
            (17, udp(3702, b"<?xml"), true),
            (47, vec![0; 20], false),
        ] {
            for (from, to) in [("192.0.2.1", "198.51.100.1"), ("2001:db8::1", "2001::1")] {
                let frame = frame(protocol, from, to, &transport);
                assert_eq!(passes(&frame), expected, "{from} {protocol} {transport:?}");
            }
        }
    }

    #[test]
    fn udp_and_pings_within_the_local_networks_pass() {
        let pass = |to, transport: &[u8]| passes(&frame(17, "203.0.113.7", to, transport));
        assert!(pass("203.0.113.8", &udp(5000, b"?")));
        assert!(pass("10.1.2.3", &udp(5000, b"?")));
        assert!(!pass("203.0.113.255", &udp(5000, b"?")));
        assert!(!pass("198.51.100.1", &udp(5000, b"?")));
        assert!(!pass("203.0.113.8", &udp(123, b"?")));
        let v6 = |protocol, transport: &[u8]| {
            passes(&frame(protocol, "2001:db8::7", "fe80::1", transport))
        };
        assert!(v6(17, &udp(5000, b"?")));
        assert!(v6(58, &[128, 0, 0, 0]));
        assert!(!v6(58, &[135, 0, 0, 0]));
        assert!(passes(&frame(1, "203.0.113.7", "192.0.2.1", &[8, 0, 0, 0])));
        assert!(!passes(&frame(
            1,
            "203.0.113.7",
            "192.0.2.1",
            &[3, 0, 0, 0]
        )));
    }

    #[test]
    fn it_is_a_program_for_every_link_type_and_for_many_networks() {
        let many = Networks {
            local: (0..200)
                .map(|number| format!("172.30.{number}.0/24").parse().unwrap())
                .collect(),
            ..Networks::default()
        };
        for dlt in [1, 113, 276, 12, 228, 229, 9, 0, 108] {
            for networks in [&networks(), &many] {
                let program = Capture::dead(Linktype(dlt)).unwrap();
                let program = program.compile(&openings(networks), true);
                assert!(program.is_ok(), "{dlt}: {:?}", program.err());
            }
        }
    }

    #[test]
    fn the_private_networks_are_those_of_the_scope() {
        for network in PRIVATE {
            let network: IpNet = network.parse().unwrap();
            let scope = Networks::default().scope_of_address(network.network());
            assert_eq!(scope, labwatch_contract::scope::Scope::Intranet);
        }
    }
}
