//! `labwatch-agent replay FILE`: a capture file through the same code as live capture, as lines of JSON.
//!
//! In this order: per directed pair of outermost addresses
//! `{"source":{"ip"},"destination":{"ip"},"network":{"bytes","packets"}}`, per learned name
//! `{"ip","domain","name_source"}`, last `{"packets","non_ip","malformed"}`. Pairs and names are sorted. Reads what libpcap
//! reads: pcap and pcapng of one link type. A file that breaks off is told up to there, then as an error. Memory grows with
//! the pairs and names of the file; this is a tool for a person at a desk.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    net::IpAddr,
    path::Path,
    time::Duration,
};

use labwatch_contract::event::contact::NameSource;
use serde::Serialize;

use crate::net::{
    names::Listener,
    packet::{self, Content, Frame, LinkType, Packet},
};

/// Why a file could not be replayed, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There is no such file, or it is no capture file.
    #[error("cannot read it as a capture file: {0}")]
    Open(#[source] pcap::Error),
    /// Frames of this link type cannot be read.
    #[error("cannot read link type {0}")]
    LinkType(String),
    /// The file breaks off; what came before has been written.
    #[error("the file breaks off behind packet {after}: {source}")]
    Broken {
        /// How many packets were read.
        after: u64,
        /// What libpcap says.
        source: pcap::Error,
    },
    /// The result could not be written.
    #[error("cannot write the result: {0}")]
    Write(#[from] io::Error),
}

/// Reads the capture file `path`, and writes what is in it to `out`.
///
/// # Errors
/// [`ReplayError`]; only after [`ReplayError::Broken`] the lines written are whole.
pub fn replay(path: &Path, out: &mut impl Write) -> Result<(), ReplayError> {
    let mut capture = pcap::Capture::from_file(path).map_err(ReplayError::Open)?;
    let dlt = capture.get_datalink();
    let link = LinkType::from_dlt(dlt.0).ok_or_else(|| ReplayError::LinkType(describe(dlt)))?;
    let mut tally = Tally::default();
    let end = loop {
        match capture.next_packet() {
            Ok(packet) => {
                let frame = packet::parse(link, packet.data, packet.header.len);
                tally.add(&frame, since_epoch(packet.header));
            }
            Err(pcap::Error::NoMorePackets) => break Ok(()),
            Err(source) => {
                break Err(ReplayError::Broken {
                    after: tally.sums.packets,
                    source,
                });
            }
        }
    };
    tally.write(out)?;
    end
}

/// By the frame's own time stamp; what time was of no year is the beginning of all.
fn since_epoch(header: &pcap::PacketHeader) -> Duration {
    let seconds = u64::try_from(header.ts.tv_sec).unwrap_or_default();
    let micros = u64::try_from(header.ts.tv_usec).unwrap_or_default();
    Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros))
}

fn describe(dlt: pcap::Linktype) -> String {
    let name = dlt.get_name().unwrap_or_else(|_| "unknown".to_owned());
    format!("{} ({name})", dlt.0)
}

#[derive(Default)]
struct Tally {
    pairs: BTreeMap<(IpAddr, IpAddr), Traffic>,
    listener: Listener,
    learned: BTreeSet<(IpAddr, String, NameSource)>,
    sums: Sums,
}

#[derive(Default, Clone, Copy, Serialize)]
struct Traffic {
    bytes: u64,
    packets: u64,
}

#[derive(Default, Serialize)]
struct Sums {
    packets: u64,
    non_ip: u64,
    malformed: u64,
}

#[derive(Serialize)]
struct PairLine {
    source: Ip,
    destination: Ip,
    network: Traffic,
}

#[derive(Serialize)]
struct Ip {
    ip: IpAddr,
}

#[derive(Serialize)]
struct NameLine<'a> {
    ip: IpAddr,
    domain: &'a str,
    name_source: NameSource,
}

impl Tally {
    fn add(&mut self, frame: &Frame<'_>, now: Duration) {
        self.sums.packets += 1;
        match frame.content {
            Content::Ip(packet) => {
                let traffic = self
                    .pairs
                    .entry((packet.source, packet.destination))
                    .or_default();
                traffic.packets += 1;
                traffic.bytes += u64::from(frame.len);
                self.hear_names(&packet, now);
            }
            Content::Other => self.sums.non_ip += 1,
            Content::Malformed => self.sums.malformed += 1,
        }
    }

    fn hear_names(&mut self, packet: &Packet<'_>, now: Duration) {
        let heard = self.listener.hear(packet, now).into_iter();
        let learned = heard.map(|heard| (heard.ip, heard.name.domain, heard.name.source));
        self.learned.extend(learned);
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for (&(source, destination), &network) in &self.pairs {
            let (source, destination) = (Ip { ip: source }, Ip { ip: destination });
            line(
                out,
                &PairLine {
                    source,
                    destination,
                    network,
                },
            )?;
        }
        for (ip, domain, name_source) in &self.learned {
            line(
                out,
                &NameLine {
                    ip: *ip,
                    domain,
                    name_source: *name_source,
                },
            )?;
        }
        line(out, &self.sums)?;
        out.flush()
    }
}

fn line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}
