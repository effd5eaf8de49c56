//! Replay of several hundred real captures, many of them malformed or hostile on purpose: no panic, no hang, and the
//! same totals as tshark on every file of a supported link type, also on those that it calls malformed.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test reads files and clocks, and fails by panicking"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use labwatch_agent::replay::{ReplayError, replay};
use serde_json::Value;

/// Wireshark's numbers of the link types that can be read: Ethernet, PPP, raw IP (three kinds), loopback, Linux cooked.
const SUPPORTED: [&str; 9] = ["1", "4", "7", "129", "130", "15", "25", "210", "211"];

/// Files of a supported link type that we read otherwise than tshark, with the reason.
const EXCEPTIONS: [(&str, &str); 2] = [
    (
        "tcpdump/macsec-short-valid.pcap",
        "IP behind a MACsec tag (802.1AE), which no lab PC sends in clear text: non-IP",
    ),
    (
        "tcpdump/nsh.pcap",
        "IP behind a network service header (RFC 8300), which exists between routers only: non-IP",
    ),
];

/// Server names that we and tshark do not both find, with the reason.
const NAME_EXCEPTIONS: [(&str, &str); 2] = [
    (
        "zeek/tunnels/geneve-47101.pcap",
        "what a tunnel carries: only its ends are peers of this PC",
    ),
    (
        "zeek/tls/ssl-to-http-server.pcap",
        "a ClientHello to port 80, which tshark reads as HTTP by the port",
    ),
];

type Pairs = BTreeMap<(IpAddr, IpAddr), (u64, u64)>;

#[derive(Debug, Default)]
struct Expected {
    link: String,
    packets: u64,
    pairs: Pairs,
}

fn captures() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    let folder = env::var_os("LABWATCH_CAPTURES").map_or(beside, PathBuf::from);
    if folder.join("conversations.tsv").exists() {
        return Some(folder);
    }
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: no captures in {} (LABWATCH_CAPTURES names another folder)",
        folder.display()
    );
    None
}

fn expected(folder: &Path) -> BTreeMap<String, Expected> {
    let table = fs::read_to_string(folder.join("conversations.tsv")).unwrap();
    let mut files = BTreeMap::<String, Expected>::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let [file, packets, link, _, a, b, pair_packets, bytes] =
            line.split('\t').collect::<Vec<_>>()[..]
        else {
            panic!("{line}");
        };
        let entry = files.entry(file.to_owned()).or_default();
        entry.link = link.to_owned();
        entry.packets = packets.parse().unwrap();
        if let (Ok(a), Ok(b)) = (a.parse(), b.parse()) {
            add(
                &mut entry.pairs,
                (a, b),
                (pair_packets.parse().unwrap(), bytes.parse().unwrap()),
            );
        }
    }
    files
}

/// Both directions together, as tshark's table has them.
fn add(pairs: &mut Pairs, (a, b): (IpAddr, IpAddr), (packets, bytes): (u64, u64)) {
    let sums = pairs.entry((a.min(b), a.max(b))).or_default();
    sums.0 += packets;
    sums.1 += bytes;
}

/// What replay says: pairs, packets, and the error where there was one.
fn replayed(path: &Path) -> (Pairs, Option<u64>, Option<ReplayError>) {
    let mut out = Vec::new();
    let error = replay(path, &mut out).err();
    let mut pairs = Pairs::new();
    let mut packets = None;
    for line in String::from_utf8(out).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if let Some(network) = line.get("network") {
            let end = |name: &str| line[name]["ip"].as_str().unwrap().parse().unwrap();
            let sums = (
                network["packets"].as_u64().unwrap(),
                network["bytes"].as_u64().unwrap(),
            );
            add(&mut pairs, (end("source"), end("destination")), sums);
        }
        packets = line.get("packets").and_then(Value::as_u64).or(packets);
    }
    (pairs, packets, error)
}

