//! The room: server, PCs, their programs, each of which can be killed and started again at any moment.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::unistd::Pid;

use super::{
    clock::Clock,
    crowd::Crowd,
    disk::Disk,
    load::Load,
    oracle::{self, Journal, Record},
};
use crate::{
    lab::{Lab, Machine},
    program::{Program, eventually, labwatch},
};

/// PCs of the laboratory; a smaller room leaves the others without agents.
pub const PCS: usize = 20;
/// The recorder's descriptors.
pub const DESCRIPTORS: &str = "1024";

/// One PC of the room.
pub struct Seat {
    /// The machine, with its first address.
    pub pc: Machine,
    /// Its agent.
    pub agent: Program,
}

/// The room. What it is made of ends in this order.
pub struct Room {
    /// Traffic.
    pub load: Load,
    /// What the staff sees of alerts and checkpoints.
    pub staff: Program,
    /// PCs with agents.
    pub seats: Vec<Seat>,
    /// The notifier.
    pub notifier: Program,
    /// The recorder.
    pub recorder: Program,
    /// The broker.
    pub broker: Program,
    /// The recorder's disk.
    pub disk: Disk,
    /// The wall clock of the first PC.
    pub clock: Clock,
    /// PCs that are played by hand; what they have said must be in the record as well.
    pub strangers: Vec<Crowd>,
    /// The machines.
    pub lab: Lab<PCS>,
}

impl Room {
    /// Starts everything, and traffic among so many PCs; the recorder has a disk of so many MiB.
    #[must_use]
    pub fn open(agents: usize, mib: u64) -> Self {
        let lab = Lab::<PCS>::of_any_size();
        let disk = Disk::mount(lab.dir.path().join("disk"), mib);
        let clock = Clock::new(lab.dir.path());
        let broker = lab.start_broker();
        let recorder = start_recorder(&lab, &disk);
        let _ = recorder.wait_for(&["connected to the broker"]);
        let notifier = start_notifier(&lab);
        let seat = |pc: &Machine| Seat {
            pc: pc.clone(),
            agent: start_agent(&lab, pc, &clock),
        };
        let seats: Vec<_> = lab.pcs.iter().take(agents).map(seat).collect();
        for seat in &seats {
            let _ = seat.agent.wait_for(&["connected to the broker"]);
        }
        let staff = lab.watch(
            &lab.server,
            &[
                "-h",
                "127.0.0.1",
                "-t",
                "lab/alerts/#",
                "-t",
                "lab/checkpoint",
            ],
        );
        let pcs: Vec<_> = seats.iter().map(|seat| seat.pc.clone()).collect();
        Self {
            load: Load::start(&pcs),
            staff,
            seats,
            notifier,
            recorder,
            broker,
            disk,
            clock,
            strangers: Vec::new(),
            lab,
        }
    }

    /// Where the recorder writes.
    #[must_use]
    pub fn records(&self) -> PathBuf {
        self.disk.records()
    }

    /// Starts the recorder; it may not be able to work yet.
    pub fn start_recorder(&mut self) {
        self.recorder = start_recorder(&self.lab, &self.disk);
    }

    /// Starts the broker, which knows nothing of what was before.
    pub fn start_broker(&mut self) {
        let mut command = self.lab.server.command(labwatch("broker"));
        self.broker = Program::start("broker", &mut command);
    }

    /// Starts the notifier.
    pub fn start_notifier(&mut self) {
        self.notifier = start_notifier(&self.lab);
    }

    /// Starts the agent of a seat.
    pub fn start_agent(&mut self, seat: usize) {
        let seat = &mut self.seats[seat];
        seat.agent = start_agent(&self.lab, &seat.pc, &self.clock);
    }

    /// The journals of all PCs.
    #[must_use]
    pub fn journals(&self) -> Vec<Journal> {
        oracle::journals(self.lab.dir.path())
    }

    /// The newest journal of a seat.
    #[must_use]
    pub fn newest_journal(&self, seat: usize) -> Journal {
        let state = self.lab.state_dir(&self.seats[seat].pc);
        let own = self
            .journals()
            .into_iter()
            .filter(|journal| journal.path.starts_with(&state));
        own.max_by_key(|journal| journal.id).unwrap()
    }

    /// Waits until events of a seat's newest journal have come into the record by an address.
    pub fn await_record_by(&self, seat: usize, ip: Ipv4Addr) {
        eventually("events come by that address", || {
            let journal = self.newest_journal(seat).id;
            Record::read(&self.records())
                .came_by(journal, IpAddr::V4(ip))
                .then_some(())
        });
    }

    /// Waits until the record holds whatever the journals do, or so long that it will not.
    #[must_use]
    pub fn settle(&self, limit: Duration) -> Record {
        let end = Instant::now() + limit;
        loop {
            let (journals, record) = (self.journals(), Record::read(&self.records()));
            if record.compare(&journals).missing == 0 || Instant::now() > end {
                return record;
            }
            thread::sleep(Duration::from_secs(1));
        }
    }
}

/// Where records and journals are copied to at the end, good or bad, for whoever wants to look at them.
const KEEP: &str = "LABWATCH_CHAOS_KEEP";

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(keep) = std::env::var_os(KEEP) {
            let mut copy = Command::new("cp");
            let _ = copy.arg("-a").arg(self.lab.dir.path()).arg(keep).status();
        }
    }
}

fn start_recorder(lab: &Lab<PCS>, disk: &Disk) -> Program {
    // Root without any capability is nobody special to the file system.
    let mut command = lab.server.command("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", "sh", "-c"]);
    command.args([&format!("ulimit -n {DESCRIPTORS}; exec \"$@\""), "sh"]);
    command
        .arg(labwatch("recorder"))
        .arg("--dir")
        .arg(disk.records());
    Program::start("recorder", &mut command)
}

fn start_notifier(lab: &Lab<PCS>) -> Program {
    let mut command = lab.server.command(labwatch("notifier"));
    Program::start("notifier", command.args(["--desktop", "off"]))
}

fn start_agent(lab: &Lab<PCS>, pc: &Machine, clock: &Clock) -> Program {
    let mut command = lab.agent(pc);
    if pc.ip == lab.pcs[0].ip {
        clock.give(&mut command);
    }
    Program::start(&format!("agent {}", pc.ip), &mut command)
}

/// Kills a program with -9; it was there before and is gone after.
pub fn kill(program: &mut Program, name: &str) {
    // A program that was started just now may not have become itself yet.
    eventually("it runs", || {
        (comm(program.pid()) == Some(labwatch_comm(name))).then_some(())
    });
    program.kill();
    assert_eq!(comm(program.pid()), None, "it is gone");
}

/// The state of a process, as in proc(5); `None` if there is none.
#[must_use]
pub fn state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

fn comm(pid: Pid) -> Option<String> {
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(comm.trim_end().to_owned())
}

/// The kernel keeps 15 bytes of a name.
fn labwatch_comm(name: &str) -> String {
    format!("labwatch-{name}").chars().take(15).collect()
}

/// A command of the recorder's, on the machine of the test.
#[must_use]
pub fn recorder_command() -> Command {
    Command::new(labwatch("recorder"))
}
