//! One socket's way to its program: asks the kernel, then the holders, then the notices.
//!
//! What the kernel shows of this very socket is exact; what is concluded from tables or from a program's end is polled, and the
//! reason says so. A user is named as soon as the kernel names one, also where the program stays unknown.

use std::{collections::HashMap, time::Duration};

use labwatch_contract::{
    event::contact::{Attribution, Direction, Process},
    scope::protocol,
};

use super::{
    Question,
    diag::Entry,
    holders::{self, Abroad, Holders, Wanted},
    monotonic,
    netlink::{Diag, Heard, Notices},
    programs::{Program, Programs},
    tables,
    users::Users,
};
use crate::net::flows::{Found, Owner, PROGRAM_WAIT, Socket, Ticket};

/// Before the question a program may have ended whose packet it is about, and after it one whose socket is closed: so long.
const MARGIN: Duration = Duration::from_millis(60);
const MOST_PUT_OFF: usize = 64;
/// After a search in other network namespaces that found nothing none follows for so long; twice as long after each further one.
const SHORTEST_REST: Duration = Duration::from_millis(10);
const LONGEST_REST: Duration = Duration::from_secs(1);

const CLOSED: &str =
    "no socket of this PC has it any more: closed already, or of a container or virtual machine";
const ENDED: &str = "its socket was closed already; the only program that ended at that moment";
const HIDDEN: &str = "no program that the agent may look at has its socket open";
const NOBODY: &str = "no program listens for it";
const OTHER_NETWORK: &str = "in another network namespace (a container)";
const OTHER_PROCESSES: &str = "in another PID namespace (a container or sandbox)";

/// What is known of a socket before its program is sought.
#[derive(Debug, Clone, Copy)]
enum Location {
    /// It exists.
    Open(Wanted, Attribution),
    /// It does not exist any more, or nobody has it open; its user, where the kernel still knew.
    Closed(Option<u32>),
    /// The peer opened it, and nobody listens.
    Nobody,
}

/// A question about a socket that is closed, until it is clear which programs ended meanwhile.
#[derive(Debug)]
struct PutOff {
    question: Question,
    uid: Option<u32>,
    reason: &'static str,
}

pub(super) struct Finder {
    diag: Option<Diag>,
    notices: Option<Notices>,
    holders: Holders,
    programs: Programs,
    users: Users,
    put_off: Vec<PutOff>,
    abroad: Rest,
}

impl Finder {
    pub(super) fn new() -> Self {
        // Each is a means that another takes the place of, so neither is worth a warning.
        let diag = Diag::open().inspect_err(|error| {
            tracing::info!(
                "the kernel cannot be asked about sockets, their tables are read instead: {error}"
            );
        });
        let notices = Notices::open().inspect_err(|error| {
            tracing::info!("programs that end at once stay unnamed, the kernel's notices of them are missing: {error}");
        });
        Self {
            diag: diag.ok(),
            notices: notices.ok(),
            holders: Holders::new(),
            programs: Programs::new(monotonic()),
            users: Users::default(),
            put_off: Vec::new(),
            abroad: Rest::default(),
        }
    }

    /// Readable when [`Finder::hear`] has something to do.
    pub(super) fn notices(&self) -> Option<&Notices> {
        self.notices.as_ref()
    }

    /// When [`Finder::answer`] is due although nobody asks.
    pub(super) fn due(&self) -> Option<Duration> {
        let due = self.put_off.iter().map(|one| one.question.asked + MARGIN);
        due.min()
    }

    /// Takes in what the kernel says about processes.
    pub(super) fn hear(&mut self) {
        let Some(notices) = &mut self.notices else {
            return;
        };
        loop {
            match notices.receive() {
                Ok(Heard::Notice(notice)) => self.programs.handle(&notice, holders::describe),
                Ok(Heard::Lost) => self.programs.handle_loss(monotonic()),
                Ok(Heard::Nothing) => return,
                Err(error) => {
                    tracing::info!("no more notices of processes: {error}");
                    self.notices = None;
                    return;
                }
            }
        }
    }

