//! The mount table: from the bytes of `/proc/self/mountinfo` to mounts.
//!
//! A line is `id parent major:minor root mount-point options [tags…] - type source super-options`, blanks within
//! a field written as `\040`. Invariant: one pass, no line is read twice; a line of another shape is counted and
//! passed over, bytes that are no UTF-8 are replaced. Source: Linux `Documentation/filesystems/proc.rst`, 3.5.

use std::fmt;

/// One line of the table. Texts are foreign: anybody may choose a mount point, a stick its source's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its number while it is mounted; given again afterwards.
    pub id: u32,
    /// The file system's device; major 0 where there is no block device.
    pub device: DeviceNumber,
    /// Which directory of the file system is mounted; `/` but for bind mounts and subvolumes.
    pub root: String,
    /// Where.
    pub mount_point: String,
    /// Options of this mount: `rw,nosuid`.
    pub options: String,
    /// `vfat`, `fuse.sshfs` …
    pub file_system_type: String,
    /// `/dev/sdb1`, `server:/export`, or a word.
    pub source: String,
    /// Options of the file system, wherever it is mounted.
    pub super_options: String,
}

impl Mount {
    /// All options in one list, those of the mount first, as `/proc/mounts` writes them.
    #[must_use]
    pub fn all_options(&self) -> String {
        let mut all: Vec<_> = self.options.split(',').collect();
        let own = all.len();
        for option in self.super_options.split(',') {
            let known = all.get(..own).unwrap_or_default().contains(&option);
            if !known && !matches!(option, "rw" | "ro" | "") {
                all.push(option);
            }
        }
        let writable = self.is_writable();
        let all = all.into_iter().map(|option| match option {
            "rw" if !writable => "ro",
            option => option,
        });
        all.collect::<Vec<_>>().join(",")
    }

    /// Whether both the mount and its file system may be written to.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        let writable = |options: &str| options.split(',').any(|option| option == "rw");
        writable(&self.options) && writable(&self.super_options)
    }

    /// Whether a program of any user serves it, and has chosen the rest of its type, and its source.
    #[must_use]
    pub fn is_fuse(&self) -> bool {
        self.file_system_type == "fuse" || self.file_system_type.starts_with("fuse.")
    }
}

/// Major and minor number of a device, written `8:1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber {
    /// The driver.
    pub major: u32,
    /// The device within the driver.
    pub minor: u32,
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// A table as it was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Its mounts, in the order of its lines.
    pub mounts: Vec<Mount>,
    /// How many lines were none.
    pub malformed: usize,
}

/// Reads a table.
#[must_use]
pub fn parse(table: &[u8]) -> Table {
    let mut read = Table::default();
    for line in table
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        match mount(line) {
            Some(mount) => read.mounts.push(mount),
            None => read.malformed += 1,
        }
    }
    read
}

fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
    let (id, _parent) = (number()?, number()?);
    let device = device_number(fields.next()?)?;
    let [root, mount_point, options] = [(); 3].map(|()| fields.next().map(unescape));
    fields.find(|field| *field == b"-")?;
    let [file_system_type, source, super_options] = [(); 3].map(|()| fields.next().map(unescape));
    Some(Mount {
        id,
        device,
        root: root?,
        mount_point: mount_point?,
        options: options?,
        file_system_type: file_system_type?,
        source: source?,
        super_options: super_options?,
    })
}

fn device_number(field: &[u8]) -> Option<DeviceNumber> {
    let (major, minor) = std::str::from_utf8(field).ok()?.split_once(':')?;
    Some(DeviceNumber {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
    })
}

/// `\040` is a byte in three octal digits; any other backslash stands for itself.
fn unescape(field: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match (*byte, tail) {
            (
                b'\\',
                [
                    a @ b'0'..=b'3',
                    b @ b'0'..=b'7',
                    c @ b'0'..=b'7',
                    after @ ..,
                ],
            ) => {
                bytes.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                rest = after;
            }
            (byte, _) => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STICK: &str = r"98 27 8:1 / /media/ada/MY\040STICK\134\011 rw,nosuid,nodev,relatime shared:51 master:2 - vfat /dev/sda1 rw,uid=1000,errors=remount-ro";

    #[test]
    fn a_line_is_read_and_its_escapes_undone() {
        let table = parse(STICK.as_bytes());
        assert_eq!(table.malformed, 0);
        let stick = &table.mounts[0];
        assert_eq!(stick.device.to_string(), "8:1");
        assert_eq!(stick.mount_point, "/media/ada/MY STICK\\\t");
        assert_eq!(stick.source, "/dev/sda1");
        assert_eq!(
            stick.all_options(),
            "rw,nosuid,nodev,relatime,uid=1000,errors=remount-ro"
        );
        assert!(stick.is_writable());
    }

    #[test]
    fn a_mount_of_a_file_system_that_is_read_only_is_read_only() {
        let line = "1 2 8:1 / /m rw,noatime - ext4 /dev/sda1 ro,noload";
        let mount = parse(line.as_bytes()).mounts.remove(0);
        assert_eq!(mount.all_options(), "ro,noatime,noload");
        assert!(!mount.is_writable());
        let line = "1 2 8:1 / /m ro - ext4 /dev/sda1 rw";
        let mount = parse(line.as_bytes()).mounts.remove(0);
        assert_eq!(mount.all_options(), "ro");
        assert!(!mount.is_writable());
    }

    #[test]
    fn an_empty_source_and_no_tags_are_no_harm() {
        let mount = parse(b"1 2 0:5 /sub /m rw - tmpfs  rw\n").mounts.remove(0);
        assert_eq!((mount.source.as_str(), mount.root.as_str()), ("", "/sub"));
    }

    #[test]
    fn other_lines_are_counted() {
        let text = "\n1 2 8:1 / /m rw\nx 2 8:1 / /m rw - a b c\n1 2 8 / /m rw - a b c\n1 2 8:1 / /m rw - a b\n";
        let table = parse(text.as_bytes());
        assert_eq!((table.mounts.len(), table.malformed), (0, 4));
    }

    fn escape(text: &str) -> String {
        let special = |byte: u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\\' | b'#');
        text.bytes()
            .flat_map(|byte| match byte {
                byte if special(byte) => format!("\\{byte:03o}").into_bytes(),
                byte => vec![byte],
            })
            .map(char::from)
            .collect()
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            for mount in parse(&bytes).mounts {
                let _ = mount.all_options();
            }
        }

        #[test]
        fn every_mount_point_is_read_back(name in "/[ -~\t\n]{0,40}") {
            let line = format!("1 2 8:1 / {} rw - ext4 /dev/sda1 rw", escape(&name));
            let table = parse(line.as_bytes());
            prop_assert_eq!(&table.mounts[0].mount_point, &name);
        }
    }
}
