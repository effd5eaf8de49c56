//! What breaks: each fault is made, seen to have happened, and undone; nobody waits until the room has recovered from it.

use std::{
    fs,
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use super::{
    Plan,
    crowd::Crowd,
    hostile,
    oracle::Record,
    room::{Room, kill, state},
};
use crate::program::eventually;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The recorder is killed.
    Recorder,
    /// The broker is killed, and forgets everything.
    Broker,
    /// The notifier is killed.
    Notifier,
    /// An agent is killed.
    Agent,
    /// Everything is killed, and started in any order.
    Everything,
    /// The recorder stands still.
    Stall,
    /// A PC's cable is pulled.
    Cable,
    /// The server's cable is pulled.
    ServerCable,
    /// What a PC says does not reach the server; what the server says reaches the PC.
    DeafServer,
    /// What the server says does not reach a PC; what the PC says reaches the server.
    DeafPc,
    /// The recorder's disk is full, and free again.
    FullDisk,
    /// The recorder is killed and started while its disk is full.
    FullDiskAtStart,
    /// The recorder may make no file.
    ClosedDisk,
    /// The recorder is killed and started while it may make no file.
    ClosedDiskAtStart,
    /// What a PC has sent is sent again by somebody else on it.
    Repetition,
    /// Messages that are no events, and one of 10 MB.
    Rubbish,
    /// A PC's wall clock goes an hour ahead and back.
    Clock,
    /// A PC gets another address, and its own again.
    Address,
    /// Two PCs have one address.
    OneAddress,
    /// 3,000 PCs speak at once.
    Crowd,
}

/// All of them.
pub const ALL: [Fault; 20] = [
    Fault::Recorder,
    Fault::Broker,
    Fault::Notifier,
    Fault::Agent,
    Fault::Everything,
    Fault::Stall,
    Fault::Cable,
    Fault::ServerCable,
    Fault::DeafServer,
    Fault::DeafPc,
    Fault::FullDisk,
    Fault::FullDiskAtStart,
    Fault::ClosedDisk,
    Fault::ClosedDiskAtStart,
    Fault::Repetition,
    Fault::Rubbish,
    Fault::Clock,
    Fault::Address,
    Fault::OneAddress,
    Fault::Crowd,
];

impl Fault {
    /// Makes it, sees it, undoes it.
    pub fn strike(self, room: &mut Room, plan: &Plan, dice: &mut fastrand::Rng) {
        let seat = dice.usize(..room.seats.len());
        match self {
            Self::Recorder => recorder(room, dice),
            Self::Broker => broker(room, dice),
            Self::Notifier => notifier(room, dice),
            Self::Agent => agent(room, seat, dice),
            Self::Everything => everything(room, dice),
            Self::Stall => stall(room, plan),
            Self::Cable => cable(room, seat, plan),
            Self::ServerCable => server_cable(room, plan),
            Self::DeafServer => deaf(room, seat, plan, true),
            Self::DeafPc => deaf(room, seat, plan, false),
            Self::FullDisk => full_disk(room, plan, false),
            Self::FullDiskAtStart => full_disk(room, plan, true),
            Self::ClosedDisk => closed_disk(room, dice, false),
            Self::ClosedDiskAtStart => closed_disk(room, dice, true),
            Self::Repetition => hostile::repeat(room, seat),
            Self::Rubbish => hostile::rubbish(room, seat),
            Self::Clock => clock(room),
            Self::Address => address(room, seat),
            Self::OneAddress => one_address(room, seat),
            Self::Crowd => crowd(room, plan, dice),
        }
    }
}

/// Any time up to so many milliseconds.
pub(super) fn pause(dice: &mut fastrand::Rng, milliseconds: u64) {
    thread::sleep(Duration::from_millis(dice.u64(..milliseconds)));
}

fn recorder(room: &mut Room, dice: &mut fastrand::Rng) {
    kill(&mut room.recorder, "recorder");
    pause(dice, 2_000);
    room.start_recorder();
}

