use super::*;
use crate::{packet::Qos, probe::tests::kill_router};

/// The way to the router of a broker that is to lose it.
pub(crate) fn dial(exchange: &Exchange) -> &Dial {
    &exchange.dial
}

fn open() -> (Arc<Exchange>, Answers) {
    let (exchange, answers) = Exchange::open(start_router(16), 8).unwrap();
    (Arc::new(exchange), answers)
}

fn message(topic: &str, payload: Vec<u8>) -> Message {
    Message {
        topic: topic.to_owned(),
        payload: payload.into(),
        qos: Qos::AtLeastOnce,
        retain: topic.ends_with("policy"),
    }
}

/// Runs `scene` while the router's answers are passed on.
async fn play<T>(exchange: &Exchange, answers: Answers, scene: impl Future<Output = T>) -> T {
    tokio::select! {
        gone = exchange.confirm(answers) => panic!("{gone}"),
        result = scene => result,
    }
}

#[tokio::test]
async fn a_message_comes_out_as_it_went_in() {
    let (exchange, answers) = open();
    let scene = async {
        let (mut all, none) = exchange.subscribe("lab/#").await.unwrap();
        assert!(none.is_empty());
        exchange
            .publish(&message("lab/policy", b"exam".to_vec()))
            .unwrap();
        exchange
            .publish(&message("lab/policy", Vec::new()))
            .unwrap();
        exchange
            .publish(&message("lab/policy", b"next".to_vec()))
            .unwrap();
        exchange.taken().await.unwrap();
        for payload in [&b"exam"[..], b"", b"next"] {
            let delivery = all.next().await.unwrap();
            assert_eq!((&delivery.payload[..], delivery.retain), (payload, false));
        }
        let (_late, retained) = exchange.subscribe("lab/policy").await.unwrap();
        assert_eq!(retained[0].payload, "next");
    };
    play(&exchange, answers, scene).await;
}

#[tokio::test]
async fn a_subscriber_that_missed_messages_hears_how_many() {
    let (exchange, answers) = open();
    let scene = async {
        let topic = "lab/10.0.0.1/ack";
        let (mut slow, _) = exchange.subscribe(topic).await.unwrap();
        for number in 0..2_000_u32 {
            exchange
                .publish(&message(topic, number.to_be_bytes().repeat(2_500)))
                .unwrap();
            exchange.taken().await.unwrap();
        }
        let mut seen = 0;
        let lost = loop {
            match slow.next().await {
                Ok(delivery) => {
                    assert_eq!(delivery.payload[..4], u32::to_be_bytes(seen));
                    seen += 1;
                }
                Err(SubscriptionError::Lost(lost)) => break lost,
                Err(gone) => panic!("{gone}"),
            }
        };
        assert!(seen >= 100 && lost > 1_000, "{seen} seen, {lost} lost");
    };
    play(&exchange, answers, scene).await;
}

#[tokio::test]
async fn publishers_wait_for_a_staff_subscriber_until_it_has_caught_up_or_gone() {
    let (exchange, answers) = open();
    let scene = async {
        let (mut staff, _) = exchange.subscribe("lab/#").await.unwrap();
        let is_held = || !exchange.state().lag.has_room();
        while !is_held() {
            exchange
                .publish(&message("lab/10.0.0.1/net", vec![b'x'; 100_000]))
                .unwrap();
            exchange.taken().await.unwrap();
        }
        let catch_up = async { while staff.next().await.is_ok() {} };
        tokio::select! {
            () = exchange.room() => {}
            () = catch_up => panic!("the router has gone"),
        }
        while !is_held() {
            exchange
                .publish(&message("lab/10.0.0.1/net", vec![b'x'; 100_000]))
                .unwrap();
            exchange.taken().await.unwrap();
        }
        drop(staff);
        exchange.room().await;
    };
    play(&exchange, answers, scene).await;
}

#[tokio::test]
async fn a_listener_hears_its_topic_alone_and_leaves_nothing_behind() {
    let (exchange, answers) = open();
    let scene = async {
        let retained = Message {
            retain: true,
            ..message("lab/10.0.0.1/status", b"offline".to_vec())
        };
        exchange.publish(&retained).unwrap();
        let (mut own, kept) = exchange.listen("lab/10.0.0.1/status");
        let (mut twice, _) = exchange.listen("lab/10.0.0.1/status");
        assert_eq!(kept[0].payload, "offline");
        exchange
            .publish(&message("lab/10.0.0.2/status", b"other".to_vec()))
            .unwrap();
        exchange
            .publish(&message("lab/10.0.0.1/status", b"own".to_vec()))
            .unwrap();
        for listener in [&mut own, &mut twice] {
            let delivery = listener.next().await.unwrap();
            assert_eq!(&delivery.topic[..], b"lab/10.0.0.1/status");
            assert_eq!(
                (&delivery.payload[..], delivery.retain),
                (&b"own"[..], false)
            );
        }
        drop(own);
        assert!(!exchange.state().listeners.is_empty());
        drop(twice);
        assert!(exchange.state().listeners.is_empty());
    };
    play(&exchange, answers, scene).await;
}

#[tokio::test]
async fn a_listener_that_is_too_slow_hears_so_and_nobody_waits_for_it() {
    let (exchange, answers) = open();
    let scene = async {
        let topic = "lab/10.0.0.1/ack";
        let (mut slow, _) = exchange.listen(topic);
        for _ in 0..1_000 {
            exchange
                .publish(&message(topic, vec![b'x'; 1_000]))
                .unwrap();
            exchange.taken().await.unwrap();
        }
        assert!(exchange.has_room());
        let mut seen = 0;
        let end = loop {
            match slow.next().await {
                Ok(_) => seen += 1,
                Err(end) => break end,
            }
        };
        assert_eq!((end, seen), (SubscriptionError::Slow, 49));
    };
    play(&exchange, answers, scene).await;
}

#[tokio::test]
async fn a_filter_brings_what_matches_it_and_nothing_else() {
    let (exchange, answers) = open();
    let scene = async {
        let (mut acks, _) = exchange.subscribe("lab/+/ack").await.unwrap();
        for topic in [
            "lab/policy",
            "lab/10.0.0.1/ack",
            "lab/10.0.0.1/usb",
            "lab/10.0.0.2/ack",
        ] {
            exchange.publish(&message(topic, topic.into())).unwrap();
        }
        exchange.taken().await.unwrap();
        for topic in ["lab/10.0.0.1/ack", "lab/10.0.0.2/ack"] {
            assert_eq!(acks.next().await.unwrap().topic, topic);
        }
    };
    play(&exchange, answers, scene).await;
}

#[tokio::test]
async fn links_are_bounded_and_come_back() {
    let (exchange, answers) = open();
    let scene = async {
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(exchange.subscribe("lab/#").await.unwrap());
        }
        let refused = exchange.subscribe("lab/#").await.err();
        assert_eq!(refused, Some(SubscribeError::TooMany));
        held.pop();
        assert!(exchange.subscribe("lab/#").await.is_ok());
    };
    play(&exchange, answers, scene).await;
}

#[tokio::test]
async fn without_a_router_nothing_is_acknowledged() {
    let (exchange, answers) = open();
    kill_router(&exchange.dial);
    assert_eq!(exchange.confirm(answers).await, RouterGone);
    exchange
        .publish(&message("lab/policy", b"exam".to_vec()))
        .unwrap();
    assert_eq!(exchange.taken().await, Err(RouterGone));
    let refused = exchange.subscribe("lab/#").await.err();
    assert_eq!(refused, Some(SubscribeError::Gone(RouterGone)));
}
