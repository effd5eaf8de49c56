//! The policy in force, made ready for looking things up: who sits where, what is allowed, what is denied, what counts when.
//!
//! ```text
//! policy.toml --file--> contract::Policy --Rulebook--> rules (allowed? denied? which seat? how grave?)
//! seats.csv  --seats-----^        `--> lab/policy (retained, staff), lab/policy/agents (retained, without seats)
//! ```
//! Without a file the [`Rulebook`] is empty: always in force, nothing allowed, nothing denied. What is allowed is never
//! denied, because somebody wrote it down for this very exam.

pub mod file;
pub mod lesson;
mod seats;
#[expect(
    clippy::disallowed_methods,
    reason = "shell: reads the policy file and looks whether it has changed"
)]
pub mod source;

use std::{collections::HashMap, net::IpAddr, time::Duration};

use labwatch_contract::{
    event::{Host, report::PeerTotals},
    policy::{Allowed, Level, Policy, Seat},
    time::Timestamp,
};

/// A conversation as the policy looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Conversation<'a> {
    /// The other end, seen from the PC that tells it.
    pub peer: IpAddr,
    /// The machine that was asked.
    pub asked: IpAddr,
    /// The peer's name, where one is known.
    pub name: Option<&'a str>,
    /// The service port; none without ports.
    pub port: Option<u16>,
    /// `tcp`, `udp` …
    pub transport: &'a str,
    /// The program on the PC that tells it.
    pub program: Option<&'a str>,
    /// Whether the peer is a machine of the local networks. Such a one can claim any name, so a name alone allows nothing.
    pub local: bool,
}

/// The policy in force.
#[derive(Debug, Default)]
pub struct Rulebook {
    policy: Policy,
    by_ip: HashMap<IpAddr, usize>,
    by_mac: HashMap<String, usize>,
    by_name: HashMap<String, usize>,
}

