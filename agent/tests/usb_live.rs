//! The watcher on the real kernel: uevents through a real netlink socket.
//!
//! Each test runs itself again in network and mount namespaces of its own (`unshare`), so that nothing of it is
//! seen outside. Recorded uevents are handed to the kernel, which sends them to the listeners of the namespace
//! as its own. Skipped loudly where namespaces are missing.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test does what shells do, and fails by panicking"
)]

mod usb_support;

use std::{fs, os::unix::fs::symlink, path::Path};

use labwatch_agent::usb::{Roots, snapshot::Snapshot};
use labwatch_contract::event::Action;
use tempfile::TempDir;
use usb_support::{
    Scene, line,
    live::{Kernel, Watching, in_namespaces},
};

/// A sysfs in a folder, as far as the agent reads it.
fn sysfs(folder: &Path, devices: &[Snapshot]) -> Roots {
    fs::create_dir_all(folder.join("bus/usb/devices")).unwrap();
    for device in devices {
        plug(folder, device);
    }
    Roots {
        sysfs: folder.into(),
        ..Roots::default()
    }
}

fn plug(folder: &Path, device: &Snapshot) {
    let path = folder.join(device.syspath.trim_start_matches('/'));
    fs::create_dir_all(&path).unwrap();
    let write = |name: &str, text: &Option<String>| {
        if let Some(text) = text {
            fs::write(path.join(name), format!("{text}\n")).unwrap();
        }
    };
    write("idVendor", &Some(device.vendor_id.clone()));
    write("idProduct", &Some(device.product_id.clone()));
    write("manufacturer", &device.manufacturer);
    write("product", &device.product);
    write("serial", &device.serial);
    write("devnum", &device.devnum);
    write("speed", &device.speed);
    write("authorized", &device.authorized);
    fs::write(path.join("descriptors"), &device.descriptors).unwrap();
    let link = folder
        .join("bus/usb/devices")
        .join(path.file_name().unwrap());
    if !link.exists() {
        symlink(&path, link).unwrap();
    }
}

#[tokio::test]
async fn a_stick_is_seen_coming_and_going_through_the_kernel() {
    if !in_namespaces("a_stick_is_seen_coming_and_going_through_the_kernel") {
        return;
    }
    let (folder, kernel) = (TempDir::new().unwrap(), Kernel::open());
    let keyboard = Scene::read("03-keyboard-in");
    let mut watching = Watching::start(sysfs(folder.path(), &keyboard.devices));
    let present = watching.next_of(&[Action::DevicePresent]).await;
    assert!(
        line(&present).starts_with("device-present 1-2 0627:0001 keyboard"),
        "{present:?}"
    );
    watching.until_degraded(&[]).await;

    let devices = [Action::DeviceConnected, Action::DeviceDisconnected];
    let stick = Scene::read("01-stick-in");
    for device in &stick.devices {
        plug(folder.path(), device);
    }
    for message in stick
        .messages
        .iter()
        .chain(&Scene::read("02-stick-out-without-unmount").messages)
    {
        kernel.send(message);
    }
    let connected = watching.next_of(&devices).await;
    assert_eq!(
        line(&connected),
        "device-connected 2-1 46f4:0001 storage 08:06:50 LW0001"
    );
    let gone = watching.next_of(&devices).await;
    assert_eq!(
        line(&gone),
        "device-disconnected 2-1 46f4:0001 storage 08:06:50 LW0001"
    );

    // Sysfs knows nothing of this one.
    for message in &Scene::read("14-stick-in-and-out-350ms").messages {
        kernel.send(message);
    }
    let connected = watching.next_of(&devices).await;
    assert_eq!(
        line(&connected),
        "device-connected 2-6 46f4:0001 storage 08:06:50"
    );
    let gone = watching.next_of(&devices).await;
    assert_eq!(
        line(&gone),
        "device-disconnected 2-6 46f4:0001 storage 08:06:50"
    );
    assert_eq!(watching.end().await, []);
}

