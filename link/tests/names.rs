//! Names of brokers, looked up in a network namespace with an /etc of its own: several addresses, and a server that hangs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test talks to the world, and fails by a panic"
)]

use std::{
    env, fs,
    io::{Write as _, stderr},
    process::Command,
    time::Duration,
};

use clap::Parser;
use labwatch_link::{
    session::{Incoming, SessionSettings, session},
    settings::{BrokerArgs, Problems},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(20);
const INSIDE: &str = "LABWATCH_TEST_INSIDE";
const SCRIPT: &str = "ip link set lo up && mount --bind $0/hosts /etc/hosts \
    && mount --bind $0/resolv.conf /etc/resolv.conf && exec \"$@\"";

/// Whether this is the namespace; outside, runs the test in there, with these as files in /etc.
fn is_inside(test: &str, hosts: &str, resolv: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshared = Command::new("unshare")
        .args(["-rmn", "ip", "link", "set", "lo", "up"])
        .status();
    if !unshared.is_ok_and(|status| status.success()) {
        let _ = writeln!(
            stderr(),
            "SKIPPED: no namespaces here, names were not looked up ({test})"
        );
        return false;
    }
    let etc = env::temp_dir().join(format!("labwatch-{test}-{}", std::process::id()));
    fs::create_dir(&etc).unwrap();
    fs::write(etc.join("hosts"), hosts).unwrap();
    fs::write(etc.join("resolv.conf"), resolv).unwrap();
    let status = Command::new("unshare")
        .args(["-rmn", "sh", "-c", SCRIPT])
        .arg(&etc)
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "yes")
        .status();
    fs::remove_dir_all(&etc).unwrap();
    assert!(status.unwrap().success(), "{test} failed in its namespace");
    false
}

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    broker: BrokerArgs,
}

fn start(url: &str, stop: &CancellationToken) -> (JoinHandle<()>, mpsc::Receiver<Incoming>) {
    let args = Args::parse_from(["test", "--broker", url]);
    let settings = SessionSettings {
        connection: args.broker.read(&mut Problems::default()).unwrap(),
        client_id: "a".to_owned(),
        filters: Vec::new(),
        outgoing_queue: 1,
        incoming_queue: 8,
    };
    let (session, _, incoming) = session(settings, (), stop.clone());
    (tokio::spawn(session.run()), incoming)
}

/// Lets every client in and closes the connection.
async fn lose_everybody(listener: TcpListener) {
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let _ = client.read(&mut [0; 1024]).await;
        let _ = client.write_all(&[0x20, 2, 0, 0]).await;
    }
}

#[tokio::test]
async fn after_a_loss_the_first_address_of_the_name_is_tried_first() {
    let hosts = "127.0.0.1 lab-server\n127.0.0.2 lab-server\n";
    if !is_inside(
        "after_a_loss_the_first_address_of_the_name_is_tried_first",
        hosts,
        "",
    ) {
        return;
    }
    for ip in ["127.0.0.1", "127.0.0.2"] {
        let listener = TcpListener::bind((ip, 1883)).await.unwrap();
        tokio::spawn(lose_everybody(listener));
    }
    let stop = CancellationToken::new();
    let (_running, mut incoming) = start("mqtt://lab-server", &stop);
    let mut brokers = Vec::new();
    while brokers.len() < 3 {
        let next = timeout(LIMIT, incoming.recv()).await.unwrap().unwrap();
        if let Incoming::Connected(connected) = next {
            brokers.push(connected.broker);
        }
    }
    assert_eq!(brokers, [brokers[0]; 3]);
}

#[tokio::test]
async fn a_session_whose_name_server_hangs_still_ends_at_once() {
    let resolv = "nameserver 127.0.0.1\noptions timeout:12 attempts:1\n";
    if !is_inside(
        "a_session_whose_name_server_hangs_still_ends_at_once",
        "",
        resolv,
    ) {
        return;
    }
    let silent = UdpSocket::bind("127.0.0.1:53").await.unwrap();
    let stop = CancellationToken::new();
    let (running, _incoming) = start("mqtt://lab-server", &stop);
    let mut question = [0; 512];
    let asked = timeout(LIMIT, silent.recv(&mut question));
    asked.await.unwrap().unwrap();
    stop.cancel();
    let ended = timeout(Duration::from_secs(5), running).await;
    ended.expect("it waits for the name server").unwrap();
}
