//! Mounts of every kind that a PC makes, in a mount namespace of their own: what is told, and what is quiet.
//!
//! Skipped loudly where namespaces, loop devices or the programs that make file systems are missing.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test does what shells do, and fails by panicking"
)]

mod usb_support;

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
};

use labwatch_agent::usb::Roots;
use labwatch_contract::event::{Action, usb::Volume};
use tempfile::TempDir;
use usb_support::{
    line,
    live::{Kernel, Watching, image, in_namespaces, run, skipped},
};

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
        skipped("no loop device can be mounted");
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
        skipped("no loop device can be mounted");
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

/// A file system image of `folder`'s contents; `None`, said loudly, where it cannot be made.
fn squashed(folder: &Path) -> Option<String> {
    fs::create_dir(folder.join("content")).unwrap();
    fs::write(folder.join("content/answer"), "42").unwrap();
    let (content, image) = (folder.join("content"), folder.join("image.squashfs"));
    let (content, image) = (content.to_str()?, image.to_str()?.to_owned());
    if run("mksquashfs", &[content, &image, "-quiet", "-no-progress"]) {
        return Some(image);
    }
    skipped("no mksquashfs");
    None
}

/// A folder with a parent, as text.
fn folder(path: impl AsRef<Path>) -> String {
    fs::create_dir_all(&path).unwrap();
    path.as_ref().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_squashfs_is_quiet_as_a_snap_and_told_elsewhere() {
    if !in_namespaces("a_squashfs_is_quiet_as_a_snap_and_told_elsewhere") {
        return;
    }
    let temp = TempDir::new().unwrap();
    let Some(image) = squashed(temp.path()) else {
        return;
    };
    // In this namespace alone there is nothing in /var/lib but what is put there.
    assert!(run("mount", &["-t", "tmpfs", "tmpfs", "/var/lib"]));
    let snap = folder("/var/lib/snapd/snap/core22/1122");
    let elsewhere = folder(temp.path().join("disc"));
    let mut watching = Watching::start(Roots::default());
    watching.until_degraded(&[]).await;
    if !run("mount", &["-o", "loop,ro", &image, &snap]) {
        skipped("no loop device can be mounted");
        return;
    }
    assert!(run("umount", &[&snap]));
    assert!(run("mount", &["-o", "loop,ro", &image, &elsewhere]));
    let told = watching.next_of(&VOLUMES).await;
    let volume = told.fields.volume.unwrap();
    assert_eq!(told.action, Action::VolumeMounted);
    assert_eq!(volume.mount_name, elsewhere);
    assert_eq!(volume.file_system_type, "squashfs");
    assert_eq!(volume.writable, Some(false));
    assert!(run("umount", &[&elsewhere]));
    watching.next_of(&[Action::VolumeUnmounted]).await;
    assert_eq!(watching.end().await, []);
}

#[tokio::test]
async fn memory_containers_and_second_places_are_quiet() {
    if !in_namespaces("memory_containers_and_second_places_are_quiet") {
        return;
    }
    let temp = TempDir::new().unwrap();
    let mut watching = Watching::start(Roots::default());
    watching.until_degraded(&[]).await;
    let memory = folder(temp.path().join("memory"));
    assert!(run("mount", &["-t", "tmpfs", "tmpfs", &memory]));
    let [lower, upper, work, merged, second] = ["lower", "upper", "work", "merged", "second"]
        .map(|name| folder(format!("{memory}/{name}")));
    let layers = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    assert!(run(
        "mount",
        &["-t", "overlay", "-o", &layers, "overlay", &merged]
    ));
    assert!(run("mount", &["--bind", &merged, &second]));
    for place in [&second, &merged, &memory] {
        assert!(run("umount", &[place]));
    }
    // The first that is told is what came last of all.
    if let Some(image) = image(temp.path()) {
        let point = folder(temp.path().join("point"));
        assert!(run("mount", &["-o", "loop", &image, &point]));
        let told = watching.next_of(&VOLUMES).await;
        assert_eq!(told.fields.volume.unwrap().mount_name, point);
        assert!(run("umount", &[&point]));
        watching.next_of(&[Action::VolumeUnmounted]).await;
    }
    assert_eq!(watching.end().await, []);
}

#[tokio::test]
async fn a_fuse_mount_is_told() {
    if !in_namespaces("a_fuse_mount_is_told") {
        return;
    }
    let temp = TempDir::new().unwrap();
    let source = folder(temp.path().join("source"));
    let point = folder(temp.path().join("point"));
    let mut watching = Watching::start(Roots::default());
    watching.until_degraded(&[]).await;
    if !run("bindfs", &[&source, &point]) {
        skipped("no bindfs, or no /dev/fuse");
        return;
    }
    let told = watching.next_of(&VOLUMES).await;
    let volume = told.fields.volume.unwrap();
    assert_eq!(volume.mount_name, point);
    assert!(volume.file_system_type.starts_with("fuse"), "{volume:?}");
    assert_ne!(volume.bus_type.as_deref(), Some("network"));
    assert!(run("umount", &[&point]));
    watching.next_of(&[Action::VolumeUnmounted]).await;
    assert_eq!(watching.end().await, []);
}

/// A folder of `temp` that an SFTP server of this PC shows, as `ada`'s on another machine.
///
/// Never anything else, and never to be written to: when a test fails, its folder is removed with all that is mounted in it.
fn shown(temp: &TempDir) -> String {
    let shown = folder(temp.path().join("shown"));
    format!("ada@files.example:{shown}")
}

/// Mounts it, over pipes in place of SSH; `None` where a program is missing.
fn share(source: &str, point: &str, options: &str) -> Option<[Child; 2]> {
    let piped = |program: &str| {
        let mut command = Command::new(program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    };
    let mut server = piped("/usr/lib/openssh/sftp-server");
    let mut server = server.arg("-R").spawn().ok()?;
    let (asked, said) = (server.stdin.take()?, server.stdout.take()?);
    let mut client = piped("sshfs");
    client.args(["-f", "-o", "passive,ro", "-o", options, source, point]);
    let client = client.stdin(said).stdout(asked).spawn();
    if client.is_err() {
        server.kill().unwrap();
    }
    Some([client.ok()?, server])
}

#[tokio::test]
async fn a_share_is_named_with_its_server() {
    if !in_namespaces("a_share_is_named_with_its_server") {
        return;
    }
    let temp = TempDir::new().unwrap();
    let source = shown(&temp);
    let point = folder(temp.path().join("point"));
    let mut watching = Watching::start(Roots::default());
    watching.until_degraded(&[]).await;
    let Some(programs) = share(&source, &point, "subtype=sshfs") else {
        skipped("no sshfs, or no sftp-server");
        return;
    };
    let told = watching.next_of(&VOLUMES).await;
    assert_eq!(told.action, Action::VolumeMounted);
    let volume = told.fields.volume.unwrap();
    assert_eq!(volume.file_system_type, "fuse.sshfs");
    assert_eq!(volume.device_name, source);
    assert_eq!(volume.bus_type.as_deref(), Some("network"));
    let origin = told.fields.lab.volume.unwrap();
    assert_eq!(origin.server.as_deref(), Some("files.example"));
    assert!(run("umount", &[&point]));
    watching.next_of(&[Action::VolumeUnmounted]).await;
    for mut program in programs {
        program.wait().unwrap();
    }
    assert_eq!(watching.end().await, []);
}

#[tokio::test]
async fn a_share_that_calls_itself_a_portal_on_the_pcs_own_disk_is_told_as_neither() {
    if !in_namespaces("a_share_that_calls_itself_a_portal_on_the_pcs_own_disk_is_told_as_neither") {
        return;
    }
    let Some(disk) = fs::read_dir("/sys/class/block").unwrap().flatten().next() else {
        skipped("no block device");
        return;
    };
    let disk = disk.file_name().into_string().unwrap();
    let temp = TempDir::new().unwrap();
    let point = folder(temp.path().join("point"));
    let mut watching = Watching::start(Roots::default());
    watching.until_degraded(&[]).await;
    let disguise = format!("subtype=portal,fsname=/dev/../dev/{disk}");
    let Some(programs) = share(&shown(&temp), &point, &disguise) else {
        skipped("no sshfs, or no sftp-server");
        return;
    };
    let told = watching.next_of(&VOLUMES).await;
    let volume = told.fields.volume.unwrap();
    assert_eq!(told.action, Action::VolumeMounted);
    assert_eq!(volume.file_system_type, "fuse.portal");
    assert_eq!((volume.bus_type, volume.removable), (None, None));
    assert_eq!(told.fields.lab.volume, None, "no disk lies under it");
    assert!(run("umount", &[&point]));
    watching.next_of(&[Action::VolumeUnmounted]).await;
    for mut program in programs {
        program.wait().unwrap();
    }
    assert_eq!(watching.end().await, []);
}

#[tokio::test]
async fn a_lazy_umount_is_told_although_a_file_is_still_open() {
    if !in_namespaces("a_lazy_umount_is_told_although_a_file_is_still_open") {
        return;
    }
    let temp = TempDir::new().unwrap();
    let Some(image) = image(temp.path()) else {
        return;
    };
    let point = folder(temp.path().join("point"));
    let mut watching = Watching::start(Roots::default());
    watching.until_degraded(&[]).await;
    if !run("mount", &["-o", "loop", &image, &point]) {
        skipped("no loop device can be mounted");
        return;
    }
    watching.next_of(&[Action::VolumeMounted]).await;
    let held = File::create(format!("{point}/held")).unwrap();
    assert!(run("umount", &["--lazy", &point]));
    let told = watching.next_of(&VOLUMES).await;
    assert_eq!(told.action, Action::VolumeUnmounted);
    drop(held);
    assert_eq!(watching.end().await, []);
}