fn broker(room: &mut Room, dice: &mut fastrand::Rng) {
    kill(&mut room.broker, "broker");
    pause(dice, 2_000);
    room.start_broker();
}

fn notifier(room: &mut Room, dice: &mut fastrand::Rng) {
    kill(&mut room.notifier, "notifier");
    pause(dice, 500);
    room.start_notifier();
}

fn agent(room: &mut Room, seat: usize, dice: &mut fastrand::Rng) {
    kill(&mut room.seats[seat].agent, "agent");
    pause(dice, 1_000);
    room.start_agent(seat);
}

fn everything(room: &mut Room, dice: &mut fastrand::Rng) {
    kill(&mut room.recorder, "recorder");
    kill(&mut room.broker, "broker");
    kill(&mut room.notifier, "notifier");
    for seat in &mut room.seats {
        kill(&mut seat.agent, "agent");
    }
    let mut starts: Vec<fn(&mut Room)> = vec![
        Room::start_broker,
        Room::start_recorder,
        Room::start_notifier,
        |room| (0..room.seats.len()).for_each(|seat| room.start_agent(seat)),
    ];
    dice.shuffle(&mut starts);
    for start in starts {
        start(room);
        pause(dice, 500);
    }
}

fn stall(room: &mut Room, plan: &Plan) {
    room.recorder.signal(Signal::SIGSTOP);
    eventually("the recorder stands still", || {
        (state(room.recorder.pid()) == Some('T')).then_some(())
    });
    thread::sleep(plan.stall);
    assert_eq!(state(room.recorder.pid()), Some('T'), "it still does");
    room.recorder.signal(Signal::SIGCONT);
}

fn cable(room: &mut Room, seat: usize, plan: &Plan) {
    let pc = room.seats[seat].pc.clone();
    let skip = room.seats[seat].agent.lines().len();
    room.lab.plug(&pc, false);
    thread::sleep(plan.cut);
    let heard = room.lab.server.inside(|| reaches(pc.ip));
    room.lab.plug(&pc, true);
    assert!(!heard, "the cable is out");
    // Two keep-alives of five seconds, and a busy machine's delay.
    if plan.cut > Duration::from_secs(14) {
        let _ = room.seats[seat]
            .agent
            .wait_for_after(skip, &["connection to the broker lost"]);
    }
}

fn server_cable(room: &mut Room, plan: &Plan) {
    room.lab.plug(&room.lab.server, false);
    thread::sleep(plan.cut);
    let heard = room.lab.server.inside(|| reaches(room.seats[0].pc.ip));
    room.lab.plug(&room.lab.server, true);
    assert!(!heard, "the cable is out");
}

fn deaf(room: &mut Room, seat: usize, plan: &Plan, server: bool) {
    let (pc, staff) = (&room.seats[seat].pc, &room.lab.server);
    let (from, to) = if server { (pc, staff) } else { (staff, pc) };
    room.lab.mislead(from, to, true);
    thread::sleep(plan.cut);
    let heard = from.inside(|| reaches(to.ip));
    room.lab.mislead(from, to, false);
    assert!(!heard, "nothing gets through");
}

/// Whether a machine's network answers: a refused connection is an answer too.
fn reaches(ip: Ipv4Addr) -> bool {
    let tried = std::net::TcpStream::connect_timeout(&(ip, 9).into(), Duration::from_millis(300));
    !tried.is_err_and(|error| {
        matches!(
            error.kind(),
            std::io::ErrorKind::TimedOut | std::io::ErrorKind::HostUnreachable
        )
    })
}

/// Lines of the staff's, so that only what comes later counts.
pub(super) fn seen(room: &Room) -> usize {
    room.staff.lines().len()
}

pub(super) fn await_alert(room: &Room, after: usize, action: &str) {
    let action = format!("\"action\":\"{action}\"");
    let _ = room
        .staff
        .wait_for_after(after, &["lab/alerts/recorder-disk", &action]);
}

