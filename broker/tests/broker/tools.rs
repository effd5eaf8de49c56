//! The broker with other people's clients and as a program: TLS, mosquitto's tools, the command line.
use std::{
    fs::{self, Permissions},
    io::{Write as _, stderr},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use clap::Parser as _;
use labwatch_broker::settings::{Args, Settings};
use labwatch_link::{
    session::{Incoming, SessionSettings, session},
    settings::{BrokerArgs, Problems},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::mqtt::*;

const CERT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cert.pem");
const KEY: &str = include_str!("../fixtures/key.pem");
const BROKER: &str = env!("CARGO_BIN_EXE_labwatch-broker");

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

/// Settings as typed, but for who is staff.
fn typed(flags: &[&str]) -> Settings {
    let args = Cli::parse_from([&["labwatch-broker"], flags].concat()).args;
    let mut problems = Problems::default();
    let read = args.read(&mut problems);
    assert!(problems.is_empty(), "{problems}");
    Settings {
        is_staff_address: settings().is_staff_address,
        ..read.unwrap()
    }
}

fn key_in(dir: &Path) -> String {
    let key = dir.join("key.pem");
    fs::write(&key, KEY).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    key.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn tls_works_while_other_handshakes_hang() {
    let dir = tempfile::tempdir().unwrap();
    let key = key_in(dir.path());
    let any = "127.0.0.1:0";
    let flags = [
        "--listen",
        any,
        "--tls-listen",
        any,
        "--cert",
        CERT,
        "--key",
        &key,
    ];
    let broker = TestBroker::start(typed(&flags)).await;
    let address = broker.tls.unwrap();
    let _idle = TcpStream::connect(address).await.unwrap();
    let mut garbage = Client::new(TcpStream::connect(address).await.unwrap());
    garbage.send(&connect("no TLS")).await;

    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(CERT).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let mut client = Client::new(stream.await.unwrap());
    client.send(&connect("tls")).await;
    client.expect(CONNACK, &[0, 0]).await;
    assert_eq!(client.subscribe("lab/#", 1).await, 1);
    let mut pc = broker.client(2, "agent").await;
    pc.publish("lab/127.0.0.2/usb", b"over TLS", false).await;
    assert_eq!(client.message().await.payload, b"over TLS");
    garbage.expect_end().await;
}

#[derive(clap::Parser)]
struct LinkCli {
    #[command(flatten)]
    broker: BrokerArgs,
}

#[tokio::test]
async fn a_session_whose_filter_is_refused_says_so_and_tries_again() {
    let strangers = Settings {
        is_staff_address: |_| false,
        ..settings()
    };
    let broker = TestBroker::start(strangers).await;
    let url = format!("mqtt://{}", broker.address);
    let args = LinkCli::parse_from(["test", "--broker", &url]).broker;
    let settings = SessionSettings {
        connection: args.read(&mut Problems::default()).unwrap(),
        client_id: "no staff".to_owned(),
        filters: vec!["lab/#".to_owned()],
        outgoing_queue: 1,
        incoming_queue: 8,
    };
    let stop = CancellationToken::new();
    let (session, _publisher, mut incoming) = session(settings, (), stop.clone());
    let running = tokio::spawn(session.run());
    for _ in 0..2 {
        let next = timeout(PATIENCE, incoming.recv()).await.unwrap();
        assert!(matches!(next, Some(Incoming::Connected(_))), "{next:?}");
        let next = timeout(PATIENCE, incoming.recv()).await.unwrap();
        let Some(Incoming::Disconnected { reason }) = next else {
            panic!("{next:?}");
        };
        assert!(reason.contains("refuses a subscription"), "{reason}");
    }
    stop.cancel();
    timeout(PATIENCE, running).await.unwrap().unwrap();
}

#[test]
fn others_must_not_read_or_change_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let key = key_in(dir.path());
    let check = [
        "--check",
        "--tls-listen",
        "127.0.0.1:8883",
        "--cert",
        CERT,
        "--key",
        &key,
    ];
    for (mode, code) in [(0o644, 2), (0o660, 2), (0o640, 0), (0o600, 0)] {
        fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        let output = run(&check);
        assert_eq!(output.status.code(), Some(code), "{mode:o}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(told.contains("chmod 600"), code == 2, "{told}");
    }
}

#[tokio::test]
async fn mosquittos_tools_publish_and_subscribe() {
    if Command::new("mosquitto_sub")
        .arg("--help")
        .output()
        .is_err()
    {
        let _ = writeln!(
            stderr(),
            "SKIPPED: mosquitto_sub is not installed (package mosquitto-clients)"
        );
        return;
    }
    let broker = TestBroker::start(settings()).await;
    let port = broker.address.port().to_string();
    let mut staff = broker.client(1, "").await;
    staff.publish("lab/policy", b"the exam", true).await;
    let watch = tool(
        "mosquitto_sub",
        &port,
        "127.0.0.1",
        &[
            "-v", "-q", "1", "-t", "lab/#", "-C", "3", "-W", "15", "-W", "15",
        ],
    );
    let spy = tool(
        "mosquitto_sub",
        &port,
        "127.0.0.2",
        &["-t", "lab/#", "-W", "15"],
    );
    // Nothing was granted, so it gives up.
    let spied = finish(spy).await;
    assert!(spied.stdout.is_empty(), "{spied:?}");
    assert!(
        String::from_utf8_lossy(&spied.stderr).contains("denied"),
        "{spied:?}"
    );
    // The watcher has subscribed once its retained message is due; until then it misses what is live.
    let mut probe = 0;
    let mut watch = tokio::task::spawn_blocking(move || watch.wait_with_output().unwrap());
    let seen = loop {
        probe += 1;
        let topic = "lab/127.0.0.2/usb";
        let message = format!("stick {probe}");
        let pc = tool(
            "mosquitto_pub",
            &port,
            "127.0.0.2",
            &["-q", "1", "-t", topic, "-m", &message],
        );
        assert!(finish(pc).await.status.success());
        let soon = timeout(Duration::from_millis(100), &mut watch);
        if let Ok(seen) = soon.await {
            break seen.unwrap();
        }
    };
    let seen = String::from_utf8(seen.stdout).unwrap();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines.len(), 3, "{seen}");
    assert_eq!(lines[0], "lab/policy the exam");
    assert!(lines[1].starts_with("lab/127.0.0.2/usb stick"), "{seen}");
}

fn tool(name: &str, port: &str, from: &str, args: &[&str]) -> Child {
    let common = ["-h", "127.0.0.1", "-p", port, "-A", from, "-V", "mqttv311"];
    Command::new(name)
        .args(common)
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn finish(child: Child) -> Output {
    let wait = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    wait.await.unwrap()
}

fn run(args: &[&str]) -> Output {
    Command::new(BROKER).args(args).output().unwrap()
}

#[test]
fn wrong_settings_are_all_told_and_exit_with_2() {
    let output = run(&["--listen", "nowhere", "--root", "a/b"]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("--listen") && told.contains("--root"),
        "{told}"
    );
    assert_eq!(run(&["--check"]).status.code(), Some(0));
    assert_eq!(run(&["--version"]).status.code(), Some(0));
}

#[test]
fn a_port_in_use_exits_with_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&["--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&address));
}

#[test]
fn a_password_line_is_made_and_taken() {
    let mut child = Command::new(BROKER)
        .args(["hash-password", "anna"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"correct horse\n")
        .unwrap();
    let line = child.wait_with_output().unwrap().stdout;
    assert!(line.starts_with(b"anna:$argon2id$"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("staff");
    fs::write(&file, line).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let output = run(&["--check", "--staff-passwords", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
}
