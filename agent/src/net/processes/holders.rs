//! Which process holds a socket, and what `/proc` says about it (proc(5)).
//!
//! A socket's inode is sought among the open files of processes: first where the last ones were found, then among the
//! processes of the socket's user, the youngest first, then among all others; not any longer than the socket is open. Of
//! several that share a socket by inheritance the eldest is its program. Every search ends at its deadline: how many files
//! a user opens is for the user to choose.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    time::Duration,
};

use labwatch_contract::event::contact::Process;

use super::{
    monotonic,
    programs::Program,
    tables::{self, Row},
};
use crate::net::flows::Socket;

const MOST_RECENT: usize = 32;
const MOST_PROCESSES: usize = 32_768;
/// Of one process.
const MOST_FILES: usize = 65_536;
const MOST_NAMESPACES: usize = 16;
/// Of the parents that may have opened a socket.
const MOST_PARENTS: usize = 8;
/// After so many processes it is asked whether the search still makes sense: about as dear as one of them.
const BETWEEN_CHECKS: usize = 16;
/// The first process; it hands sockets to the services that it starts.
const INIT: u32 = 1;

/// A socket whose program is sought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) inode: u64,
    pub(super) uid: u32,
}

/// An open file of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    pid: u32,
    file: u32,
}

/// Finds holders, and remembers where.
pub(super) struct Holders {
    recent: VecDeque<Place>,
    own_network: Option<PathBuf>,
    own_processes: Option<PathBuf>,
}

/// Where a process lives, if not where the agent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Abroad {
    /// In a network namespace of its own.
    Network,
    /// In a PID namespace of its own.
    Processes,
}

impl Holders {
    /// For the namespaces of the thread that calls.
    pub(super) fn new() -> Self {
        let own = |kind: &str| fs::read_link(format!("/proc/thread-self/ns/{kind}")).ok();
        Self {
            recent: VecDeque::new(),
            own_network: own("net"),
            own_processes: own("pid"),
        }
    }

    /// The processes of as many of the sockets as are found until the deadline, or until none of them `are_open` any more,
    /// by inode.
    pub(super) fn find(
        &mut self,
        wanted: &[Wanted],
        until: Duration,
        mut are_open: impl FnMut() -> bool,
    ) -> HashMap<u64, u32> {
        let mut search = Search {
            wanted: wanted.to_vec(),
            found: HashMap::new(),
            until,
        };
        for place in &self.recent {
            search.look_at(*place);
        }
        if !search.is_over() {
            search.look_through_all(&mut are_open);
        }
        for place in search.found.values() {
            self.recent.retain(|one| one != place);
            self.recent.push_front(*place);
        }
        self.recent.truncate(MOST_RECENT);
        let opener = |(inode, place): (u64, Place)| (inode, opener(inode, place));
        search.found.into_iter().map(opener).collect()
    }

    /// Whether a process lives elsewhere than the agent; `None` also where that must not be seen.
    pub(super) fn abroad(&self, pid: u32) -> Option<Abroad> {
        let differs = |kind: &str, own: &Option<PathBuf>| {
            let its = fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
            its.is_some() && own.is_some() && its != *own
        };
        if differs("net", &self.own_network) {
            return Some(Abroad::Network);
        }
        differs("pid", &self.own_processes).then_some(Abroad::Processes)
    }

    /// The socket in the tables of other network namespaces whose packets leave by this PC's own address.
    pub(super) fn translated(&self, socket: &Socket, until: Duration) -> Option<Row> {
        self.elsewhere(until)
            .into_iter()
            .take_while(|_| monotonic() < until)
            .find_map(|pid| tables::translated(&table(&pid.to_string(), socket), socket))
    }

    /// A process of each network namespace but the agent's own.
    fn elsewhere(&self, until: Duration) -> Vec<u32> {
        let mut namespaces = BTreeMap::new();
        for pid in pids() {
            if namespaces.len() >= MOST_NAMESPACES || monotonic() >= until {
                break;
            }
            let namespace = fs::read_link(format!("/proc/{pid}/ns/net")).ok();
            if let Some(namespace) = namespace.filter(|one| Some(one) != self.own_network.as_ref())
            {
                namespaces.entry(namespace).or_insert(pid);
            }
        }
        namespaces.into_values().collect()
    }
}

/// Whether this PC forwards packets of a socket's family, over whichever interface (`Documentation/networking/ip-sysctl`).
pub(super) fn forwards(socket: &Socket) -> bool {
    let family = if socket.own.is_ipv4() { "ipv4" } else { "ipv6" };
    let interfaces = fs::read_dir(format!("/proc/sys/net/{family}/conf"));
    let mut settings = interfaces.into_iter().flatten().flatten();
    settings.any(|interface| {
        let setting = fs::read_to_string(interface.path().join("forwarding"));
        setting.is_ok_and(|setting| setting.trim() != "0")
    })
}

