//! Real captures through the network's state machine, split into ticks and reports at random: the sums over all reports are
//! the same.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test reads files, and fails by panicking"
)]

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use labwatch_agent::net::{
    Moment,
    flows::{Flows, Output},
    packet::{self, Captured, Content, LinkType},
    surroundings::{Interface, Surroundings},
};
use labwatch_contract::time::Timestamp;

const MOST_PACKETS: usize = 3000;

struct Frame {
    at: Moment,
    bytes: Vec<u8>,
    len: u32,
}

impl Frame {
    fn captured(&self, link: LinkType) -> Captured<'_> {
        Captured {
            link,
            bytes: &self.bytes,
            len: self.len,
        }
    }
}

/// Sent and received bytes and packets of each peer, bytes of all else, bytes of the interface.
#[derive(Debug, Default, PartialEq)]
struct Sums {
    peers: BTreeMap<IpAddr, [u64; 4]>,
    other: u64,
    interface: u64,
}

fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    let folder = env::var_os("LABWATCH_CAPTURES").map_or(beside, PathBuf::from);
    folder.join("conversations.tsv").exists().then_some(folder)
}

fn skip() {
    let text = "SKIPPED: no captures beside the workspace (LABWATCH_CAPTURES names their folder)";
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    files
        .into_iter()
        .chain(folders.iter().flat_map(|one| self::files(one)))
        .collect()
}

/// What is no capture of a known link type has none.
fn frames(path: &Path) -> Option<(LinkType, Vec<Frame>)> {
    let mut capture = pcap::Capture::from_file(path).ok()?;
    let link = LinkType::from_dlt(capture.get_datalink().0)?;
    let mut frames = Vec::new();
    let mut uptime = Duration::ZERO;
    while let Ok(captured) = capture.next_packet()
        && frames.len() < MOST_PACKETS
    {
        uptime += Duration::from_millis(7);
        let time = Timestamp::from_unix_ms(1_700_000_000_000).unwrap();
        frames.push(Frame {
            at: Moment { uptime, time },
            bytes: captured.data.to_vec(),
            len: captured.header.len,
        });
    }
    (!frames.is_empty()).then_some((link, frames))
}

/// A PC that has the address which most of the packets came from.
fn pc(link: LinkType, frames: &[Frame]) -> Flows {
    let mut senders = BTreeMap::<IpAddr, usize>::new();
    for frame in frames {
        if let Content::Ip(packet) = packet::parse(link, &frame.bytes, frame.len).content {
            *senders.entry(packet.source).or_default() += 1;
        }
    }
    let own = senders
        .into_iter()
        .max_by_key(|(_, count)| *count)
        .map(|(ip, _)| ip);
    let mut interface = Interface {
        index: 1,
        ..Interface::default()
    };
    interface.shown.addresses = own.into_iter().map(Into::into).collect();
    let here = Surroundings {
        interfaces: vec![interface.clone()],
        ..Surroundings::default()
    };
    let start = Moment {
        uptime: Duration::ZERO,
        time: Timestamp::from_unix_ms(1_700_000_000_000).unwrap(),
    };
    let mut flows = Flows::new(start);
    flows.set_surroundings(&here, here.networks(&[], None));
    flows.open_interface(&interface);
    flows
}

fn count<'a>(flows: &mut Flows, link: LinkType, frames: impl IntoIterator<Item = &'a Frame>) {
    let mut counting = flows.counting(1);
    for frame in frames {
        counting.handle(&frame.captured(link), frame.at);
    }
}

fn collect(flows: &mut Flows, sums: &mut Sums) {
    while let Some(output) = flows.poll_output() {
        let Output::Occurrence(occurrence) = output else {
            continue;
        };
        let lab = occurrence.fields.lab;
        sums.other += lab.other_bytes.unwrap_or_default();
        sums.interface += lab
            .interfaces
            .iter()
            .flatten()
            .map(|one| one.bytes)
            .sum::<u64>();
        for peer in lab.peers.into_iter().flatten() {
            let [sent, received, packets_sent, packets_received] =
                sums.peers.entry(peer.ip).or_default();
            *sent += peer.sent_bytes;
            *received += peer.received_bytes;
            *packets_sent += peer.sent_packets;
            *packets_received += peer.received_packets;
        }
    }
}

/// Each frame is an opening as well. Where `split` says so time passes, and the frames since then are counted; every third
/// time there is a report.
fn sums(link: LinkType, frames: &[Frame], mut split: impl FnMut() -> bool) -> Sums {
    let mut flows = pc(link, frames);
    let (mut sums, mut waiting, mut ticks) = (Sums::default(), Vec::new(), 0);
    for frame in frames {
        flows.handle_opening(&packet::parse(link, &frame.bytes, frame.len), 1, frame.at);
        waiting.push(frame);
        if split() {
            count(&mut flows, link, waiting.drain(..));
            flows.handle_timeout(frame.at);
            ticks += 1;
            if ticks % 3 == 0 {
                flows.end_interval(frame.at);
            }
            collect(&mut flows, &mut sums);
        }
    }
    count(&mut flows, link, waiting);
    let end = frames.last().unwrap().at;
    flows.finish(end);
    collect(&mut flows, &mut sums);
    sums
}

/// All that is told of the frames, looking at each or only at those that are more than one more of their flow; now and then
/// there is a report.
fn told(link: LinkType, frames: &[Frame], look_at_each: bool) -> Vec<Output> {
    let mut flows = pc(link, frames);
    let mut told = Vec::new();
    for (number, batch) in frames.chunks(50).enumerate() {
        if look_at_each {
            for frame in batch {
                flows.handle_frame(&packet::parse(link, &frame.bytes, frame.len), 1, frame.at);
            }
        } else {
            count(&mut flows, link, batch);
        }
        let now = batch.last().unwrap().at;
        flows.handle_timeout(now);
        if number % 6 == 5 {
            flows.end_interval(now);
        }
        told.extend(std::iter::from_fn(|| flows.poll_output()));
    }
    flows.finish(frames.last().unwrap().at);
    told.extend(std::iter::from_fn(|| flows.poll_output()));
    told
}

#[test]
fn the_beaten_way_tells_the_same_as_a_look_at_each_frame() {
    let Some(folder) = folder() else {
        return skip();
    };
    for path in files(&folder) {
        if let Some((link, frames)) = frames(&path) {
            let (short, long) = (told(link, &frames, false), told(link, &frames, true));
            assert_eq!(short, long, "{}", path.display());
        }
    }
}

#[test]
fn any_split_of_a_capture_into_ticks_and_reports_gives_the_same_sums() {
    let Some(folder) = folder() else {
        return skip();
    };
    let mut random = fastrand::Rng::with_seed(7);
    let mut tried = 0;
    for path in files(&folder) {
        let Some((link, frames)) = frames(&path) else {
            continue;
        };
        let whole = sums(link, &frames, || false);
        let bytes: u64 = frames.iter().map(|frame| u64::from(frame.len)).sum();
        let of_peers: u64 = whole
            .peers
            .values()
            .map(|[sent, received, ..]| sent + received)
            .sum();
        assert_eq!(
            (whole.interface, of_peers + whole.other),
            (bytes, bytes),
            "{}",
            path.display()
        );
        for often in [1, 3, 40] {
            let split = sums(link, &frames, || random.u32(..often) == 0);
            assert_eq!(split, whole, "{}", path.display());
        }
        tried += 1;
    }
    assert!(tried > 300, "{tried}");
}
