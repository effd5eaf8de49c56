//! Who talks to whom, by packets on the cable.

use std::{
    net::{TcpListener, UdpSocket},
    process::Command,
    thread,
    time::Duration,
};

use labwatch_contract::event::{
    Action,
    contact::{Attribution, Direction, NameSource},
};

use crate::{
    cable::{Cable, bash, enter, skipped},
    watcher::{Watcher, end, watched},
};

#[test]
fn the_first_packet_between_two_pcs_is_told_at_both_ends() {
    let Some(cable) = Cable::new("first") else {
        return;
    };
    let (pc, other) = (
        Watcher::start(&cable.pc, Duration::from_secs(600)),
        Watcher::start(&cable.other, Duration::from_secs(600)),
    );
    pc.wait_for_interface();
    other.wait_for_interface();
    bash(&cable.pc, "exec 3<>/dev/tcp/10.77.0.2/8080");
    let mut ends = vec![];
    for (watcher, direction) in [(&pc, Direction::Egress), (&other, Direction::Ingress)] {
        let told = watcher.wait_for("intranet-access", |event| {
            event.action == Action::IntranetAccess
        });
        assert_eq!(end(&told.fields.destination), "10.77.0.2:8080");
        assert_eq!(told.fields.network.unwrap().direction, direction);
        ends.push(end(&told.fields.source));
    }
    assert!(
        ends[0].starts_with("10.77.0.1:") && ends[0] == ends[1],
        "{ends:?}"
    );
    pc.stop();
    other.stop();
}

#[test]
fn a_server_on_the_internet_is_told_by_the_name_that_a_real_client_asks_for() {
    let Some(cable) = Cable::new("name") else {
        return;
    };
    if Command::new("openssl").arg("version").output().is_err() {
        skipped("no openssl here, a client of TLS");
        return;
    }
    let _listener = enter(&cable.other, || {
        TcpListener::bind("203.0.113.2:4433").unwrap()
    });
    let watcher = Watcher::start(&cable.pc, Duration::from_secs(600));
    watcher.wait_for_interface();
    bash(
        &cable.pc,
        "timeout 2 openssl s_client -connect 203.0.113.2:4433 -servername Exam.example </dev/null",
    );
    let told = watcher.wait_for("internet-access", |event| {
        event.action == Action::InternetAccess
    });
    let destination = told.fields.destination.unwrap();
    assert_eq!(destination.domain.as_deref(), Some("exam.example"));
    assert_eq!(told.fields.lab.name_source, Some(NameSource::Sni));
    watcher.stop();
}

#[test]
fn another_programs_contact_is_named_and_the_brokers_is_not_told() {
    let Some(cable) = Cable::new("program") else {
        return;
    };
    let watcher = Watcher::start(&cable.pc, Duration::from_secs(600));
    watcher.wait_for_interface();
    watcher
        .broker
        .send(Some("10.77.0.2:1883".parse().unwrap()))
        .unwrap();
    let listeners = enter(&cable.other, || {
        [1883, 2222].map(|port| TcpListener::bind(("10.77.0.2", port)).unwrap())
    });
    let script = "exec 3<>/dev/tcp/10.77.0.2/1883; exec 4<>/dev/tcp/10.77.0.2/2222; read line <&4";
    let mut bash = Command::new("ip")
        .args(["netns", "exec", &cable.pc, "bash", "-c", script])
        .spawn()
        .unwrap();
    let told = watcher.wait_for("intranet-access", |event| {
        event.action == Action::IntranetAccess
    });
    bash.kill().unwrap();
    bash.wait().unwrap();
    assert_eq!(end(&told.fields.destination), "10.77.0.2:2222");
    assert_eq!(told.fields.lab.attribution, Some(Attribution::Exact));
    let process = told.fields.process.unwrap();
    assert_eq!(process.name.as_deref(), Some("bash"));
    assert_eq!(process.user.unwrap().name, "root");
    drop(listeners);
    watcher.stop();
}

#[test]
fn answers_to_a_question_to_everybody_are_no_contact() {
    let Some((cable, watcher)) = watched("ssdp") else {
        return;
    };
    let answers = enter(&cable.other, || UdpSocket::bind("10.77.0.2:1900").unwrap());
    let asks = enter(&cable.pc, || UdpSocket::bind("10.77.0.1:0").unwrap());
    asks.send_to(b"M-SEARCH * HTTP/1.1\r\n\r\n", "239.255.255.250:1900")
        .unwrap();
    answers
        .send_to(b"HTTP/1.1 200 OK", asks.local_addr().unwrap())
        .unwrap();
    thread::sleep(Duration::from_secs(1));
    bash(&cable.pc, "echo hello >/dev/udp/10.77.0.2/9995");
    let told = watcher.wait_for("intranet-access", |event| {
        event.action == Action::IntranetAccess
    });
    assert_eq!(
        end(&told.fields.destination),
        "10.77.0.2:9995",
        "and nothing before"
    );
    watcher.stop();
}
