//! `/proc/net/tcp`, `tcp6`, `udp` and `udp6` (proc(5)): from the ends of a socket to its inode.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::net::flows::Socket;

/// The inode of the socket that fits best: both ends, then our address and port, then our port alone.
pub(super) fn inode(tables: &[String], socket: &Socket) -> Option<u64> {
    let rows = tables
        .iter()
        .flat_map(|table| table.lines())
        .filter_map(row);
    let fits = rows.filter_map(|(own, peer, inode)| Some((fit(own, peer, socket)?, inode)));
    fits.max_by_key(|&(fit, _)| fit).map(|(_, inode)| inode)
}

fn fit(own: SocketAddr, peer: SocketAddr, socket: &Socket) -> Option<u8> {
    if own.port() != socket.own.port() {
        return None;
    }
    let same_own = own.ip() == socket.own.ip();
    let any_peer = peer.ip().is_unspecified() && peer.port() == 0;
    match (same_own, own.ip().is_unspecified()) {
        (true, _) if peer == socket.peer => Some(3),
        (true, _) if any_peer => Some(2),
        (_, true) if any_peer => Some(1),
        _ => None,
    }
}

/// Columns: number, local end, remote end, state, four more, inode. A socket without an inode has no owner any more.
fn row(line: &str) -> Option<(SocketAddr, SocketAddr, u64)> {
    let mut columns = line.split_ascii_whitespace();
    let own = end(columns.nth(1)?)?;
    let peer = end(columns.next()?)?;
    let inode = columns.nth(6)?.parse().ok().filter(|&inode| inode != 0)?;
    Some((own, peer, inode))
}

/// `0100007F:0050`: the address in the kernel's words, each in its own byte order.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| {
        u32::from_str_radix(address.get(at..at + 8)?, 16)
            .ok()
            .map(u32::to_ne_bytes)
    };
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let bytes: Vec<u8> = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))
        }
        _ => return None,
    };
    Some(SocketAddr::new(
        ip.to_canonical(),
        u16::from_str_radix(port, 16).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use labwatch_contract::scope::protocol;
    use proptest::prelude::*;

    use super::*;

    fn hex(end: &str) -> String {
        let end: SocketAddr = end.parse().unwrap();
        let words: String = match end.ip() {
            IpAddr::V4(ip) => format!("{:08X}", u32::from_ne_bytes(ip.octets())),
            IpAddr::V6(ip) => ip
                .octets()
                .chunks(4)
                .map(|word| format!("{:08X}", u32::from_ne_bytes(word.try_into().unwrap())))
                .collect(),
        };
        format!("{words}:{:04X}", end.port())
    }

    fn table(rows: &[(&str, &str, u64)]) -> String {
        let row = |(own, peer, inode): &(&str, &str, u64)| {
            format!(
                "   0: {} {} 01 0:0 0:0 0 1000 0 {inode} 1\n",
                hex(own),
                hex(peer)
            )
        };
        format!(
            "  sl  local_address rem_address st\n{}",
            rows.iter().map(row).collect::<String>()
        )
    }

    fn find(rows: &[(&str, &str, u64)]) -> Option<u64> {
        let socket = Socket {
            protocol: protocol::TCP,
            own: "192.168.0.7:40000".parse().unwrap(),
            peer: "192.168.0.8:80".parse().unwrap(),
        };
        inode(&[table(rows)], &socket)
    }

    #[test]
    fn the_connected_socket_comes_before_the_one_that_only_listens() {
        let listening = ("0.0.0.0:40000", "0.0.0.0:0", 1);
        let bound = ("192.168.0.7:40000", "0.0.0.0:0", 2);
        let connected = ("192.168.0.7:40000", "192.168.0.8:80", 3);
        assert_eq!(find(&[connected, bound, listening]), Some(3));
        assert_eq!(find(&[listening, bound]), Some(2));
        assert_eq!(find(&[listening]), Some(1));
    }

    #[test]
    fn an_ipv4_connection_of_an_ipv6_socket_is_found() {
        assert_eq!(
            find(&[("[::ffff:192.168.0.7]:40000", "[::ffff:192.168.0.8]:80", 4)]),
            Some(4)
        );
        assert_eq!(find(&[("[::]:40000", "[::]:0", 5)]), Some(5));
    }

    #[test]
    fn others_connections_and_closed_ones_are_not_taken() {
        assert_eq!(find(&[("192.168.0.7:40000", "192.168.0.9:80", 1)]), None);
        assert_eq!(find(&[("192.168.0.7:40001", "192.168.0.8:80", 1)]), None);
        assert_eq!(find(&[("192.168.0.7:40000", "192.168.0.8:80", 0)]), None);
    }

    proptest! {
        #[test]
        fn no_table_panics(text in "[0-9A-F: \né]{0,300}") {
            let _ = inode(&[text], &Socket { protocol: 6, own: "1.2.3.4:5".parse().unwrap(), peer: "1.2.3.4:6".parse().unwrap() });
        }
    }
}
