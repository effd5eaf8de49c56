//! Clients of all manners at a real broker: what they may do, and what becomes of those who may not.
use std::time::Duration;

use labwatch_broker::password::{StaffPasswords, hash_password};
use tokio::time::{Instant, timeout};

use crate::mqtt::*;

const LOST: &[u8] = br#"{"event":{"action":"offline"},"lab":{"reason":"lost"}}"#;

#[tokio::test]
async fn a_message_goes_from_a_pc_to_staff() {
    let broker = TestBroker::start(settings()).await;
    let mut staff = broker.reader("lab/#").await;
    let mut pc = broker.client(2, "agent").await;
    pc.publish("lab/127.0.0.2/usb", b"stick", false).await;
    let message = staff.message().await;
    assert_eq!(message.topic, "lab/127.0.0.2/usb");
    assert_eq!(
        (&message.payload[..], message.retain),
        (&b"stick"[..], false)
    );
    assert!(message.id.is_some());
    // A message is delivered with the QoS it was sent with, whatever was granted.
    pc.send(&publish("lab/127.0.0.2/health", b"ok", None, false))
        .await;
    assert_eq!(staff.message().await.id, None);
}

#[tokio::test]
async fn a_forged_message_ends_the_connection_and_is_not_delivered() {
    let broker = TestBroker::start(settings()).await;
    let mut staff = broker.reader("lab/#").await;
    for topic in [
        "lab/127.0.0.3/usb",
        "lab/127.0.0.2/ack",
        "lab/policy",
        "elsewhere",
        "lab/+/usb",
        "$SYS/x",
    ] {
        let mut pc = broker.client(2, "agent").await;
        pc.send(&publish(topic, b"forged", Some(1), false)).await;
        assert_eq!(pc.next().await, None, "{topic}");
    }
    let mut pc = broker.client(2, "agent").await;
    pc.send(&publish("lab/127.0.0.2/usb", b"kept", Some(1), true))
        .await;
    assert_eq!(
        pc.next().await,
        None,
        "retained where the contract keeps nothing"
    );
    let mut pc = broker.client(2, "agent").await;
    pc.publish("lab/127.0.0.2/usb", b"true", false).await;
    assert_eq!(staff.message().await.payload, b"true");
}

#[tokio::test]
async fn a_foreign_subscription_is_refused_and_an_own_one_granted() {
    let broker = TestBroker::start(settings()).await;
    let mut pc = broker.client(2, "agent").await;
    for filter in [
        "lab/#",
        "#",
        "+/+/usb",
        "lab/127.0.0.3/ack",
        "lab/127.0.0.2/+",
        "$share/g/lab/#",
    ] {
        assert_eq!(pc.subscribe(filter, 1).await, 0x80, "{filter}");
    }
    for filter in [
        "lab/127.0.0.2/ack",
        "lab/127.0.0.2/status",
        "lab/policy/agents",
    ] {
        assert_eq!(pc.subscribe(filter, 2).await, 1, "{filter}");
    }
    let mut staff = broker.client(1, "").await;
    staff.publish("lab/127.0.0.3/ack", b"not his", false).await;
    staff.publish("lab/127.0.0.2/ack", b"his", false).await;
    assert_eq!(pc.message().await.payload, b"his");
    pc.unsubscribe("lab/127.0.0.2/ack").await;
    staff.publish("lab/127.0.0.2/ack", b"late", false).await;
    pc.expect_nothing().await;
}

#[tokio::test]
async fn one_subscribe_with_thousands_of_filters_gets_no_more_than_the_limit() {
    let broker = TestBroker::start(settings()).await;
    let mut pc = broker.client(2, "agent").await;
    let own = [&b"\0\x11lab/127.0.0.2/ack"[..], &[1]].concat();
    let body = [&[0, 9][..], &own.repeat(12_000)].concat();
    for _ in 0..2 {
        pc.send(&packet(SUBSCRIBE, &body)).await;
        let (first, answer) = pc.next().await.unwrap();
        let granted = answer[2..].iter().filter(|code| **code == 1).count();
        assert_eq!((first, answer.len(), granted), (SUBACK, 12_002, 8));
    }
    let mut staff = broker.client(1, "").await;
    staff.publish("lab/127.0.0.2/ack", b"once", false).await;
    assert_eq!(pc.message().await.payload, b"once");
    pc.expect_nothing().await;
}

