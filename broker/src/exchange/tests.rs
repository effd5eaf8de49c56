use super::*;
use crate::{packet::Qos, probe::tests::kill_router};

/// The way to the router of a broker that is to lose it.
pub(crate) fn dial(exchange: &Exchange) -> &Dial {
    &exchange.dial
}

fn open() -> (Arc<Exchange>, Answers) {
    let root = Root::default();
    let dial = start_router(&root, 16);
    let (exchange, answers) = Exchange::open(root, dial, 8).unwrap();
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
        let (mut all, none) = exchange.subscribe("lab/#", true).await.unwrap();
        assert!(none.is_empty());
        exchange.publish(message("lab/policy", b"exam".to_vec()));
        exchange.publish(message("lab/policy", Vec::new()));
        exchange.publish(message("lab/policy", b"next".to_vec()));
        exchange.taken().await.unwrap();
        for payload in [&b"exam"[..], b"", b"next"] {
            let delivery = all.next().await.unwrap();
            assert_eq!((&delivery.payload[..], delivery.retain), (payload, false));
        }
        let (_late, retained) = exchange.subscribe("lab/policy", true).await.unwrap();
        assert_eq!(retained[0].payload, "next");
    };
    play(&exchange, answers, scene).await;
}

#[tokio::test]
async fn a_subscriber_that_missed_messages_hears_how_many() {
    let (exchange, answers) = open();
    let scene = async {
        let topic = "lab/10.0.0.1/ack";
        let (mut slow, _) = exchange.subscribe(topic, false).await.unwrap();
        for number in 0..2_000_u32 {
            exchange.publish(message(topic, number.to_be_bytes().repeat(100)));
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
        let (mut staff, _) = exchange.subscribe("lab/#", true).await.unwrap();
        let is_held = || !exchange.state().lag.has_room();
        while !is_held() {
            exchange.publish(message("lab/10.0.0.1/net", vec![b'x'; 100_000]));
            exchange.taken().await.unwrap();
        }
        let catch_up = async { while staff.next().await.is_ok() {} };
        tokio::select! {
            () = exchange.room() => {}
            () = catch_up => panic!("the router has gone"),
        }
        while !is_held() {
            exchange.publish(message("lab/10.0.0.1/net", vec![b'x'; 100_000]));
            exchange.taken().await.unwrap();
        }
        drop(staff);
        exchange.room().await;
    };
    play(&exchange, answers, scene).await;
}

#[tokio::test]
async fn links_and_filters_are_bounded_and_links_come_back() {
    let (exchange, answers) = open();
    let scene = async {
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(exchange.subscribe("lab/#", false).await.unwrap());
        }
        let refused = exchange.subscribe("lab/#", false).await.err();
        assert_eq!(refused, Some(SubscribeError::TooMany));
        held.pop();
        for number in 1..MAX_LARGE {
            let filter = format!("lab/10.0.0.{number}/#");
            exchange.subscribe(&filter, false).await.unwrap();
        }
        let refused = exchange.subscribe("lab/+/usb", false).await.err();
        assert_eq!(refused, Some(SubscribeError::TooMany));
        assert!(exchange.subscribe("lab/10.0.0.1/ack", false).await.is_ok());
    };
    play(&exchange, answers, scene).await;
}

#[tokio::test]
async fn without_a_router_nothing_is_acknowledged() {
    let (exchange, answers) = open();
    kill_router(&exchange.dial);
    assert_eq!(exchange.confirm(answers).await, RouterGone);
    exchange.publish(message("lab/policy", b"exam".to_vec()));
    assert_eq!(exchange.taken().await, Err(RouterGone));
    let refused = exchange.subscribe("lab/#", true).await.err();
    assert_eq!(refused, Some(SubscribeError::Gone(RouterGone)));
}
