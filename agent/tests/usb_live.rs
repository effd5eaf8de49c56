//! The watcher on the real kernel: uevents through a real netlink socket, real mounts of loop devices.
//!
//! Each test runs itself again in network and mount namespaces of its own (`unshare`), so that nothing of it is
//! seen outside. Recorded uevents are handed to the kernel, which sends them to the listeners of the namespace
//! as its own. Skipped loudly where namespaces, loop devices or mkfs are missing.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test does what shells do, and fails by panicking"
)]

mod usb_support;

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    os::{fd::OwnedFd, unix::fs::symlink},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use labwatch_agent::degraded::Degraded;
use labwatch_agent::usb::{Roots, snapshot::Snapshot, watch};
use labwatch_contract::event::{Action, Occurrence, usb::Volume};
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType,
    netlink::{self, SocketAddrNetlink},
    sendto, socket_with,
};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, watch as state},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use usb_support::{Scene, line};

const PATIENCE: Duration = Duration::from_secs(20);
const INSIDE: &str = "LABWATCH_TEST_IN_NAMESPACES";

/// Whether this process is the one in the namespaces. Otherwise runs `test` again there.
fn in_namespaces(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let quiet = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !quiet("unshare", &["--net", "--mount", "true"]) {
        eprintln!("SKIPPED: {test}: namespaces of its own need root");
        return false;
    }
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount"]).arg(program);
    command
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1");
    assert!(
        command.status().unwrap().success(),
        "{test} failed in its namespaces"
    );
    false
}

