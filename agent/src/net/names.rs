//! Names of peers: learned from what goes over the wire or from a look-up, kept by address.
//!
//! [`Listener`] hears them in packets, [`Names`] keeps them. Of several names the one from the best source wins, by the
//! order of [`NameSource`]; of two from the same source the newer; and one not heard of for [`STALE`] gives way to any. Names are
//! foreign text: they arrive here already in printable ASCII. At most [`CAPACITY`] addresses are
//! kept; those longest not heard of go first.

pub mod dns;
pub mod http;
mod listener;
pub mod quic;
mod reader;
mod stream;
mod text;
pub mod tls;

use std::{net::IpAddr, time::Duration};

use labwatch_contract::event::contact::NameSource;

pub use listener::{Heard, Listener, MOST_OPEN, PATIENCE, is_local_answer};
pub use reader::Short;
pub use stream::LONGEST;

use super::recent::Recent;

/// A better source's name that was heard longer ago gives way: addresses of large sites serve many names.
pub const STALE: Duration = Duration::from_secs(600);

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
            if known.value == name {
                known.last = now;
                return false;
            }
            let is_fresh = now.saturating_sub(known.last) < STALE;
            if known.value.source < name.source && is_fresh {
                return false;
            }
        }
        self.by_ip.insert(ip, name, now);
        true
    }
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

    #[test]
    fn a_name_of_long_ago_gives_way_to_a_lesser_one() {
        let mut names = Names::default();
        let peer = "203.0.113.5".parse().unwrap();
        let mut learn = |at: Duration, domain: &str, source| {
            let name = Name {
                domain: domain.to_owned(),
                source,
            };
            names.learn(peer, name, at)
        };
        assert!(learn(Duration::ZERO, "www.example", NameSource::Sni));
        assert!(!learn(STALE / 2, "www.example", NameSource::Sni));
        assert!(!learn(STALE, "cdn.example", NameSource::Dns));
        assert!(learn(STALE * 2, "cdn.example", NameSource::Dns));
    }
}
