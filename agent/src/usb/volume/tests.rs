use proptest::prelude::*;

use super::*;
use crate::usb::{backing::Block, mountinfo, snapshot::Snapshot};

const ROOT: &str =
    "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n22 27 0:21 / /proc rw - proc proc rw\n";
const STICK: &str = "98 27 8:1 / /media/ada/STICK rw,nosuid - vfat /dev/sda1 rw,uid=1000\n";
const DISK: &str = "/devices/pci0/usb2/2-1/2-1:1.0/host0/target0:0:0/0:0:0:0/block/sda";

fn now() -> Timestamp {
    Timestamp::from_unix_ms(0).unwrap()
}

fn stick() -> Backing {
    Backing {
        blocks: vec![Block {
            syspath: format!("{DISK}/sda1"),
            size: Some("31248\n".into()),
            removable: Some("0".into()),
            ..Block::default()
        }],
        usb: Some(Snapshot {
            syspath: "/devices/pci0/usb2/2-1".into(),
            vendor_id: "46f4".into(),
            serial: Some("LW0001".into()),
            ..Snapshot::default()
        }),
        udev: Some(
            "S:disk/by-label/x\nE:ID_FS_LABEL=MY_STICK\nE:ID_FS_LABEL_ENC=MY\\x20STICK\n".into(),
        ),
        ..Backing::default()
    }
}

fn see(volumes: &mut Volumes, table: &str) -> Vec<Occurrence> {
    let change = volumes.compare(mountinfo::parse(table.as_bytes()));
    let backings = change.news().filter(|mount| mount.device.major == 8);
    let backings = backings.map(|mount| (mount.device, stick())).collect();
    volumes.apply(&change, &backings, now())
}

fn told(occurrences: &[Occurrence]) -> Vec<String> {
    let line = |occurrence: &Occurrence| {
        let volume = occurrence.fields.volume.clone().unwrap();
        format!(
            "{} {} {}",
            occurrence.action, volume.device_name, volume.mount_name
        )
    };
    occurrences.iter().map(line).collect()
}

#[test]
fn a_stick_is_told_when_it_is_mounted_and_unmounted() {
    let mut volumes = Volumes::default();
    assert_eq!(
        told(&see(&mut volumes, ROOT)),
        ["volume-present /dev/vda /"]
    );
    let both = [ROOT, STICK].concat();
    let mounted = see(&mut volumes, &both);
    assert_eq!(
        told(&mounted),
        ["volume-mounted /dev/sda1 /media/ada/STICK"]
    );
    let fields = &mounted[0].fields;
    assert_eq!(
        fields.volume,
        Some(Volume {
            device_name: "/dev/sda1".into(),
            mount_name: "/media/ada/STICK".into(),
            file_system_type: "vfat".into(),
            size: Some(15_998_976),
            removable: Some(true),
            bus_type: Some("usb".into()),
            serial_number: Some("LW0001".into()),
            label: Some("MY STICK".into()),
            writable: Some(true),
        })
    );
    assert_eq!(
        fields.lab.mount_options.as_deref(),
        Some("rw,nosuid,uid=1000")
    );
    assert_eq!(fields.device.as_ref().unwrap().vendor.id, "46f4");
    assert_eq!(fields.lab.usb.as_ref().unwrap().port, "2-1");

    assert_eq!(see(&mut volumes, &both), []);
    let unmounted = see(&mut volumes, ROOT);
    assert_eq!(
        told(&unmounted),
        ["volume-unmounted /dev/sda1 /media/ada/STICK"]
    );
    assert_eq!(unmounted[0].fields, mounted[0].fields);
}

#[test]
fn a_stick_pulled_without_unmount_is_reported_once() {
    let mut volumes = Volumes::default();
    let both = [ROOT, STICK].concat();
    see(&mut volumes, &both);
    assert_eq!(
        volumes.handle_removed("/devices/pci0/usb2/2-1/2-1:1.0/host", now()),
        []
    );
    let removed = volumes.handle_removed(&format!("{DISK}/sda1"), now());
    assert_eq!(
        told(&removed),
        ["volume-removed /dev/sda1 /media/ada/STICK"]
    );
    assert_eq!(volumes.syspaths().count(), 0);
    assert_eq!(volumes.handle_removed(DISK, now()), []);
    assert_eq!(volumes.handle_removed("/devices/pci0/usb2/2-1", now()), []);
    assert_eq!(see(&mut volumes, ROOT), []);
    assert_eq!(
        told(&see(&mut volumes, &both)),
        ["volume-mounted /dev/sda1 /media/ada/STICK"]
    );
}

#[test]
fn a_volume_goes_with_the_usb_device_it_lies_on_by_another_way() {
    let mut volumes = Volumes::default();
    let table = mountinfo::parse(b"9 1 253:0 / /media/safe rw - ext4 /dev/mapper/safe rw\n");
    let change = volumes.compare(table);
    let dm = Block {
        syspath: "/devices/virtual/block/dm-0".into(),
        ..Block::default()
    };
    let mut backing = stick();
    backing.blocks.insert(0, dm);
    let device = DeviceNumber {
        major: 253,
        minor: 0,
    };
    let present = volumes.apply(&change, &[(device, backing)].into(), now());
    assert_eq!(
        present[0]
            .fields
            .volume
            .as_ref()
            .unwrap()
            .bus_type
            .as_deref(),
        Some("usb")
    );
    let removed = volumes.handle_removed("/devices/pci0/usb2/2-1", now());
    assert_eq!(
        told(&removed),
        ["volume-removed /dev/mapper/safe /media/safe"]
    );
}