#[tokio::test]
async fn a_thousand_retained_topics_reach_a_new_wildcard_subscriber() {
    let broker = TestBroker::start(settings()).await;
    let mut early = broker.reader("lab/#").await;
    let mut staff = broker.client(1, "").await;
    for number in 0..1_200 {
        let topic = format!("lab/alerts/{number}");
        staff.publish(&topic, topic.as_bytes(), true).await;
    }
    staff.publish("lab/alerts/7", b"", true).await;
    for _ in 0..1_201 {
        assert!(
            !early.message().await.retain,
            "live messages are not marked"
        );
    }
    for qos in [0, 1] {
        let mut late = broker.client(1, "").await;
        assert_eq!(late.subscribe("lab/#", qos).await, qos);
        let mut topics = Vec::new();
        for _ in 0..1_199 {
            let message = late.message().await;
            assert!(message.retain);
            assert_eq!(message.id.is_some(), qos == 1);
            assert_eq!(message.topic.as_bytes(), message.payload);
            topics.push(message.topic);
        }
        topics.sort();
        topics.dedup();
        assert_eq!(topics.len(), 1_199);
        late.expect_nothing().await;
        staff.publish("lab/alerts/8", b"live", false).await;
        let live = late.message().await;
        assert_eq!((&live.payload[..], live.retain), (&b"live"[..], false));
    }
}

#[tokio::test]
async fn a_status_that_is_too_large_is_passed_on_and_not_kept() {
    let broker = TestBroker::start(settings()).await;
    let mut pc = broker.client(2, "agent").await;
    pc.publish("lab/127.0.0.2/status", b"online", true).await;
    let mut staff = broker.reader("lab/+/status").await;
    assert_eq!(staff.message().await.payload, b"online");
    let large = vec![b'x'; 16 * 1024 + 1];
    pc.publish("lab/127.0.0.2/status", &large, true).await;
    assert_eq!(staff.message().await.payload, large);
    let mut late = broker.reader("lab/+/status").await;
    assert_eq!(late.message().await.payload, b"online");
}

#[tokio::test]
async fn the_will_of_a_client_that_was_lost_is_published_and_kept() {
    let broker = TestBroker::start(settings()).await;
    let mut staff = broker.reader("lab/#").await;
    let mut pc = broker.dial(2).await;
    let will = Some(("lab/127.0.0.2/status", LOST));
    pc.send(&connect_with("agent", 60, will, None)).await;
    pc.expect(CONNACK, &[0, 0]).await;
    pc.reset();
    let message = staff.message().await;
    assert_eq!(message.topic, "lab/127.0.0.2/status");
    assert_eq!((&message.payload[..], message.retain), (LOST, false));
    let mut late = broker.reader("lab/+/status").await;
    let message = late.message().await;
    assert_eq!((&message.payload[..], message.retain), (LOST, true));
}

#[tokio::test]
async fn a_client_that_says_goodbye_leaves_no_will() {
    let broker = TestBroker::start(settings()).await;
    let mut staff = broker.reader("lab/#").await;
    let mut pc = broker.dial(2).await;
    let will = Some(("lab/127.0.0.2/status", LOST));
    pc.send(&connect_with("agent", 60, will, None)).await;
    pc.expect(CONNACK, &[0, 0]).await;
    pc.send(&packet(DISCONNECT, &[])).await;
    assert_eq!(pc.next().await, None);
    let mut pc = broker.client(2, "agent").await;
    pc.publish("lab/127.0.0.2/usb", b"next", false).await;
    assert_eq!(staff.message().await.payload, b"next");
}

