//! Sysfs (and what udevd adds to it) as snapshots: of one USB device, of all, of the device under a mount.
//!
//! Everything read is bounded. What is not there or not readable is left out: a device may go at any moment.
//! The strings of a USB device are handed out only when its drivers have taken it, so a read may take as long
//! as the device lets them wait: they are asked for as [`Questions`], as are drives. So everything here returns in the end.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{
    backing::{Backing, Block},
    drive::Drives,
    lists::Lists,
    media::{self, Disk},
    mountinfo::Mount,
    question::Questions,
    snapshot::{Snapshot, name, number, usb_ancestor},
};

/// Longest text that is read, in bytes: sysfs gives at most a page.
const MAX_ATTRIBUTE: u64 = 4096;

/// Longest `descriptors`, and longest record of udevd, that is read, in bytes.
const MAX_BLOB: u64 = 64 * 1024;

/// Longest mount table that is read, in bytes; some hundred thousand mounts.
const MAX_TABLE: u64 = 32 * 1024 * 1024;

/// How many layers of block devices are looked through (encryption over RAID over partitions).
const MAX_LAYERS: usize = 8;

/// Where the system shows itself; elsewhere in tests.
#[derive(Debug, Clone)]
pub struct Roots {
    /// `/sys`.
    pub sysfs: PathBuf,
    /// `/proc`.
    pub procfs: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
    /// `/run/udev`.
    pub udev: PathBuf,
    /// The system's lists.
    pub lists: Lists,
    /// What has been asked and has not answered.
    pub questions: Questions,
    /// What the optical drives said last.
    pub drives: Drives,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            sysfs: "/sys".into(),
            procfs: "/proc".into(),
            dev: "/dev".into(),
            udev: "/run/udev".into(),
            lists: Lists::default(),
            questions: Questions::default(),
            drives: Drives::default(),
        }
    }
}

impl Roots {
    /// Whether there is a sysfs at all. A PC without USB has one too.
    pub(crate) fn has_sysfs(&self) -> bool {
        self.sysfs.join("bus").is_dir()
    }

    /// Whether something is at a path below `/sys`.
    pub(crate) fn exists(&self, syspath: &str) -> bool {
        self.at(syspath).exists()
    }

    /// All USB devices, root hubs included; none where there is no USB.
    pub(crate) fn usb_devices(&self) -> Vec<Snapshot> {
        let paths = self.links("bus/usb/devices");
        paths.filter_map(|path| self.usb_device(&path)).collect()
    }

    /// The syspath and `devnum` of each USB device.
    pub(crate) fn usb_numbers(&self) -> Vec<(String, Option<u32>)> {
        let numbered = |path: String| {
            let devnum = text(&self.at(&path).join("devnum"))?;
            Some((path, number(Some(&devnum))))
        };
        self.links("bus/usb/devices").filter_map(numbered).collect()
    }

    /// All disks but those made of others.
    pub(crate) fn disks(&self) -> Vec<Disk> {
        let paths = self.links("block").filter(|path| media::is_real(path));
        paths.filter_map(|path| self.disk(&path)).collect()
    }

    /// The syspath of each disk, and the size of its medium.
    pub(crate) fn media(&self) -> Vec<(String, Option<u64>)> {
        let paths = self.links("block").filter(|path| media::is_real(path));
        let sized = |path: String| {
            // Asked first: that is when it finds out the size of a new disc.
            let is_empty = self.is_empty_drive(&path);
            let size = text(&self.at(&path).join("size"))?;
            let block = Block {
                syspath: path,
                size: Some(size),
                is_empty,
                ..Block::default()
            };
            let medium = media::medium(&block);
            Some((block.syspath, medium))
        };
        paths.filter_map(sized).collect()
    }

    /// One disk; `None` when it is gone.
    pub(crate) fn disk(&self, syspath: &str) -> Option<Disk> {
        let backing = self.under(self.at(syspath));
        (!backing.blocks.is_empty()).then(|| Disk {
            syspath: syspath.to_owned(),
            backing,
        })
    }

    /// Whether this is an optical drive that says that it is empty.
    fn is_empty_drive(&self, syspath: &str) -> bool {
        let node = || self.dev.join(name(syspath));
        media::is_drive(syspath) && self.drives.is_empty(&node(), &self.questions)
    }

    /// The syspaths to which the links in a folder below `/sys` lead.
    fn links(&self, folder: &str) -> impl Iterator<Item = String> {
        let entries = fs::read_dir(self.sysfs.join(folder)).into_iter().flatten();
        entries
            .flatten()
            .filter_map(|entry| self.syspath(&entry.path()))
    }

    /// One USB device; `None` when it is gone, or the path is that of an interface.
    pub(crate) fn usb_device(&self, syspath: &str) -> Option<Snapshot> {
        let folder = self.at(syspath);
        // Read without a lock: these are there even while the device's drivers keep it busy.
        let known = Snapshot {
            syspath: syspath.to_owned(),
            devnum: Some(text(&folder.join("devnum"))?),
            vendor_id: text(&folder.join("idVendor"))?,
            product_id: text(&folder.join("idProduct"))?,
            descriptors: blob(&folder.join("descriptors")).unwrap_or_default(),
            speed: text(&folder.join("speed")),
            authorized: text(&folder.join("authorized")),
            removable: text(&folder.join("removable")),
            ..Snapshot::default()
        };
        let ask =
            move || ["manufacturer", "product", "serial"].map(|name| text(&folder.join(name)));
        let strings = self.questions.ask(syspath, ask);
        let [manufacturer, product, serial] = strings.unwrap_or_default();
        Some(self.lists.complete(Snapshot {
            manufacturer,
            product,
            serial,
            ..known
        }))
    }

