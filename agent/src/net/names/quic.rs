//! The server name in the Initial packets of a QUIC client, versions 1 and 2 (RFC 9000, 9001, 9369).
//!
//! Initial packets are sealed with keys that follow from the connection id that the client chose first, so whoever sees that
//! packet can open all of them. The ClientHello lies in CRYPTO frames, over several packets where it is long, in any
//! order. A Retry makes the client choose anew: a packet that the keys so far do not open is tried with those of
//! its own id. Opening proves that the bytes are a client's; all others (the server's Initial packets, packets that the
//! capture has cut) teach nothing.

mod keys;

use self::keys::Keys;
use super::{
    reader::{Reader, Short},
    stream::Stream,
    tls,
};

const LONG_HEADER: u8 = 0xc0;
const LONGEST_ID: u8 = 20;
/// So many packets of a datagram are looked at.
const MOST_PACKETS: usize = 8;

/// The versions that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            0x6b33_43cf => Some(Self::Two),
            _ => None,
        }
    }

    /// Version 2 has other numbers for the same types of packets.
    fn is_initial(self, first: u8) -> bool {
        first & 0x30
            == match self {
                Self::One => 0x00,
                Self::Two => 0x10,
            }
    }
}

/// An Initial packet as it is on the wire.
#[derive(Debug)]
struct Initial<'a> {
    version: Version,
    /// The receiver's connection id.
    id: &'a [u8],
    /// From the first byte of the header to the last of the seal.
    bytes: &'a [u8],
    /// Where in `bytes` the packet number begins.
    number_at: usize,
}

/// Whether a datagram begins with an Initial packet that could be read.
pub(super) fn begins(datagram: &[u8]) -> bool {
    let Some(&[first, v1, v2, v3, v4]) = datagram.first_chunk() else {
        return false;
    };
    let version = Version::from_number(u32::from_be_bytes([v1, v2, v3, v4]));
    first & LONG_HEADER == LONG_HEADER && version.is_some_and(|version| version.is_initial(first))
}

/// What a client has said in its Initial packets so far.
#[derive(Debug, Default)]
pub struct Initials {
    keys: Option<Keys>,
    crypto: Stream,
}

impl Initials {
    /// Takes in a datagram from a client; returns the server name as soon as it is there, and `None` when there is
    /// nothing to wait for.
    ///
    /// # Errors
    /// [`Short`] when the name may come with further datagrams.
    pub fn hear(&mut self, datagram: &[u8]) -> Result<Option<String>, Short> {
        for initial in packets(datagram) {
            if let Some(payload) = self.open(&initial) {
                crypto(&payload, |at, bytes| self.crypto.add(at, bytes));
            }
        }
        match self.keys {
            Some(_) => tls::client_hello(self.crypto.beginning()),
            None => Ok(None),
        }
    }

    fn open(&mut self, initial: &Initial<'_>) -> Option<Vec<u8>> {
        let known = self.keys.as_ref();
        if let Some(payload) = known.and_then(|keys| keys.open(initial)) {
            return Some(payload);
        }
        let version = initial.version;
        // The version may change on the way (RFC 9368); after a Retry the stream begins anew.
        let changed = known.map(|keys| Keys::new(version, keys.id()));
        if let Some((keys, payload)) = changed.and_then(|keys| opened(keys?, initial)) {
            self.keys = Some(keys);
            return Some(payload);
        }
        let (keys, payload) = opened(Keys::new(version, initial.id)?, initial)?;
        self.keys = Some(keys);
        self.crypto = Stream::default();
        Some(payload)
    }
}

fn opened(keys: Keys, initial: &Initial<'_>) -> Option<(Keys, Vec<u8>)> {
    let payload = keys.open(initial)?;
    Some((keys, payload))
}

/// The Initial packets of a datagram; others between them are stepped over.
fn packets(datagram: &[u8]) -> impl Iterator<Item = Initial<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let (packet, behind) = long_packet(rest)?;
        rest = behind;
        Some(packet)
    })
    .take(MOST_PACKETS)
    .flatten()
}

/// The packet with a long header here and what lies behind it. Inner `None` for one that is no Initial packet.
fn long_packet(bytes: &[u8]) -> Option<(Option<Initial<'_>>, &[u8])> {
    let mut reader = Reader::new(bytes);
    let first = reader.u8().ok()?;
    let version = Version::from_number(u32::from_be_bytes(reader.chunk().ok()?))?;
    if first & LONG_HEADER != LONG_HEADER {
        return None;
    }
    let id = connection_id(&mut reader)?;
    connection_id(&mut reader)?;
    let is_initial = version.is_initial(first);
    if is_initial {
        let token_len = varint(&mut reader)?;
        reader.skip(token_len);
    }
    let len = varint(&mut reader)?;
    let number_at = reader.at();
    let (bytes, behind) = bytes.split_at_checked(number_at.checked_add(len)?)?;
    let initial = is_initial.then_some(Initial {
        version,
        id,
        bytes,
        number_at,
    });
    Some((initial, behind))
}

fn connection_id<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let len = reader.u8().ok().filter(|&len| len <= LONGEST_ID)?;
    reader.take(len.into()).ok()
}

/// A number of variable length (RFC 9000 section 16); `None` also for one beyond what fits.
fn varint(reader: &mut Reader<'_>) -> Option<usize> {
    let first = reader.u8().ok()?;
    let more = (1_usize << (first >> 6)) - 1;
    let rest = reader.take(more).ok()?;
    let start = u64::from(first & 0x3f);
    let number = rest
        .iter()
        .fold(start, |number, &byte| number << 8 | u64::from(byte));
    usize::try_from(number).ok()
}

/// Hands the CRYPTO frames of an opened Initial packet to `each`, with their place in the stream. It ends at the first frame that
/// has no place in such a packet (RFC 9000 section 17.2.2), or at the one that closes the connection.
pub fn crypto(payload: &[u8], mut each: impl FnMut(usize, &[u8])) {
    let mut reader = Reader::new(payload);
    while !reader.is_at_end() && frame(&mut reader, &mut each).is_some() {}
}

fn frame(reader: &mut Reader<'_>, each: &mut impl FnMut(usize, &[u8])) -> Option<()> {
    match reader.u8().ok()? {
        0 | 1 => {} // PADDING, PING
        kind @ (2 | 3) => acknowledgement(reader, kind == 3)?,
        6 => {
            let (at, len) = (varint(reader)?, varint(reader)?);
            each(at, reader.take(len).ok()?);
        }
        _ => return None,
    }
    Some(())
}

fn acknowledgement(reader: &mut Reader<'_>, with_ecn: bool) -> Option<()> {
    let (_largest, _delay) = (varint(reader)?, varint(reader)?);
    let further_ranges = varint(reader)?;
    varint(reader)?;
    for _ in 0..further_ranges {
        let (_gap, _len) = (varint(reader)?, varint(reader)?);
    }
    if with_ecn {
        let _counts = (varint(reader)?, varint(reader)?, varint(reader)?);
    }
    Some(())
}

#[cfg(test)]
pub(super) mod tests;
