//! Hardware that does not answer: who asks it is held up for a moment, and nobody else at all.
//!
//! A file that nobody writes to (a FIFO) stands for a device whose driver keeps it busy, a file system whose server has
//! been stopped (FUSE) for a drive that hangs. Skipped loudly without namespaces or `bindfs`.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test does what shells do, and fails by panicking"
)]

mod usb_support;

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command},
    thread,
    time::Duration,
};

use labwatch_agent::usb::Roots;
use labwatch_contract::event::Action;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use usb_support::{
    line,
    live::{Watching, in_namespaces, run, skipped},
};

const BUS: &str = "devices/pci0/usb1";
const DRIVE: &str = "devices/pci0/ata2/host1/target1:0:0/1:0:0:0/block/sr0";

/// Runs with one thread for what waits, which one hanging question would take for itself.
fn with_one_thread(test: impl Future<Output = ()>) {
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1);
    let mut runtime = Abandoned(Some(runtime.build().unwrap()));
    runtime.0.as_mut().unwrap().block_on(test);
}

/// A test that fails does not wait for what hangs.
struct Abandoned(Option<Runtime>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.take().unwrap().shutdown_background();
    }
}

fn attributes(folder: &Path, attributes: &[(&str, &str)]) {
    fs::create_dir_all(folder).unwrap();
    for (name, text) in attributes {
        fs::write(folder.join(name), format!("{text}\n")).unwrap();
    }
}

fn link(sysfs: &Path, class: &str, path: &str) {
    let (folder, target) = (sysfs.join(class), sysfs.join(path));
    fs::create_dir_all(&folder).unwrap();
    symlink(&target, folder.join(target.file_name().unwrap())).unwrap();
}

/// A device; where it is busy, who asks it for its serial number waits for ever.
fn device(sysfs: &Path, port: &str, is_busy: bool) {
    let path = format!("{BUS}/{port}");
    let folder = sysfs.join(&path);
    let known = [
        ("idVendor", "46f4"),
        ("idProduct", "0001"),
        ("devnum", "2"),
        ("manufacturer", "QEMU"),
        ("product", "STICK"),
    ];
    attributes(&folder, &known);
    let serial = folder.join("serial");
    if is_busy {
        assert!(run("mkfifo", &[serial.to_str().unwrap()]));
    } else {
        fs::write(serial, "LW0001\n").unwrap();
    }
    link(sysfs, "bus/usb/devices", &path);
}

/// A file system whose server can be stopped; it ends with this.
struct Shown(Child);

impl Shown {
    /// Shows a folder that holds something in another one; `None`, said loudly, where it cannot be.
    fn mount(source: &Path, point: &Path) -> Option<Self> {
        fs::create_dir(point).unwrap();
        let mut bindfs = Command::new("bindfs");
        // What the kernel keeps would answer in its place.
        bindfs.args(["-f", "-o", "attr_timeout=0,entry_timeout=0"]);
        let server = bindfs.arg(source).arg(point).spawn().ok().map(Self);
        let is_shown = || fs::read_dir(point).is_ok_and(|mut entries| entries.next().is_some());
        let mut looks = 0..500;
        while server.is_some() && !is_shown() {
            if looks.next().is_none() {
                skipped("no bindfs, or no /dev/fuse");
                return None;
            }
            thread::sleep(Duration::from_millis(10));
        }
        server
    }

    fn signal(&self, signal: &str) {
        assert!(run("kill", &["-s", signal, &self.0.id().to_string()]));
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_device_that_never_says_its_name_is_told_without_and_holds_up_nobody() {
    if !in_namespaces("a_device_that_never_says_its_name_is_told_without_and_holds_up_nobody") {
        return;
    }
    let temp = TempDir::new().unwrap();
    let sysfs = temp.path().join("sys");
    device(&sysfs, "1-1", true);
    device(&sysfs, "1-2", false);
    with_one_thread(async {
        let mut watching = Watching::start(Roots {
            sysfs: sysfs.clone(),
            ..Roots::default()
        });
        let mut told = Vec::new();
        for _ in 0..2 {
            told.push(line(&watching.next_of(&[Action::DevicePresent]).await));
        }
        told.sort();
        assert_eq!(
            told,
            [
                "device-present 1-1 46f4:0001 other ",
                "device-present 1-2 46f4:0001 other  LW0001"
            ]
        );
        watching.until_degraded(&[]).await;
        if let Some(_shown) = Shown::mount(&sysfs, &temp.path().join("shown")) {
            watching.next_of(&[Action::VolumeMounted]).await;
        }
        watching.end().await;
    });
}

#[test]
fn a_drive_that_hangs_keeps_its_disc_and_holds_up_nobody() {
    if !in_namespaces("a_drive_that_hangs_keeps_its_disc_and_holds_up_nobody") {
        return;
    }
    let temp = TempDir::new().unwrap();
    let [sysfs, nodes, hung, dev] =
        ["sys", "nodes", "hung", "dev"].map(|name| temp.path().join(name));
    attributes(&sysfs.join(DRIVE), &[("size", "1000"), ("removable", "1")]);
    link(&sysfs, "block", DRIVE);
    fs::create_dir_all(sysfs.join("bus/usb/devices")).unwrap();
    attributes(&nodes, &[("sr0", "")]);
    let Some(drive) = Shown::mount(&nodes, &hung) else {
        return;
    };
    fs::create_dir(&dev).unwrap();
    symlink(hung.join("sr0"), dev.join("sr0")).unwrap();
    with_one_thread(async {
        let mut watching = Watching::start(Roots {
            sysfs: sysfs.clone(),
            dev,
            ..Roots::default()
        });
        watching.next_of(&[Action::MediaPresent]).await;
        watching.until_degraded(&[]).await;
        drive.signal("STOP");
        // Until it has been asked, and has not answered.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let _shown = Shown::mount(&sysfs, &temp.path().join("shown")).unwrap();
        watching.next_of(&[Action::VolumeMounted]).await;
        drive.signal("CONT");
        let rest = watching.end().await;
        assert_eq!(rest, []);
    });
}
