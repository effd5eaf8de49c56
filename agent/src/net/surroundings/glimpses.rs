//! Interfaces that came and went between two looks at the system: known from the kernel's notices alone.
//!
//! A look shows what is, a notice what was. A tunnel that was up for a moment is in no look; its last notice says how many
//! bytes it carried, unseen. At most 64 are kept from one look to the next; what is beyond is passed over.

use std::collections::BTreeMap;

use super::{
    Surroundings,
    kernel::{Card, Lists},
};
use crate::net::{
    rtnetlink::{Link, News},
    surroundings::Interface,
};

const MOST: usize = 64;

/// What notices said since the last look.
#[derive(Debug, Default)]
pub struct Glimpses(BTreeMap<u32, Link>);

/// An interface that came and went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// As it was.
    pub interface: Interface,
    /// What went over it, in bytes, where it was counted.
    pub bytes: Option<u64>,
}

impl Glimpses {
    /// Takes in a notice.
    pub fn take(&mut self, news: News) {
        match news {
            News::Link(link) if link.is_up && !link.is_loopback => {
                if self.0.len() < MOST || self.0.contains_key(&link.index) {
                    self.0.insert(link.index, link);
                }
            }
            News::Link(link) | News::LinkGone(link) => {
                if let Some(known) = self.0.get_mut(&link.index) {
                    known.bytes = link.bytes.or(known.bytes);
                }
            }
            News::Address(..) | News::Routes(_) | News::Other => {}
        }
    }

    /// Those that were up for a moment, and are neither in the look before nor in the one after; all are forgotten then.
    pub fn passed(&mut self, before: &Surroundings, after: &Surroundings) -> Vec<Passed> {
        let glimpsed = std::mem::take(&mut self.0);
        let is_seen = |index| before.find(index).is_some() || after.find(index).is_some();
        let unseen = glimpsed.into_values().filter(|link| !is_seen(link.index));
        unseen.filter_map(passed).collect()
    }
}

fn passed(link: Link) -> Option<Passed> {
    let bytes = link.bytes;
    let mut lists = Lists::default();
    lists.take(News::Link(link));
    // Nothing can be asked of it any more.
    let interface = lists.interfaces(|_| Card::default()).pop()?;
    Some(Passed { interface, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel(index: u32, is_up: bool, bytes: u64) -> Link {
        Link {
            index,
            name: format!("tun{index}"),
            is_up,
            maker: Some("tun".into()),
            bytes: Some(bytes),
            ..Link::default()
        }
    }

    #[test]
    fn a_tunnel_that_was_up_for_a_moment_is_told_with_what_it_carried() {
        let mut glimpses = Glimpses::default();
        glimpses.take(News::Link(tunnel(7, false, 0)));
        glimpses.take(News::Link(tunnel(7, true, 0)));
        glimpses.take(News::LinkGone(tunnel(7, false, 900)));
        let nothing = Surroundings::default();
        let passed = glimpses.passed(&nothing, &nothing);
        assert_eq!(passed.len(), 1);
        assert_eq!(
            (passed[0].interface.shown.name.as_str(), passed[0].bytes),
            ("tun7", Some(900))
        );
        assert_eq!(glimpses.passed(&nothing, &nothing), []);
    }

    #[test]
    fn what_a_look_shows_or_was_never_up_has_not_passed() {
        let mut glimpses = Glimpses::default();
        glimpses.take(News::Link(tunnel(7, true, 0)));
        glimpses.take(News::Link(tunnel(8, false, 0)));
        let mut after = Surroundings::default();
        after.interfaces.push(Interface {
            index: 7,
            ..Interface::default()
        });
        assert_eq!(glimpses.passed(&Surroundings::default(), &after), []);
    }

    #[test]
    fn a_flood_of_tunnels_is_bounded() {
        let mut glimpses = Glimpses::default();
        (1..1000).for_each(|index| glimpses.take(News::Link(tunnel(index, true, 0))));
        let nothing = Surroundings::default();
        assert_eq!(glimpses.passed(&nothing, &nothing).len(), MOST);
    }
}
