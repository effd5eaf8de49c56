//! What the system knows of a USB device beyond sysfs: its list of USB ids, and the kernel's module tables.
//!
//! Asked only where the device leaves something unsaid: its name, or what an interface of the vendor's own class is for.
//! The lists are read line by line and not kept; of a list at most [`MAX_LIST`] bytes are read.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
};

use super::{
    descriptors,
    drivers::Drivers,
    names::{Names, Search},
    snapshot::Snapshot,
};

/// Most bytes that are read of a list; those of today have up to 2 MB.
const MAX_LIST: u64 = 16 * 1024 * 1024;

/// Where the lists stand; elsewhere in tests.
#[derive(Debug, Clone)]
pub struct Lists {
    /// Lists of USB ids, the first that is there counts.
    pub ids: Vec<PathBuf>,
    /// The module tables of the running kernel.
    pub modules: PathBuf,
}

impl Default for Lists {
    fn default() -> Self {
        let release = rustix::system::uname();
        let release = release.release().to_string_lossy();
        Self {
            ids: [
                "/usr/share/misc/usb.ids",
                "/usr/share/hwdata/usb.ids",
                "/var/lib/usbutils/usb.ids",
                "/usr/lib/udev/hwdb.d/20-usb-vendor-model.hwdb",
                "/lib/udev/hwdb.d/20-usb-vendor-model.hwdb",
            ]
            .map(PathBuf::from)
            .to_vec(),
            modules: Path::new("/lib/modules").join(release.as_ref()),
        }
    }
}

impl Lists {
    /// Adds to a snapshot what the device itself leaves unsaid.
    pub(super) fn complete(&self, mut snapshot: Snapshot) -> Snapshot {
        let silent =
            |text: &Option<String>| text.as_deref().is_none_or(|text| text.trim().is_empty());
        if silent(&snapshot.manufacturer) || silent(&snapshot.product) {
            snapshot.listed = self.names(&snapshot).unwrap_or_default();
        }
        let drivers = Drivers::of(&descriptors::outline(&snapshot.descriptors));
        if let Some(drivers) = drivers {
            snapshot.driven = self.ask(drivers).kinds();
        }
        snapshot
    }

    fn names(&self, snapshot: &Snapshot) -> Option<Names> {
        let mut search = Search::new(&snapshot.vendor_id, &snapshot.product_id)?;
        let list = self.ids.iter().find(|path| path.is_file())?;
        each_line(list, |line| search.take(line));
        Some(search.end())
    }

    fn ask(&self, mut drivers: Drivers) -> Drivers {
        each_line(&self.modules.join("modules.alias"), |line| {
            drivers.take_alias(line);
            true
        });
        if !drivers.is_empty() {
            each_line(&self.modules.join("modules.dep"), |line| {
                drivers.take_path(line);
                true
            });
        }
        drivers
    }
}

/// Hands the lines of a file out until `take` says that it has enough. A file that is not there has none.
fn each_line(path: &Path, mut take: impl FnMut(&str) -> bool) {
    let Ok(file) = File::open(path) else {
        return;
    };
    let mut reader = BufReader::with_capacity(64 * 1024, file.take(MAX_LIST));
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(line.trim_ascii_end());
                if !take(&text) {
                    return;
                }
            }
        }
    }
}
