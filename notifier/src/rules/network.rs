//! Rules on topics `net/intranet` and `net/interface`: contacts, scans, ways out of the lab's network.
//!
//! A contact is told from this PC's side: it opened a conversation or was contacted. The peer's own agent tells
//! the other side, so both lines name both ends.

use std::net::IpAddr;

use labwatch_contract::{
    alert::Severity,
    event::{
        Action, Fields, Occurrence,
        contact::{Attribution, Direction, Endpoint, Network, Process},
        interface::{Interface, InterfaceKind},
    },
    scope::Scope,
    text::harmless,
};

use super::{Incomplete, Rule, Verdict, some};

const OPENED: Rule = Rule::new(
    "intranet-egress",
    "intranet-egress",
    "Opened a conversation in the lab's network",
);
const CONTACTED: Rule = Rule::new(
    "intranet-ingress",
    "intranet-ingress",
    "Was contacted from the lab's network",
);
const SCAN: Rule = Rule::new("scan", "conversation-burst", "Very many conversations");
const WAY_OUT: Rule = Rule::new("interface", "interface-way-out", "Another way out came up");
const CAME: Rule = Rule::new("interface", "interface-up", "Network interface came up");
const WENT: Rule = Rule::new("interface", "interface-down", "Network interface went down");
const MOVED: Rule = Rule::new("interface", "address-changed", "Network address changed");
const ROUTE: Rule = Rule::new("route", "route-changed", "Default route changed");
const GAP: Rule = Rule::new("capture", "capture-gap", "Packets not seen");

pub(super) fn judge(occurrence: &Occurrence, own: IpAddr) -> Result<Option<Verdict>, Incomplete> {
    let fields = &occurrence.fields;
    Ok(Some(match occurrence.action {
        Action::IntranetAccess => contact(fields, own)?,
        Action::ConversationBurst if fields.lab.scope == Some(Scope::Internet) => return Ok(None),
        Action::ConversationBurst => burst(fields)?,
        Action::InterfaceUp => came(fields)?,
        Action::InterfaceDown => {
            interface_verdict(fields, WENT, Severity::Info, "network interface down")?
        }
        Action::AddressChanged => {
            interface_verdict(fields, MOVED, Severity::Info, "network address changed")?
        }
        Action::RouteChanged => route(fields)?,
        Action::CaptureGap => gap(fields),
        _ => return Ok(None),
    }))
}

fn contact(fields: &Fields, own: IpAddr) -> Result<Verdict, Incomplete> {
    let source = fields.source.as_ref().ok_or(Incomplete("source"))?;
    let destination = fields
        .destination
        .as_ref()
        .ok_or(Incomplete("destination"))?;
    let network = fields.network.as_ref().ok_or(Incomplete("network"))?;
    let opened = match network.direction {
        Direction::Egress => true,
        Direction::Ingress => false,
        Direction::Unknown => source.ip.to_canonical() == own.to_canonical(),
    };
    let (rule, peer) = if opened {
        (OPENED, destination)
    } else {
        (CONTACTED, source)
    };
    let service = service(network, destination);
    let program = program(fields);
    let text = if opened {
        format!(
            "network accessed: opened {} to {}{service} by {program}",
            harmless(&network.transport),
            peer_name(peer)
        )
    } else {
        format!(
            "network accessed: was contacted by {} with {}{service}, answered by {program}",
            peer_name(peer),
            harmless(&network.transport)
        )
    };
    let port = destination.port.unwrap_or_default();
    Ok(Verdict {
        rule,
        severity: Severity::Warning,
        object: harmless(&format!("{} {} {port}", peer.ip, network.transport)),
        text,
    })
}

/// `192.168.0.134 (pc-34.lab)`.
fn peer_name(peer: &Endpoint) -> String {
    match peer.domain.as_deref().filter(|domain| !domain.is_empty()) {
        Some(domain) => format!("{} ({})", peer.ip, harmless(domain)),
        None => peer.ip.to_string(),
    }
}

/// ` port 80 (http)`; nothing where there are no ports.
fn service(network: &Network, destination: &Endpoint) -> String {
    let port = destination.port.map(|port| format!(" port {port}"));
    let protocol = network.protocol.as_deref().map(harmless);
    let protocol = protocol.map(|protocol| format!(" ({protocol})"));
    port.unwrap_or_default() + &protocol.unwrap_or_default()
}