    /// Answers to the questions, and to those put off earlier that are due.
    pub(super) fn answer(&mut self, waiting: &[Question]) -> Vec<(Ticket, Owner)> {
        let mut answers = self.decide();
        let located: Vec<(Question, Location)> = waiting
            .iter()
            .map(|question| (*question, self.locate(question)))
            .collect();
        let holders = match waiting.first() {
            Some(eldest) => self.seek(&located, eldest.asked + PROGRAM_WAIT),
            None => HashMap::new(),
        };
        for (question, location) in located {
            let answer = self.conclude(question, location, &holders);
            answers.extend(answer.map(|owner| (question.ticket, owner)));
        }
        answers
    }

    /// The processes of the sockets that exist, by inode; given up where none of them exists any more.
    fn seek(&mut self, located: &[(Question, Location)], until: Duration) -> HashMap<u64, u32> {
        let open = located
            .iter()
            .filter_map(|(question, location)| match location {
                Location::Open(wanted, attribution) => Some((question, *wanted, *attribution)),
                Location::Closed(_) | Location::Nobody => None,
            });
        let open: Vec<_> = open.collect();
        let wanted: Vec<Wanted> = open.iter().map(|(_, wanted, _)| *wanted).collect();
        if wanted.is_empty() {
            return HashMap::new();
        }
        let diag = &mut self.diag;
        let mut is_there = |question: &Question, wanted: Wanted| match diag {
            Some(diag) => find(diag, &question.socket)
                .is_some_and(|entry| u64::from(entry.inode) == wanted.inode),
            None => true,
        };
        self.holders.find(&wanted, until, || {
            // What stands in a table of another namespace is not asked for again.
            let mut open = open.iter();
            open.any(|&(question, wanted, attribution)| {
                attribution != Attribution::Exact || is_there(question, wanted)
            })
        })
    }

    fn locate(&mut self, question: &Question) -> Location {
        let socket = &question.socket;
        let Some(diag) = self
            .diag
            .as_mut()
            .filter(|diag| diag.knows(socket.protocol))
        else {
            let row = tables::find(&holders::table("thread-self", socket), socket);
            return row.map_or(Location::Closed(None), |row| {
                open(&row, Attribution::Polled)
            });
        };
        let found = find(diag, socket);
        match (found, socket.direction) {
            (Some(entry), _) if entry.inode != 0 => Location::Open(
                Wanted {
                    inode: entry.inode.into(),
                    uid: entry.uid,
                },
                Attribution::Exact,
            ),
            (None, Direction::Ingress) => Location::Nobody,
            (None, _) => {
                let row = self.look_abroad(question);
                row.map_or(Location::Closed(None), |row| {
                    open(&row, Attribution::Polled)
                })
            }
            // Of a socket that nobody has any more, older kernels say that it is root's.
            (Some(entry), _) => Location::Closed(Some(entry.uid).filter(|&uid| uid != 0)),
        }
    }

    /// Each table costs the kernel a walk over millions of places. So it is read only where packets of other namespaces can leave
    /// by this PC at all, and rarely when it is read in vain: a flood may consist of packets that belong to no socket.
    fn look_abroad(&mut self, question: &Question) -> Option<tables::Row> {
        if !self.abroad.is_over(monotonic()) {
            return None;
        }
        let until = question.asked + MARGIN;
        let look = || self.holders.translated(&question.socket, until);
        let row = holders::forwards(&question.socket).then(look).flatten();
        self.abroad.begin(row.is_some(), monotonic());
        row
    }

    fn conclude(
        &mut self,
        question: Question,
        location: Location,
        holders: &HashMap<u64, u32>,
    ) -> Option<Owner> {
        let (uid, reason) = match location {
            Location::Nobody => return Some(self.nobody(None, NOBODY)),
            Location::Closed(uid) => (uid, CLOSED),
            Location::Open(wanted, attribution) => match holders.get(&wanted.inode) {
                Some(&pid) => return Some(self.program(pid, wanted.uid, attribution)),
                None => (Some(wanted.uid), HIDDEN),
            },
        };
        let may_be_known =
            self.notices.is_some() && question.socket.direction != Direction::Ingress;
        if may_be_known && self.put_off.len() < MOST_PUT_OFF {
            self.put_off.push(PutOff {
                question,
                uid,
                reason,
            });
            return None;
        }
        Some(self.nobody(uid, reason))
    }

