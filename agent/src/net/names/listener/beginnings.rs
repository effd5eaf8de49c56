//! Where the streams of the newest connections begin, by their SYN.
//!
//! A few bytes each in a table of fixed size: a place is told by a hash with keys drawn at random, and whoever comes later
//! takes it.
//! What is lost by that is little: without it a stream is still heard from a segment that begins a hello or a request.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;

use super::Path;

const PLACES: usize = 1024;

/// The table.
#[derive(Debug)]
pub(super) struct Beginnings {
    hash: RandomState,
    places: Vec<Option<Beginning>>,
}

#[derive(Debug, Clone, Copy)]
struct Beginning {
    /// The whole hash of its path.
    path: u64,
    /// Sequence number of its first byte.
    first: u32,
}

impl Beginnings {
    pub(super) fn new() -> Self {
        Self {
            hash: RandomState::default(),
            places: vec![None; PLACES],
        }
    }

    /// A connection begins.
    pub(super) fn note(&mut self, path: &Path, first: u32) {
        let path = self.hash.hash_one(path);
        if let Some(place) = self.places.get_mut(place_of(path)) {
            *place = Some(Beginning { path, first });
        }
    }

    /// Where its stream begins, if that is still known.
    pub(super) fn get(&self, path: &Path) -> Option<u32> {
        let path = self.hash.hash_one(path);
        let noted = self.places.get(place_of(path)).copied().flatten();
        noted.filter(|it| it.path == path).map(|it| it.first)
    }

    /// Of this connection all has been heard.
    pub(super) fn forget(&mut self, path: &Path) {
        let path = self.hash.hash_one(path);
        if let Some(place) = self.places.get_mut(place_of(path)) {
            place.take_if(|it| it.path == path);
        }
    }
}

fn place_of(path: u64) -> usize {
    usize::try_from(path).unwrap_or_default() % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        Path {
            source: ([192, 0, 2, 1], port).into(),
            destination: ([198, 51, 100, 1], 443).into(),
        }
    }

    #[test]
    fn a_beginning_is_known_until_it_is_forgotten() {
        let mut beginnings = Beginnings::new();
        beginnings.note(&path(1), 7);
        beginnings.note(&path(1), 8);
        assert_eq!(beginnings.get(&path(1)), Some(8));
        assert_eq!(beginnings.get(&path(2)), None);
        beginnings.forget(&path(2));
        assert_eq!(beginnings.get(&path(1)), Some(8));
        beginnings.forget(&path(1));
        assert_eq!(beginnings.get(&path(1)), None);
    }

    #[test]
    fn a_flood_takes_the_places_of_others_and_no_more_room() {
        let mut beginnings = Beginnings::new();
        for port in 0..u16::MAX {
            beginnings.note(&path(port), port.into());
            assert_eq!(beginnings.get(&path(port)), Some(port.into()));
        }
        assert_eq!(beginnings.places.len(), PLACES);
    }
}
