//! Everything that is there, in lines with one digest: so that a server can tell that something has changed while
//! nobody looked.
//!
//! Invariant: the digest depends on the set of items alone, not on their order or on when they came; an item has no
//! control character (foreign ones are made harmless) and at most `MAX_ITEM` bytes, all together fit a payload.

use labwatch_contract::{chain::Digest, event::usb::Inventory, text::harmless};

/// Longest item, in bytes.
const MAX_ITEM: usize = 1024;

/// Most bytes of all items together; a payload has room for 200 KiB.
const MAX_ITEMS: usize = 96 * 1024;

/// Puts an inventory together.
#[must_use]
pub fn inventory(items: impl Iterator<Item = String>) -> Inventory {
    let mut items: Vec<_> = items.map(|item| cut(harmless(&item))).collect();
    items.sort_unstable();
    let whole: String = items.iter().flat_map(|item| [item, "\n"]).collect();
    let sha256 = Digest::of(whole.as_bytes());
    let mut room = MAX_ITEMS;
    let fitting = items.iter().take_while(|item| {
        room = room.saturating_sub(item.len());
        room > 0
    });
    let fitting = fitting.count();
    let omitted = items.len() - fitting;
    items.truncate(fitting);
    Inventory {
        sha256,
        items,
        omitted,
    }
}

fn cut(mut item: String) -> String {
    item.truncate(item.floor_char_boundary(MAX_ITEM));
    item
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(items: &[&str]) -> Inventory {
        inventory(items.iter().map(|item| (*item).to_owned()))
    }

    #[test]
    fn the_digest_is_that_of_the_sorted_lines() {
        let found = of(&["volume 8:1", "device 2-1"]);
        assert_eq!(found.items, ["device 2-1", "volume 8:1"]);
        assert_eq!(found.sha256, Digest::of(b"device 2-1\nvolume 8:1\n"));
        assert_eq!(of(&[]).sha256, Digest::of(b""));
        assert_ne!(of(&["a", "b"]).sha256, of(&["a"]).sha256);
    }

    #[test]
    fn what_does_not_fit_is_counted_and_in_the_digest() {
        let many = |last: usize| inventory((0..last).map(|n| format!("{n:0>600}")));
        let found = many(500);
        assert_eq!(found.items.len() + found.omitted, 500);
        assert!(found.omitted > 0);
        assert_ne!(found.sha256, many(501).sha256);
    }

    proptest! {
        #[test]
        fn no_item_breaks_a_line(items in proptest::collection::vec(any::<String>(), 0..20)) {
            let found = inventory(items.into_iter());
            for item in &found.items {
                prop_assert!(!item.contains(['\n', '\r']) && item.len() <= MAX_ITEM);
            }
        }
    }
}
