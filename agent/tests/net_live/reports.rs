//! What is counted, against the interfaces' own counters and a watcher that stands still.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::{IpAddr, TcpListener, TcpStream, UdpSocket},
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use labwatch_contract::{
    event::{Action, Occurrence},
    scope::Scope,
};

use crate::{
    cable::{Cable, counter, enter},
    watcher::{LIVENESS, Watcher},
};

/// 500,000 bytes there and 300,000 back over TCP, 90,000 there over UDP.
fn exchange(cable: &Cable) {
    let listener = enter(&cable.other, || {
        TcpListener::bind("10.77.0.2:8080").unwrap()
    });
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut received = vec![];
        stream.read_to_end(&mut received).unwrap();
        stream.write_all(&vec![7; 300_000]).unwrap();
        received.len()
    });
    let fetched = enter(&cable.pc, || {
        let mut stream = TcpStream::connect("10.77.0.2:8080").unwrap();
        stream.write_all(&vec![1; 500_000]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut received = vec![];
        stream.read_to_end(&mut received).unwrap();
        let socket = UdpSocket::bind("203.0.113.1:0").unwrap();
        (0..100).for_each(|_| assert!(socket.send_to(&[9; 900], "203.0.113.2:9").is_ok()));
        received.len()
    });
    assert_eq!((fetched, server.join().unwrap()), (300_000, 500_000));
}

/// Bytes of the interfaces, of their own counters, and of peers and others together.
fn sums(reports: &[Occurrence]) -> (u64, u64, u64) {
    let mut sums = (0, 0, 0);
    for lab in reports.iter().map(|report| &report.fields.lab) {
        for interface in lab.interfaces.iter().flatten() {
            sums.0 += interface.bytes;
            sums.1 += interface.counter_bytes.unwrap();
        }
        for peer in lab.peers.iter().flatten() {
            sums.2 += peer.sent_bytes + peer.received_bytes;
        }
        sums.2 += lab.other_bytes.unwrap_or_default();
    }
    sums
}

#[test]
fn reports_equal_the_interface_counters_to_the_byte() {
    let Some(cable) = Cable::new("bytes") else {
        return;
    };
    let before = counter(&cable.pc);
    let watcher = Watcher::start(&cable.pc, Duration::from_secs(2));
    watcher.wait_for_interface();
    assert_eq!(before, counter(&cable.pc), "the cable is quiet");
    exchange(&cable);

    let mut reports = vec![];
    let deadline = Instant::now() + LIVENESS;
    loop {
        reports.push(watcher.wait_for("traffic-report", |event| {
            event.action == Action::TrafficReport
        }));
        let (bytes, counted, peers) = sums(&reports);
        assert_eq!(bytes, peers, "peers + other = interfaces");
        let grown = counter(&cable.pc) - before;
        if bytes == grown && counted == grown {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{bytes} captured, {counted} by counter_bytes, {grown} by the interface"
        );
    }
    assert!(sums(&reports).0 > 890_000);
    let peers = reports
        .iter()
        .flat_map(|report| report.fields.lab.peers.iter().flatten());
    let scopes: HashMap<IpAddr, Scope> = peers.map(|peer| (peer.ip, peer.scope)).collect();
    assert_eq!(
        scopes[&"10.77.0.2".parse::<IpAddr>().unwrap()],
        Scope::Intranet
    );
    assert_eq!(
        scopes[&"203.0.113.2".parse::<IpAddr>().unwrap()],
        Scope::Internet
    );
    assert_eq!(watcher.health.dropped.load(Ordering::Relaxed), 0);
    watcher.stop();
}

#[test]
fn frames_lost_while_the_watcher_stands_still_are_told_in_the_report_and_as_a_gap() {
    let Some(cable) = Cable::new("drops") else {
        return;
    };
    let watcher = Watcher::start(&cable.pc, Duration::from_secs(2));
    watcher.wait_for_interface();
    let hold = watcher.stand_still(&cable);
    enter(&cable.pc, || {
        let socket = UdpSocket::bind("10.77.0.1:0").unwrap();
        (0..60_000).for_each(|_| assert!(socket.send_to(&[9; 18], "10.77.0.2:9").is_ok()));
    });
    drop(hold);
    let gap = watcher.wait_for("capture-gap", |event| event.action == Action::CaptureGap);
    let interval = gap.fields.interval.unwrap();
    assert!(interval.start < interval.end);
    assert!(gap.fields.lab.reason.unwrap().contains("dropped"));
    let (mut dropped, mut frames) = (0, 0);
    while dropped == 0 {
        let report = watcher.wait_for("traffic-report", |event| {
            event.action == Action::TrafficReport
        });
        for interface in report.fields.lab.interfaces.iter().flatten() {
            (dropped, frames) = (dropped + interface.dropped, frames + interface.packets);
        }
        assert!(frames <= 60_000, "only {dropped} of {frames} were dropped");
    }
    assert!(dropped > 10_000, "{dropped}");
    watcher.stop();
}
