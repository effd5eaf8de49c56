//! Asks an optical drive whether a disc is in it. Sysfs does not tell: the size that it shows stays that of the last
//! disc when that is taken out (`sr_revalidate_disk` returns early), and the size of a new one is found only when
//! somebody opens the drive. Opened without waiting, so that its tray is left as it is. A drive that hangs counts as what
//! it said last: it says nothing of a change either.
//!
//! Source: Linux `drivers/scsi/sr.c`, `drivers/cdrom/cdrom.c`, `include/uapi/linux/cdrom.h`.

use std::{
    collections::BTreeMap,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::fs::{Mode, OFlags};

use super::question::Questions;

/// `CDSL_CURRENT`: the slot that is in use.
const CURRENT_SLOT: nix::libc::c_int = i32::MAX;
/// `CDS_NO_DISC`.
const NO_DISC: i32 = 1;
/// `CDS_TRAY_OPEN`.
const TRAY_OPEN: i32 = 2;

mod request {
    nix::ioctl_write_int_bad!(
        /// `CDROM_DRIVE_STATUS`: gives a `CDS_…`.
        drive_status,
        0x5326
    );
}

/// What the drives said last: whether they are empty, by node.
#[derive(Debug, Clone, Default)]
pub struct Drives(Arc<Mutex<BTreeMap<PathBuf, bool>>>);

impl Drives {
    /// Whether the drive at `node` says that it holds no disc, or said so last where it does not answer now.
    pub(super) fn is_empty(&self, node: &Path, questions: &Questions) -> bool {
        let (drives, asked) = (self.clone(), node.to_owned());
        let ask = move || {
            let is_empty = is_empty(&asked);
            // A late answer is one, too: some drives take their time.
            drives.said().insert(asked, is_empty);
        };
        questions.ask(&node.to_string_lossy(), ask);
        self.said().get(node).copied().unwrap_or_default()
    }

    fn said(&self) -> MutexGuard<'_, BTreeMap<PathBuf, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the drive at `node` says that it holds no disc; not, where it may not be asked or does not know.
fn is_empty(node: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(drive) = rustix::fs::open(node, flags, Mode::empty()) else {
        return false;
    };
    matches!(status(&drive), Ok(NO_DISC | TRAY_OPEN))
}

#[expect(unsafe_code, reason = "a request to a driver has no type to check")]
fn status(drive: &OwnedFd) -> nix::Result<i32> {
    // SAFETY: the argument of this request is a number, so the kernel neither reads nor writes our memory. Another
    // device than a drive refuses it (ENOTTY).
    unsafe { request::drive_status(drive.as_raw_fd(), CURRENT_SLOT) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_drive_is_not_called_empty() {
        assert!(!is_empty(Path::new("/dev/null")));
        assert!(!is_empty(Path::new("/dev/not-there")));
    }
}