/// `curl (user alice) [program: polled]`.
fn program(fields: &Fields) -> String {
    let Some(Process {
        name,
        pid,
        executable,
        user,
    }) = &fields.process
    else {
        return "an unknown program".into();
    };
    let name = match (name, executable, pid) {
        (Some(name), ..) => harmless(name),
        (None, Some(path), _) => harmless(path),
        (None, None, Some(pid)) => format!("process {pid}"),
        (None, None, None) => "an unknown program".into(),
    };
    let user = user.as_ref().map(|user| harmless(&user.name));
    let user = user
        .map(|user| format!(" (user {user})"))
        .unwrap_or_default();
    let known = match fields.lab.attribution {
        Some(Attribution::Exact) => " [program: exact]",
        Some(Attribution::Polled) => " [program: polled]",
        Some(Attribution::None) | None => "",
    };
    name + &user + known
}

fn burst(fields: &Fields) -> Result<Verdict, Incomplete> {
    let burst = fields.lab.burst.as_ref().ok_or(Incomplete("lab.burst"))?;
    let direction = fields.network.as_ref().map(|network| network.direction);
    let (who, object) = if direction == Some(Direction::Ingress) {
        ("was contacted in", "ingress")
    } else {
        ("had", "egress")
    };
    let seconds = fields
        .interval
        .map(|interval| interval.end.since(interval.start).as_secs());
    Ok(Verdict {
        rule: SCAN,
        severity: Severity::Warning,
        object: object.into(),
        text: format!(
            "network accessed: {who} {} more conversations within {} s, peers {}, ports {}: many for one program",
            burst.count,
            seconds.unwrap_or(10),
            some(&burst.peers),
            some(&burst.ports),
        ),
    })
}

fn came(fields: &Fields) -> Result<Verdict, Incomplete> {
    let (rule, severity) = if leads_out(interface(fields)?.kind) {
        (WAY_OUT, Severity::Warning)
    } else {
        (CAME, Severity::Info)
    };
    interface_verdict(fields, rule, severity, "network interface up")
}

fn route(fields: &Fields) -> Result<Verdict, Incomplete> {
    let severity = if leads_out(interface(fields)?.kind) {
        Severity::Warning
    } else {
        Severity::Info
    };
    interface_verdict(fields, ROUTE, severity, "default route changed")
}

/// Whether it is a way around the lab's own cable.
fn leads_out(kind: InterfaceKind) -> bool {
    matches!(
        kind,
        InterfaceKind::Wifi | InterfaceKind::Usb | InterfaceKind::Tunnel
    )
}

fn interface(fields: &Fields) -> Result<&Interface, Incomplete> {
    fields
        .lab
        .interface
        .as_ref()
        .ok_or(Incomplete("lab.interface"))
}

fn interface_verdict(
    fields: &Fields,
    rule: Rule,
    severity: Severity,
    happened: &str,
) -> Result<Verdict, Incomplete> {
    let interface = interface(fields)?;
    let name = harmless(&interface.name);
    let mut text = format!("{happened}: {name}, {}", kind_in_words(interface.kind));
    if !interface.addresses.is_empty() {
        text += &format!(", {}", some(&interface.addresses));
    }
    if let Some(gateway) = interface.gateway {
        text += &format!(", gateway {gateway}");
    }
    if let Some(device) = &fields.device {
        let product = device.product.name.as_deref().unwrap_or(&device.product.id);
        text += &format!(", usb device {}", harmless(product));
    }
    Ok(Verdict {
        rule,
        severity,
        object: name,
        text,
    })
}

fn kind_in_words(kind: InterfaceKind) -> &'static str {
    match kind {
        InterfaceKind::Ethernet => "ethernet",
        InterfaceKind::Wifi => "wifi",
        InterfaceKind::Usb => "network card on usb",
        InterfaceKind::Tunnel => "tunnel or VPN",
        InterfaceKind::Bridge => "bridge",
        InterfaceKind::Virtual => "virtual",
        InterfaceKind::Other => "other kind",
    }
}

fn gap(fields: &Fields) -> Verdict {
    let interface = fields.lab.interface.as_ref();
    let name = interface.map(|interface| harmless(&interface.name));
    let place = name
        .as_deref()
        .map(|name| format!(" on {name}"))
        .unwrap_or_default();
    let reason = fields.lab.reason.as_deref().map(harmless);
    let reason = reason.map(|reason| format!(": {reason}"));
    Verdict {
        rule: GAP,
        severity: Severity::Technical,
        object: name.unwrap_or_default(),
        text: format!(
            "packets were not seen for a moment{place}{}",
            reason.unwrap_or_default()
        ),
    }
}
