//! The server name in a TLS ClientHello (RFC 8446 section 4.1.2, RFC 6066 section 3), by any version of TLS from 1.0 on.
//!
//! A hello may be cut into several records, and is read as far as it goes: a name that stands in the part that is there
//! is found. Nothing is checked that the name does not depend on. What is no ClientHello, and the hello of SSL 2,
//! have no name. With Encrypted Client Hello the name is that of the outer hello.

use std::borrow::Cow;

use super::{
    reader::{Reader, Short},
    text,
};

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const RECORD_HEADER: usize = 5;
/// With what encryption may add (RFC 8446 section 5.2).
const LONGEST_RECORD: u16 = (1 << 14) + 256;
const VERSION_AND_RANDOM: usize = 34;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// Whether a ClientHello begins here, by its first six bytes.
pub(super) fn begins(stream: &[u8]) -> bool {
    matches!(stream, [HANDSHAKE, 3, 0..=4, _, _, CLIENT_HELLO, ..])
}

/// The server name of the ClientHello that `stream` begins with; `None` without one.
///
/// # Errors
/// [`Short`] when the name may come with further bytes.
pub fn server_name(stream: &[u8]) -> Result<Option<String>, Short> {
    let Some(handshake) = handshake(stream) else {
        return Ok(None);
    };
    let lacking = |Short(needed): Short| needed.saturating_sub(handshake.len()).max(1);
    client_hello(&handshake).map_err(|short| Short(stream.len() + lacking(short)))
}

/// What the handshake records at the beginning of `stream` carry, one after another; `None` if it begins otherwise.
fn handshake(stream: &[u8]) -> Option<Cow<'_, [u8]>> {
    let (first, mut rest) = record(stream)?;
    let mut handshake = Cow::Borrowed(first);
    while !rest.is_empty()
        && let Some((next, behind)) = record(rest)
    {
        handshake.to_mut().extend_from_slice(next);
        rest = behind;
    }
    Some(handshake)
}

/// The content of the record here, as far as it goes, and what is behind.
fn record(stream: &[u8]) -> Option<(&[u8], &[u8])> {
    let may_be = |at: usize, fits: fn(u8) -> bool| stream.get(at).copied().is_none_or(fits);
    let is_record =
        may_be(0, |kind| kind == HANDSHAKE) && may_be(1, |v| v == 3) && may_be(2, |v| v <= 4);
    if !is_record {
        return None;
    }
    let Some((&[_, _, _, high, low], content)) = stream.split_first_chunk::<RECORD_HEADER>() else {
        return Some((&[], &[]));
    };
    let len = u16::from_be_bytes([high, low]);
    let is_sound = (1..=LONGEST_RECORD).contains(&len);
    is_sound.then(|| {
        content
            .split_at_checked(len.into())
            .unwrap_or((content, &[]))
    })
}

/// The server name of the ClientHello that `handshake` begins with, a stream without records, as QUIC has it.
///
/// # Errors
/// [`Short`] when the name may come with further bytes.
pub fn client_hello(handshake: &[u8]) -> Result<Option<String>, Short> {
    let mut reader = Reader::new(handshake);
    if reader.u8()? != CLIENT_HELLO {
        return Ok(None);
    }
    let end = reader.be24()? + reader.at();
    // What lies behind the hello's end belongs to another message.
    let within = |short: Short| (short.0 <= end).then_some(short).map_or(Ok(None), Err);
    let hello = handshake.get(..end).unwrap_or(handshake);
    let mut reader = Reader::new(hello);
    reader.skip(4 + VERSION_AND_RANDOM);
    extensions(reader).or_else(within)
}

/// From the session id on.
fn extensions(mut reader: Reader<'_>) -> Result<Option<String>, Short> {
    reader.skip_u8()?; // session id
    reader.skip_be16()?; // cipher suites
    reader.skip_u8()?; // compression methods
    let len = reader.be16()?;
    let end = reader.at() + usize::from(len);
    while reader.at() < end {
        if reader.be16()? == SERVER_NAME {
            let len = reader.be16()?;
            return Ok(host_name(reader.take(len.into())?));
        }
        reader.skip_be16()?;
    }
    Ok(None)
}

fn host_name(extension: &[u8]) -> Option<String> {
    let mut list = Reader::new(extension);
    list.skip(2);
    while let (Ok(kind), Ok(len)) = (list.u8(), list.be16()) {
        let name = list.take(len.into()).ok()?;
        if kind == HOST_NAME {
            return text::host(name);
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests;