    /// Answers what was put off long enough.
    fn decide(&mut self) -> Vec<(Ticket, Owner)> {
        let now = monotonic();
        let is_due = |one: &mut PutOff| one.question.asked + MARGIN <= now;
        let due: Vec<PutOff> = self.put_off.extract_if(.., is_due).collect();
        let decided = due.into_iter().map(
            |PutOff {
                 question,
                 uid,
                 reason,
             }| {
                let from = question.asked.saturating_sub(MARGIN);
                let ended = self
                    .programs
                    .only_ended(uid, from, question.asked + MARGIN)
                    .cloned();
                let owner = match ended {
                    Some(program) => self.owner(program, uid, Attribution::Polled, Some(ENDED)),
                    None => self.nobody(uid, reason),
                };
                (question.ticket, owner)
            },
        );
        decided.collect()
    }

    fn program(&mut self, pid: u32, uid: u32, attribution: Attribution) -> Owner {
        if pid == std::process::id() {
            return Owner::Agent;
        }
        let reason = self.holders.abroad(pid).map(|abroad| match abroad {
            Abroad::Network => OTHER_NETWORK,
            Abroad::Processes => OTHER_PROCESSES,
        });
        self.owner(holders::describe(pid), Some(uid), attribution, reason)
    }

    /// The socket's user is the one who opened it; the program's, where the socket says none.
    fn owner(
        &mut self,
        program: Program,
        uid: Option<u32>,
        attribution: Attribution,
        reason: Option<&'static str>,
    ) -> Owner {
        let user = uid.or(program.uid).map(|uid| self.users.user(uid));
        Owner::Program(Found {
            process: Process {
                user,
                ..program.process
            },
            attribution,
            reason,
        })
    }

    fn nobody(&mut self, uid: Option<u32>, reason: &'static str) -> Owner {
        self.owner(Program::default(), uid, Attribution::None, Some(reason))
    }
}

/// How long not to search again.
#[derive(Debug, Default)]
struct Rest {
    until: Duration,
    length: Duration,
}

impl Rest {
    fn is_over(&self, now: Duration) -> bool {
        now >= self.until
    }

    /// After a search that ended at `now`.
    fn begin(&mut self, has_found: bool, now: Duration) {
        let is_long_ago = now.saturating_sub(self.until) > LONGEST_REST;
        self.length = if has_found {
            Duration::ZERO
        } else if is_long_ago {
            SHORTEST_REST
        } else {
            (self.length * 2).clamp(SHORTEST_REST, LONGEST_REST)
        };
        self.until = now + self.length;
    }
}

fn open(row: &tables::Row, attribution: Attribution) -> Location {
    let wanted = Wanted {
        inode: row.inode,
        uid: row.uid,
    };
    Location::Open(wanted, attribution)
}

/// The socket itself; for a connection that nobody has accepted yet the one that listens.
fn find(diag: &mut Diag, socket: &Socket) -> Option<Entry> {
    let ask = |diag: &mut Diag, socket: &Socket| {
        diag.find(socket).unwrap_or_else(|error| {
            tracing::debug!("asking about a socket: {error}");
            None
        })
    };
    let entry = ask(diag, socket)?;
    let is_tcp = socket.protocol == protocol::TCP;
    match socket.direction {
        Direction::Ingress if is_tcp && entry.inode == 0 => ask(diag, &listener(socket)),
        // The kernel goes on to listeners, but what this PC opened is not theirs.
        Direction::Egress if is_tcp && entry.peer != socket.peer => None,
        _ => Some(entry),
    }
}

/// No connection has these ends, so the kernel finds who waits for one.
fn listener(socket: &Socket) -> Socket {
    let mut nobody = socket.peer;
    nobody.set_port(0);
    Socket {
        peer: nobody,
        ..*socket
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "opens sockets to be found, and waits"
)]
mod tests;
