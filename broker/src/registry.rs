//! Client ids: who has one, and taking over from an older connection.
//!
//! A client id belongs to whoever it was given by: an address, or a staff user. The same id from the same owner
//! takes over: the older connection is told to leave, and the newer one waits until it has left, so that the
//! older one's will comes before anything the newer one says. However quickly they follow each other, each
//! waits for the one before it alone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::access::Who;

type Key = (Who, String);

#[derive(Debug, Default)]
struct Holders {
    held: HashMap<Key, Holder>,
    last_serial: u64,
}

#[derive(Debug)]
struct Holder {
    serial: u64,
    leave: CancellationToken,
    left: CancellationToken,
}

/// Who holds which client id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry(Arc<Mutex<Holders>>);

impl Registry {
    /// Gives the id to a new connection; also, when another one holds it, the token that says that it has left.
    pub(crate) fn enter(&self, who: Who, id: String) -> (Seat, Option<CancellationToken>) {
        let mut holders = self.holders();
        holders.last_serial += 1;
        let serial = holders.last_serial;
        let (leave, left) = (CancellationToken::new(), CancellationToken::new());
        let key = (who, id);
        let holder = Holder {
            serial,
            leave: leave.clone(),
            left: left.clone(),
        };
        let older = holders.held.insert(key.clone(), holder).map(|older| {
            older.leave.cancel();
            older.left
        });
        let seat = Seat {
            registry: self.clone(),
            key,
            serial,
            leave,
            left,
        };
        (seat, older)
    }

    fn holders(&self) -> MutexGuard<'_, Holders> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's hold on its client id; dropped, it has left.
#[derive(Debug)]
pub(crate) struct Seat {
    registry: Registry,
    key: Key,
    serial: u64,
    leave: CancellationToken,
    left: CancellationToken,
}

impl Seat {
    /// Waits until a newer connection wants the id.
    pub(crate) async fn taken_over(&self) {
        self.leave.cancelled().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut holders = self.registry.holders();
        let holder = holders.held.get(&self.key);
        if holder.is_some_and(|holder| holder.serial == self.serial) {
            holders.held.remove(&self.key);
        }
        self.left.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pc(address: &str) -> Who {
        Who::Pc(address.parse().unwrap())
    }

    #[test]
    fn the_same_id_of_the_same_owner_takes_over() {
        let registry = Registry::default();
        let (first, none) = registry.enter(pc("10.0.0.1"), "a".into());
        assert!(none.is_none());
        let (second, left) = registry.enter(pc("10.0.0.1"), "a".into());
        assert!(first.leave.is_cancelled() && !second.leave.is_cancelled());
        let left = left.unwrap();
        assert!(!left.is_cancelled());
        drop(first);
        assert!(left.is_cancelled());
        drop(second);
        assert!(registry.holders().held.is_empty());
    }

    #[test]
    fn no_id_can_be_taken_from_elsewhere() {
        let registry = Registry::default();
        let (first, _) = registry.enter(pc("10.0.0.1"), "a".into());
        for who in [
            pc("10.0.0.2"),
            Who::Staff(None),
            Who::Staff(Some("anna".into())),
        ] {
            assert!(registry.enter(who, "a".into()).1.is_none());
        }
        assert!(!first.leave.is_cancelled());
    }
}
