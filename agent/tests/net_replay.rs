//! `replay` on small files: an ARP frame, a DNS question and its answer (an alias between), a SYN behind a VLAN tag, a frame of
//! 65,000 bytes of which the capture kept 54, and a broken IPv6 header.

use std::path::{Path, PathBuf};

use labwatch_agent::replay::{ReplayError, replay};

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
