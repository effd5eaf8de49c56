//! Many messages and slow subscribers: nothing is lost, or it is said.
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep},
};

use crate::mqtt::*;

/// Publishes messages `publisher:number:xxx` with QoS 1, at most 100 unacknowledged; counts the acknowledged.
async fn publish_many(
    mut client: Client<tokio::net::TcpStream>,
    topic: String,
    publisher: usize,
    (count, size): (usize, usize),
    acknowledged: Arc<AtomicUsize>,
) {
    let mut sent = 0;
    for done in 0..count {
        while sent < count && sent < done + 100 {
            let mut payload = format!("{publisher}:{sent}:").into_bytes();
            payload.resize(size, b'x');
            let id = u16::try_from(sent % 60_000).unwrap() + 1;
            client
                .send(&publish(&topic, &payload, Some(id), false))
                .await;
            sent += 1;
        }
        let (first, _) = client.next().await.expect("the broker has closed");
        assert_eq!(first, PUBACK);
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads that many messages of several publishers; each one's come in order and without a hole.
async fn read_all(reader: &mut Client<tokio::net::TcpStream>, count: usize) {
    let mut next: HashMap<String, usize> = HashMap::new();
    for _ in 0..count {
        let text = String::from_utf8(reader.message().await.payload).unwrap();
        let mut parts = text.split(':');
        let next = next.entry(parts.next().unwrap().to_owned()).or_default();
        assert_eq!(parts.next().unwrap().parse(), Ok(*next));
        *next += 1;
    }
}

#[tokio::test]
async fn twenty_thousand_messages_of_ten_publishers_arrive_in_order() {
    let mut generous = settings();
    generous.quotas.messages = limit(100_000);
    let broker = TestBroker::start(generous).await;
    let mut reader = broker.reader("lab/#").await;
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut publishers = JoinSet::new();
    for number in 2..12 {
        let client = broker.client(number, "agent").await;
        let topic = format!("lab/127.0.0.{number}/usb");
        let of = (2_000, 400);
        publishers.spawn(publish_many(
            client,
            topic,
            number.into(),
            of,
            Arc::clone(&acknowledged),
        ));
    }
    read_all(&mut reader, 20_000).await;
    publishers.join_all().await;
    let took = started.elapsed();
    eprintln!(
        "20,000 QoS 1 messages of 400 B through in {} ms",
        took.as_millis()
    );
    reader.expect_nothing().await;
}

#[tokio::test]
async fn a_subscriber_that_pauses_holds_publishers_back_and_loses_nothing() {
    let broker = TestBroker::start(settings()).await;
    let mut reader = broker.reader("lab/#").await;
    let (publisher, acknowledged) = publish_40_mb(&broker).await;
    let before = until_held(&acknowledged).await;
    assert!((500..3_900).contains(&before), "{before}");
    read_all(&mut reader, 4_000).await;
    publisher.await.unwrap();
}

/// A publisher of 4,000 messages, and how many are acknowledged. They are more than router and sockets hold: while nobody
/// reads, at some point nothing more is.
async fn publish_40_mb(broker: &TestBroker) -> (JoinHandle<()>, Arc<AtomicUsize>) {
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let client = broker.client(1, "publisher").await;
    let (topic, of) = ("lab/10.0.0.1/net".to_owned(), (4_000, 10_000));
    let publisher = publish_many(client, topic, 0, of, Arc::clone(&acknowledged));
    (tokio::spawn(publisher), acknowledged)
}

/// Waits until nothing more is acknowledged; how much was.
async fn until_held(acknowledged: &AtomicUsize) -> usize {
    let mut before = usize::MAX;
    loop {
        let now = acknowledged.load(Ordering::Relaxed);
        if now == before {
            return before;
        }
        before = now;
        sleep(Duration::from_secs(1)).await;
    }
}

/// The recorder: what it publishes must not keep the broker from reading its acknowledgements, else it lags for ever.
#[tokio::test]
async fn a_staff_subscriber_that_lags_can_publish_and_catches_up() {
    let broker = TestBroker::start(settings()).await;
    let mut recorder = broker.reader("lab/#").await;
    let (publisher, acknowledged) = publish_40_mb(&broker).await;
    until_held(&acknowledged).await;
    let own = publish("lab/10.0.0.1/ack", b"marks", Some(7), false);
    recorder.send(&own).await;
    let (mut messages, mut confirmed) = (0, false);
    while messages < 4_001 || !confirmed {
        let (first, body) = recorder.next().await.expect("the broker has closed");
        if first == PUBACK {
            confirmed |= body == [0, 7];
            continue;
        }
        let at = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        recorder.send(&packet(PUBACK, &body[at..at + 2])).await;
        messages += 1;
    }
    publisher.await.unwrap();
}

#[tokio::test]
async fn a_staff_subscriber_that_never_reads_is_dropped_and_publishers_go_on() {
    let broker = TestBroker::start(settings()).await;
    let _stuck = broker.reader("lab/#").await;
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let client = broker.client(1, "publisher").await;
    let of = (4_000, 10_000);
    let topic = "lab/10.0.0.1/net".to_owned();
    let started = Instant::now();
    let held = Duration::from_secs(15);
    let publisher = tokio::spawn(publish_many(client, topic, 0, of, acknowledged));
    let mut bystander = broker.client(2, "agent").await;
    bystander.expect_nothing().await;
    publisher.await.unwrap();
    assert!(started.elapsed() > held, "the publisher was held back");
}

#[tokio::test]
async fn a_pc_that_never_reads_is_dropped_and_holds_nobody_back() {
    let broker = TestBroker::start(settings()).await;
    let mut stuck = broker.client(2, "agent").await;
    assert_eq!(stuck.subscribe("lab/127.0.0.2/ack", 1).await, 1);
    let mut other = broker.client(3, "agent").await;
    assert_eq!(other.subscribe("lab/127.0.0.3/ack", 1).await, 1);
    let client = broker.client(1, "recorder").await;
    let started = Instant::now();
    let topic = "lab/127.0.0.2/ack".to_owned();
    let acknowledged = Arc::new(AtomicUsize::new(0));
    publish_many(client, topic, 0, (4_000, 10_000), acknowledged).await;
    assert!(started.elapsed() < Duration::from_secs(15));
    other.expect_nothing().await;
    stuck.expect_end().await;
}

#[tokio::test]
async fn thousands_of_addresses_that_were_here_once_leave_room_for_the_next() {
    let broker = TestBroker::start(settings()).await;
    for number in 0..4_200_u16 {
        let [high, low] = number.to_be_bytes();
        let mut pc = broker.dial_from([127, 1, high, low]).await;
        pc.send(&connect("agent")).await;
        pc.expect(CONNACK, &[0, 0]).await;
        for leaf in ["ack", "status"] {
            let filter = format!("lab/127.1.{high}.{low}/{leaf}");
            assert_eq!(pc.subscribe(&filter, 1).await, 1, "{filter}");
        }
    }
    let mut pc = broker.client(2, "agent").await;
    assert_eq!(pc.subscribe("lab/127.0.0.2/ack", 1).await, 1);
    let mut staff = broker.client(1, "recorder").await;
    staff.publish("lab/127.0.0.2/ack", b"marks", false).await;
    assert_eq!(pc.message().await.payload, b"marks");
    for number in 0..100 {
        let filter = format!("lab/127.1.0.{number}/#");
        assert_eq!(staff.subscribe(&filter, 1).await, 1, "{filter}");
        staff.unsubscribe(&filter).await;
    }
}
