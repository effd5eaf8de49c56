//! `/proc/net/{tcp,udp}{,6}` and `/proc/<pid>/stat` (proc(5)): from the ends of a socket to its inode and user.
//!
//! For kernels that cannot be asked about one socket, and for sockets of other network namespaces. A line that cannot be
//! read is passed over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use labwatch_contract::scope::protocol;

use crate::net::flows::Socket;

/// A socket of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// This PC's end.
    pub own: SocketAddr,
    /// The other end; unspecified and port 0 where there is none.
    pub peer: SocketAddr,
    /// Who made it.
    pub uid: u32,
    /// Its inode in `sockfs`; never 0.
    pub inode: u64,
}

/// The name of the table of a protocol, without the `6` of IPv6.
#[must_use]
pub fn name(protocol: u8) -> &'static str {
    match protocol {
        protocol::TCP => "tcp",
        _ => "udp",
    }
}

/// The socket that fits best: both ends, then our address and port, then our port alone.
#[must_use]
pub fn find(tables: &[String], socket: &Socket) -> Option<Row> {
    let fits = rows(tables).filter_map(|row| Some((fit(&row, socket)?, row)));
    fits.max_by_key(|&(fit, _)| fit).map(|(_, row)| row)
}

/// The socket that has this peer and, under whatever address, our port: its packets got our address on their way.
#[must_use]
pub fn translated(tables: &[String], socket: &Socket) -> Option<Row> {
    rows(tables).find(|row| row.peer == socket.peer && row.own.port() == socket.own.port())
}

/// The parent's id, from `/proc/<pid>/stat`. The program's name, in brackets, may itself hold brackets and blanks.
#[must_use]
pub fn parent(stat: &str) -> Option<u32> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    behind_name.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn rows(tables: &[String]) -> impl Iterator<Item = Row> {
    tables
        .iter()
        .flat_map(|table| table.lines())
        .filter_map(row)
}

fn fit(row: &Row, socket: &Socket) -> Option<u8> {
    if row.own.port() != socket.own.port() {
        return None;
    }
    let same_own = row.own.ip() == socket.own.ip();
    let any_peer = row.peer.ip().is_unspecified() && row.peer.port() == 0;
    match (same_own, row.own.ip().is_unspecified()) {
        (true, _) if row.peer == socket.peer => Some(3),
        (true, _) if any_peer => Some(2),
        (_, true) if any_peer => Some(1),
        _ => None,
    }
}

/// Columns: number, both ends, state, three more, user, one more, inode. A socket without an inode has no owner any more.
fn row(line: &str) -> Option<Row> {
    let mut columns = line.split_ascii_whitespace();
    Some(Row {
        own: end(columns.nth(1)?)?,
        peer: end(columns.next()?)?,
        uid: columns.nth(4)?.parse().ok()?,
        inode: columns.nth(1)?.parse().ok().filter(|&inode| inode != 0)?,
    })
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
    use labwatch_contract::event::contact::Direction;
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

    fn socket() -> Socket {
        Socket {
            protocol: protocol::TCP,
            own: "192.168.0.7:40000".parse().unwrap(),
            peer: "192.168.0.8:80".parse().unwrap(),
            direction: Direction::Egress,
            interface: 1,
        }
    }

    fn find(rows: &[(&str, &str, u64)]) -> Option<u64> {
        let row = super::find(&[table(rows)], &socket())?;
        assert_eq!(row.uid, 1000);
        Some(row.inode)
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

    #[test]
    fn a_containers_socket_is_known_by_its_port_and_peer() {
        let inner = [
            ("172.17.0.2:40001", "192.168.0.8:80", 1),
            ("172.17.0.2:40000", "192.168.0.9:80", 2),
            ("172.17.0.2:40000", "192.168.0.8:80", 3),
        ];
        assert_eq!(find(&inner), None);
        let row = translated(&[table(&inner)], &socket()).unwrap();
        assert_eq!((row.inode, row.uid), (3, 1000));
    }

    #[test]
    fn a_parent_is_read_whatever_the_program_is_called() {
        assert_eq!(parent("42 (sh) S 17 42 42 0"), Some(17));
        assert_eq!(parent("42 (a) S 1 (b) R 17 42"), Some(17));
        assert_eq!(parent("42 (sh"), None);
    }

    proptest! {
        #[test]
        fn no_table_panics(text in "[0-9A-F: \né]{0,300}") {
            let _ = super::find(std::slice::from_ref(&text), &socket());
            let _ = translated(&[text], &socket());
        }

        #[test]
        fn no_stat_panics(text in "[0-9a-z() é]{0,60}") {
            let _ = parent(&text);
        }
    }
}