#[test]
fn replay_agrees_with_tshark_on_every_readable_file() {
    let Some(folder) = captures() else { return };
    let expected = expected(&folder);
    let mut agreed = 0;
    let mut excepted = BTreeSet::new();
    for (file, expected) in &expected {
        let (pairs, packets, error) = replayed(&folder.join(file));
        if !SUPPORTED.contains(&expected.link.as_str()) {
            assert!(
                matches!(error, Some(ReplayError::LinkType(_))),
                "{file}: {error:?}"
            );
            continue;
        }
        assert!(error.is_none(), "{file}: {error:?}");
        assert_eq!(packets, Some(expected.packets), "{file}");
        if pairs == expected.pairs {
            agreed += 1;
        } else {
            let reason = EXCEPTIONS.iter().find(|(name, _)| name == file);
            assert!(
                reason.is_some(),
                "{file}: {pairs:?} but tshark says {:?}",
                expected.pairs
            );
            excepted.insert(file.as_str());
        }
    }
    let explained: BTreeSet<_> = EXCEPTIONS.iter().map(|(name, _)| *name).collect();
    assert_eq!(explained, excepted, "an exception is none any more");
    println!(
        "{} files, {agreed} agree, {} differ as explained",
        expected.len(),
        excepted.len()
    );
}

/// Server, name and source, by file.
type ServerNames = BTreeMap<String, BTreeSet<[String; 3]>>;

fn expected_names(folder: &Path) -> ServerNames {
    let table = fs::read_to_string(folder.join("names.tsv")).unwrap();
    let mut names = ServerNames::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let [file, server, name, source] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let name = [server, name, source].map(str::to_owned);
        names.entry(file.to_owned()).or_default().insert(name);
    }
    names
}

fn replayed_names(path: &Path) -> BTreeSet<[String; 3]> {
    let mut out = Vec::new();
    let _ = replay(path, &mut out);
    let lines = String::from_utf8(out).unwrap();
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter(|line| matches!(line["name_source"].as_str(), Some("sni" | "quic")))
        .map(|line| ["ip", "domain", "name_source"].map(|name| line[name].as_str().unwrap().into()))
        .collect()
}

#[test]
fn replay_finds_the_server_names_that_tshark_finds() {
    let Some(folder) = captures() else { return };
    let mut expected_names = expected_names(&folder);
    let mut excepted = BTreeSet::new();
    let mut agreed = 0;
    let files = expected(&folder);
    for file in files.keys() {
        let expected = expected_names.remove(file).unwrap_or_default();
        let found = replayed_names(&folder.join(file));
        if found == expected {
            agreed += expected.len();
        } else {
            let reason = NAME_EXCEPTIONS.iter().find(|(name, _)| name == file);
            assert!(
                reason.is_some(),
                "{file}: {found:?} but tshark {expected:?}"
            );
            excepted.insert(file.as_str());
        }
    }
    assert!(expected_names.is_empty(), "{expected_names:?}");
    let explained: BTreeSet<_> = NAME_EXCEPTIONS.iter().map(|(name, _)| *name).collect();
    assert_eq!(explained, excepted, "an exception is none any more");
    println!(
        "{agreed} server names agree, {} files differ as explained",
        excepted.len()
    );
}

#[test]
fn no_prefix_of_a_capture_panics_or_hangs() {
    let Some(folder) = captures() else { return };
    let scratch = tempfile::NamedTempFile::new().unwrap();
    let started = Instant::now();
    for file in expected(&folder).keys() {
        let whole = fs::read(folder.join(file)).unwrap();
        for part in [1, 2, 3, 5, 7] {
            fs::write(scratch.path(), &whole[..whole.len() / 8 * part]).unwrap();
            let _ = replay(scratch.path(), &mut std::io::sink());
        }
    }
    assert!(
        started.elapsed() < Duration::from_secs(120),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_file_that_breaks_off_is_told_up_to_there_and_then_as_an_error() {
    let Some(folder) = captures() else { return };
    let whole = fs::read(folder.join("zeek/tls/hrr.pcap")).unwrap();
    let scratch = tempfile::NamedTempFile::new().unwrap();
    fs::write(scratch.path(), &whole[..whole.len() - 1]).unwrap();
    let (_, packets, error) = replayed(scratch.path());
    assert_eq!(packets, Some(18));
    assert!(
        error
            .unwrap()
            .to_string()
            .contains("breaks off behind packet 18")
    );
}
