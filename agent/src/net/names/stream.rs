//! The beginning of a byte stream, put together from pieces that come in any order, twice or overlapping.
//!
//! At most [`LONGEST`] bytes and [`MOST_PIECES`] separate pieces are kept; what goes beyond is passed over. Of bytes that come
//! twice the first stay, as a receiver has it that has read them already.

/// So much of a stream is kept. A ClientHello with post-quantum keys and a session ticket has 2 to 4 KiB.
pub const LONGEST: usize = 16 * 1024;
const MOST_PIECES: usize = 64;

/// The beginning of a stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    bytes: Vec<u8>,
    /// What of `bytes` is there, as sorted ranges with holes between them.
    there: Vec<Piece>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    start: usize,
    end: usize,
}

impl Stream {
    /// What is there without a hole, from the first byte on.
    pub(super) fn beginning(&self) -> &[u8] {
        match self.there.first() {
            Some(&Piece { start: 0, end }) => self.bytes.get(..end).unwrap_or_default(),
            _ => &[],
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.there.is_empty()
    }

    /// Takes in a piece that begins at `start`.
    pub(super) fn add(&mut self, start: usize, bytes: &[u8]) {
        let room = LONGEST.saturating_sub(start);
        let bytes = bytes.get(..room).unwrap_or(bytes);
        let piece = Piece {
            start,
            end: start + bytes.len(),
        };
        let touches = |other: &Piece| other.start <= piece.end && piece.start <= other.end;
        let joins = self.there.iter().any(touches);
        if bytes.is_empty() || !joins && self.there.len() >= MOST_PIECES {
            return;
        }
        if self.bytes.len() < piece.end {
            self.bytes.resize(piece.end, 0);
        }
        self.fill(piece, bytes);
        self.note(piece);
    }

    /// Copies what is not there yet.
    fn fill(&mut self, piece: Piece, bytes: &[u8]) {
        let mut at = piece.start;
        let end = Piece {
            start: piece.end,
            end: piece.end,
        };
        for there in self.there.iter().chain([&end]) {
            let hole_end = there.start.min(piece.end);
            if at < hole_end
                && let Some(hole) = self.bytes.get_mut(at..hole_end)
                && let Some(new) = bytes.get(at - piece.start..hole_end - piece.start)
            {
                hole.copy_from_slice(new);
            }
            at = at.max(there.end);
        }
    }

    fn note(&mut self, mut piece: Piece) {
        self.there.retain(|other| {
            let touches = other.start <= piece.end && piece.start <= other.end;
            if touches {
                piece.start = piece.start.min(other.start);
                piece.end = piece.end.max(other.end);
            }
            !touches
        });
        let at = self
            .there
            .partition_point(|other| other.start < piece.start);
        self.there.insert(at, piece);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hole_is_waited_for_and_the_first_of_two_stays() {
        let mut stream = Stream::default();
        stream.add(3, b"def");
        assert_eq!(stream.beginning(), b"");
        stream.add(8, b"ijk");
        stream.add(0, b"abcDEFGH");
        assert_eq!(stream.beginning(), b"abcdefGHijk");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut stream = Stream::default();
        stream.add(LONGEST - 1, b"xyz");
        stream.add(usize::MAX, b"xyz");
        for start in 0..1000 {
            stream.add(start * 2 + 10, b"x");
        }
        assert_eq!(stream.bytes.len(), LONGEST);
        assert_eq!(stream.there.len(), MOST_PIECES);
        stream.add(0, &[1; LONGEST]);
        assert_eq!(stream.beginning().len(), LONGEST);
    }

    proptest! {
        #[test]
        fn pieces_in_any_order_give_the_stream(
            pieces in prop::collection::vec((0..200_usize, 1..60_usize), 1..60),
        ) {
            let whole: Vec<u8> = (0..=255).collect();
            let mut stream = Stream::default();
            let mut there = vec![false; 300];
            for (start, len) in pieces {
                let end = (start + len).min(whole.len());
                stream.add(start, &whole[start..end]);
                there[start..end].fill(true);
                let expected = there.iter().position(|&there| !there).unwrap();
                prop_assert_eq!(stream.beginning(), &whole[..expected]);
            }
        }
    }
}
