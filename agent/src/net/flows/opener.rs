//! Who opened a conversation, by its first packet.
//!
//! TCP's SYN tells. Without one (the agent came later) the better-known port is the service; UDP is judged like that only as
//! long as the agent may have missed its beginning, later whoever sent first has opened it.

use labwatch_contract::{event::contact::Direction, scope::protocol};

use super::sighting::Sighting;

/// Linux takes ports of clients from here upwards (`ip_local_port_range`).
const FIRST_EPHEMERAL: u16 = 32_768;
const FIRST_UNPRIVILEGED: u16 = 1024;

/// The one who has sent this packet.
pub(super) fn from_sender(seen: &Sighting) -> Direction {
    if seen.sent {
        Direction::Egress
    } else {
        Direction::Ingress
    }
}

fn from_receiver(seen: &Sighting) -> Direction {
    if seen.sent {
        Direction::Ingress
    } else {
        Direction::Egress
    }
}

/// Of a packet without ports. Replies (echo, timestamp, mask; RFC 792, 4443) belong to the one who asked.
pub(super) fn opener_of_icmp(seen: &Sighting) -> Direction {
    match (seen.protocol, seen.icmp_type) {
        (protocol::ICMP, Some(0 | 14 | 16 | 18)) | (protocol::ICMPV6, Some(129)) => {
            from_receiver(seen)
        }
        _ => from_sender(seen),
    }
}

/// Of a flow's first packet; `all_seen` when the agent cannot have missed an earlier one.
pub(super) fn opener(seen: &Sighting, all_seen: bool) -> Direction {
    match seen.tcp_flags {
        Some(flags) if flags.opens() => from_sender(seen),
        Some(flags) if flags.accepts() => from_receiver(seen),
        Some(_) => by_ports(seen).unwrap_or_else(|| by_lower_port(seen)),
        None if all_seen => from_sender(seen),
        None => by_ports(seen).unwrap_or_else(|| from_sender(seen)),
    }
}

/// Where exactly one end has a port that clients do not get, the other end is the client.
fn by_ports(seen: &Sighting) -> Option<Direction> {
    let (own, peer) = seen.ports?;
    let told_by = |limit: u16| match (own < limit, peer < limit) {
        (false, true) => Some(Direction::Egress),
        (true, false) => Some(Direction::Ingress),
        _ => None,
    };
    told_by(FIRST_UNPRIVILEGED).or_else(|| told_by(FIRST_EPHEMERAL))
}

fn by_lower_port(seen: &Sighting) -> Direction {
    match seen.ports {
        Some((own, peer)) if peer < own => Direction::Egress,
        Some((own, peer)) if own < peer => Direction::Ingress,
        _ => from_sender(seen),
    }
}