#[tokio::test]
async fn a_will_that_says_something_else_is_refused() {
    let broker = TestBroker::start(settings()).await;
    for will in [
        ("lab/127.0.0.3/status", LOST),
        ("lab/127.0.0.2/usb", LOST),
        ("lab/127.0.0.2/status", &b"online"[..]),
    ] {
        let mut pc = broker.dial(2).await;
        pc.send(&connect_with("agent", 60, Some(will), None)).await;
        pc.expect(CONNACK, &[0, 5]).await;
        assert_eq!(pc.next().await, None);
    }
}

#[tokio::test]
async fn the_same_client_id_takes_over_and_the_older_will_comes_first() {
    let broker = TestBroker::start(settings()).await;
    let mut staff = broker.reader("lab/#").await;
    let mut first = broker.dial(2).await;
    let will = Some(("lab/127.0.0.2/status", LOST));
    first.send(&connect_with("agent", 60, will, None)).await;
    first.expect(CONNACK, &[0, 0]).await;
    let mut second = broker.client(2, "agent").await;
    assert_eq!(first.next().await, None);
    second
        .publish("lab/127.0.0.2/status", b"online", true)
        .await;
    assert_eq!(staff.message().await.payload, LOST);
    assert_eq!(staff.message().await.payload, b"online");
}

#[tokio::test]
async fn a_client_id_cannot_be_taken_from_another_address() {
    let broker = TestBroker::start(settings()).await;
    let mut first = broker.client(2, "agent").await;
    let mut other = broker.client(3, "agent").await;
    let mut staff = broker.client(1, "agent").await;
    for client in [&mut first, &mut other, &mut staff] {
        client.expect_nothing().await;
    }
}

#[tokio::test]
async fn a_hundred_connects_and_resets_with_one_id_leave_the_broker_alive() {
    let mut generous = settings();
    generous.quotas.connections = limit(500);
    let broker = TestBroker::start(generous).await;
    for id in ["agent", "a/b/#", "+/$SYS", "\u{1f980}"] {
        for _ in 0..100 {
            let mut pc = broker.dial(2).await;
            pc.send(&connect(id)).await;
            pc.reset();
        }
        let mut pc = broker.client(2, id).await;
        assert_eq!(pc.subscribe("lab/127.0.0.2/ack", 1).await, 1);
        pc.expect_nothing().await;
    }
    let mut staff = broker.reader("lab/#").await;
    let mut pc = broker.client(2, "agent").await;
    pc.publish("lab/127.0.0.2/usb", b"alive", false).await;
    assert_eq!(staff.message().await.payload, b"alive");
}

#[tokio::test]
async fn subscribers_that_come_and_go_leave_the_router_alive() {
    let broker = TestBroker::start(settings()).await;
    let mut publisher = broker.client(1, "").await;
    for round in 0..300 {
        let mut reader = broker.reader("lab/#").await;
        let payload = format!("{round}");
        for _ in 0..5 {
            publisher
                .publish("lab/10.0.0.1/usb", payload.as_bytes(), false)
                .await;
        }
        assert_eq!(reader.message().await.payload, payload.as_bytes());
        match round % 3 {
            0 => reader.reset(),
            1 => reader.unsubscribe("lab/#").await,
            _ => reader.send(&packet(DISCONNECT, &[])).await,
        }
    }
}

#[tokio::test]
async fn a_silent_client_and_a_slow_one_are_dropped() {
    let broker = TestBroker::start(settings()).await;
    let mut silent = broker.dial(2).await;
    let mut slow = broker.dial(2).await;
    slow.send(&connect("agent")[..5]).await;
    assert_eq!(silent.next().await, None);
    assert_eq!(slow.next().await, None);
}

