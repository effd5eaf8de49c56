//! What the machines of the lab say to each other: plain sockets, on whatever machine the caller is.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use crate::lab::Machine;

const PATIENCE: Duration = Duration::from_secs(5);
const PAGE: &[u8] = b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// Serves one page after another on a machine, for as long as the test runs.
///
/// # Panics
/// When the port is taken.
pub fn serve_pages(machine: &Machine, port: u16) {
    let listener = machine.inside(|| TcpListener::bind(("0.0.0.0", port)).unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.set_read_timeout(Some(PATIENCE));
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(PAGE);
        }
    });
}

/// Fetches a page from a machine.
///
/// # Panics
/// When it does not come.
pub fn fetch_page(from: &Machine, server: SocketAddr) {
    let page = from.inside(|| {
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut page = Vec::new();
        stream.read_to_end(&mut page).unwrap();
        page
    });
    assert_eq!(page, PAGE);
}

/// Sends one datagram from a machine and forgets it.
///
/// # Panics
/// When it cannot be sent.
pub fn send_datagram(from: &Machine, own_port: u16, to: (Ipv4Addr, u16), payload: &[u8]) {
    from.inside(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, own_port)).unwrap();
        socket.set_broadcast(true).unwrap();
        socket.send_to(payload, to).unwrap();
    });
}

/// Asks a DNS server for the address of a name, as a stub resolver does (RFC 1035).
///
/// # Panics
/// When no answer comes.
pub fn ask_dns(from: &Machine, server: Ipv4Addr, name: &str) {
    let mut query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
    for label in name.split('.') {
        query.push(label.len().try_into().unwrap());
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(b"\x00\x00\x01\x00\x01");
    from.inside(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(&query, (server, 53)).unwrap();
        socket.recv(&mut [0; 512]).unwrap();
    });
}

/// Everything that a network does by itself: DNS, DHCP, NTP, ARP, mDNS, LLMNR, SSDP.
pub fn make_infrastructure_noise(from: &Machine, gateway: &Machine, name: &str) {
    ask_dns(from, gateway.ip, name);
    send_datagram(from, 68, (Ipv4Addr::BROADCAST, 67), &[1; 300]);
    send_datagram(from, 123, (gateway.ip, 123), &[0x23; 48]);
    send_datagram(from, 5353, (Ipv4Addr::new(224, 0, 0, 251), 5353), &[0; 40]);
    send_datagram(from, 0, (Ipv4Addr::new(224, 0, 0, 252), 5355), &[0; 40]);
    send_datagram(
        from,
        0,
        (Ipv4Addr::new(239, 255, 255, 250), 1900),
        b"M-SEARCH * HTTP/1.1\r\n\r\n",
    );
}
