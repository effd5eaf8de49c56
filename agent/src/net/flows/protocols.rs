//! Names of transports and services, as `network.transport` and `network.protocol` carry them (ECS; IANA's keywords).

/// IANA's keyword of a protocol number in lower case, or the number.
pub(super) fn transport(protocol: u8) -> String {
    let known = match protocol {
        1 => "icmp",
        2 => "igmp",
        4 => "ipv4",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        41 => "ipv6",
        47 => "gre",
        50 => "esp",
        51 => "ah",
        58 => "ipv6-icmp",
        89 => "ospfigp",
        132 => "sctp",
        136 => "udplite",
        _ => return protocol.to_string(),
    };
    known.to_owned()
}

/// The protocol that a well-known port is for.
pub(super) fn service(port: u16) -> Option<&'static str> {
    Some(match port {
        20 | 21 => "ftp",
        22 => "ssh",
        23 => "telnet",
        25 | 587 => "smtp",
        53 => "dns",
        69 => "tftp",
        80 | 8080 => "http",
        110 => "pop3",
        123 => "ntp",
        139 | 445 => "smb",
        143 => "imap",
        161 => "snmp",
        389 => "ldap",
        443 | 8443 => "https",
        631 => "ipp",
        853 => "dns-over-tls",
        873 => "rsync",
        993 => "imaps",
        995 => "pop3s",
        1194 => "openvpn",
        1883 => "mqtt",
        2049 => "nfs",
        3128 => "http-proxy",
        3306 => "mysql",
        3389 => "rdp",
        5353 => "mdns",
        5432 => "postgresql",
        5900 => "vnc",
        6667 => "irc",
        8883 => "mqtts",
        9418 => "git",
        51820 => "wireguard",
        _ => return None,
    })
}
