//! Finds the program behind a socket by looking through `/proc`, off the packet path on one thread of its own.
//!
//! `/proc/net/{tcp,udp}{,6}` tells a socket's inode, `/proc/<pid>/fd` whose it is (proc(5)). All questions that wait
//! are answered by one look. A connection that is already over is not found, nor is the program of another user without
//! the privilege to see it: then the answer is [`Owner::Unknown`]. Nobody waits for an answer longer than the
//! state machine says, and when too many questions wait, new ones get none.

use std::{
    collections::HashMap,
    fs::{self, DirEntry},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use anyhow::Context as _;
use labwatch_contract::event::contact::{Process, User};
use labwatch_contract::scope::protocol;
use tokio::sync::mpsc;

use super::flows::{Owner, Socket, Ticket};

mod tables;

const MOST_WAITING: usize = 64;
const MOST_USERS: usize = 256;

type Question = (Ticket, Socket);

/// Asks the thread; its answers come by the receiver of [`start`].
pub(super) struct Processes(SyncSender<Question>);

impl Processes {
    pub(super) fn ask(&self, ticket: Ticket, socket: Socket) {
        if self.0.try_send((ticket, socket)).is_err() {
            tracing::debug!("too many sockets wait for their program's name");
        }
    }
}

/// Starts the thread; it ends when the [`Processes`] is dropped.
pub(super) fn start() -> anyhow::Result<(Processes, mpsc::Receiver<(Ticket, Owner)>)> {
    let (ask, questions) = sync_channel(MOST_WAITING);
    let (answer, answers) = mpsc::channel(MOST_WAITING);
    thread::Builder::new()
        .name("processes".into())
        .spawn(move || run(&questions, &answer))
        .context("cannot start the thread that finds programs")?;
    Ok((Processes(ask), answers))
}

fn run(questions: &Receiver<Question>, answers: &mpsc::Sender<(Ticket, Owner)>) {
    let mut users = Users::default();
    while let Ok(first) = questions.recv() {
        let waiting: Vec<Question> = std::iter::once(first).chain(questions.try_iter()).collect();
        for answer in look(&waiting, &mut users) {
            if answers.blocking_send(answer).is_err() {
                return;
            }
        }
    }
}

fn look(waiting: &[Question], users: &mut Users) -> Vec<(Ticket, Owner)> {
    let inodes: Vec<(Ticket, Option<u64>)> = waiting
        .iter()
        .map(|(ticket, socket)| (*ticket, inode(socket)))
        .collect();
    let wanted = inodes.iter().filter_map(|(_, inode)| *inode).collect();
    let owners = owners(wanted, users);
    let owner = |inode: Option<u64>| inode.and_then(|inode| owners.get(&inode).cloned());
    inodes
        .into_iter()
        .map(|(ticket, inode)| (ticket, owner(inode).unwrap_or(Owner::Unknown)))
        .collect()
}

/// An IPv4 conversation may belong to a socket of IPv6.
fn inode(socket: &Socket) -> Option<u64> {
    let tables = match socket.protocol {
        protocol::TCP => ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"],
        _ => ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"],
    };
    let texts = tables.map(|path| fs::read_to_string(path).unwrap_or_default());
    tables::inode(&texts, socket)
}

fn owners(mut wanted: Vec<u64>, users: &mut Users) -> HashMap<u64, Owner> {
    let mut found = HashMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for entry in processes {
        if wanted.is_empty() {
            break;
        }
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let sockets = fs::read_dir(entry.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        for inode in sockets.filter_map(|fd| inode_of(&fd)) {
            if wanted.contains(&inode) {
                wanted.retain(|&one| one != inode);
                found.insert(inode, owner(pid, &entry.path(), users));
            }
        }
    }
    found
}

fn inode_of(fd: &DirEntry) -> Option<u64> {
    let target = fs::read_link(fd.path()).ok()?;
    let inode = target
        .to_str()?
        .strip_prefix("socket:[")?
        .strip_suffix(']')?;
    inode.parse().ok()
}

fn owner(pid: u32, folder: &Path, users: &mut Users) -> Owner {
    if pid == std::process::id() {
        return Owner::Agent;
    }
    let name = fs::read_to_string(folder.join("comm")).ok();
    let executable = fs::read_link(folder.join("exe")).ok();
    let uid = fs::metadata(folder).ok().map(|folder| folder.uid());
    Owner::Program(Process {
        name: name.map(|name| name.trim_end_matches('\n').to_owned()),
        pid: Some(pid),
        executable: executable.map(|path| path.to_string_lossy().into_owned()),
        user: uid.map(|uid| User {
            name: users.name(uid),
        }),
    })
}

/// Login names; asking for one may take a directory server, so each is asked for once.
#[derive(Default)]
struct Users(HashMap<u32, String>);

impl Users {
    fn name(&mut self, uid: u32) -> String {
        if self.0.len() >= MOST_USERS {
            self.0.clear();
        }
        let look_up = || {
            let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
            user.map_or_else(|| uid.to_string(), |user| user.name)
        };
        self.0.entry(uid).or_insert_with(look_up).clone()
    }
}
