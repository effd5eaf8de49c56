//! Reads the PC's own network from the system, and hears from the kernel when it has changed.
//!
//! ```text
//! notices (groups for links, addresses, routes) --> bell: look soon; what came and went at once --> glimpses
//! lists of rtnetlink + sysfs + nl80211 + settings of resolver and time services ----------------> Surroundings
//! ```
//! The bell only says when to look: whatever it says, everything is read anew. So a lost notice costs nothing but a glimpse.
//! What cannot be read is left out.

mod kernel;

use std::{
    cell::LazyCell,
    collections::HashMap,
    fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    time::Duration,
};

use anyhow::Context as _;
use rustix::{
    io::Errno,
    time::{ClockId, clock_gettime},
};

use self::kernel::Wifi;
use super::{
    netlink::{messages, socket::receive},
    rtnetlink::{self, Link, News},
    surroundings::{Surroundings, UsbCard, files, kernel::Card},
};
use crate::usb::snapshot::usb_ancestor;

const RESOLVER_FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
const TIME_FILES: [&str; 5] = [
    "/etc/systemd/timesyncd.conf",
    "/etc/chrony/chrony.conf",
    "/etc/chrony.conf",
    "/etc/ntp.conf",
    "/etc/ntpsec/ntp.conf",
];
const TIME_FOLDERS: [&str; 3] = [
    "/run/systemd/netif/leases",
    "/etc/systemd/timesyncd.conf.d",
    "/run/chrony-dhcp",
];

/// Bytes of the longest notice that is read.
const NOTICE: usize = 16 * 1024;
/// So many notices are read at a time; the rest rings again.
const MOST_NOTICES: usize = 256;

/// Rings when links, addresses or routes change.
pub(super) struct Bell(OwnedFd);

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Bell {
    pub(super) fn new() -> anyhow::Result<Self> {
        let socket = kernel::notices().context("cannot hear of network changes")?;
        Ok(Self(socket))
    }

    /// What it said of links since the last call; a full buffer is a bell that rang too often to be counted.
    pub(super) fn hear(&self) -> Vec<News> {
        let mut notice = vec![0; NOTICE];
        let mut news = Vec::new();
        for _ in 0..MOST_NOTICES {
            match receive(&self.0, &mut notice) {
                Ok(datagram) => {
                    let read = messages(datagram.unwrap_or_default());
                    let read = read.map(|message| rtnetlink::read(&message));
                    news.extend(
                        read.filter(|news| matches!(news, News::Link(_) | News::LinkGone(_))),
                    );
                }
                Err(Errno::NOBUFS | Errno::INTR | Errno::MSGSIZE) => {}
                Err(_) => break,
            }
        }
        news
    }
}

/// Reads everything.
pub(super) fn look() -> anyhow::Result<Surroundings> {
    let lists = kernel::lists().context("cannot read the interfaces")?;
    let wifi = LazyCell::<_, fn() -> _>::new(Wifi::find);
    Ok(Surroundings {
        interfaces: lists.interfaces(|link| card(link, &wifi)),
        idle: lists.idle(),
        on_link: lists.on_link(),
        dns_servers: RESOLVER_FILES
            .iter()
            .flat_map(|path| files::dns_servers(&text(path)))
            .collect(),
        time_servers: time_settings()
            .iter()
            .flat_map(|settings| files::time_servers(settings))
            .collect(),
    })
}

/// Received plus sent bytes of each interface.
pub(super) fn counters() -> HashMap<String, u64> {
    files::counters(&text("/proc/thread-self/net/dev"))
}

/// How long the PC has slept since its boot: CLOCK_BOOTTIME counts sleep, CLOCK_MONOTONIC does not (clock_gettime(2)).
pub(super) fn sleep_so_far() -> Duration {
    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    let awake = read(ClockId::Monotonic);
    read(ClockId::Boottime).saturating_sub(awake)
}

fn time_settings() -> Vec<String> {
    let in_folders = TIME_FOLDERS
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flat_map(|entries| entries.flatten().take(64).map(|entry| text(entry.path())));
    TIME_FILES.iter().map(text).chain(in_folders).collect()
}

/// Settings are small; what is absent or no text is empty.
fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// What `/sys/class/net/<name>` has (kernel: Documentation/ABI/testing/sysfs-class-net) and nl80211 says.
fn card(link: &Link, wifi: &LazyCell<Option<Wifi>>) -> Card {
    let folder = Path::new("/sys/class/net").join(&link.name);
    let real = |entry: &str| fs::canonicalize(folder.join(entry)).unwrap_or_default();
    let is_wifi = folder.join("phy80211").exists() || folder.join("wireless").exists();
    let driver = real("device/driver");
    Card {
        is_wifi,
        is_virtual: real("").starts_with("/sys/devices/virtual"),
        ssid: is_wifi.then(|| wifi.as_ref()?.ssid(link.index)).flatten(),
        driver: driver
            .file_name()
            .map(|name| name.to_string_lossy().into_owned()),
        usb: usb_card(&real("device")),
    }
}

/// Ids alone: they can be read without a lock, names and serial number not while a driver keeps the device busy.
fn usb_card(device: &Path) -> Option<UsbCard> {
    let folder = Path::new(usb_ancestor(device.to_str()?)?);
    let id = |name: &str| text(folder.join(name)).trim().to_owned();
    Some(UsbCard {
        port: folder.file_name()?.to_str()?.to_owned(),
        vendor_id: id("idVendor"),
        product_id: id("idProduct"),
    })
}
