//! What the agent's evidence costs: CPU time to number, chain, journal and hand over an event, and the memory that a
//! backlog of 100,000 events takes while it is read back and confirmed. `cargo bench -p labwatch-agent`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a benchmark talks to the world, and fails by a panic"
)]

use std::{fs, time::Duration};

use labwatch_agent::{
    journal::Journal,
    outbox::{Confirmed, Outbox, Transmit},
    retention::Bounds,
    sealer::Sealer,
};
use labwatch_contract::{
    ack::{Ack, Mark},
    chain::Digest,
    event::{Action, Boot, Fields, Host, Occurrence, contact::Endpoint},
};
use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

const EVENTS: u64 = 100_000;
const MIB: u64 = 1024 * 1024;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = Bounds {
        size: 4096 * MIB,
        age: Duration::from_secs(30 * 24 * 3600),
    };
    let (mut journal, past) = Journal::open(dir.path(), bounds).unwrap();
    let name = journal.next_name();
    let now = chrono::Utc::now().into();
    journal.begin(name, now).unwrap();
    let mut sealer = Sealer::new(name, past.prev);
    let mut outbox = Outbox::new(&[], Confirmed::default(), name);

    let (occurrence, host) = (occurrence(), host());
    let mut bytes = 0;
    let began = cpu();
    for _ in 0..EVENTS {
        let sealed = sealer.seal(occurrence.clone(), &host, 1).unwrap();
        journal.append(&sealed.payload, now).unwrap();
        bytes += sealed.payload.len();
        outbox.handle_event(sealed);
    }
    let each = (cpu() - began) / u32::try_from(EVENTS).unwrap();
    let size = bytes / usize::try_from(EVENTS).unwrap();
    println!("journal    {each:>9.1?} CPU an event of {size} bytes (at most 50 µs)");
    println!(
        "bare file  {:>9.1?} CPU for the same bytes appended line by line",
        bare(dir.path(), size)
    );

    let before = resident();
    let (sent, took) = drain(&mut outbox, &mut journal, name);
    let after = resident();
    let each = took / u32::try_from(sent).unwrap();
    println!("backlog    {each:>9.1?} CPU an event, {sent} read back and confirmed");
    println!("memory     {before} KiB before, {after} KiB after");
    assert_eq!(outbox.backlog(), 0);
}

/// Plays a recorder that confirms each window; CPU time.
fn drain(outbox: &mut Outbox, journal: &mut Journal, name: Uuid) -> (u64, Duration) {
    let (now, began, mut sent) = (Duration::from_secs(1), cpu(), 0);
    outbox.handle_connected(now);
    let mut sequence = 0;
    while outbox.backlog() > 0 {
        let ack = Ack {
            recorder: Uuid::from_u128(1),
            marks: vec![Mark {
                journal: name,
                sequence,
            }],
            refused: vec![],
        };
        outbox.handle_ack(&ack, now);
        while let Some(Transmit::Stored {
            journal: of,
            sequence: number,
        }) = outbox.poll_transmit(now)
        {
            std::hint::black_box(journal.read(of, number).unwrap());
            sequence = number;
            sent += 1;
        }
    }
    (sent, cpu() - began)
}

fn bare(dir: &std::path::Path, size: usize) -> Duration {
    use std::io::Write as _;
    let mut file = fs::File::create(dir.join("bare")).unwrap();
    let line = vec![b'x'; size + 1];
    let began = cpu();
    for _ in 0..EVENTS {
        file.write_all(&line).unwrap();
    }
    (cpu() - began) / u32::try_from(EVENTS).unwrap()
}

fn occurrence() -> Occurrence {
    let end = |last, port| Endpoint {
        ip: [192, 168, 0, last].into(),
        port: Some(port),
        domain: None,
    };
    Occurrence {
        time: "2026-11-22T09:31:05Z".parse().unwrap(),
        action: Action::IntranetAccess,
        fields: Fields {
            source: Some(end(133, 50_000)),
            destination: Some(end(7, 445)),
            ..Fields::default()
        },
    }
}

fn host() -> Host {
    Host {
        ip: [192, 168, 0, 133].into(),
        name: "pc-33".into(),
        id: Digest::ZERO.to_string().chars().take(32).collect(),
        mac: Some("2c-6e-85-00-b6-3a".into()),
        boot: Boot {
            id: Uuid::nil().to_string(),
        },
    }
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap(),
        time.tv_nsec.try_into().unwrap(),
    )
}

/// Resident memory of this process in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}
