//! One commit of the write-ahead log, as bytes.
//!
//! ```text
//! segment = frame*
//! frame   = length of the body: u32, first 8 bytes of the body's SHA-256, body     (numbers little-endian)
//! body    = piece*
//! piece   = 1, length: u16, "192.168.0.133/2026-11-22T09-31-05Z.jsonl", offset: u64, length: u32, lines
//!         | 2, length: u32, JSON array of marks
//! ```
//!
//! A piece says where in which file its lines belong, so that a frame can be applied any number of times. A frame
//! that is cut or changed anywhere is none. At the end of a log that is a frame which was never acknowledged; before
//! a sound one it is damage, for each was on the disk before the next was begun. Pure; bytes of a file are foreign bytes.

use labwatch_contract::chain::Digest;

use crate::{
    filing::{FileName, Folder},
    ledger::Standing,
};

/// Length and digest of a frame.
const HEAD: usize = 12;
const LINES: u8 = 1;
const MARKS: u8 = 2;

/// Lines for one file, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The folder.
    pub folder: Folder,
    /// The file in it.
    pub name: FileName,
    /// Where they begin.
    pub offset: u64,
    /// The lines, each with its line feed.
    pub lines: Vec<u8>,
}

/// A frame that is being filled.
#[derive(Debug)]
pub struct FrameWriter {
    bytes: Vec<u8>,
}

/// What a frame holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Lines for files.
    pub pieces: Vec<Piece>,
    /// Marks that are true once the lines are in place.
    pub marks: Vec<Standing>,
}

impl Default for FrameWriter {
    fn default() -> Self {
        Self {
            bytes: vec![0; HEAD],
        }
    }
}

impl FrameWriter {
    /// Adds lines.
    pub fn lines(&mut self, piece: &Piece) {
        let path = format!("{}/{}", piece.folder, piece.name);
        let (Ok(path_length), Ok(length)) =
            (u16::try_from(path.len()), u32::try_from(piece.lines.len()))
        else {
            return;
        };
        self.bytes.push(LINES);
        self.bytes.extend(path_length.to_le_bytes());
        self.bytes.extend(path.as_bytes());
        self.bytes.extend(piece.offset.to_le_bytes());
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(&piece.lines);
    }

    /// Adds marks.
    pub fn marks<'a>(&mut self, marks: impl IntoIterator<Item = &'a Standing>) {
        let marks: Vec<_> = marks.into_iter().collect();
        let text = serde_json::to_vec(&marks).unwrap_or_default();
        let Ok(length) = u32::try_from(text.len()) else {
            return;
        };
        self.bytes.push(MARKS);
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(text);
    }

    /// The frame.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let (head, body) = self.bytes.split_at_mut(HEAD);
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
        let digest = Digest::of(body).short();
        for (to, from) in head.iter_mut().zip(length.iter().chain(&digest)) {
            *to = *from;
        }
        self.bytes
    }
}

/// The first frame in `bytes`, and how many of them it takes; `None` where there is no whole and sound one.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<(Frame, usize)> {
    let mut rest = bytes;
    let length = usize::try_from(u32::from_le_bytes(take(&mut rest)?)).ok()?;
    let digest: [u8; 8] = take(&mut rest)?;
    let body = rest.get(..length)?;
    if Digest::of(body).short() != digest {
        return None;
    }
    Some((read_body(body)?, HEAD + length))
}

/// Whether a whole and sound frame begins anywhere in `bytes`.
#[must_use]
pub fn is_anywhere(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    loop {
        // Digests of all that might be a frame would take for ever: few places look like one.
        if rest.get(HEAD..).is_some_and(looks_like_a_body) && read(rest).is_some() {
            return true;
        }
        match rest.split_first() {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
}

fn looks_like_a_body(mut bytes: &[u8]) -> bool {
    match take(&mut bytes) {
        Some([LINES]) => {
            let length = take(&mut bytes).map(u16::from_le_bytes).unwrap_or_default();
            let path = split(&mut bytes, length.into()).unwrap_or_default();
            path.ends_with(b".jsonl")
        }
        Some([MARKS]) => take(&mut bytes).is_some_and(|_: [u8; 4]| bytes.starts_with(b"[")),
        _ => false,
    }
}

fn read_body(mut body: &[u8]) -> Option<Frame> {
    let mut frame = Frame::default();
    while let Some((kind, rest)) = body.split_first() {
        body = rest;
        match *kind {
            LINES => frame.pieces.push(read_piece(&mut body)?),
            MARKS => {
                let length = u32::from_le_bytes(take(&mut body)?);
                let marks: Vec<Standing> =
                    serde_json::from_slice(split(&mut body, length)?).ok()?;
                frame.marks.extend(marks);
            }
            _ => return None,
        }
    }
    Some(frame)
}

fn read_piece(body: &mut &[u8]) -> Option<Piece> {
    let length = u16::from_le_bytes(take(body)?);
    let (folder, name) = str::from_utf8(split(body, length.into())?)
        .ok()?
        .split_once('/')?;
    let offset = u64::from_le_bytes(take(body)?);
    let length = u32::from_le_bytes(take(body)?);
    Some(Piece {
        folder: Folder::from_name(folder)?,
        name: FileName::from_name(name)?,
        offset,
        lines: split(body, length)?.to_vec(),
    })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

fn split<'a>(bytes: &mut &'a [u8], length: u32) -> Option<&'a [u8]> {
    let (first, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn frame() -> (Frame, Vec<u8>) {
        let piece = Piece {
            folder: Folder::Pc("2001:db8::1".parse().unwrap()),
            name: FileName::at("2026-11-22T09:31:05.140Z".parse().unwrap()).next(),
            offset: 70_000_000_000,
            lines: b"{}\n{}\n".to_vec(),
        };
        let marks = vec![Standing {
            journal: Uuid::from_u128(1),
            ip: "192.168.0.1".parse().unwrap(),
            sequence: 42,
            digest: Some(Digest::of(b"x")),
            left: vec!["192.168.0.2".parse().unwrap()],
        }];
        let mut writer = FrameWriter::default();
        writer.lines(&piece);
        writer.marks(&marks);
        let pieces = vec![piece];
        (Frame { pieces, marks }, writer.finish())
    }

    #[test]
    fn a_written_frame_is_read_back_and_what_follows_is_left() {
        let (frame, bytes) = frame();
        let length = bytes.len();
        let followed = [bytes, b"more".to_vec()].concat();
        assert_eq!(read(&followed), Some((frame, length)));
    }

    #[test]
    fn a_frame_torn_at_any_byte_is_none() {
        let (_, bytes) = frame();
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length]), None, "{length}");
        }
    }

    #[test]
    fn a_frame_with_any_byte_changed_is_none() {
        let (_, bytes) = frame();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(read(&changed), None, "{at}");
        }
    }

    #[test]
    fn a_sound_frame_is_found_behind_anything_and_a_torn_one_nowhere() {
        let (frame, bytes) = frame();
        let mut marks = FrameWriter::default();
        marks.marks(&frame.marks);
        for bytes in [bytes, marks.finish()] {
            let behind = [&bytes[3..], &bytes, b"more"].concat();
            assert!(is_anywhere(&behind));
            assert!(!is_anywhere(&behind[..behind.len() - 5]));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = (read(&bytes), is_anywhere(&bytes));
            let mut writer = FrameWriter::default();
            writer.bytes.extend(&bytes);
            let _ = read(&writer.finish());
        }
    }
}
