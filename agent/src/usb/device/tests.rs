use labwatch_contract::event::usb::DeviceKind;
use proptest::prelude::*;

use super::*;
use crate::usb::uevent;

const PATH: &str = "/devices/pci0/usb2/2-1";
const STICK: [u8; 27] = [
    18, 1, 0, 2, 0, 0, 0, 64, 0xf4, 0x46, 1, 0, 0, 0, 1, 2, 3, 1, // device
    9, 4, 0, 0, 2, 8, 6, 0x50, 0, // interface
];

fn now() -> Timestamp {
    Timestamp::from_unix_ms(0).unwrap()
}

fn snapshot(devnum: u32, serial: &str) -> Snapshot {
    Snapshot {
        syspath: PATH.into(),
        vendor_id: "46f4".into(),
        product_id: "0001".into(),
        manufacturer: Some("QEMU".into()),
        product: Some("  QEMU USB HARDDRIVE \n".into()),
        serial: Some(serial.into()),
        devnum: Some(devnum.to_string()),
        speed: Some("480".into()),
        authorized: Some("1".into()),
        descriptors: STICK.to_vec(),
        ..Snapshot::default()
    }
}

fn device(action: &str, devnum: u32) -> Uevent {
    uevent::parse(
        format!("{action}@{PATH}\0SUBSYSTEM=usb\0DEVTYPE=usb_device\0PRODUCT=46f4/1/0\0TYPE=0/0/0\0DEVNUM={devnum:03}\0")
            .as_bytes(),
    )
    .unwrap()
}

fn interface(number: u8, class: &str) -> Uevent {
    uevent::parse(
        format!(
            "add@{PATH}/2-1:1.{number}\0SUBSYSTEM=usb\0DEVTYPE=usb_interface\0INTERFACE={class}\0"
        )
        .as_bytes(),
    )
    .unwrap()
}

/// Action, serial number and interfaces of each.
fn told(occurrences: &[Occurrence]) -> Vec<String> {
    let line = |occurrence: &Occurrence| {
        let device = occurrence.fields.device.clone().unwrap_or_default();
        let port = occurrence.fields.lab.usb.clone().unwrap_or_default();
        let serial = device.serial_number.unwrap_or_default();
        format!(
            "{} {serial} {}",
            occurrence.action,
            port.interfaces.join(",")
        )
    };
    occurrences.iter().map(line).collect()
}

#[test]
fn a_device_is_told_whole_and_once() {
    let mut devices = Devices::default();
    let add = device("add", 2);
    assert!(devices.wants_snapshot(&add));
    let connected = devices.handle_uevent(&add, Some(&snapshot(2, "LW0001")), now());
    let [Occurrence { fields, .. }] = &connected[..] else {
        panic!("{connected:?}")
    };
    let device = fields.device.clone().unwrap();
    assert_eq!(device.vendor.name.as_deref(), Some("QEMU"));
    assert_eq!(device.product.name.as_deref(), Some("QEMU USB HARDDRIVE"));
    assert_eq!(device.kinds, [DeviceKind::Storage]);
    let port = fields.lab.usb.clone().unwrap();
    assert_eq!(
        (port.port.as_str(), port.speed_mbps, port.authorized),
        ("2-1", Some(480.0), Some(true))
    );

    assert!(!devices.wants_snapshot(&add));
    for quiet in [
        interface(0, "8/6/80"),
        self::device("bind", 2),
        self::device("change", 2),
        add,
    ] {
        assert_eq!(devices.handle_uevent(&quiet, None, now()), []);
    }
    assert_eq!(devices.handle_drained(now()), []);
    let gone = devices.handle_uevent(&self::device("remove", 2), None, now());
    assert_eq!(told(&gone), ["device-disconnected LW0001 08:06:50"]);
    assert_eq!(
        devices.handle_uevent(&self::device("remove", 2), None, now()),
        []
    );
}

