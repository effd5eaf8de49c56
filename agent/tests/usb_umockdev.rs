//! Devices that no virtual machine has, in the sysfs that umockdev shows in place of the real one.
//!
//! umockdev reaches what goes through libc: the files of sysfs. Its uevents are udevd's, which the agent does not
//! believe, so the kernel is asked to send those here too (see `live`). Skipped loudly without umockdev.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test does what shells do, and fails by panicking"
)]

mod usb_support;

use std::{collections::BTreeSet, fmt::Write as _, fs, process::Command};

use labwatch_agent::usb::Roots;
use labwatch_contract::event::Action;
use tempfile::TempDir;
use usb_support::{
    descriptors, line,
    live::{Kernel, Watching, in_namespaces, skipped},
};

const TEST: &str = "what_the_rig_has_not_got_is_told_for_what_it_is";
const INSIDE: &str = "LABWATCH_TEST_UNDER_UMOCKDEV";
const BUS: &str = "/devices/pci0000:00/0000:00:14.0/usb1";

/// Ids, interfaces, what it is told to be. Sources: the classes of usb.org, as `usb_devices` lists them.
const DEVICES: [(&str, &str, &str); 10] = [
    ("04a9:3218", "06:01:01", "phone"),
    ("0644:1000", "08:01:00", "storage"),
    ("0e8d:1806", "08:02:50", "storage"),
    ("03f0:0053", "07:01:02", "printer"),
    ("0a12:0001", "e0:01:01 e0:01:01", "bluetooth"),
    ("08e6:3437", "0b:00:00", "other"),
    (
        "046d:0825",
        "0e:01:00 0e:02:00 01:01:00 01:02:00",
        "audio+video",
    ),
    ("18d1:4eec", "e0:01:03 0a:00:00 06:01:01", "phone+network"),
    ("0403:6015", "02:02:01 0a:00:00", "other"),
    (
        "1d6b:0104",
        "08:06:50 03:01:01 02:06:00 0a:00:00",
        "storage+network+keyboard",
    ),
];

/// The devices as `umockdev-record` writes them.
fn record() -> String {
    let mut text = String::new();
    for (at, (ids, interfaces, _)) in (1..).zip(DEVICES) {
        let (vendor, product) = ids.split_once(':').unwrap();
        let hex = descriptors(ids, interfaces)
            .iter()
            .fold(String::new(), |hex, byte| hex + &format!("{byte:02X}"));
        writeln!(
            text,
            "P: {BUS}/1-{at}\nE: DEVTYPE=usb_device\nE: SUBSYSTEM=usb\nA: idVendor={vendor}\nA: idProduct={product}\n\
             A: devnum={}\nA: speed=480\nA: authorized=1\nA: serial=LW{at:04}\nH: descriptors={hex}\n",
            at + 1
        )
        .unwrap();
    }
    text
}

/// Whether this process is the one under umockdev. Otherwise runs the test again there.
fn under_umockdev() -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let folder = TempDir::new().unwrap();
    let record_file = folder.path().join("devices.umockdev");
    fs::write(&record_file, record()).unwrap();
    let mut command = Command::new("umockdev-run");
    command.arg("--device").arg(&record_file).arg("--");
    command.arg(std::env::current_exe().unwrap());
    command
        .args(["--exact", TEST, "--nocapture"])
        .env(INSIDE, "1");
    match command.status() {
        Ok(status) => assert!(status.success(), "{TEST} failed under umockdev"),
        Err(_) => skipped(&format!("{TEST}: no umockdev-run")),
    }
    false
}

#[tokio::test]
async fn what_the_rig_has_not_got_is_told_for_what_it_is() {
    if !under_umockdev() || !in_namespaces(TEST) {
        return;
    }
    let kernel = Kernel::open();
    let mut watching = Watching::start(Roots::default());
    watching.until_degraded(&[]).await;
    let mut told = BTreeSet::new();
    while told.len() < DEVICES.len() {
        told.insert(line(&watching.next_of(&[Action::DevicePresent]).await));
    }
    for (at, (ids, _, kinds)) in (1..).zip(DEVICES) {
        let expected = format!("device-present 1-{at} {ids} {kinds} ");
        assert!(
            told.iter().any(|line| line.starts_with(&expected)),
            "{expected} {told:#?}"
        );
    }
    for action in ["remove", "add"] {
        let uevent = format!(
            "{action}@{BUS}/1-4\0ACTION={action}\0DEVPATH={BUS}/1-4\0SUBSYSTEM=usb\0DEVTYPE=usb_device\0\
             PRODUCT=3f0/53/100\0BUSNUM=001\0DEVNUM=005\0"
        );
        kernel.send(uevent.as_bytes());
    }
    let changes = [Action::DeviceDisconnected, Action::DeviceConnected];
    for action in ["device-disconnected", "device-connected"] {
        let said = line(&watching.next_of(&changes).await);
        assert_eq!(
            said,
            format!("{action} 1-4 03f0:0053 printer 07:01:02 LW0004")
        );
    }
    watching.end().await;
}