#[tokio::test]
async fn a_client_that_misses_its_keep_alive_is_dropped_with_its_will() {
    let broker = TestBroker::start(settings()).await;
    let mut staff = broker.reader("lab/#").await;
    let mut pc = broker.dial(2).await;
    let will = Some(("lab/127.0.0.2/status", LOST));
    let started = Instant::now();
    pc.send(&connect_with("agent", 1, will, None)).await;
    pc.expect(CONNACK, &[0, 0]).await;
    assert_eq!(pc.next().await, None);
    assert!(started.elapsed() >= Duration::from_millis(1_500));
    assert_eq!(staff.message().await.payload, LOST);
}

#[tokio::test]
async fn packets_up_to_the_limit_pass_and_larger_ones_end_the_connection() {
    let broker = TestBroker::start(settings()).await;
    let mut staff = broker.reader("lab/#").await;
    let mut pc = broker.client(2, "agent").await;
    let largest = vec![b'x'; labwatch_contract::MAX_PAYLOAD];
    pc.publish("lab/127.0.0.2/net", &largest, false).await;
    assert_eq!(staff.message().await.payload, largest);
    let larger = vec![b'x'; labwatch_contract::MAX_PACKET];
    let larger = publish("lab/127.0.0.2/net", &larger, Some(1), false);
    // Its header is enough.
    pc.send(&larger[..100]).await;
    assert_eq!(pc.next().await, None);
}

#[tokio::test]
async fn other_versions_of_mqtt_hear_so() {
    let broker = TestBroker::start(settings()).await;
    let mqtt5 = b"\0\x04MQTT\x05\x02\0\x3c\0\0\x05agent".to_vec();
    let mqtt31 = b"\0\x06MQIsdp\x03\x02\0\x3c\0\x05agent".to_vec();
    for body in [mqtt5, mqtt31] {
        let mut pc = broker.dial(2).await;
        pc.send(&packet(CONNECT, &body)).await;
        pc.expect(CONNACK, &[0, 1]).await;
        assert_eq!(pc.next().await, None);
    }
}

#[tokio::test]
async fn garbage_ends_its_own_connection_alone() {
    let broker = TestBroker::start(settings()).await;
    let mut honest = broker.client(2, "agent").await;
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 300],
        &[0x10, 0x02, 0, 4],
        &[0xc0, 0],
        &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
    ] {
        let mut pc = broker.dial(3).await;
        pc.send(garbage).await;
        pc.expect_end().await;
    }
    for garbage in [
        packet(CONNECT, b"\0\x04MQTT\x04\x02\0\x3c\0\0"),
        packet(0x34, b"\0\x01t\0\x01"),
        packet(UNSUBSCRIBE, &[0]),
        packet(SUBSCRIBE, &[0, 1, 0xff, 0xff]),
        packet(0x62, &[0, 1]),
    ] {
        let mut pc = broker.client(3, "agent").await;
        pc.send(&garbage).await;
        assert_eq!(pc.next().await, None);
    }
    honest.expect_nothing().await;
}

#[tokio::test]
async fn an_address_gets_no_more_connections_than_its_quota() {
    let mut tight = settings();
    tight.quotas.connections = limit(2);
    let broker = TestBroker::start(tight).await;
    let first = broker.client(2, "a").await;
    let mut second = broker.client(2, "b").await;
    let mut third = broker.dial(2).await;
    assert_eq!(third.next().await, None);
    let _other = broker.client(3, "a").await;
    for number in 0..10 {
        broker.client(1, &format!("staff {number}")).await;
    }
    first.reset();
    // The broker notices the reset when it reads; the second's ping comes later than that.
    let freed = async {
        loop {
            second.expect_nothing().await;
            let mut again = broker.dial(2).await;
            if again.stream.try_write(&connect("c")).is_ok() && again.next().await.is_some() {
                return;
            }
        }
    };
    timeout(PATIENCE, freed).await.unwrap();
}