impl Rulebook {
    /// Makes a policy ready.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let mut book = Self::default();
        for (index, seat) in policy.seats.iter().enumerate() {
            book.by_ip.extend(seat.ip.map(|ip| (ip, index)));
            book.by_mac.extend(seat.mac.clone().map(|mac| (mac, index)));
            let name = seat.name.as_ref().map(|name| name.to_lowercase());
            book.by_name.extend(name.map(|name| (name, index)));
        }
        Self { policy, ..book }
    }

    /// The policy itself.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether something that happened (by the PC's clock) and came to us is within the exam. A PC whose clock is wrong is not
    /// left out, so either time is enough.
    #[must_use]
    pub fn is_in_force(&self, happened: Timestamp, came: Timestamp) -> bool {
        self.policy
            .window
            .is_none_or(|window| window.contains(happened) || window.contains(came))
    }

    /// The seat of a PC: by its address, else its MAC, else its name.
    #[must_use]
    pub fn seat(&self, address: IpAddr, host: &Host) -> Option<&Seat> {
        if self.policy.seats.is_empty() {
            return None;
        }
        let by_mac = || self.by_mac.get(&host.mac.as_deref()?.to_lowercase());
        let by_name = || self.by_name.get(&host.name.to_lowercase());
        let index = self.by_ip.get(&address).or_else(by_mac).or_else(by_name)?;
        self.policy.seats.get(*index)
    }

    /// The seat with this address, whoever is there.
    #[must_use]
    pub fn seat_at(&self, address: IpAddr) -> Option<&Seat> {
        let index = self.by_ip.get(&address)?;
        self.policy.seats.get(*index)
    }

    /// The seat whose PC has this MAC.
    #[must_use]
    pub fn seat_with(&self, mac: &str) -> Option<&Seat> {
        let index = self.by_mac.get(&mac.to_lowercase())?;
        self.policy.seats.get(*index)
    }

    /// Whether a conversation is part of the exam.
    #[must_use]
    pub fn allows(&self, conversation: &Conversation<'_>) -> bool {
        self.policy
            .allowed
            .iter()
            .any(|allowed| fits(allowed, conversation))
    }

    /// Whether some conversation with an internet peer of a report, by this name, may be part of the exam. A report has all
    /// ports and programs of a peer, no transport, and does not say what belongs together.
    #[must_use]
    pub fn allows_some(&self, name: &str, totals: &PeerTotals) -> bool {
        let peer = Conversation {
            peer: totals.ip.to_canonical(),
            asked: totals.ip.to_canonical(),
            name: Some(name),
            port: None,
            transport: "",
            program: None,
            local: false,
        };
        self.policy.allowed.iter().any(|allowed| {
            let of_peer = Allowed {
                ports: Vec::new(),
                transport: None,
                program: None,
                ..allowed.clone()
            };
            let any_port = totals.ports.iter().any(|port| allowed.ports.contains(port));
            let is_any = |wanted: &String| totals.processes.contains(wanted);
            fits(&of_peer, &peer)
                && (allowed.ports.is_empty() || any_port)
                && allowed.program.as_ref().is_none_or(is_any)
        })
    }

    /// Whether a conversation that its other end tells of may be part of the exam by what only the opener's end
    /// knows: its program, and the name it asked for.
    #[must_use]
    pub fn may_allow(&self, conversation: &Conversation<'_>) -> bool {
        let depends = |allowed: &&Allowed| allowed.program.is_some() || allowed.name.is_some();
        let known = |allowed: &Allowed| Allowed {
            name: None,
            program: None,
            ..allowed.clone()
        };
        let mut entries = self.policy.allowed.iter().filter(depends);
        entries.any(|allowed| {
            let is_claim = allowed.name.is_some() && allowed.network.is_none();
            !is_claim && fits(&known(allowed), conversation)
        })
    }

    /// The entry that denies a name.
    #[must_use]
    pub fn denies(&self, name: &str) -> Option<&str> {
        let entries = self.policy.denied.iter().map(String::as_str);
        entries.into_iter().find(|entry| is_below(name, entry))
    }

    /// How grave a rule's findings are, where the policy says so.
    #[must_use]
    pub fn level(&self, rule: &str) -> Option<Level> {
        self.policy.severities.get(rule).copied()
    }

    /// How long the same of a rule waits, where the policy says so.
    #[must_use]
    pub fn cool_down(&self, rule: &str) -> Option<Duration> {
        let seconds = self.policy.cool_downs.get(rule).copied();
        seconds.map(Duration::from_secs)
    }
}

fn fits(allowed: &Allowed, conversation: &Conversation<'_>) -> bool {
    let Conversation {
        peer,
        asked,
        name,
        port,
        transport,
        program,
        local,
    } = *conversation;
    let network = allowed
        .network
        .is_none_or(|network| network.contains(&peer) || network.contains(&asked));
    let is_claim = local && allowed.network.is_none();
    let name = allowed
        .name
        .as_deref()
        .is_none_or(|wanted| !is_claim && name.is_some_and(|name| is_below(name, wanted)));
    let port = allowed.ports.is_empty() || port.is_some_and(|port| allowed.ports.contains(&port));
    let transport = allowed
        .transport
        .as_deref()
        .is_none_or(|wanted| wanted == transport);
    let program = allowed
        .program
        .as_deref()
        .is_none_or(|wanted| program == Some(wanted));
    network && name && port && transport && program
}

