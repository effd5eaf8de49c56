//! The recorder's disk: small, so that it can be full, and somebody else's, so that it can be closed.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{ErrorKind, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use nix::sys::statvfs::statvfs;

/// A tmpfs; unmounted when dropped.
pub struct Disk {
    at: PathBuf,
}

impl Disk {
    /// Mounts a disk of so many MiB.
    #[must_use]
    pub fn mount(at: PathBuf, mib: u64) -> Self {
        fs::create_dir(&at).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=755")]);
        let mounted = command.arg("labwatch-chaos").arg(&at).status().unwrap();
        assert!(mounted.success(), "a tmpfs on {}", at.display());
        Self { at }
    }

    /// The recorder's directory.
    #[must_use]
    pub fn records(&self) -> PathBuf {
        self.at.join("records")
    }

    /// Takes all the room that is left, to the last byte.
    pub fn fill(&self) {
        let mut options = OpenOptions::new();
        let opened = options.append(true).create(true).open(self.ballast());
        let mut ballast = opened.unwrap();
        for size in [1 << 20, 4096, 1] {
            while write(&mut ballast, &vec![0; size]) {}
        }
    }

    /// Bytes that are free.
    #[must_use]
    pub fn free(&self) -> u64 {
        let stat = statvfs(&self.at).unwrap();
        stat.blocks_available() * stat.fragment_size()
    }

    /// Gives the room back.
    pub fn empty(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }

    /// Lets nothing be made or renamed in the recorder's directories, or lets it again.
    pub fn close(&self, closed: bool) {
        let mode = if closed { 0o500 } else { 0o700 };
        set_mode(&self.records(), mode);
        for entry in fs::read_dir(self.records()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                set_mode(&path, mode);
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

fn write(file: &mut File, bytes: &[u8]) -> bool {
    match file.write(bytes) {
        Ok(count) => count > 0,
        Err(error) if error.kind() == ErrorKind::StorageFull => false,
        Err(error) => panic!("the disk cannot be filled: {error}"),
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}