#[tokio::test]
async fn uevents_that_a_program_sends_are_not_believed() {
    if !in_namespaces("uevents_that_a_program_sends_are_not_believed") {
        return;
    }
    let (folder, kernel) = (TempDir::new().unwrap(), Kernel::open());
    let mut watching = Watching::start(sysfs(folder.path(), &[]));
    watching.until_degraded(&[]).await;
    for message in &Scene::read("01-stick-in").messages {
        kernel.forge(message);
    }
    kernel.forge(b"libudev\0\xfe\xed\xca\xfe");
    kernel.send(b"libudev\0\xfe\xed\xca\xfe");
    kernel.send(b"garbage");
    for message in &Scene::read("15-mouse-in").messages {
        kernel.send(message);
    }
    let first = watching.next_of(&[Action::DeviceConnected]).await;
    assert!(
        line(&first).starts_with("device-connected 1-7"),
        "{first:?}"
    );
    watching.end().await;
}

#[tokio::test]
async fn a_full_buffer_is_told_and_made_up_for() {
    if !in_namespaces("a_full_buffer_is_told_and_made_up_for") {
        return;
    }
    let (folder, kernel) = (TempDir::new().unwrap(), Kernel::open());
    let mut watching = Watching::start(sysfs(folder.path(), &[]));
    watching.until_degraded(&[]).await;
    // Without a pause for the watcher: the buffer overflows, and with it goes the stick's coming.
    let noise = format!("change@/devices/noise\0FILL={}\0", "x".repeat(1500));
    for _ in 0..5_000 {
        kernel.send(noise.as_bytes());
    }
    let stick = Scene::read("01-stick-in");
    for device in &stick.devices {
        plug(folder.path(), device);
    }
    for message in &stick.messages {
        kernel.send(message);
    }
    let usb = [Action::EventsLost, Action::DeviceConnected];
    let lost = watching.next_of(&usb).await;
    assert_eq!(lost.action, Action::EventsLost);
    assert!(lost.fields.lab.reason.is_some());
    let connected = watching.next_of(&usb).await;
    assert_eq!(
        line(&connected),
        "device-connected 2-1 46f4:0001 storage 08:06:50 LW0001"
    );
    watching.end().await;
}

#[tokio::test]
async fn each_connection_is_told_everything_that_is_there() {
    if !in_namespaces("each_connection_is_told_everything_that_is_there") {
        return;
    }
    let (folder, kernel) = (TempDir::new().unwrap(), Kernel::open());
    let mut watching = Watching::start(sysfs(folder.path(), &[]));
    watching.until_degraded(&[]).await;
    let mut digests = Vec::new();
    for _ in 0..2 {
        watching.connect();
        let told = watching.next_of(&[Action::Inventory]).await;
        let inventory = told.fields.lab.inventory.unwrap();
        digests.push((inventory.sha256, inventory.items));
    }
    assert_eq!(digests[0], digests[1]);
    let stick = Scene::read("01-stick-in");
    for device in &stick.devices {
        plug(folder.path(), device);
    }
    for message in &stick.messages {
        kernel.send(message);
    }
    watching.next_of(&[Action::DeviceConnected]).await;
    watching.connect();
    let told = watching.next_of(&[Action::Inventory]).await;
    let inventory = told.fields.lab.inventory.unwrap();
    assert_ne!(inventory.sha256, digests[0].0);
    let device = inventory
        .items
        .iter()
        .find(|item| item.starts_with("device "));
    assert!(
        device
            .unwrap()
            .starts_with("device 2-1 46f4:0001 storage LW0001 ")
    );
    watching.end().await;
}

#[tokio::test]
async fn what_cannot_be_seen_is_said() {
    let folder = TempDir::new().unwrap();
    let mut watching = Watching::start(Roots {
        sysfs: folder.path().join("none"),
        procfs: folder.path().join("none"),
        ..Roots::default()
    });
    watching.until_degraded(&["no-mounts", "no-sysfs"]).await;
    assert_eq!(watching.end().await, []);
}