/// Texts of the tables that may hold a socket; an IPv4 conversation may belong to a socket of IPv6.
pub(super) fn table(process: &str, socket: &Socket) -> [String; 2] {
    let name = tables::name(socket.protocol);
    ["", "6"].map(|family| {
        let path = format!("/proc/{process}/net/{name}{family}");
        fs::read_to_string(path).unwrap_or_default()
    })
}

/// What can be read of a process; its login name is not asked for.
pub(super) fn describe(pid: u32) -> Program {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let name = fs::read_to_string(folder.join("comm")).ok();
    let executable = fs::read_link(folder.join("exe")).ok();
    Program {
        process: Process {
            name: name.map(|name| name.trim_end_matches('\n').to_owned()),
            pid: Some(pid),
            executable: executable.map(|path| path.to_string_lossy().into_owned()),
            user: None,
        },
        uid: user(pid),
    }
}

struct Search {
    wanted: Vec<Wanted>,
    found: HashMap<u64, Place>,
    until: Duration,
}

impl Search {
    fn is_over(&self) -> bool {
        self.wanted.is_empty() || monotonic() >= self.until
    }

    fn look_through_all(&mut self, are_open: &mut impl FnMut() -> bool) {
        let uids: Vec<u32> = self.wanted.iter().map(|one| one.uid).collect();
        let mut others = Vec::new();
        let mut seen: usize = 0;
        let mut goes_on = |search: &Self| {
            seen += 1;
            !search.is_over() && (!seen.is_multiple_of(BETWEEN_CHECKS) || are_open())
        };
        for pid in pids() {
            if !goes_on(self) {
                return;
            }
            match user(pid).is_some_and(|uid| uids.contains(&uid)) {
                true => self.look_through(pid),
                false => others.push(pid),
            }
        }
        for pid in others {
            if !goes_on(self) {
                return;
            }
            self.look_through(pid);
        }
    }

    /// The newest files first; they have the highest numbers. The low ones may be a socket's for a moment only, as the output of
    /// a shell's command, and then the parent has it under another number.
    fn look_through(&mut self, pid: u32) {
        let files = fs::read_dir(format!("/proc/{pid}/fd"));
        let files = files.into_iter().flatten().filter_map(number);
        let mut files: Vec<u32> = files.take(MOST_FILES).collect();
        files.sort_unstable_by_key(|&file| std::cmp::Reverse(file));
        for file in files {
            self.look_at(Place { pid, file });
            if self.is_over() {
                return;
            }
        }
    }

    fn look_at(&mut self, place: Place) {
        let Some(inode) = inode(place) else {
            return;
        };
        if let Some(at) = self.wanted.iter().position(|one| one.inode == inode) {
            self.wanted.swap_remove(at);
            self.found.insert(inode, place);
        }
    }
}

/// The eldest that has the socket under the same number, as children inherit it.
fn opener(inode: u64, mut place: Place) -> u32 {
    for _ in 0..MOST_PARENTS {
        let parent = fs::read_to_string(format!("/proc/{}/stat", place.pid))
            .ok()
            .and_then(|text| tables::parent(&text));
        let Some(pid) = parent.filter(|&pid| pid > INIT) else {
            break;
        };
        let of_parent = Place { pid, ..place };
        if self::inode(of_parent) != Some(inode) {
            break;
        }
        place = of_parent;
    }
    place.pid
}

/// The youngest first. Ids are given in turn, so those beyond the last one are of the turn before.
fn pids() -> Vec<u32> {
    let last: u32 = fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|text| text.split_whitespace().last()?.parse().ok())
        .unwrap_or(u32::MAX);
    let entries = fs::read_dir("/proc").into_iter().flatten();
    let mut pids: Vec<u32> = entries.filter_map(number).take(MOST_PROCESSES).collect();
    pids.sort_unstable_by_key(|&pid| last.wrapping_sub(pid));
    pids
}

fn number(entry: io::Result<fs::DirEntry>) -> Option<u32> {
    entry.ok()?.file_name().to_str()?.parse().ok()
}

fn user(pid: u32) -> Option<u32> {
    let folder = fs::metadata(format!("/proc/{pid}")).ok();
    folder.map(|folder| folder.uid())
}

fn inode(place: Place) -> Option<u64> {
    let target = fs::read_link(format!("/proc/{}/fd/{}", place.pid, place.file)).ok()?;
    let inode = target
        .to_str()?
        .strip_prefix("socket:[")?
        .strip_suffix(']')?;
    inode.parse().ok()
}
