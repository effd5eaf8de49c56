//! What counting costs: CPU time a packet from its captured bytes to the sums, by kinds of traffic, without the kernel's part.
//! `cargo bench -p labwatch-agent --bench packets`; beside other programs and with the kernel's part: `scripts/bench-capture`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock, and fails by a panic"
)]

use std::{hint::black_box, net::Ipv4Addr, time::Duration};

use labwatch_agent::net::{
    Moment,
    flows::Flows,
    packet::{self, Captured, LinkType},
    surroundings::{Interface, Surroundings},
};
use labwatch_contract::time::Timestamp;
use rustix::time::{ClockId, clock_gettime};

const PACKETS: u32 = 400_000;
const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// As much of a frame as the capture hands over.
const CAPTURED: usize = 96;

type Bytes = [u8; CAPTURED];

fn main() {
    println!("CPU time a packet ({PACKETS} of them), in parentheses reading alone");
    run("tcp", |number| {
        let (from, to) = if number.is_multiple_of(2) {
            ((OWN, 40_000), (SERVER, 5201))
        } else {
            ((SERVER, 5201), (OWN, 40_000))
        };
        frame(TCP, from, to, ACK)
    });
    run("udp", |_| frame(UDP, (OWN, 40_000), (SERVER, 5201), 0));
    run("short", |number| {
        let port = 20_000 + u16::try_from(number / 10 % 28_000).unwrap();
        let flags = if number.is_multiple_of(10) { SYN } else { ACK };
        let (client, server) = ((OWN, port), (SERVER, 8077));
        if number.is_multiple_of(2) {
            frame(TCP, client, server, flags)
        } else {
            frame(TCP, server, client, flags)
        }
    });
    run("peers", |number| peers(number, 5000));
    run("100,000", |number| peers(number, 100_000));
}

/// Each packet of another peer, in no order.
fn peers(number: u32, count: u32) -> Bytes {
    let which = number.wrapping_mul(2_654_435_761) % count;
    let peer = Ipv4Addr::from(0xc612_0000 + which);
    let protocol = if which.is_multiple_of(5) { UDP } else { TCP };
    let own_port = u16::try_from(30_000 + which % 30_000).unwrap();
    frame(protocol, (peer, 443), (OWN, own_port), ACK)
}

fn run(name: &str, make: impl Fn(u32) -> Bytes) {
    let frames: Vec<Bytes> = (0..PACKETS).map(make).collect();
    let mut flows = flows();
    let reading = timed(|| {
        for bytes in &frames {
            black_box(packet::parse(LinkType::Ethernet, bytes, 1000));
        }
    });
    let all = timed(|| {
        for (number, batch) in (0_u64..).zip(frames.chunks(1000)) {
            let mut counting = flows.counting(1);
            for (place, bytes) in (0_u64..).zip(batch) {
                let captured = Captured {
                    link: LinkType::Ethernet,
                    bytes,
                    len: 1000,
                };
                counting.handle(&captured, at((number * 1000 + place) / 40));
            }
            drop(counting);
            while flows.poll_output().is_some() {}
            flows.handle_timeout(at((number + 1) * 25));
        }
    });
    let each = |time: Duration| time.as_secs_f64() * 1e9 / f64::from(PACKETS);
    println!("{name:8} {:6.0} ns ({:.0})", each(all), each(reading));
}

fn flows() -> Flows {
    let mut interface = Interface {
        index: 1,
        ..Interface::default()
    };
    interface.shown.name = "eth0".into();
    interface.shown.addresses = vec![
        "192.168.77.2/24".parse().unwrap(),
        "fe80::2/64".parse().unwrap(),
    ];
    let here = Surroundings {
        interfaces: vec![interface.clone()],
        ..Surroundings::default()
    };
    let mut flows = Flows::new(at(0));
    flows.set_surroundings(&here, here.networks(&[], None));
    flows.open_interface(&interface);
    flows
}

fn frame(
    protocol: u8,
    (source, from): (Ipv4Addr, u16),
    (destination, to): (Ipv4Addr, u16),
    flags: u8,
) -> Bytes {
    let mut bytes = [0; CAPTURED];
    bytes[12..14].copy_from_slice(&[8, 0]);
    bytes[14] = 0x45;
    bytes[16..18].copy_from_slice(&986_u16.to_be_bytes());
    bytes[23] = protocol;
    bytes[26..30].copy_from_slice(&source.octets());
    bytes[30..34].copy_from_slice(&destination.octets());
    bytes[34..36].copy_from_slice(&from.to_be_bytes());
    bytes[36..38].copy_from_slice(&to.to_be_bytes());
    bytes[46] = 0x50;
    bytes[47] = flags;
    bytes
}

fn at(ms: u64) -> Moment {
    let time = Timestamp::from_unix_ms(1_700_000_000_000 + i64::try_from(ms).unwrap()).unwrap();
    Moment {
        uptime: Duration::from_millis(ms),
        time,
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let cpu = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap();
    let began = cpu();
    work();
    cpu() - began
}
