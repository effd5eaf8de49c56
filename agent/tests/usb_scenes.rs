//! Real hot-plug, recorded, through the tables of devices and volumes: what each scene tells, to the letter.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod usb_support;

use std::collections::BTreeMap;

use labwatch_agent::usb::{
    backing::{Backing, Block},
    device::Devices,
    mountinfo,
    uevent::Action,
    volume::Volumes,
};
use labwatch_contract::{event::Occurrence, time::Timestamp};
use usb_support::{Scene, lines};

const STICK_IN: &str = "device-connected 2-1 46f4:0001 storage 08:06:50 LW0001";
const STICK_OUT: &str = "device-disconnected 2-1 46f4:0001 storage 08:06:50 LW0001";

/// The scenes in the order in which they were recorded, and what is told of them.
const STORY: [(&str, &[&str]); 17] = [
    ("01-stick-in", &[STICK_IN]),
    ("02-stick-out-without-unmount", &[STICK_OUT]),
    (
        "03-keyboard-in",
        &["device-connected 1-2 0627:0001 keyboard 03:01:01 68284-0000:00:04.0-2"],
    ),
    (
        "04-keyboard-out",
        &["device-disconnected 1-2 0627:0001 keyboard 03:01:01 68284-0000:00:04.0-2"],
    ),
    (
        "05-phone-mtp-in",
        &["device-connected 1-3 46f4:0004 phone 06:01:01 34617-0000:00:04.0-3"],
    ),
    (
        "06-phone-mtp-out",
        &["device-disconnected 1-3 46f4:0004 phone 06:01:01 34617-0000:00:04.0-3"],
    ),
    (
        "07-network-in",
        &[
            "device-connected 1-4 0525:a4a2 network 02:02:ff,0a:00:00,02:06:00,0a:00:00 1-0000:00:04.0-4",
        ],
    ),
    (
        "08-network-out",
        &[
            "device-disconnected 1-4 0525:a4a2 network 02:02:ff,0a:00:00,02:06:00,0a:00:00 1-0000:00:04.0-4",
        ],
    ),
    (
        "09-hub-in",
        &["device-connected 1-5 0409:55aa hub 09:00:00 314159-0000:00:04.0-5"],
    ),
    (
        "10-keyboard-behind-hub-in",
        &["device-connected 1-5.2 0627:0001 keyboard 03:01:01 68284-0000:00:04.0-5.2"],
    ),
    (
        "11-hub-out",
        &[
            "device-disconnected 1-5.2 0627:0001 keyboard 03:01:01 68284-0000:00:04.0-5.2",
            "device-disconnected 1-5 0409:55aa hub 09:00:00 314159-0000:00:04.0-5",
        ],
    ),
    (
        "12-composite-storage-keyboard-in",
        &["device-connected 3-1 0781:5581 storage+keyboard 08:06:50,03:01:01 4C530001BADBAD"],
    ),
    (
        "13-composite-out",
        &["device-disconnected 3-1 0781:5581 storage+keyboard 08:06:50,03:01:01 4C530001BADBAD"],
    ),
    (
        "14-stick-in-and-out-350ms",
        &[
            "device-connected 2-6 46f4:0001 storage 08:06:50",
            "device-disconnected 2-6 46f4:0001 storage 08:06:50",
        ],
    ),
    (
        "15-mouse-in",
        &["device-connected 1-7 0627:0001 mouse 03:01:02 89126-0000:00:04.0-7"],
    ),
    (
        "16-smart-card-reader-in",
        &["device-connected 1-8 08e6:4433 other 0b:00:00 1-0000:00:04.0-8"],
    ),
    (
        "17-tablet-in",
        &["device-connected 1-1 0627:0001 other 03:00:00 28754-0000:00:04.0-1"],
    ),
];

fn now() -> Timestamp {
    "2026-11-22T09:31:05Z".parse().unwrap()
}

/// Plays a scene; sysfs answers as it stood at its end, or nothing at all.
fn play(devices: &mut Devices, scene: &Scene, readable: bool) -> Vec<Occurrence> {
    let mut told = Vec::new();
    for uevent in scene.uevents() {
        let asked = devices.wants_snapshot(&uevent) && readable;
        let snapshot = asked.then(|| scene.snapshot(&uevent.syspath)).flatten();
        told.extend(devices.handle_uevent(&uevent, snapshot, now()));
    }
    told.extend(devices.handle_drained(now()));
    told
}