#[test]
fn a_second_mount_of_a_volume_is_the_same_volume() {
    let mut volumes = Volumes::default();
    let bind = "99 27 8:1 /photos /home/ada/photos rw - vfat /dev/sda1 rw\n";
    see(&mut volumes, ROOT);
    let first = see(&mut volumes, &[ROOT, bind, STICK].concat());
    assert_eq!(told(&first), ["volume-mounted /dev/sda1 /media/ada/STICK"]);
    assert_eq!(see(&mut volumes, &[ROOT, bind].concat()), []);
    let last = see(&mut volumes, ROOT);
    assert_eq!(told(&last), ["volume-unmounted /dev/sda1 /media/ada/STICK"]);
}

#[test]
fn a_volume_that_becomes_writable_is_told() {
    let mut volumes = Volumes::default();
    let read_only = STICK.replace(" rw,", " ro,");
    see(&mut volumes, &[ROOT, &read_only].concat());
    let now_writable = see(&mut volumes, &[ROOT, STICK].concat());
    assert_eq!(
        told(&now_writable),
        ["volume-remounted /dev/sda1 /media/ada/STICK"]
    );
    assert_eq!(
        now_writable[0].fields.volume.as_ref().unwrap().writable,
        Some(true)
    );
    let other_options = STICK.replace("nosuid", "noexec");
    assert_eq!(see(&mut volumes, &[ROOT, &other_options].concat()), []);
    let both = [ROOT, &read_only].concat();
    assert_eq!(see(&mut volumes, &both).len(), 1);
    let items: Vec<_> = volumes.items().collect();
    assert_eq!(items[0], "volume /dev/sda1 vfat ro /media/ada/STICK");
}

#[test]
fn another_mount_under_the_same_device_number_is_another_volume() {
    let mut volumes = Volumes::default();
    see(&mut volumes, &[ROOT, STICK].concat());
    let other = "101 27 8:1 / /media/ada/OTHER ro - ext4 /dev/sda1 ro\n";
    let changed = see(&mut volumes, &[ROOT, other].concat());
    assert_eq!(
        told(&changed),
        [
            "volume-unmounted /dev/sda1 /media/ada/STICK",
            "volume-mounted /dev/sda1 /media/ada/OTHER"
        ]
    );
    assert_eq!(
        changed[1].fields.volume.as_ref().unwrap().writable,
        Some(false)
    );
}

#[test]
fn only_what_can_carry_data_is_a_volume() {
    let volume = |line: &str| is_volume(&mountinfo::parse(line.as_bytes()).mounts[0]);
    for quiet in [
        "1 2 0:5 / /run/user/1000 rw - tmpfs tmpfs rw",
        "1 2 0:5 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
        "1 2 0:5 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw,lowerdir=/x",
        "1 2 0:4 net:[1] /run/netns/a rw - nsfs nsfs rw",
        "1 2 0:5 / /run/user/1000/doc rw - fuse.portal portal rw",
        "1 2 0:5 / /run/user/1000/gvfs rw - fuse.gvfsd-fuse gvfsd-fuse rw",
        "1 2 0:5 / /var/lib/lxcfs rw - fuse.lxcfs lxcfs rw",
        "1 2 0:5 / /snap/core18/1988 ro - fuse.snapfuse snapfuse ro",
        "1 2 0:5 / /var/lib/containers/storage/overlay/x/merged rw - fuse.fuse-overlayfs fuse-overlayfs rw",
        "1 2 0:5 / /net rw - autofs systemd-1 rw",
        "1 2 7:3 / /snap/core/1 ro - squashfs /dev/loop3 ro",
    ] {
        assert!(!volume(quiet), "{quiet}");
    }
    for told in [
        "1 2 7:0 / /mnt ro - squashfs /dev/loop0 ro",
        "1 2 8:1 / /media/x rw - fuseblk /dev/sda1 rw",
        "1 2 0:52 / /mnt rw - nfs4 server:/export rw",
        "1 2 0:52 / /mnt rw - fuse.sshfs ada@host: rw",
        "1 2 0:52 /@home /home rw - btrfs /dev/vda2 rw",
        "1 2 0:52 / /mnt rw - newfs x rw",
        "1 2 0:52 / /home/ada/share rw - fuse.portal portal rw",
        "1 2 0:52 / /run/user/1000/doc rw - fuse.portal ada@host: rw",
        "1 2 0:52 / /run/user/1000/mine/doc rw - fuse.portal portal rw",
        "1 2 0:52 / /run/user/1000/doc rw - fuse.gvfsd-fuse gvfsd-fuse rw",
        "1 2 0:52 / /home/ada/share rw - fuse.lxcfs lxcfs rw",
        "1 2 0:52 / /home/ada/share rw - fuse.snapfuse snapfuse rw",
        "1 2 0:52 / /home/ada/share rw - fuse.fuse-overlayfs fuse-overlayfs rw",
    ] {
        assert!(volume(told), "{told}");
    }
    assert!(PSEUDO.is_sorted());
}

proptest! {
    #[test]
    fn arrivals_and_departures_alternate(steps in proptest::collection::vec(0..4_u8, 0..30)) {
        let mut volumes = Volumes::default();
        let mut all = Vec::new();
        for step in steps {
            all.extend(match step {
                0 => volumes.handle_removed("/devices/pci0/usb2/2-1", now()),
                1 => see(&mut volumes, ""),
                2 => see(&mut volumes, STICK),
                _ => see(&mut volumes, &STICK.replace("98 27", "99 27")),
            });
        }
        let arrived = |o: &Occurrence| matches!(o.action, Happening::VolumePresent | Happening::VolumeMounted);
        for (at, occurrence) in all.iter().enumerate() {
            prop_assert_eq!(arrived(occurrence), at % 2 == 0, "{:?}", told(&all));
        }
    }
}
