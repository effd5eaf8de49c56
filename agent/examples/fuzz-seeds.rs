//! `fuzz-seeds CORPUS CAPTURE...`: from a capture file the seeds of the fuzz targets that read what the network brings.
//!
//! Writes each frame to `CORPUS/packet` and the payloads to the folder of the parser that would read them. Seeds are named
//! by their content's hash, so that a second run adds nothing. A file that cannot be read is passed over; so are long
//! seeds, and of each file and target what is beyond the first few: a small corpus is gone through quickly.

#![expect(
    clippy::disallowed_methods,
    reason = "a tool that reads and writes files"
)]

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    env, fs,
    hash::{Hash as _, Hasher as _},
    path::Path,
};

use anyhow::Context as _;
use labwatch_agent::net::packet::{self, Content, LinkType, Packet};

/// In the order of the target `packet`, which chooses by its first byte.
const DLTS: [i32; 8] = [1, 113, 276, 101, 228, 229, 9, 0];

/// So many seeds a file and target.
const MOST: usize = 20;
/// Bytes; what is longer teaches nothing more.
const LONGEST: usize = 2048;

fn main() -> anyhow::Result<()> {
    let mut arguments = env::args_os().skip(1);
    let corpus = arguments.next().context("no folder for the seeds")?;
    let corpus = Path::new(&corpus);
    for capture in arguments {
        if let Ok(capture) = pcap::Capture::from_file(&capture) {
            seeds(capture, corpus)?;
        }
    }
    Ok(())
}

fn seeds(mut capture: pcap::Capture<pcap::Offline>, corpus: &Path) -> anyhow::Result<()> {
    let dlt = capture.get_datalink().0;
    let choice = DLTS.iter().position(|&known| known == dlt);
    let Some((link, choice)) = LinkType::from_dlt(dlt).zip(choice) else {
        return Ok(());
    };
    let choice = u8::try_from(choice)?;
    let mut counts = HashMap::new();
    let mut write = |target, seed: &[u8]| {
        let count = counts.entry(target).or_insert(0);
        *count += 1;
        match *count <= MOST && seed.len() <= LONGEST {
            true => write(corpus, target, seed),
            false => Ok(()),
        }
    };
    while let Ok(captured) = capture.next_packet() {
        write("packet", &[&[choice], captured.data].concat())?;
        let frame = packet::parse(link, captured.data, captured.header.len);
        if let Content::Ip(packet) = frame.content
            && let Some(target) = target(&packet)
        {
            write(target, packet.payload)?;
        }
    }
    Ok(())
}

fn target(packet: &Packet<'_>) -> Option<&'static str> {
    let ports = packet.ports?;
    match (packet.tcp_flags, packet.payload, ports.source) {
        (Some(_), [0x16 | b'A'..=b'Z', ..], _) => Some("clienthello"),
        (None, _, 53 | 5353 | 5355) => Some("dns"),
        (None, [0xc0..=0xff, ..], _) => Some("quic"),
        _ => None,
    }
}

fn write(corpus: &Path, target: &str, seed: &[u8]) -> anyhow::Result<()> {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    let folder = corpus.join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(format!("{:016x}", hasher.finish())), seed)?;
    Ok(())
}
