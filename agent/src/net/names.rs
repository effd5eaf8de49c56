//! Names of peers: learned from what goes over the wire or from a look-up, kept by address.
//!
//! Of several names the one from the best source wins, by the order of [`NameSource`]; of two from the same source the
//! newer. So a source that is heard later (a TLS server name) only has to call [`Names::learn`]. Names are foreign
//! text: they arrive here already in printable ASCII. At most [`CAPACITY`] addresses are
//! kept; those longest not heard of go first.

mod dns;

use std::{net::IpAddr, time::Duration};

use labwatch_contract::event::contact::NameSource;

pub use dns::Answer;

use super::recent::Recent;

/// So many addresses are kept with their names.
pub const CAPACITY: usize = 4096;

/// A name and how it was learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// In lower case, printable ASCII, without the final dot.
    pub domain: String,
    /// How it was learned.
    pub source: NameSource,
}

/// Names by address.
#[derive(Debug)]
pub struct Names {
    by_ip: Recent<IpAddr, Name>,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            by_ip: Recent::new(CAPACITY),
        }
    }
}

impl Names {
    /// The best name of an address.
    #[must_use]
    pub fn get(&self, ip: IpAddr) -> Option<&Name> {
        self.by_ip.get(&ip)
    }

    /// Takes a name in. True when it is new or better than the one before; false when nothing changes.
    pub fn learn(&mut self, ip: IpAddr, name: Name, now: Duration) -> bool {
        if let Some(known) = self.by_ip.get_mut(&ip) {
            known.last = now;
            if known.value.source < name.source || known.value == name {
                return false;
            }
        }
        self.by_ip.insert(ip, name, now);
        true
    }

    /// Learns from a DNS answer (RFC 1035): each address in it is one of the name that was asked for, whatever
    /// aliases lie between. Returns the addresses whose name is new; bytes that are no answer teach nothing.
    pub fn hear_dns(&mut self, message: &[u8], now: Duration) -> Vec<IpAddr> {
        let Some(Answer {
            name,
            mut addresses,
        }) = dns::parse(message)
        else {
            return Vec::new();
        };
        let name = Name {
            domain: name,
            source: NameSource::Dns,
        };
        addresses.retain(|&ip| self.learn(ip, name.clone(), now));
        addresses
    }
}

/// Reads a DNS message; the surface that fuzzing needs. `None` for what is no successful answer.
#[must_use]
pub fn parse_dns(message: &[u8]) -> Option<Answer> {
    dns::parse(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_source_wins_and_the_newer_of_two_alike() {
        let mut names = Names::default();
        let peer = "203.0.113.5".parse().unwrap();
        let mut learn = |domain: &str, source| {
            let name = Name {
                domain: domain.to_owned(),
                source,
            };
            names.learn(peer, name, Duration::ZERO)
        };
        assert!(learn("host-5.example", NameSource::Reverse));
        assert!(learn("www.example", NameSource::Dns));
        assert!(!learn("host-5.example", NameSource::Reverse));
        assert!(!learn("www.example", NameSource::Dns));
        assert!(learn("mail.example", NameSource::Dns));
        assert_eq!(names.get(peer).unwrap().domain, "mail.example");
    }
}
