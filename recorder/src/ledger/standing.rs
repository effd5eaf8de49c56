//! The mark of a journal as the log keeps it.
//!
//! A later standing takes the place of an earlier one of the same journal under the same address; one that names
//! addresses which the journal has left takes the place of what stood for those too.

use std::{collections::BTreeMap, net::IpAddr};

use labwatch_contract::chain::Digest;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The mark of one journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The journal.
    pub journal: Uuid,
    /// The address that raised the mark last.
    pub ip: IpAddr,
    /// Up to here everything is recorded or named as missing.
    pub sequence: u64,
    /// Digest of the event of that number; none when it is missing itself, so that whatever follows it fits.
    pub digest: Option<Digest>,
    /// Addresses that the journal has left with this mark: what stood for them is void.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<IpAddr>,
}

impl Standing {
    /// Takes the place of what stood there earlier; where the journal has moved, of what it has left too.
    pub(crate) fn supersede(mut self, earlier: &mut BTreeMap<(Uuid, IpAddr), Self>) {
        let own = earlier.remove(&(self.journal, self.ip));
        let old = self.left.iter();
        let old: Vec<_> = old
            .filter_map(|ip| earlier.remove(&(self.journal, *ip)))
            .chain(own)
            .collect();
        self.left.extend(old.into_iter().flat_map(|mark| mark.left));
        earlier.insert((self.journal, self.ip), self);
    }
}
