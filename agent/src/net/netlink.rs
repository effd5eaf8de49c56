//! The framing that all of netlink shares (netlink(7), `linux/netlink.h`): messages in a datagram, attributes in a message.
//!
//! Numbers are in the machine's own byte order; messages and attributes begin at multiples of four. Pure but for
//! `socket`. A length that does not fit ends the reading; bytes are never trusted to be what they say.

pub(super) mod socket;

/// The request must be answered.
pub const REQUEST: u16 = 0x1;
/// Not for one, for all of a kind.
pub const DUMP: u16 = 0x300;
/// What was listed changed meanwhile: the list may be torn.
const TORN: u16 = 0x10;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;
const ATTRIBUTE: usize = 4;
/// The two upper bits of an attribute's type are flags (nested, byte order).
const TYPE: u16 = 0x3fff;

/// A message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is about.
    pub kind: u16,
    /// The number of the question that it answers; 0 for a notice.
    pub sequence: u32,
    /// It is of a list that changed while it was made.
    pub is_torn: bool,
    /// What follows the header.
    pub body: &'a [u8],
}

impl Message<'_> {
    /// Whether nothing follows it: the end of a list, or a refusal or confirmation, with its error number (0: none).
    #[must_use]
    pub fn end(&self) -> Option<i32> {
        let number = || u32_at(self.body, 0).map_or(0, u32::cast_signed);
        matches!(self.kind, ERROR | DONE).then(|| number().saturating_neg())
    }
}

/// The messages in a datagram, as far as they are whole.
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(rest, 0)?).ok()?;
        let message = rest.get(..length)?;
        let body = message.get(HEADER..)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some(Message {
            kind: u16_at(message, 4)?,
            sequence: u32_at(message, 8)?,
            is_torn: u16_at(message, 6)? & TORN != 0,
            body,
        })
    })
}

/// Types and values of the attributes in `bytes`, as far as they are whole.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let value = rest.get(ATTRIBUTE..length)?;
        let kind = u16_at(rest, 2)? & TYPE;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A whole request.
#[must_use]
pub fn request(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or_default();
    let mut request = Vec::with_capacity(HEADER + body.len());
    request.extend(length.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend((flags | REQUEST).to_ne_bytes());
    request.extend(sequence.to_ne_bytes());
    request.extend([0; 4]);
    request.extend(body);
    request
}

/// An attribute, with what fills it up to a multiple of four.
#[must_use]
pub fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = ATTRIBUTE + value.len();
    let mut attribute = Vec::with_capacity(aligned(length));
    attribute.extend(u16::try_from(length).unwrap_or_default().to_ne_bytes());
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(aligned(length), 0);
    attribute
}

/// A text that ends at its first zero.
pub(super) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0);
    let text = end.and_then(|end| value.get(..end)).unwrap_or(value);
    String::from_utf8_lossy(text).into_owned()
}

pub(super) fn at<const LENGTH: usize>(bytes: &[u8], from: usize) -> Option<[u8; LENGTH]> {
    bytes.get(from..)?.first_chunk().copied()
}

pub(super) fn u16_at(bytes: &[u8], from: usize) -> Option<u16> {
    at(bytes, from).map(u16::from_ne_bytes)
}

pub(super) fn u32_at(bytes: &[u8], from: usize) -> Option<u32> {
    at(bytes, from).map(u32::from_ne_bytes)
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut datagram = request(16, DUMP, 7, &attribute(3, b"eth0\0"));
        datagram.extend(request(17, 0, 8, &[]));
        let [first, second] = messages(&datagram).collect::<Vec<_>>()[..] else {
            panic!("two messages");
        };
        assert_eq!((first.kind, first.sequence, first.end()), (16, 7, None));
        let read: Vec<_> = attributes(first.body).collect();
        assert_eq!(read, [(3, &b"eth0\0"[..])]);
        assert_eq!(text(read[0].1), "eth0");
        assert_eq!((second.kind, second.body), (17, &[][..]));
    }

    #[test]
    fn the_end_of_a_list_is_told_from_a_refusal() {
        let end = |kind, number: i32| {
            let datagram = request(kind, 0, 1, &number.to_ne_bytes());
            messages(&datagram).next().unwrap().end()
        };
        assert_eq!(end(DONE, 0), Some(0));
        assert_eq!(end(ERROR, -95), Some(95));
        assert_eq!(end(ERROR, i32::MIN), Some(i32::MAX));
        assert_eq!(end(16, 0), None);
    }

    proptest! {
        #[test]
        fn reading_ends_whatever_the_lengths_say(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for message in messages(&bytes) {
                prop_assert!(message.body.len() + HEADER <= bytes.len());
                prop_assert!(attributes(message.body).count() <= message.body.len() / ATTRIBUTE);
            }
            prop_assert!(attributes(&bytes).count() <= bytes.len() / ATTRIBUTE);
        }

        #[test]
        fn any_attributes_are_read_as_they_were_written(list in proptest::collection::vec(
            (0..TYPE, proptest::collection::vec(any::<u8>(), 0..40)), 0..8)
        ) {
            let bytes: Vec<u8> = list.iter().flat_map(|(kind, value)| attribute(*kind, value)).collect();
            let read: Vec<_> = attributes(&bytes).map(|(kind, value)| (kind, value.to_vec())).collect();
            prop_assert_eq!(read, list);
        }
    }
}