#[test]
fn each_recorded_scene_is_told_to_the_letter() {
    let mut devices = Devices::default();
    let at_rest = Scene::read("00-at-rest");
    assert_eq!(at_rest.devices.len(), 2, "the root hubs");
    assert_eq!(devices.handle_scan(&at_rest.devices, now()), []);
    for (name, expected) in STORY {
        let told = play(&mut devices, &Scene::read(name), true);
        assert_eq!(lines(&told), expected, "{name}");
    }
}

#[test]
fn names_and_speed_are_told_as_the_device_gives_them() {
    let told = play(
        &mut Devices::default(),
        &Scene::read("12-composite-storage-keyboard-in"),
        true,
    );
    let device = told[0].fields.device.clone().unwrap();
    assert_eq!(device.vendor.name.as_deref(), Some("SanDisk"));
    assert_eq!(device.product.name.as_deref(), Some("Ultra"));
    let port = told[0].fields.lab.usb.clone().unwrap();
    assert_eq!(
        (port.speed_mbps, port.authorized),
        (Some(480.0), Some(true))
    );
}

#[test]
fn a_scan_in_place_of_the_uevents_tells_the_same_devices() {
    for (name, expected) in STORY.iter().filter(|(name, _)| name.ends_with("-in")) {
        let told = Devices::default().handle_scan(&Scene::read(name).devices, now());
        let told = lines(&told);
        for line in *expected {
            let line = line.replace("connected", "present");
            assert!(told.contains(&line), "{name}: {told:?}");
        }
    }
}

#[test]
fn without_sysfs_the_uevents_tell_ids_and_interfaces() {
    for (name, expected) in STORY {
        let mut devices = Devices::default();
        let told = lines(&play(&mut devices, &Scene::read(name), false));
        // Only an arrival can be told: of what went, nobody knows what it was.
        let arrivals = expected
            .iter()
            .filter(|line| line.starts_with("device-connected"));
        for (told, expected) in told.iter().zip(arrivals) {
            // The network card's other configuration stands in its descriptors only.
            let ids = |line: &str| {
                line.split(' ')
                    .take(4)
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            assert_eq!(ids(told), ids(expected), "{name}");
        }
        assert_eq!(
            told.is_empty(),
            name.ends_with("-out") || name.ends_with("unmount"),
            "{name}"
        );
    }
}

#[test]
fn notices_lost_at_any_point_are_made_up_for_by_a_rescan() {
    let scene = Scene::read("01-stick-in");
    let uevents = scene.uevents();
    for kept in 0..uevents.len() {
        let mut devices = Devices::default();
        let mut told = Vec::new();
        for uevent in &uevents[..kept] {
            told.extend(devices.handle_uevent(uevent, scene.snapshot(&uevent.syspath), now()));
        }
        told.extend(devices.handle_loss(&scene.devices, "lost", now()));
        let told: Vec<_> = lines(&told)
            .into_iter()
            .filter(|line| line != "events-lost")
            .collect();
        assert_eq!(told, [STICK_IN], "after {kept} uevents");
    }
}

/// The pulled stick stays in the mount table until the desktop takes it out.
#[test]
fn a_stick_pulled_without_unmount_is_reported() {
    let table = |line: &str| mountinfo::parse(line.as_bytes());
    let mounted = "98 27 8:1 / /media/student/STICK rw,nosuid - vfat /dev/sda1 rw\n";
    let stick = Scene::read("01-stick-in");
    let partition = stick
        .uevents()
        .into_iter()
        .find(|uevent| uevent.get("DEVNAME") == Some("sda1"));
    let mut volumes = Volumes::default();
    volumes.apply(&volumes.compare(table("")), &BTreeMap::new(), now());
    let change = volumes.compare(table(mounted));
    let backing = Backing {
        blocks: vec![Block {
            syspath: partition.unwrap().syspath,
            ..Block::default()
        }],
        usb: stick
            .snapshot("/devices/pci0000:00/0000:00:04.0/usb2/2-1")
            .cloned(),
        ..Backing::default()
    };
    let device = change.news().next().unwrap().device;
    let mut told = volumes.apply(&change, &[(device, backing)].into(), now());
    for uevent in Scene::read("02-stick-out-without-unmount").uevents() {
        if uevent.action == Action::Remove {
            told.extend(volumes.handle_removed(&uevent.syspath, now()));
        }
    }
    told.extend(volumes.apply(&volumes.compare(table("")), &BTreeMap::new(), now()));
    assert_eq!(
        lines(&told),
        [
            "volume-mounted /dev/sda1 /media/student/STICK",
            "volume-removed /dev/sda1 /media/student/STICK"
        ]
    );
    assert_eq!(
        told[1]
            .fields
            .volume
            .as_ref()
            .unwrap()
            .serial_number
            .as_deref(),
        Some("LW0001")
    );
}
