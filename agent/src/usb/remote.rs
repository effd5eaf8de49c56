//! Mounts without a block device of this PC: by what they come, and from which machine.
//!
//! Network file systems name their server in the source (`server:/export`, `//server/share`, `ada@server:dir`,
//! `https://server/dav`); what names none has none. Texts are foreign, so a server is cut as any name is.
//! Sources: nfs(5), mount.cifs(8), sshfs(1), mount.davfs(8), curlftpfs(1).

use super::{mountinfo::Mount, snapshot::tidy};

/// File systems whose data lies on another machine, or on this one's host. Sorted, for the search.
const NETWORK: [&str; 22] = [
    "9p",
    "afs",
    "ceph",
    "cifs",
    "coda",
    "davfs",
    "fuse.cephfs",
    "fuse.curlftpfs",
    "fuse.davfs",
    "fuse.davfs2",
    "fuse.glusterfs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.sshfs",
    "fuse.vmhgfs-fuse",
    "glusterfs",
    "ncpfs",
    "nfs",
    "nfs4",
    "smb3",
    "vboxsf",
    "virtiofs",
];

/// FUSE file systems that show what lies on a phone or camera. Sorted, for the search.
const PHONE: [&str; 8] = [
    "fuse.DeviceFs(MTP)",
    "fuse.aft-mtp-mount",
    "fuse.go-mtpfs",
    "fuse.gphotofs",
    "fuse.ifuse",
    "fuse.jmtpfs",
    "fuse.mtpfs",
    "fuse.simple-mtpfs",
];

/// Whether the data comes from another machine.
#[must_use]
pub fn is_remote(mount: &Mount) -> bool {
    NETWORK
        .binary_search(&mount.file_system_type.as_str())
        .is_ok()
        // davfs2 mounts as a plain FUSE file system with its address as the source.
        || mount.source.contains("://")
}

/// `usb` for what a phone or camera shows by FUSE.
#[must_use]
pub fn bus(mount: &Mount) -> Option<&'static str> {
    let phone = PHONE
        .binary_search(&mount.file_system_type.as_str())
        .is_ok();
    phone.then_some("usb")
}

/// The machine that has the data of a network file system, where its source names one.
#[must_use]
pub fn server(mount: &Mount) -> Option<String> {
    if !is_remote(mount) {
        return None;
    }
    let source = mount.source.as_str();
    let address = source.split_once("://").map(|(_, rest)| rest);
    let address = address.or_else(|| source.strip_prefix("//"));
    let host = match address {
        Some(address) => {
            let authority = address.split('/').next().unwrap_or_default();
            without_port(after_user(authority))
        }
        // An IPv6 address holds colons itself: `[fe80::1]:/export`.
        None => match after_user(source).split_once("]:") {
            Some((host, _)) => host,
            None => after_user(source).split_once(':')?.0,
        },
    };
    let host = host.strip_prefix('[').unwrap_or(host);
    tidy(host.strip_suffix(']').unwrap_or(host))
}

fn after_user(authority: &str) -> &str {
    authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host)
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, _)) if host.ends_with(']') || !host.contains(':') => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::usb::mountinfo;

    fn mount(kind: &str, source: &str) -> Mount {
        let line = format!("1 2 0:52 / /mnt rw - {kind} {source} rw");
        mountinfo::parse(line.as_bytes()).mounts.remove(0)
    }

    #[test]
    fn the_server_is_named() {
        for (kind, source, expected) in [
            ("nfs4", "files.school:/export/home", Some("files.school")),
            ("nfs", "[fe80::1]:/export", Some("fe80::1")),
            ("cifs", "//192.168.0.5/share", Some("192.168.0.5")),
            ("fuse.sshfs", "ada@host.example:", Some("host.example")),
            ("fuse.sshfs", "ada@[2001:db8::1]:dir", Some("2001:db8::1")),
            (
                "fuse",
                "https://cloud.example:8443/dav",
                Some("cloud.example"),
            ),
            (
                "fuse.curlftpfs",
                "ftp://u:p@h@ftp.example/",
                Some("ftp.example"),
            ),
            ("9p", "host", None),
            ("ext4", "a:b", None),
        ] {
            assert_eq!(
                server(&mount(kind, source)).as_deref(),
                expected,
                "{source}"
            );
        }
    }

    #[test]
    fn what_a_phone_shows_is_on_usb() {
        assert_eq!(bus(&mount("fuse.jmtpfs", "jmtpfs")), Some("usb"));
        assert_eq!(bus(&mount("fuse.sshfs", "ada@host:")), None);
        assert!(NETWORK.is_sorted() && PHONE.is_sorted());
    }

    proptest! {
        #[test]
        fn no_source_makes_it_panic(source in "[]\\[@:/a-z.ä]{0,30}") {
            let _ = server(&mount("nfs", &source));
        }
    }
}
