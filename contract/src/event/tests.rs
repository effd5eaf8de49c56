use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::event::usb::{Device, DeviceKind, Maker, UsbPort};

fn event() -> Event {
    let device = Device {
        vendor: Maker {
            id: "46f4".into(),
            name: Some("QEMU".into()),
        },
        product: Maker {
            id: "0001".into(),
            name: None,
        },
        serial_number: Some("RIG0001".into()),
        kinds: vec![DeviceKind::Storage],
    };
    let usb = UsbPort {
        port: "2-1".into(),
        interfaces: vec!["08:06:50".into()],
        ..UsbPort::default()
    };
    Event {
        occurrence: Occurrence {
            time: "2026-11-22T09:31:05.123Z".parse().unwrap(),
            action: Action::DeviceConnected,
            fields: Fields {
                device: Some(device),
                lab: LabFields {
                    usb: Some(usb),
                    ..LabFields::default()
                },
                ..Fields::default()
            },
        },
        place: Place {
            journal: Uuid::from_u128(7),
            sequence: 42,
            prev: Digest::of(b"41"),
        },
        host: Host {
            ip: "192.168.0.133".parse().unwrap(),
            name: "pc-33".into(),
            id: "a1".into(),
            mac: Some("2c-6e-85-00-b6-3a".into()),
            boot: Boot { id: "b1".into() },
        },
        uptime_ms: 5_025_000,
    }
}

#[test]
fn an_event_is_written_as_the_contract_shows_it() {
    let written: Value = serde_json::from_slice(&event().to_payload().unwrap()).unwrap();
    assert_eq!(
        written,
        json!({
            "@timestamp": "2026-11-22T09:31:05.123Z",
            "event": {"action": "device-connected", "sequence": 42},
            "host": {"ip": "192.168.0.133", "name": "pc-33", "id": "a1", "mac": "2c-6e-85-00-b6-3a", "boot": {"id": "b1"}},
            "lab": {
                "journal": "00000000-0000-0000-0000-000000000007",
                "prev": Digest::of(b"41").to_string(),
                "uptime_ms": 5_025_000,
                "usb": {"port": "2-1", "interfaces": ["08:06:50"]},
            },
            "device": {
                "vendor": {"id": "46f4", "name": "QEMU"},
                "product": {"id": "0001"},
                "serial_number": "RIG0001",
                "type": ["storage"],
            },
        })
    );
}

#[test]
fn an_interval_stands_under_event() {
    let mut event = event();
    let (start, end) = (
        "2026-11-22T09:30:00Z".parse().unwrap(),
        "2026-11-22T09:30:40Z".parse().unwrap(),
    );
    event.occurrence.fields.interval = Some(Interval { start, end });
    let payload = event.to_payload().unwrap();
    let written: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(written["event"]["end"], json!("2026-11-22T09:30:40.000Z"));
    assert_eq!(Event::from_payload(&payload).unwrap(), event);
}

#[test]
fn unknown_fields_and_actions_survive() {
    let mut written: Value = serde_json::from_slice(&event().to_payload().unwrap()).unwrap();
    written["event"]["action"] = json!("teleported");
    written["threat"] = json!({"tactic": ["x", 1, null]});
    written["lab"]["mood"] = json!("fine");
    let payload = serde_json::to_vec(&written).unwrap();
    let read = Event::from_payload(&payload).unwrap();
    assert_eq!(read.occurrence.action, Action::Other("teleported".into()));
    assert_eq!(serde_json::to_value(&read).unwrap(), written);
    let head = Head::from_payload(&payload).unwrap();
    head.check_topic(Leaf::Usb).unwrap();
}

#[test]
fn an_unknown_word_in_a_known_field_is_no_error() {
    let mut written: Value = serde_json::from_slice(&event().to_payload().unwrap()).unwrap();
    written["device"]["type"] = json!(["storage", "teapot"]);
    let read: Event = serde_json::from_value(written).unwrap();
    assert_eq!(
        read.occurrence.fields.device.unwrap().kinds,
        [DeviceKind::Storage, DeviceKind::Other]
    );
}

#[test]
fn the_head_says_whether_a_payload_belongs_to_its_topic() {
    let head = Head::from_payload(&event().to_payload().unwrap()).unwrap();
    assert_eq!(head.place, event().place);
    assert!(head.check_topic(Leaf::Usb).is_ok());
    assert!(matches!(
        head.check_topic(Leaf::Net),
        Err(HeadError::WrongTopic(_))
    ));
}

#[test]
fn bytes_that_are_no_utf_8_are_refused_wherever_they_stand() {
    let mut payload = event().to_payload().unwrap();
    let name = payload
        .windows(4)
        .position(|window| window == b"QEMU")
        .unwrap();
    payload[name] = 0xff;
    assert!(matches!(
        Head::from_payload(&payload),
        Err(HeadError::NotUtf8)
    ));
}

#[test]
fn what_is_no_event_is_refused() {
    let good = String::from_utf8(event().to_payload().unwrap()).unwrap();
    for bad in [
        String::new(),
        "null".into(),
        "[]".into(),
        "{}".into(),
        good.replace("42", "0"),
        good.replace("42", "-1"),
        good.replace("\"prev\":\"", "\"prev\":\"x"),
        good.replace("T09:31", " 09;31"),
        format!("{good}\n"),
        format!("{good}{good}"),
    ] {
        assert!(Head::from_payload(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn every_action_has_its_one_name_and_topic() {
    for (name, action) in Action::NAMES {
        assert_eq!(action.name(), name);
        assert_eq!(Action::from(name.to_owned()), action);
        assert!(
            leaf(&action, None).is_some_and(Leaf::carries_events),
            "{name}"
        );
    }
    assert_eq!(
        leaf(&Action::ConversationBurst, Some(Scope::Internet)),
        Some(Leaf::Internet)
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(payload: Vec<u8>) {
        let _ = Head::from_payload(&payload);
        let _ = Event::from_payload(&payload);
    }

    #[test]
    fn foreign_text_survives_and_stays_on_one_line(text in "\\PC*|[\\x00-\\x7f]*", sequence in 1_u64..) {
        let mut event = event();
        event.place.sequence = sequence;
        event.occurrence.fields.device.as_mut().unwrap().product.name = Some(text);
        let payload = event.to_payload().unwrap();
        prop_assert!(!payload.contains(&b'\n'));
        prop_assert_eq!(Head::from_payload(&payload).unwrap().place, event.place);
        prop_assert_eq!(Event::from_payload(&payload).unwrap(), event);
    }
}
