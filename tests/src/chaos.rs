//! A room under load in which everything breaks, and the proof that nothing was lost and nothing doubled.
//!
//! ```text
//! load --> agents --journal--+--> broker --> recorder --> record
//!                            `--------------> oracle <-------'
//! ```
//! The real programs run in a laboratory of namespaces. One fault comes after the other, in an order that the seed
//! gives, while everything still recovers from those before. When all is healed, every event that stands in a journal
//! must be in exactly one line of the record, byte for byte, in order, and `labwatch-recorder verify` must say the same.
//!
//! | module | owns |
//! |---|---|
//! | [`room`] | machines and programs |
//! | [`load`] | traffic that becomes events |
//! | [`faults`] | what breaks |
//! | [`disk`], [`clock`] | the recorder's disk, a PC's wall clock |
//! | [`crowd`] | thousands of PCs, played by one program |
//! | `hostile` | what else a PC can send |
//! | [`oracle`] | journals against record |
//! | [`torn`] | a log that ends at any byte |

pub mod clock;
pub mod crowd;
pub mod disk;
pub mod faults;
mod hostile;
pub mod load;
pub mod oracle;
pub mod room;
pub mod torn;

use std::{
    cmp::Reverse,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use self::{
    faults::{ALL, Fault, JUMP_MS},
    load::{PACE, Sent},
    oracle::{Journal, Record},
    room::{Room, recorder_command},
};

/// How much is done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The order of faults, and all that is left to chance.
    pub seed: u64,
    /// PCs with agents.
    pub agents: usize,
    /// How often every fault comes.
    pub rounds: usize,
    /// What breaks.
    pub faults: Vec<Fault>,
    /// So long the recorder stands still.
    pub stall: Duration,
    /// So long the network is cut.
    pub cut: Duration,
    /// So long the disk stays full.
    pub full: Duration,
    /// So long nothing breaks at the start.
    pub calm: Duration,
    /// Events of each of 3,000 PCs.
    pub crowd_events: usize,
    /// The recorder's disk, in MiB.
    pub disk: u64,
    /// So many journals `labwatch-recorder verify` compares as well.
    pub verified: usize,
}

impl Plan {
    /// Every fault once, in a small room.
    #[must_use]
    pub fn short(seed: u64) -> Self {
        Self {
            seed,
            agents: 8,
            rounds: 1,
            faults: ALL.to_vec(),
            stall: Duration::from_secs(5),
            cut: Duration::from_secs(2),
            full: Duration::from_secs(2),
            calm: Duration::from_secs(4),
            crowd_events: 2,
            disk: 64,
            verified: 2,
        }
    }

    /// Every fault so many times, in a room of 20.
    #[must_use]
    pub fn whole(seed: u64, rounds: usize) -> Self {
        Self {
            seed,
            agents: room::PCS,
            rounds,
            faults: ALL.to_vec(),
            stall: Duration::from_secs(30),
            cut: Duration::from_secs(16),
            full: Duration::from_secs(10),
            calm: Duration::from_secs(20),
            crowd_events: 30,
            disk: 512,
            verified: 5,
        }
    }
}

/// Does it all, and says on standard output what.
///
/// # Panics
/// When a fault did not happen, or anything was lost, doubled or changed.
pub fn run(plan: &Plan) {
    println!("{plan:?}");
    let mut dice = fastrand::Rng::with_seed(plan.seed);
    let began = Instant::now();
    let mut room = Room::open(plan.agents, plan.disk);
    the_load_is_what_it_should_be(&room, plan);
    for _ in 0..plan.rounds {
        let mut faults = plan.faults.clone();
        dice.shuffle(&mut faults);
        for fault in faults {
            println!("{:6.1} s  {fault:?}", began.elapsed().as_secs_f32());
            fault.strike(&mut room, plan, &mut dice);
            faults::pause(&mut dice, 1_500);
        }
    }
    println!("{:6.1} s  all is healed", began.elapsed().as_secs_f32());
    let sent = room.load.stop();
    for stranger in &mut room.strangers {
        stranger.deliver(&room.lab.server, 1883);
        stranger.write_journals(room.lab.dir.path());
    }
    let record = end(&mut room);
    println!(
        "{:6.1} s  everything has ended",
        began.elapsed().as_secs_f32()
    );
    judge(&room, plan, &record, sent);
    println!("{:6.1} s  done", began.elapsed().as_secs_f32());
}

fn accesses(journals: &[Journal]) -> u64 {
    let count =
        |journal: &Journal| journal.count("intranet-access") + journal.count("internet-access");
    journals.iter().map(count).sum()
}

fn the_load_is_what_it_should_be(room: &Room, plan: &Plan) {
    // The first seconds are those in which captures are opened.
    thread::sleep(Duration::from_secs(3));
    let look = || (accesses(&room.journals()), Instant::now());
    let (before, began) = look();
    thread::sleep(plan.calm);
    let (after, ended) = look();
    let rate = (after - before) as f64 / (ended - began).as_secs_f64();
    let aim = (PACE * plan.agents as u64) as f64;
    println!("{rate:.0} events/s are journalled (aim: {aim})");
    assert!(rate > 0.8 * aim, "the load is too small to show anything");
}

/// Ends all programs in order, once the record has come after.
fn end(room: &mut Room) -> Record {
    let limit = Duration::from_secs(120);
    let _ = room.settle(limit);
    for seat in &mut room.seats {
        let (status, _) = seat.agent.terminate();
        assert!(status.success(), "{status}");
    }
    let record = room.settle(limit);
    for program in [&mut room.recorder, &mut room.notifier, &mut room.broker] {
        let (status, _) = program.terminate();
        assert!(status.success(), "{status}");
    }
    record
}

fn judge(room: &Room, plan: &Plan, before: &Record, sent: Sent) {
    let (journals, record) = (room.journals(), Record::read(&room.records()));
    let findings = record.compare(&journals);
    println!(
        "{} journals, {} events in them, {} recorded; notes: {:?}",
        journals.len(),
        journals
            .iter()
            .map(|journal| journal.lines.len())
            .sum::<usize>(),
        record.len(),
        record.notes
    );
    assert!(findings.is_empty(), "{findings}");
    assert_eq!(record.len(), before.len(), "nothing comes after the end");
    let share = accesses(&journals) as f64 / sent.events() as f64;
    println!(
        "{:.0} % of what {sent:?} can give was journalled",
        share * 100.0
    );
    assert!(
        (0.7..=1.05).contains(&share),
        "the agents were not there, or see double"
    );
    assert_eq!(record.notes.get("gap"), None, "no agent has lost anything");
    let slow = record.jumps.iter().filter(|ms| ms.abs() < JUMP_MS).count();
    assert_eq!(slow, 0, "clocks that nobody has touched have jumped");
    verify(&room.records(), &journals, plan.verified);
}

/// What the recorder itself says of its directory, and of a few journals beside it.
fn verify(records: &Path, journals: &[Journal], count: usize) {
    let check = |journal: Option<&Journal>| {
        let mut command = recorder_command();
        command.arg("verify").arg(records);
        if let Some(journal) = journal {
            command.arg("--journal").arg(&journal.path);
        }
        let checked = command.output().unwrap();
        let said = String::from_utf8_lossy(&checked.stdout);
        assert!(
            checked.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&checked.stderr)
        );
        said.lines().last().unwrap_or_default().to_owned()
    };
    println!("{}", check(None));
    let mut longest: Vec<_> = journals.iter().collect();
    longest.sort_by_key(|journal| Reverse(journal.lines.len()));
    for journal in longest.into_iter().take(count) {
        let _ = check(Some(journal));
    }
}