#[test]
fn a_device_of_which_sysfs_says_nothing_is_told_by_its_uevents() {
    let mut devices = Devices::default();
    assert_eq!(devices.handle_uevent(&device("add", 2), None, now()), []);
    devices.handle_uevent(&interface(0, "8/6/80"), None, now());
    devices.handle_uevent(&interface(1, "3/1/1"), None, now());
    let connected = devices.handle_uevent(&device("bind", 2), None, now());
    assert_eq!(told(&connected), ["device-connected  08:06:50,03:01:01"]);
    let device = connected[0].fields.device.clone().unwrap();
    assert_eq!(
        (device.vendor.id.as_str(), device.product.id.as_str()),
        ("46f4", "0001")
    );
    assert_eq!(device.kinds, [DeviceKind::Storage, DeviceKind::Keyboard]);
}

#[test]
fn a_held_device_is_told_when_no_more_uevents_wait() {
    let mut devices = Devices::default();
    devices.handle_uevent(&device("add", 2), None, now());
    assert_eq!(told(&devices.handle_drained(now())), ["device-connected  "]);
    assert_eq!(devices.handle_drained(now()), []);
}

#[test]
fn a_held_device_that_goes_is_told_to_have_come() {
    let mut devices = Devices::default();
    devices.handle_uevent(&device("add", 2), None, now());
    let both = devices.handle_uevent(&device("remove", 2), None, now());
    assert_eq!(told(&both), ["device-connected  ", "device-disconnected  "]);
}

#[test]
fn what_sysfs_says_of_the_next_device_at_the_port_is_not_taken_for_this_one() {
    let mut devices = Devices::default();
    assert_eq!(
        devices.handle_uevent(&device("add", 2), Some(&snapshot(3, "NEXT")), now()),
        []
    );
    let both = devices.handle_uevent(&device("remove", 2), None, now());
    assert_eq!(told(&both), ["device-connected  ", "device-disconnected  "]);
    let next = devices.handle_uevent(&device("add", 3), Some(&snapshot(3, "NEXT")), now());
    assert_eq!(told(&next), ["device-connected NEXT 08:06:50"]);
}

#[test]
fn a_new_device_at_a_port_ends_the_one_before() {
    let mut devices = Devices::default();
    devices.handle_uevent(&device("add", 2), Some(&snapshot(2, "A")), now());
    let next = devices.handle_uevent(&device("add", 3), Some(&snapshot(3, "B")), now());
    assert_eq!(
        told(&next),
        [
            "device-disconnected A 08:06:50",
            "device-connected B 08:06:50"
        ]
    );
}

#[test]
fn uevents_older_than_the_scan_change_nothing() {
    let mut devices = Devices::default();
    let present = devices.handle_scan(&[snapshot(3, "B")], now());
    assert_eq!(told(&present), ["device-present B 08:06:50"]);
    assert_eq!(devices.handle_uevent(&device("remove", 2), None, now()), []);
    assert_eq!(devices.handle_uevent(&device("add", 3), None, now()), []);
    let gone = devices.handle_uevent(&device("remove", 3), None, now());
    assert_eq!(told(&gone), ["device-disconnected B 08:06:50"]);
}

#[test]
fn after_a_loss_the_difference_is_told() {
    let mut devices = Devices::default();
    let stays = Snapshot {
        syspath: "/devices/pci0/usb1/1-1".into(),
        ..snapshot(7, "STAYS")
    };
    devices.handle_scan(&[stays.clone(), snapshot(2, "OLD")], now());
    let found = devices.handle_loss(&[stays.clone(), snapshot(3, "NEW")], "why", now());
    assert_eq!(
        told(&found),
        [
            "events-lost  ",
            "device-disconnected OLD 08:06:50",
            "device-connected NEW 08:06:50"
        ]
    );
    assert_eq!(found[0].fields.lab.reason.as_deref(), Some("why"));
    let found = devices.handle_loss(&[stays], "why", now());
    assert_eq!(
        told(&found),
        ["events-lost  ", "device-disconnected NEW 08:06:50"]
    );
}