#[tokio::test]
async fn a_flood_is_slowed_to_the_quota_and_others_go_on() {
    let mut tight = settings();
    tight.quotas.messages = limit(50);
    let broker = TestBroker::start(tight).await;
    let mut staff = broker.reader("lab/127.0.0.2/usb").await;
    let mut flood = broker.client(2, "flood").await;
    let mut other = broker.client(3, "agent").await;
    let started = Instant::now();
    // 20 seconds' worth at once, and two seconds' worth more.
    for _ in 0..1_100 {
        flood
            .send(&publish("lab/127.0.0.2/usb", b"x", None, false))
            .await;
    }
    other.publish("lab/127.0.0.3/usb", b"x", false).await;
    assert!(started.elapsed() < Duration::from_secs(2));
    for _ in 0..1_100 {
        staff.message().await;
    }
    assert!(started.elapsed() >= Duration::from_millis(1_500));
}

#[tokio::test]
async fn staff_from_elsewhere_logs_in_by_password() {
    let line = hash_password("anna", "correct horse").unwrap();
    let mut with_staff = settings();
    with_staff.staff = StaffPasswords::parse(&line).unwrap();
    let broker = TestBroker::start(with_staff).await;
    let mut anna = broker.dial(2).await;
    let login = Some(("anna", "correct horse"));
    anna.send(&connect_with("desk", 60, None, login)).await;
    anna.expect(CONNACK, &[0, 0]).await;
    assert_eq!(anna.subscribe("lab/#", 1).await, 1);
    for login in [("anna", "wrong"), ("bert", "correct horse"), ("anna", "")] {
        let mut pc = broker.dial(2).await;
        pc.send(&connect_with("x", 60, None, Some(login))).await;
        pc.expect(CONNACK, &[0, 4]).await;
        assert_eq!(pc.next().await, None);
    }
    // A PC that logs in as at Mosquitto is a PC by its address.
    let mut pc = broker.dial(3).await;
    let login = Some(("127.0.0.2", "whatever"));
    pc.send(&connect_with("x", 60, None, login)).await;
    pc.expect(CONNACK, &[0, 0]).await;
    assert_eq!(pc.subscribe("lab/127.0.0.2/ack", 1).await, 0x80);
    assert_eq!(pc.subscribe("lab/127.0.0.3/ack", 1).await, 1);
}

#[tokio::test]
async fn an_orderly_end_closes_everything_and_says_no_will() {
    let broker = TestBroker::start(settings()).await;
    let mut staff = broker.reader("lab/#").await;
    let mut pc = broker.dial(2).await;
    let will = Some(("lab/127.0.0.2/status", LOST));
    pc.send(&connect_with("agent", 60, will, None)).await;
    pc.expect(CONNACK, &[0, 0]).await;
    let _silent = broker.dial(3).await;
    broker.stop.cancel();
    timeout(Duration::from_secs(5), broker.served)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(staff.next().await, None);
    assert_eq!(pc.next().await, None);
}

#[tokio::test]
async fn an_empty_client_id_needs_a_clean_session_and_no_session_is_resumed() {
    let broker = TestBroker::start(settings()).await;
    let mut keeping = connect("");
    keeping[9] = 0;
    let mut pc = broker.dial(2).await;
    pc.send(&keeping).await;
    pc.expect(CONNACK, &[0, 2]).await;
    let mut keeping = connect("agent");
    keeping[9] = 0;
    for _ in 0..2 {
        let mut pc = broker.dial(2).await;
        pc.send(&keeping).await;
        pc.expect(CONNACK, &[0, 0]).await;
        pc.reset();
    }
}

#[tokio::test]
async fn an_ipv4_mapped_address_is_its_ipv4_one() {
    let mut both = settings();
    both.listen = "[::]:0".parse().unwrap();
    let mut broker = TestBroker::start(both).await;
    broker.address.set_ip([127, 0, 0, 1].into());
    let mut staff = broker.reader("lab/#").await;
    let mut pc = broker.client(2, "agent").await;
    pc.publish("lab/127.0.0.2/usb", b"mapped", false).await;
    assert_eq!(staff.message().await.payload, b"mapped");
}
