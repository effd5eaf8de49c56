//! Rules on what must not be contacted: denied names, and the ports of remote desktops and tunnels.
//!
//! A name is known when the first contact is told, or later, by the report of the interval; how it was learned is said, because a
//! name by TLS is that of the site, one by DNS or a reverse look-up may be shared by many. The policy's allowed peers
//! are no finding. Ports are IANA's and the makers' defaults; a tunnel on another port is not seen here (`docs/limits.md`).

use labwatch_contract::{
    alert::Severity,
    event::{
        Occurrence,
        contact::{Direction, Network},
        report::PeerTotals,
    },
    scope::Scope,
    text::harmless,
};

use super::{
    Incomplete, Rule, Verdict,
    contacts::words::{learned, named, program, service},
};
use crate::policy::{Conversation, Rulebook};

const DENIED: Rule = Rule::new("denied-name", "denied-name", "Denied name contacted");
const REMOTE: Rule = Rule::new("way", "remote-desktop", "Remote desktop");
const TUNNEL: Rule = Rule::new("way", "tunnel", "Tunnel out of the lab");
pub(super) const RULES: &[Rule] = &[DENIED, REMOTE, TUNNEL];

/// What a port leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Another machine's screen.
    RemoteDesktop,
    /// Another network.
    Tunnel,
}

/// What the transport or service port of a conversation is known for.
pub(super) fn gateway_to(network: &Network, port: Option<u16>) -> Option<(Way, &'static str)> {
    use Way::{RemoteDesktop, Tunnel};
    Some(match (network.transport.as_str(), port) {
        ("gre" | "esp" | "ipv4" | "ipv6", _) => (Tunnel, "tunnel in IP"),
        (_, Some(3389)) => (RemoteDesktop, "remote desktop (RDP)"),
        (_, Some(5900..=5909)) => (RemoteDesktop, "remote desktop (VNC)"),
        (_, Some(5938)) => (RemoteDesktop, "remote desktop (TeamViewer)"),
        ("tcp", Some(6568 | 7070)) => (RemoteDesktop, "remote desktop (AnyDesk)"),
        (_, Some(21115..=21119)) => (RemoteDesktop, "remote desktop (RustDesk)"),
        ("tcp", Some(22)) => (Tunnel, "SSH, which can carry a tunnel"),
        ("tcp", Some(1080 | 3128 | 9050 | 9150)) => (Tunnel, "proxy"),
        ("tcp", Some(9001)) => (Tunnel, "Tor"),
        (_, Some(1194)) => (Tunnel, "OpenVPN"),
        ("tcp", Some(1723)) => (Tunnel, "PPTP"),
        ("udp", Some(500 | 1701 | 4500)) => (Tunnel, "IPsec or L2TP"),
        ("udp", Some(51820)) => (Tunnel, "WireGuard"),
        ("udp", Some(41641)) => (Tunnel, "Tailscale"),
        ("udp", Some(9993)) => (Tunnel, "ZeroTier"),
        _ => return None,
    })
}

/// What the rules say of the first contact with an internet peer.
pub(super) fn contact(
    book: &Rulebook,
    occurrence: &Occurrence,
) -> Result<Option<Verdict>, Incomplete> {
    let fields = &occurrence.fields;
    let (Some(network), Some(source), Some(destination)) =
        (&fields.network, &fields.source, &fields.destination)
    else {
        return Err(Incomplete("network, source or destination"));
    };
    let opened = network.direction != Direction::Ingress;
    let peer = if opened { destination } else { source };
    let conversation = Conversation {
        peer: peer.ip.to_canonical(),
        asked: destination.ip.to_canonical(),
        name: peer.domain.as_deref(),
        port: destination.port,
        transport: &network.transport,
        program: fields.process.as_ref().and_then(|one| one.name.as_deref()),
        local: false,
    };
    if book.allows(&conversation) {
        return Ok(None);
    }
    let denied = conversation.name.and_then(|name| book.denies(name));
    let way = gateway_to(network, destination.port);
    let name = named(peer, fields.lab.name_source).unwrap_or_else(|| "no name known".into());
    let (rule, object, what) = match (denied, way) {
        (Some(entry), _) => (DENIED, entry.to_owned(), "denied name contacted".to_owned()),
        (None, Some((way, what))) => {
            let rule = match way {
                Way::RemoteDesktop => REMOTE,
                Way::Tunnel => TUNNEL,
            };
            (
                rule,
                format!("{} {what}", peer.ip),
                format!("internet contacted: {what}"),
            )
        }
        (None, None) => return Ok(None),
    };
    let transport = harmless(&network.transport);
    let service = service(network, destination);
    let program = program(fields);
    let verb = if opened {
        "opened"
    } else {
        "was contacted with"
    };
    Ok(Some(Verdict {
        rule,
        severity: Severity::Warning,
        object,
        text: format!(
            "{what}: {name}, {verb} {transport} to {}{service} by {program}",
            peer.ip
        ),
    }))
}

/// What the rules say of an internet peer whose name was learned only later.
pub(super) fn in_report(book: &Rulebook, peer: &PeerTotals) -> Option<Verdict> {
    let name = peer
        .name
        .as_deref()
        .filter(|_| peer.scope == Scope::Internet)?;
    let entry = book.denies(name)?;
    if book.allows_some(name, peer) {
        return None;
    }
    let program = peer.processes.first().map(String::as_str);
    let by = match program {
        Some(program) => harmless(program),
        None => "an unknown program".into(),
    };
    Some(Verdict {
        rule: DENIED,
        severity: Severity::Warning,
        object: entry.to_owned(),
        text: format!(
            "denied name contacted: {}, name by {}, {} by {by}; {} sent, {} received",
            harmless(name),
            learned(peer.name_source),
            peer.ip,
            super::usb::size(peer.sent_bytes),
            super::usb::size(peer.received_bytes),
        ),
    })
}
