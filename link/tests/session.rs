//! The session against a real broker: Mosquitto on a loopback port, ended and started again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test talks to the world, and fails by a panic"
)]

use std::{
    io::{Write as _, stderr},
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use clap::Parser;
use labwatch_link::{
    QoS,
    session::{Connected, Incoming, Message, Presence, Publisher, SessionSettings, session},
    settings::{BrokerArgs, Problems},
};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(20);

struct Broker(Child);

impl Broker {
    async fn start(port: u16) -> Self {
        let mut command = Command::new("mosquitto");
        let child = command
            .args(["-p", &port.to_string()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let broker = Self(child);
        timeout(LIMIT, async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {}
        })
        .await
        .unwrap();
        broker
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn mosquitto_is_missing() -> bool {
    let missing = Command::new("mosquitto").arg("-h").output().is_err();
    if missing {
        let _ = writeln!(
            stderr(),
            "SKIPPED: mosquitto is not installed, the session was not tried against a real broker"
        );
    }
    missing
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    broker: BrokerArgs,
}

fn settings(port: u16, client_id: &str) -> SessionSettings {
    let args = Args::parse_from(["test", "--broker", &format!("mqtt://127.0.0.1:{port}")]);
    SessionSettings {
        connection: args.broker.read(&mut Problems::default()).unwrap(),
        client_id: client_id.to_owned(),
        filters: vec!["lab/#".to_owned()],
        outgoing_queue: 64,
        incoming_queue: 64,
    }
}

fn message(topic: &str, payload: &str) -> Message {
    let payload = payload.as_bytes().to_vec().into();
    Message {
        topic: topic.to_owned(),
        payload,
        qos: QoS::AtLeastOnce,
        retain: false,
    }
}

/// Says "will", "online" and "offline" on one topic.
struct Told(&'static str);

impl Presence for Told {
    fn will(&mut self, _: &Connected) -> Option<Message> {
        Some(message(self.0, "will"))
    }

    fn online(&mut self, _: &Connected) -> Option<Message> {
        Some(message(self.0, "online"))
    }

    fn offline(&mut self, _: &Connected) -> Option<Message> {
        Some(message(self.0, "offline"))
    }
}

struct Party {
    publisher: Publisher,
    incoming: mpsc::Receiver<Incoming>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Party {
    fn start(port: u16, client_id: &str, presence: impl Presence + Send + 'static) -> Self {
        let stop = CancellationToken::new();
        let (session, publisher, incoming) =
            session(settings(port, client_id), presence, stop.clone());
        Self {
            publisher,
            incoming,
            stop,
            task: tokio::spawn(session.run()),
        }
    }

    async fn next(&mut self) -> Incoming {
        timeout(LIMIT, self.incoming.recv())
            .await
            .expect("nothing came")
            .expect("the session ended")
    }

    async fn connected(&mut self) {
        while !matches!(self.next().await, Incoming::Connected(_)) {}
    }

    async fn next_payload(&mut self) -> String {
        loop {
            if let Incoming::Message(message) = self.next().await {
                return String::from_utf8(message.payload.to_vec()).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_session_outlives_its_broker_and_subscribes_again() {
    if mosquitto_is_missing() {
        return;
    }
    let port = free_port();
    let mut party = Party::start(port, "a", ());
    party
        .publisher
        .try_publish(message("lab/x", "queued before there was a broker"))
        .unwrap();
    let broker = Broker::start(port).await;
    party.connected().await;
    assert_eq!(
        party.next_payload().await,
        "queued before there was a broker"
    );

    drop(broker);
    while !matches!(party.next().await, Incoming::Disconnected { .. }) {}
    let _broker = Broker::start(port).await;
    party.connected().await;
    party
        .publisher
        .room()
        .await
        .unwrap()
        .publish(message("lab/x", "after the restart"));
    assert_eq!(party.next_payload().await, "after the restart");
}

#[tokio::test]
async fn a_session_says_goodbye_after_what_is_queued_and_a_broken_one_leaves_its_will() {
    if mosquitto_is_missing() {
        return;
    }
    let port = free_port();
    let _broker = Broker::start(port).await;
    let mut watcher = Party::start(port, "watcher", ());
    watcher.connected().await;

    let mut orderly = Party::start(port, "orderly", Told("lab/orderly"));
    orderly.connected().await;
    assert_eq!(watcher.next_payload().await, "online");
    orderly
        .publisher
        .try_publish(message("lab/orderly", "last words"))
        .unwrap();
    orderly.stop.cancel();
    let Party {
        publisher,
        incoming: _incoming,
        task,
        ..
    } = orderly;
    drop(publisher);
    timeout(LIMIT, task).await.unwrap().unwrap();
    assert_eq!(watcher.next_payload().await, "last words");
    assert_eq!(watcher.next_payload().await, "offline");

    let mut broken = Party::start(port, "broken", Told("lab/broken"));
    broken.connected().await;
    assert_eq!(watcher.next_payload().await, "online");
    broken.task.abort();
    assert_eq!(watcher.next_payload().await, "will");
}

/// A broker under a flood: its answer to a ping waits behind all that it has to deliver, here for ever.
async fn never_answer_a_ping(listener: TcpListener) {
    const CONNACK: &[u8] = &[0x20, 2, 0, 0];
    const PUBLISH: &[u8] = &[0x30, 6, 0, 3, b'l', b'a', b'b', b'x'];
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let (mut client, _) = listener.accept().await.unwrap();
    client.write_all(CONNACK).await.unwrap();
    while client.write_all(PUBLISH).await.is_ok() {
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_broker_that_delivers_is_alive_though_it_answers_no_ping() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(never_answer_a_ping(listener));
    let mut party = Party::start(port, "a", ());
    party.connected().await;
    // Two pings are due in it, and the second would have found the first unanswered.
    let end = Instant::now() + Duration::from_secs(12);
    while Instant::now() < end {
        let incoming = party.next().await;
        assert!(matches!(incoming, Incoming::Message(_)), "{incoming:?}");
    }
}

#[tokio::test]
async fn a_full_queue_is_said_at_once() {
    let party = Party::start(free_port(), "a", ());
    let results: Vec<_> = (0..65)
        .map(|_| party.publisher.try_publish(message("lab/x", "y")))
        .collect();
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1);
    assert!(results.last().unwrap().is_err());
}

#[tokio::test]
async fn a_session_that_cannot_connect_still_ends_at_once() {
    let party = Party::start(free_port(), "a", ());
    party.stop.cancel();
    timeout(Duration::from_secs(5), party.task)
        .await
        .unwrap()
        .unwrap();
}