/// A running watcher.
struct Watching {
    occurrences: mpsc::Receiver<Occurrence>,
    degraded: state::Receiver<BTreeSet<&'static str>>,
    connected: state::Sender<Option<SocketAddr>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Watching {
    fn start(roots: Roots) -> Self {
        let (sender, occurrences) = mpsc::channel(64);
        let words = Degraded::default();
        for word in ["no-usb", "no-mounts"] {
            words.note(word, Some(&"not looked yet"));
        }
        let degraded = words.watch();
        let (connected, connections) = state::channel(None);
        let stop = CancellationToken::new();
        let task = tokio::spawn(watch(roots, sender, words, connections, stop.clone()));
        Self {
            occurrences,
            degraded,
            connected,
            stop,
            task,
        }
    }

    /// Waits until it sees everything but `words`.
    async fn until_degraded(&mut self, words: &[&'static str]) {
        let expected = BTreeSet::from_iter(words.iter().copied());
        let reached = self.degraded.wait_for(|words| *words == expected);
        timeout(PATIENCE, reached).await.expect("in time").unwrap();
    }

    async fn next(&mut self) -> Occurrence {
        timeout(PATIENCE, self.occurrences.recv())
            .await
            .expect("an occurrence in time")
            .unwrap()
    }

    async fn next_of(&mut self, actions: &[Action]) -> Occurrence {
        loop {
            let occurrence = self.next().await;
            if actions.contains(&occurrence.action) {
                return occurrence;
            }
        }
    }

    async fn end(self) -> Vec<Occurrence> {
        self.stop.cancel();
        timeout(PATIENCE, self.task)
            .await
            .expect("an end in time")
            .unwrap();
        let mut rest = self.occurrences;
        std::iter::from_fn(|| rest.try_recv().ok()).collect()
    }
}

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

/// Sends uevents through the kernel.
struct Kernel(OwnedFd);

impl Kernel {
    fn open() -> Self {
        let protocol = Some(netlink::KOBJECT_UEVENT);
        let flags = SocketFlags::CLOEXEC;
        Self(socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, protocol).unwrap())
    }

    /// The kernel sends it on to the namespace's listeners, as from itself (`uevent_net_rcv`).
    fn send(&self, message: &[u8]) {
        let length = u32::try_from(message.len() + 16).unwrap();
        let mut packet = length.to_ne_bytes().to_vec();
        packet.extend(16_u16.to_ne_bytes());
        packet.extend(1_u16.to_ne_bytes());
        packet.extend([0; 8]);
        packet.extend(message);
        self.send_to(0, &packet);
    }

    /// Sends to the group by itself, as any program of root can.
    fn forge(&self, message: &[u8]) {
        self.send_to(1, message);
    }

    fn send_to(&self, group: u32, packet: &[u8]) {
        let address = SocketAddrNetlink::new(0, group);
        // A listener whose buffer is full is no matter here.
        let _ = sendto(&self.0, packet, SendFlags::empty(), &address);
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
        watching.connected.send_replace(None);
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
    watching.connected.send_replace(None);
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

fn run(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program).args(args).status();
    status.is_ok_and(|status| status.success())
}

/// An ext4 image in `folder`; `None`, said loudly, where it cannot be made.
fn image(folder: &Path) -> Option<String> {
    let path = folder.join("stick.img");
    fs::File::create(&path)
        .unwrap()
        .set_len(16 * 1024 * 1024)
        .unwrap();
    let path = path.to_str()?.to_owned();
    if !run("mkfs.ext4", &["-q", "-L", "LABSTICK", &path]) {
        eprintln!("SKIPPED: no mkfs.ext4");
        return None;
    }
    Some(path)
}

const VOLUMES: [Action; 4] = [
    Action::VolumeMounted,
    Action::VolumeRemounted,
    Action::VolumeUnmounted,
    Action::VolumeRemoved,
];

#[tokio::test]
async fn a_real_mount_and_its_end_are_told() {
    if !in_namespaces("a_real_mount_and_its_end_are_told") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let Some(image) = image(folder.path()) else {
        return;
    };
    let point = folder.path().join("my stick");
    fs::create_dir(&point).unwrap();
    let point = point.to_str().unwrap();
    // udevd's records: which loop device it will be is not known before.
    fs::create_dir(folder.path().join("data")).unwrap();
    for minor in 0..256 {
        let record = folder.path().join(format!("data/b7:{minor}"));
        fs::write(record, "E:ID_FS_LABEL_ENC=LAB\\x20STICK\n").unwrap();
    }
    let mut watching = Watching::start(Roots {
        udev: folder.path().into(),
        ..Roots::default()
    });
    watching.until_degraded(&[]).await;
    if !run("mount", &["-o", "loop,ro,noexec,nosuid", &image, point]) {
        eprintln!("SKIPPED: no loop device can be mounted");
        return;
    }
    let mounted = watching.next_of(&VOLUMES).await;
    assert_eq!(mounted.action, Action::VolumeMounted);
    let volume = mounted.fields.volume.clone().unwrap();
    assert!(volume.device_name.starts_with("/dev/loop"), "{volume:?}");
    let expected = Volume {
        device_name: volume.device_name.clone(),
        mount_name: point.to_owned(),
        file_system_type: "ext4".into(),
        size: Some(16 * 1024 * 1024),
        removable: Some(false),
        bus_type: Some("virtual".into()),
        serial_number: None,
        label: Some("LAB STICK".into()),
        writable: Some(false),
    };
    assert_eq!(volume, expected);
    let options = mounted.fields.lab.mount_options.clone().unwrap();
    for option in ["ro", "noexec", "nosuid"] {
        assert!(options.split(',').any(|word| word == option), "{options}");
    }

    // A second place of the same volume is no news, nor is a tmpfs.
    fs::create_dir(folder.path().join("twice")).unwrap();
    let twice = folder.path().join("twice");
    let twice = twice.to_str().unwrap();
    assert!(run("mount", &["--bind", point, twice]));
    assert!(run("mount", &["-t", "tmpfs", "tmpfs", "/mnt"]));
    assert!(run("umount", &[point]));
    assert!(run("umount", &[twice]));
    let unmounted = watching.next_of(&VOLUMES).await;
    assert_eq!(unmounted.action, Action::VolumeUnmounted);
    assert_eq!(unmounted.fields, mounted.fields);
    assert_eq!(watching.end().await, []);
}

#[tokio::test]
async fn a_disk_that_goes_while_mounted_is_told_once() {
    if !in_namespaces("a_disk_that_goes_while_mounted_is_told_once") {
        return;
    }
    let (folder, kernel) = (TempDir::new().unwrap(), Kernel::open());
    let Some(image) = image(folder.path()) else {
        return;
    };
    let point = folder.path().join("point");
    fs::create_dir(&point).unwrap();
    let point = point.to_str().unwrap();
    let mut watching = Watching::start(Roots::default());
    watching.until_degraded(&[]).await;
    if !run("mount", &["-o", "loop", &image, point]) {
        eprintln!("SKIPPED: no loop device can be mounted");
        return;
    }
    let mounted = watching.next_of(&VOLUMES).await;
    assert_eq!(mounted.fields.volume.as_ref().unwrap().writable, Some(true));
    let device = mounted.fields.volume.unwrap().device_name;
    let disk = device.strip_prefix("/dev/").unwrap();
    kernel.send(
        format!("remove@/devices/virtual/block/{disk}\0ACTION=remove\0SUBSYSTEM=block\0")
            .as_bytes(),
    );
    let removed = watching.next_of(&VOLUMES).await;
    assert_eq!(line(&removed), format!("volume-removed {device} {point}"));
    assert!(run("umount", &[point]));
    // What comes next is the next mount, not the end of this one.
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    let other = other.to_str().unwrap();
    assert!(run("mount", &["-o", "loop", &image, other]));
    let mounted = watching.next_of(&VOLUMES).await;
    assert_eq!(mounted.action, Action::VolumeMounted);
    assert_eq!(mounted.fields.volume.unwrap().mount_name, other);
    assert!(run("umount", &[other]));
    assert_eq!(
        watching.next_of(&VOLUMES).await.action,
        Action::VolumeUnmounted
    );
    watching.end().await;
}
