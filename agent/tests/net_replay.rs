//! `replay` on small files: an ARP frame, a DNS question and its answer (an alias between), a SYN behind a VLAN tag, a frame of
//! 65,000 bytes of which the capture kept 54, and a broken IPv6 header. The captures of names are made by hand, with keys and
//! seals from another library; tshark finds the same names in what it can put together.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};

use labwatch_agent::replay::{ReplayError, replay};
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/net")
        .join(name)
}

const LINES: &str = r#"{"source":{"ip":"192.168.0.1"},"destination":{"ip":"192.168.0.7"},"network":{"bytes":105,"packets":1}}
{"source":{"ip":"192.168.0.7"},"destination":{"ip":"192.168.0.1"},"network":{"bytes":71,"packets":1}}
{"source":{"ip":"192.168.0.7"},"destination":{"ip":"203.0.113.5"},"network":{"bytes":58,"packets":1}}
{"source":{"ip":"203.0.113.5"},"destination":{"ip":"192.168.0.7"},"network":{"bytes":65000,"packets":1}}
{"ip":"203.0.113.5","domain":"www.example","name_source":"dns"}
{"packets":6,"non_ip":1,"malformed":1}
"#;

#[test]
fn pairs_names_and_sums_are_written_as_lines_of_json() {
    for file in ["mixed.pcap", "mixed.pcapng"] {
        let mut out = Vec::new();
        replay(&fixture(file), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), LINES, "{file}");
    }
}

/// The lines of a capture that tell names, as `address name source`.
fn names(file: &str) -> Vec<String> {
    let mut out = Vec::new();
    replay(&fixture(file), &mut out).unwrap();
    let lines = String::from_utf8(out).unwrap();
    let lines = lines.lines().map(serde_json::from_str::<Value>);
    lines
        .map(Result::unwrap)
        .filter(|line| line.get("name_source").is_some())
        .map(|line| {
            let field = |name: &str| line[name].as_str().unwrap().to_owned();
            [field("ip"), field("domain"), field("name_source")].join(" ")
        })
        .collect()
}

/// One conversation each, most with a post-quantum key share: cut at 1,448 bytes; into three, the first of 3 bytes; the
/// last segment first; with segments twice and overlapping; in records of 50 bytes; over the end of the sequence numbers;
/// over IPv6; a hello of SSL 2; a plain request; a hello behind STARTTLS.
#[test]
fn the_server_name_is_found_however_the_hello_is_cut() {
    let expected = [
        "203.0.113.1 post-quantum.example sni",
        "203.0.113.2 three-segments.example sni",
        "203.0.113.3 out-of-order.example sni",
        "203.0.113.4 retransmitted.example sni",
        "203.0.113.5 many-records.example sni",
        "203.0.113.6 wraps.example sni",
        "203.0.113.9 plain.example http",
        "203.0.113.10 starttls.example sni",
        "2001:db8:2::6 six.example sni",
    ];
    assert_eq!(names("hellos.pcap"), expected);
}

/// One conversation each: all in a packet; over two datagrams that come the wrong way round; version 2, the second packet
/// to the id that the server chose; after a Retry; in two packets of one datagram, the second first.
#[test]
fn the_server_name_is_found_in_quic_however_it_is_packed() {
    let expected = [
        "203.0.113.21 one-packet.example quic",
        "203.0.113.22 two-packets.example quic",
        "203.0.113.23 version-two.example quic",
        "203.0.113.24 after-retry.example quic",
        "2001:db8:2::25 coalesced.example quic",
    ];
    assert_eq!(names("quic.pcap"), expected);
}

/// Aliases, IPv6, two answers over TCP of which the first is long and its segments come out of order; names that loop, point
/// forwards or never end, counts that lie; multicast answers of machines that also claim addresses not their own.
#[test]
fn answers_name_what_was_asked_for_and_hostile_ones_nobody() {
    let expected = [
        "192.168.0.8 pc-8.local mdns",
        "192.168.0.9 pc-9 llmnr",
        "203.0.113.31 chain.example dns",
        "203.0.113.32 chain.example dns",
        "203.0.113.33 over-tcp.example dns",
        "203.0.113.34 second.example dns",
        "203.0.113.44 counts.example dns",
        "2001:db8:2::31 chain.example dns",
        "fe80::8 pc-8.local mdns",
    ];
    assert_eq!(names("names.pcap"), expected);
}

#[test]
fn a_link_type_that_cannot_be_read_is_named() {
    let mut out = Vec::new();
    let error = replay(&fixture("ieee802154.pcap"), &mut out).unwrap_err();
    assert!(
        error.to_string().starts_with("cannot read link type 195"),
        "{error}"
    );
    assert!(out.is_empty());
}

#[test]
fn what_is_no_capture_file_is_refused() {
    for path in [fixture("absent.pcap"), fixture("../../Cargo.toml")] {
        let error = replay(&path, &mut std::io::sink()).unwrap_err();
        assert!(matches!(error, ReplayError::Open(_)), "{error}");
    }
}
