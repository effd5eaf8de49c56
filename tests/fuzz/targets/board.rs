//! Incidents, acknowledgements, mutes and marks, as the broker retains them.
#![no_main]

use labwatch_contract::topic::Root;
use labwatch_link::{QoS, session::Message};
use labwatch_notifier::board::Board;
use libfuzzer_sys::fuzz_target;

const TOPICS: [&str; 4] = [
    "lab/alerts/x",
    "lab/alerts/x/ack",
    "lab/alerts/mute-x",
    "lab/alerts/watching",
];

fuzz_target!(|payloads: Vec<(u8, Vec<u8>)>| {
    let mut board = Board::new(Root::default());
    for (topic, payload) in payloads {
        let topic = TOPICS[usize::from(topic) % TOPICS.len()].to_owned();
        let message = Message {
            topic,
            payload: payload.into(),
            qos: QoS::AtLeastOnce,
            retain: true,
        };
        let _ = board.read(&message);
    }
    let _ = board.open();
});
