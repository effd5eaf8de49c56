//! Sums are the same however packets are split into ticks.

use super::*;

#[derive(Debug, Clone)]
struct Step {
    gap_ms: u64,
    len: u32,
    kind: u8,
    ends: (u8, u8),
    ports: (u16, u16),
    flags: u8,
    interface: u32,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (
        0..20_000_u64,
        0..70_000_u32,
        0..6_u8,
        (0..8_u8, 0..8_u8),
        (any::<u16>(), any::<u16>()),
        any::<u8>(),
        1..3_u32,
    );
    let step = step.prop_map(|(gap_ms, len, kind, ends, ports, flags, interface)| Step {
        gap_ms,
        len,
        kind,
        ends,
        ports,
        flags,
        interface,
    });
    prop::collection::vec(step, 0..60)
}

fn frame(step: &Step) -> Frame<'static> {
    const ENDS: [&str; 8] = [
        OWN,
        NEIGHBOUR,
        SERVER,
        DNS_SERVER,
        "255.255.255.255",
        "224.0.0.251",
        "0.0.0.0",
        "127.0.0.1",
    ];
    let (source, destination) = (
        ip(ENDS[usize::from(step.ends.0)]),
        ip(ENDS[usize::from(step.ends.1)]),
    );
    let ports = Some(Ports {
        source: step.ports.0,
        destination: step.ports.1,
    });
    let empty = Packet {
        source,
        destination,
        ..packet(47, OWN, OWN)
    };
    let content = match step.kind {
        0 => Content::Other,
        1 => Content::Malformed,
        2 => Content::Ip(Packet {
            protocol: protocol::TCP,
            ports,
            tcp_flags: Some(TcpFlags(step.flags)),
            ..empty
        }),
        3 => Content::Ip(Packet {
            protocol: protocol::UDP,
            ports,
            payload: DNS_ANSWER,
            ..empty
        }),
        4 => Content::Ip(Packet {
            protocol: protocol::ICMP,
            icmp_type: Some(step.flags),
            ..empty
        }),
        _ => Content::Ip(empty),
    };
    Frame {
        len: step.len,
        content,
    }
}

/// The final report of these steps. Each is taken in as an opening at once; the frames are counted, and time passes, after each
/// step for which `tick` says so.
fn final_report(steps: &[Step], tick: impl Fn(usize) -> bool) -> Fields {
    let mut lab = Lab::new();
    let (mut ms, mut waiting) = (0, vec![]);
    for (number, step) in steps.iter().enumerate() {
        ms += step.gap_ms;
        lab.flows
            .handle_opening(&frame(step), step.interface, at(ms));
        waiting.push((step, ms));
        if tick(number) {
            for (step, came) in waiting.drain(..) {
                lab.flows
                    .handle_frame(&frame(step), step.interface, at(came));
            }
            lab.time(ms);
        }
    }
    for (step, came) in waiting {
        lab.flows
            .handle_frame(&frame(step), step.interface, at(came));
    }
    lab.outputs();
    lab.report(ms)
}

proptest! {
    #[test]
    fn peers_and_other_equal_the_interfaces_whatever_comes(steps in steps()) {
        let lab = final_report(&steps, |_| true).lab;
        let interfaces: u64 = lab.interfaces.unwrap().iter().map(|one| one.bytes).sum();
        let peers: u64 = lab.peers.unwrap().iter().map(|peer| peer.sent_bytes + peer.received_bytes).sum();
        prop_assert_eq!(interfaces, steps.iter().map(|step| u64::from(step.len)).sum::<u64>());
        prop_assert_eq!(peers + lab.other_bytes.unwrap(), interfaces);
    }

    #[test]
    fn how_packets_are_split_into_ticks_changes_no_sum(steps in steps(), ticks: u64) {
        let never = final_report(&steps, |_| false);
        prop_assert_eq!(&never, &final_report(&steps, |_| true));
        prop_assert_eq!(&never, &final_report(&steps, |number| ticks >> (number % 64) & 1 == 1));
    }
}
