//! A traffic report as `iftop -t` lays it out: interface, address and MAC on top, then two lines a peer.
//!
//! `=>` is what this PC sent, `<=` what it received; bits per second over 2, 10 and 40 s, and bytes since the
//! agent's start. The scale is iftop's: 1 Kb is 1,024 bits. Whole numbers only, so nothing is rounded up. Pure.

use std::fmt::{self, Write};

use labwatch_contract::{
    event::{
        Event,
        contact::NameSource,
        report::{InterfaceTotals, PeerTotals, Rates},
    },
    text::harmless,
};

use super::words::{list, word};

const BITS: [&str; 5] = ["b", "Kb", "Mb", "Gb", "Tb"];
const BYTES: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];

/// `n` bytes: `313B`, `1.22KB`, `97.6MB`.
pub(super) fn bytes(n: u64) -> String {
    scaled(n, BYTES)
}

/// Writes the report below its line of the time line.
pub(super) fn write(event: &Event, out: &mut impl Write) -> fmt::Result {
    let lab = &event.occurrence.fields.lab;
    for interface in lab.interfaces.iter().flatten() {
        write_interface(interface, out)?;
    }
    let head = ["last 2s", "last 10s", "last 40s", "cumulative"].map(str::to_owned);
    write_row("   #", "Host name", "  ", &head, out)?;
    writeln!(out, "    {}", "-".repeat(97))?;
    let mut peers: Vec<&PeerTotals> = lab.peers.iter().flatten().collect();
    peers
        .sort_by_key(|peer| std::cmp::Reverse(peer.sent_bytes.saturating_add(peer.received_bytes)));
    for (at, peer) in peers.iter().enumerate() {
        let number = format!("{:4}", at + 1);
        let own = event.host.ip.to_string();
        let (sent, received) = (peer.total_sent_bytes, peer.total_received_bytes);
        write_row(&number, &own, "=>", &columns(peer.sent_bps, sent), out)?;
        write_row(
            "",
            &peer_name(peer),
            "<=",
            &columns(peer.received_bps, received),
            out,
        )?;
        writeln!(out, "         {}", remarks(peer))?;
    }
    writeln!(out, "    {}", "-".repeat(97))?;
    let sum = |of: fn(&PeerTotals) -> u64| {
        bytes(
            peers
                .iter()
                .map(|peer| of(peer))
                .fold(0, u64::saturating_add),
        )
    };
    let (sent, received) = (sum(|peer| peer.sent_bytes), sum(|peer| peer.received_bytes));
    let other = bytes(lab.other_bytes.unwrap_or_default());
    writeln!(
        out,
        "    in this interval: sent {sent}, received {received}, without an IP peer {other}"
    )
}

fn write_interface(interface: &InterfaceTotals, out: &mut impl Write) -> fmt::Result {
    let mac = interface
        .mac
        .as_deref()
        .map_or("unknown".to_owned(), harmless);
    writeln!(out, "    interface: {}", harmless(&interface.name))?;
    writeln!(out, "    IP address is: {}", list(&interface.ip))?;
    writeln!(out, "    MAC address is: {mac}")?;
    let counted = interface.counter_bytes.map_or(String::new(), |counted| {
        format!(" (the interface itself counted {})", bytes(counted))
    });
    writeln!(
        out,
        "    {} packets, {}{counted}, {} packets dropped",
        interface.packets,
        bytes(interface.bytes),
        interface.dropped
    )
}

fn write_row(
    number: &str,
    name: &str,
    arrow: &str,
    columns: &[String; 4],
    out: &mut impl Write,
) -> fmt::Result {
    let [over_2s, over_10s, over_40s, total] = columns;
    writeln!(
        out,
        "    {number:4} {name:<45} {arrow} {over_2s:>10} {over_10s:>10} {over_40s:>10} {total:>10}"
    )
}

fn columns(rates: Rates, total: u64) -> [String; 4] {
    [
        scaled(rates.over_2s, BITS),
        scaled(rates.over_10s, BITS),
        scaled(rates.over_40s, BITS),
        bytes(total),
    ]
}

fn peer_name(peer: &PeerTotals) -> String {
    match &peer.name {
        Some(name) => format!("{} ({})", harmless(name), peer.ip),
        None => peer.ip.to_string(),
    }
}

/// What iftop does not say: where the peer is, how its name is known, ports and programs.
fn remarks(peer: &PeerTotals) -> String {
    let mut text = peer.scope.to_string();
    // Writing to a String does not fail.
    if peer.name_source != NameSource::None {
        let _ = write!(text, ", name by {}", word(peer.name_source));
    }
    if !peer.ports.is_empty() {
        let _ = write!(text, ", ports {}", list(&peer.ports));
    }
    if !peer.processes.is_empty() {
        let _ = write!(text, ", programs {}", harmless(&peer.processes.join(", ")));
    }
    text
}

/// Three digits and a unit, cut, as iftop writes them.
fn scaled(n: u64, units: [&str; 5]) -> String {
    let mut size = 1_u64;
    let mut units = units.into_iter();
    let mut unit = units.next().unwrap_or_default();
    while let Some(larger) = units.next().filter(|_| n / size >= 1024) {
        size *= 1024;
        unit = larger;
    }
    let hundredths = u128::from(n) * 100 / u128::from(size);
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    match whole {
        _ if size == 1 => format!("{n}{unit}"),
        0..=9 => format!("{whole}.{rest:02}{unit}"),
        10..=99 => format!("{whole}.{}{unit}", rest / 10),
        _ => format!("{whole}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        for (n, text) in [
            (0, "0B"),
            (313, "313B"),
            (1023, "1023B"),
            (1024, "1.00KB"),
            (1250, "1.22KB"),
            (99_999, "97.6KB"),
            (1024 * 1024 - 1, "1023KB"),
            (5 * 1024 * 1024, "5.00MB"),
            (u64::MAX, "16777215TB"),
        ] {
            assert_eq!(bytes(n), text);
        }
        assert_eq!(scaled(2048, BITS), "2.00Kb");
    }
}
