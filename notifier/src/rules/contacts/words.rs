//! The words for a conversation: peer and how its name was learned, service, program and user. Harmless.

use labwatch_contract::{
    event::{
        Fields,
        contact::{Attribution, Endpoint, NameSource, Network, Process},
    },
    text::harmless,
};

/// A peer's name and how it was learned: `pc-34.lab, name by dns`.
pub(in crate::rules) fn named(peer: &Endpoint, source: Option<NameSource>) -> Option<String> {
    let domain = peer.domain.as_deref().filter(|domain| !domain.is_empty())?;
    let how = source.map(learned).filter(|how| !how.is_empty());
    let how = how.map(|how| format!(", name by {how}"));
    Some(harmless(domain) + &how.unwrap_or_default())
}

/// How a name was learned, as people who know the network say it.
pub(in crate::rules) fn learned(source: NameSource) -> &'static str {
    match source {
        NameSource::Sni => "TLS",
        NameSource::Quic => "QUIC",
        NameSource::Http => "HTTP",
        NameSource::Dns => "DNS",
        NameSource::Mdns => "mDNS",
        NameSource::Llmnr => "LLMNR",
        NameSource::Reverse => "reverse look-up",
        NameSource::None => "",
    }
}

/// ` port 80 (http)`; nothing where there are no ports.
pub(in crate::rules) fn service(network: &Network, destination: &Endpoint) -> String {
    let port = destination.port.map(|port| format!(" port {port}"));
    let protocol = network.protocol.as_deref().map(harmless);
    let protocol = protocol.map(|protocol| format!(" ({protocol})"));
    port.unwrap_or_default() + &protocol.unwrap_or_default()
}

/// `curl (user alice) [program: polled]`.
pub(in crate::rules) fn program(fields: &Fields) -> String {
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