fn full_disk(room: &mut Room, plan: &Plan, at_start: bool) {
    let before = seen(room);
    room.disk.fill();
    await_alert(room, before, "opened");
    if at_start {
        let before = seen(room);
        kill(&mut room.recorder, "recorder");
        room.disk.fill();
        room.start_recorder();
        await_alert(room, before, "opened");
    }
    let end = Instant::now() + plan.full;
    while Instant::now() < end {
        room.disk.fill();
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(room.disk.free(), 0);
    assert!(room.recorder.is_running(), "it waits for room");
    let before = seen(room);
    room.disk.empty();
    await_alert(room, before, "resolved");
}

fn closed_disk(room: &mut Room, dice: &mut fastrand::Rng, at_start: bool) {
    let before = seen(room);
    room.disk.close(true);
    if at_start {
        kill(&mut room.recorder, "recorder");
        room.start_recorder();
    } else {
        // Somebody new needs a new folder.
        let first = Ipv4Addr::new(10, 98, dice.u8(..), dice.u8(1..));
        let mut stranger = Crowd::new(first, 1, 3);
        stranger.offer(&room.lab.server, 1883);
        room.strangers.push(stranger);
    }
    await_alert(room, before, "opened");
    thread::sleep(Duration::from_secs(1));
    assert!(room.recorder.is_running(), "it waits until it may");
    let before = seen(room);
    room.disk.close(false);
    await_alert(room, before, "resolved");
}

/// More than half an hour either way is no drift.
pub(super) const JUMP_MS: i64 = 1_800_000;

const ALIAS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 250);

fn clock(room: &mut Room) {
    let jumps = |room: &Room, way: i64| {
        let jumps = Record::read(&room.records()).jumps.into_iter();
        jumps.filter(|ms| ms * way > JUMP_MS).count()
    };
    let before = [1, -1].map(|way| jumps(room, way));
    for (seconds, way, before) in [(3600, 1, before[0]), (0, -1, before[1])] {
        room.clock.set(seconds);
        // Packets keep the kernel's time, and go on to say so between the two; a new address is told by the PC's own.
        room.lab.alias(&room.seats[0].pc, ALIAS, seconds > 0);
        eventually("the jump is in the record", || {
            (jumps(room, way) > before).then_some(())
        });
    }
}

fn address(room: &mut Room, seat: usize) {
    let pc = room.seats[seat].pc.clone();
    let [a, b, c, d] = pc.ip.octets();
    let mut moved = pc.clone();
    moved.ip = Ipv4Addr::new(a, b, c, d + 100);
    room.lab.readdress(&pc, moved.ip);
    room.load.readdress(seat, moved.ip);
    room.await_record_by(seat, moved.ip);
    room.lab.readdress(&moved, pc.ip);
    room.load.readdress(seat, pc.ip);
}

fn one_address(room: &mut Room, seat: usize) {
    let other = (seat + 1) % room.seats.len();
    let (pc, own) = (room.seats[other].pc.clone(), room.seats[seat].pc.ip);
    let mut doubled = pc.clone();
    doubled.ip = own;
    room.lab.readdress(&pc, own);
    room.await_record_by(other, own);
    room.lab.readdress(&doubled, pc.ip);
    // Else the server would look for the address at the wrong machine for up to a minute.
    room.lab.forget_neighbours(&room.lab.server);
}

fn crowd(room: &mut Room, plan: &Plan, dice: &mut fastrand::Rng) {
    let limits = fs::read_to_string(format!("/proc/{}/limits", room.recorder.pid())).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    assert_eq!(
        files.split_whitespace().nth(3),
        Some(super::room::DESCRIPTORS),
        "{files}"
    );
    let first = Ipv4Addr::new(10, 100 + dice.u8(..100), 0, 0);
    let mut crowd = Crowd::new(first, 3_000, plan.crowd_events);
    crowd.deliver(&room.lab.server, 1883);
    room.strangers.push(crowd);
}