    /// What lies under a mount.
    pub(crate) fn backing(&self, mount: &Mount) -> Backing {
        self.block_folder(mount)
            .map(|folder| self.under(folder))
            .unwrap_or_default()
    }

    /// A block device and what it is made of.
    fn under(&self, folder: PathBuf) -> Backing {
        let blocks = self.layers(folder);
        let usb = blocks.iter().find_map(|block| usb_ancestor(&block.syspath));
        let top = blocks.first().map(|block| block.syspath.as_str());
        let number = top.and_then(|top| text(&self.at(top).join("dev")));
        let number = number.as_deref().map(str::trim);
        let record = number.and_then(|number| blob(&self.udev.join(format!("data/b{number}"))));
        Backing {
            usb: usb.and_then(|path| self.usb_device(path)),
            udev: record.map(|record| String::from_utf8_lossy(&record).into_owned()),
            label_link: top.and_then(|top| self.disk_link("by-label", top)),
            uuid_link: top.and_then(|top| self.disk_link("by-uuid", top)),
            capacity: None,
            blocks,
        }
    }

    /// The mount's block device: by its number, or by its source where the file system (btrfs) has a number of its own. Of
    /// a FUSE file system the source is whatever its user says.
    fn block_folder(&self, mount: &Mount) -> Option<PathBuf> {
        if mount.device.major != 0 {
            return Some(self.sysfs.join(format!("dev/block/{}", mount.device)));
        }
        if mount.is_fuse() {
            return None;
        }
        let node = self.dev.join(mount.source.strip_prefix("/dev/")?);
        let node = fs::canonicalize(node).ok()?;
        Some(self.sysfs.join("class/block").join(node.file_name()?))
    }

    /// A block device and, breadth first, those that it is made of.
    fn layers(&self, folder: PathBuf) -> Vec<Block> {
        let mut folders = vec![folder];
        let mut blocks: Vec<Block> = Vec::new();
        while let Some(folder) = folders
            .get(blocks.len())
            .filter(|_| blocks.len() < MAX_LAYERS)
        {
            let Some(block) = self.block(folder) else {
                break;
            };
            let own = self.at(&block.syspath);
            if let Ok(slaves) = fs::read_dir(own.join("slaves")) {
                folders.extend(slaves.flatten().take(MAX_LAYERS).map(|slave| slave.path()));
            }
            folders.extend(
                own.parent()
                    .filter(|_| block.is_partition)
                    .map(Path::to_owned),
            );
            blocks.push(block);
        }
        blocks
    }

    fn block(&self, folder: &Path) -> Option<Block> {
        let syspath = self.syspath(folder)?;
        let own = self.at(&syspath);
        let is_partition = own.join("partition").exists();
        let disk = own.parent().filter(|_| is_partition).unwrap_or(&own);
        // Asked first: that is when it finds out the size of a new disc.
        let is_empty = self.is_empty_drive(&syspath);
        Some(Block {
            is_empty,
            size: text(&own.join("size")),
            removable: text(&disk.join("removable")),
            card: text(&disk.join("device/type")),
            serial: text(&disk.join("device/serial")).or_else(|| text(&disk.join("serial"))),
            mapping: text(&own.join("dm/uuid")),
            image: text(&own.join("loop/backing_file")),
            is_partition,
            is_external: self.is_external(&own),
            syspath,
        })
    }

    /// Whether the firmware says of something above a disk that people can take it out.
    fn is_external(&self, folder: &Path) -> bool {
        let above = folder.ancestors().skip(1);
        let above = above.take_while(|above| *above != self.sysfs);
        let removable = |folder: &Path| text(&folder.join("removable"));
        above
            .filter_map(removable)
            .any(|word| word.trim() == "removable")
    }

    /// The name of the link in a folder of `/dev/disk` that leads to a block device.
    fn disk_link(&self, folder: &str, syspath: &str) -> Option<String> {
        let links = fs::read_dir(self.dev.join("disk").join(folder)).ok()?;
        let name = Path::new(syspath).file_name()?;
        let leads = |link: &fs::DirEntry| {
            fs::read_link(link.path()).is_ok_and(|target| target.file_name() == Some(name))
        };
        let link = links.flatten().find(leads)?;
        Some(link.file_name().to_string_lossy().into_owned())
    }

    fn at(&self, syspath: &str) -> PathBuf {
        self.sysfs.join(syspath.trim_start_matches('/'))
    }

    /// Where a link below `/sys` leads, as a path below `/sys`.
    fn syspath(&self, link: &Path) -> Option<String> {
        let root = fs::canonicalize(&self.sysfs).ok()?;
        let path = fs::canonicalize(link).ok()?;
        Some(format!("/{}", path.strip_prefix(root).ok()?.to_str()?))
    }

    /// The mount table, whole.
    pub(crate) fn mount_table(&self) -> io::Result<Vec<u8>> {
        let mut table = Vec::new();
        File::open(self.mountinfo())?
            .take(MAX_TABLE)
            .read_to_end(&mut table)?;
        Ok(table)
    }

    /// Where the mount table stands.
    pub(crate) fn mountinfo(&self) -> PathBuf {
        self.procfs.join("self/mountinfo")
    }
}

fn text(path: &Path) -> Option<String> {
    let bytes = read(path, MAX_ATTRIBUTE)?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn blob(path: &Path) -> Option<Vec<u8>> {
    read(path, MAX_BLOB)
}

fn read(path: &Path, most: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .ok()?
        .take(most)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}