#[test]
fn the_tables_differ_from_a_look_only_when_something_was_missed() {
    let mut devices = Devices::default();
    devices.handle_scan(&[snapshot(2, "A")], now());
    let root = ("/devices/pci0/usb2".to_owned(), Some(1));
    assert!(!devices.differ(&[(PATH.into(), Some(2)), root.clone()]));
    assert!(devices.differ(&[(PATH.into(), Some(3)), root.clone()]));
    assert!(devices.differ(&[root]));
    let items: Vec<_> = devices.items().collect();
    let digest = labwatch_contract::chain::Digest::of(&STICK);
    assert_eq!(items, [format!("device 2-1 46f4:0001 storage A {digest}")]);
}

#[test]
fn what_the_system_knows_of_a_silent_device_is_told() {
    let silent = Snapshot {
        manufacturer: None,
        product: Some(" ".into()),
        removable: Some("removable\n".into()),
        listed: crate::usb::names::Names {
            vendor: Some("QEMU".into()),
            product: None,
        },
        driven: [DeviceKind::Keyboard].into(),
        ..snapshot(2, "A")
    };
    let told = Devices::default().handle_scan(&[silent], now());
    let device = told[0].fields.device.as_ref().unwrap();
    assert_eq!(device.vendor.name.as_deref(), Some("QEMU"));
    assert_eq!(device.product.name, None);
    let port = told[0].fields.lab.usb.as_ref().unwrap();
    assert_eq!(port.removable, Some(true));
    assert_eq!(port.composite.as_deref(), Some("storage and keyboard"));
}

#[test]
fn root_hubs_are_no_devices() {
    let root = Snapshot {
        syspath: "/devices/pci0/usb12".into(),
        ..snapshot(1, "0000:00:04.0")
    };
    assert_eq!(Devices::default().handle_scan(&[root], now()), []);
    assert!(!is_root_hub("/devices/x/usbip"));
    assert!(!is_root_hub("/devices/x/usb"));
}

#[test]
fn the_table_is_bounded() {
    let mut devices = Devices::default();
    let many: Vec<_> = (0..MAX_DEVICES + 10)
        .map(|port| Snapshot {
            syspath: format!("/devices/usb1/1-{port}"),
            ..snapshot(1, "X")
        })
        .collect();
    assert_eq!(devices.handle_scan(&many, now()).len(), MAX_DEVICES + 10);
    assert_eq!(devices.entries.len(), MAX_DEVICES);
    let one_more = devices.handle_uevent(&device("add", 2), Some(&snapshot(2, "Y")), now());
    assert_eq!(told(&one_more), ["device-connected Y 08:06:50"]);
}

proptest! {
    #[test]
    fn arrivals_and_departures_of_a_port_alternate(steps in proptest::collection::vec((0..4_u8, 1..4_u32, any::<bool>()), 0..40)) {
        let mut devices = Devices::default();
        let mut all = Vec::new();
        for (what, devnum, readable) in steps {
            let snapshot = readable.then(|| snapshot(devnum, "S"));
            all.extend(match what {
                0 => devices.handle_uevent(&device("add", devnum), snapshot.as_ref(), now()),
                1 => devices.handle_uevent(&device("remove", devnum), None, now()),
                2 => devices.handle_drained(now()),
                _ => devices.handle_loss(snapshot.as_slice(), "why", now()),
            });
        }
        all.extend(devices.handle_loss(&[], "the end", now()));
        let plugs: Vec<_> = all.iter().map(|o| o.action.clone()).filter(|a| *a != Happening::EventsLost).collect();
        prop_assert!(plugs.len().is_multiple_of(2));
        for pair in plugs.chunks(2) {
            prop_assert_eq!(pair, &[Happening::DeviceConnected, Happening::DeviceDisconnected]);
        }
    }
}