/// Whether a name is `entry` or below it; capitals and the final dot do not count.
fn is_below(name: &str, entry: &str) -> bool {
    let name = name.trim_end_matches('.');
    let Some(above) = name.len().checked_sub(entry.len()) else {
        return false;
    };
    let ends = name
        .get(above..)
        .is_some_and(|end| end.eq_ignore_ascii_case(entry));
    ends && name
        .get(..above)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> Rulebook {
        Rulebook::new(Policy {
            allowed: vec![
                Allowed {
                    network: Some("10.0.0.5/32".parse().unwrap()),
                    ports: vec![80, 443],
                    transport: Some("tcp".into()),
                    ..Allowed::default()
                },
                Allowed {
                    name: Some("uni.example".into()),
                    program: Some("firefox".into()),
                    ..Allowed::default()
                },
            ],
            denied: vec!["chat.example".into()],
            seats: vec![Seat {
                seat: "A-07".into(),
                name: Some("PC-33".into()),
                mac: Some("2c-6e-85-00-b6-3a".into()),
                ip: "192.168.0.133".parse().ok(),
                student: None,
            }],
            ..Policy::default()
        })
    }

    fn to(peer: &str, port: u16) -> Conversation<'static> {
        Conversation {
            peer: peer.parse().unwrap(),
            asked: peer.parse().unwrap(),
            name: None,
            port: Some(port),
            transport: "tcp",
            program: None,
            local: false,
        }
    }

    #[test]
    fn what_is_allowed_fits_in_every_field_that_is_given() {
        let book = book();
        assert!(book.allows(&to("10.0.0.5", 443)));
        assert!(!book.allows(&to("10.0.0.5", 22)));
        assert!(!book.allows(&to("10.0.0.6", 443)));
        let quic = Conversation {
            transport: "udp",
            ..to("10.0.0.5", 443)
        };
        assert!(!book.allows(&quic));
        let named = Conversation {
            name: Some("www.uni.example"),
            program: Some("firefox"),
            ..to("10.9.9.9", 8443)
        };
        assert!(book.allows(&named));
        let local = Conversation {
            local: true,
            ..named
        };
        assert!(!book.allows(&local), "a claim");
        let other = Conversation {
            program: Some("nc"),
            ..named
        };
        assert!(!book.allows(&other));
    }

    #[test]
    fn a_server_that_is_allowed_is_so_from_its_own_end_too() {
        let seen_by_the_server = Conversation {
            peer: "192.168.0.133".parse().unwrap(),
            ..to("10.0.0.5", 80)
        };
        assert!(book().allows(&seen_by_the_server));
    }

    #[test]
    fn a_denied_name_stands_for_all_below_it_and_for_no_other() {
        let book = book();
        for name in ["chat.example", "www.CHAT.example.", "a.b.chat.example"] {
            assert_eq!(book.denies(name), Some("chat.example"), "{name}");
        }
        for name in [
            "notchat.example",
            "example",
            "chat.example.org",
            "",
            "ü.example",
        ] {
            assert_eq!(book.denies(name), None, "{name}");
        }
    }

    #[test]
    fn a_seat_is_found_by_address_else_mac_else_name() {
        let book = book();
        let host = |name: &str, mac: Option<&str>| Host {
            ip: "192.168.0.7".parse().unwrap(),
            name: name.into(),
            id: String::new(),
            mac: mac.map(str::to_owned),
            boot: labwatch_contract::event::Boot::default(),
        };
        let elsewhere = "192.168.0.7".parse().unwrap();
        let label = |seat: Option<&Seat>| seat.map(|seat| seat.seat.clone());
        for (address, host) in [
            ("192.168.0.133".parse().unwrap(), host("x", None)),
            (elsewhere, host("x", Some("2c-6e-85-00-b6-3a"))),
            (elsewhere, host("pc-33", None)),
        ] {
            assert_eq!(label(book.seat(address, &host)).as_deref(), Some("A-07"));
        }
        assert_eq!(book.seat(elsewhere, &host("pc-34", None)), None);
    }

    #[test]
    fn either_clock_within_the_window_is_enough() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let book = Rulebook::new(Policy {
            window: Some(labwatch_contract::policy::Window {
                start: time("2026-11-22T09:00:00Z"),
                end: time("2026-11-22T10:30:00Z"),
            }),
            ..Policy::default()
        });
        let (before, during) = (time("2026-11-22T08:59:59Z"), time("2026-11-22T10:30:00Z"));
        assert!(book.is_in_force(during, before) && book.is_in_force(before, during));
        assert!(!book.is_in_force(before, before));
        assert!(Rulebook::default().is_in_force(before, before));
    }
}
