//! From a client's bytes to a [`Packet`].
//!
//! One checked pass: a packet that was read has UTF-8 texts without NUL, a packet id where one is due, and nothing
//! left over. Whatever else comes gives a [`PacketError`], never a panic, and is never waited for beyond the size
//! limit.

use bytes::{Buf as _, Bytes, BytesMut};

use self::PacketError::Malformed;
use super::{Connect, Login, Message, Packet, Publish, Qos};

/// Why bytes are no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Larger than the limit.
    #[error("a packet of {0} bytes is too large")]
    TooLarge(usize),
    /// MQTT 3.1, 5 or something later.
    #[error("protocol level {0} is not spoken here, only MQTT 3.1.1")]
    Level(u8),
    /// A message with QoS 2.
    #[error("QoS 2 is not spoken here")]
    ExactlyOnce,
    /// Against the specification.
    #[error("no MQTT: {0}")]
    Malformed(&'static str),
}

/// Takes the next packet and its size in bytes off the front of `buffer`; `None` when more bytes are needed.
///
/// # Errors
/// [`PacketError`]; the connection cannot go on after it.
pub fn read(buffer: &mut BytesMut, limit: usize) -> Result<Option<(Packet, usize)>, PacketError> {
    let Some((first, header, length)) = fixed_header(buffer)? else {
        return Ok(None);
    };
    let size = header + length;
    if size > limit {
        return Err(PacketError::TooLarge(size));
    }
    if buffer.len() < size {
        buffer.reserve(size - buffer.len());
        return Ok(None);
    }
    let mut frame = buffer.split_to(size).freeze();
    frame.advance(header);
    Ok(Some((body(first, Body(frame))?, size)))
}

/// The first byte, the length of the fixed header and the remaining length.
fn fixed_header(buffer: &[u8]) -> Result<Option<(u8, usize, usize)>, PacketError> {
    let Some((first, rest)) = buffer.split_first() else {
        return Ok(None);
    };
    let mut length = 0;
    for (index, byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((*first, index + 2, length)));
        }
    }
    match rest.len() {
        0..4 => Ok(None),
        _ => Err(Malformed("the remaining length is longer than four bytes")),
    }
}

fn body(first: u8, mut body: Body) -> Result<Packet, PacketError> {
    let packet = match (first >> 4, first & 0x0f) {
        (1, 0) => Packet::Connect(connect(&mut body)?),
        (3, flags) => Packet::Publish(publish(flags, &mut body)?),
        (4, 0) => Packet::PubAck(body.id()?),
        (8, 2) => Packet::Subscribe(
            body.id()?,
            body.list(|body| Ok((body.text()?, body.qos()?)))?,
        ),
        (10, 2) => Packet::Unsubscribe(body.id()?, body.list(Body::text)?),
        (12, 0) => Packet::PingReq,
        (14, 0) => Packet::Disconnect,
        _ => return Err(Malformed("a client does not send such a packet")),
    };
    match body.0.is_empty() {
        true => Ok(packet),
        false => Err(Malformed("bytes are left over")),
    }
}

fn connect(body: &mut Body) -> Result<Connect, PacketError> {
    let name = body.bytes()?;
    let level = body.u8()?;
    match (name.as_ref(), level) {
        (b"MQTT", 4) => {}
        (b"MQTT" | b"MQIsdp", _) => {
            // The rest is of another version and nobody reads it.
            return Err(PacketError::Level(level));
        }
        _ => return Err(Malformed("another protocol")),
    }
    let flags = body.u8()?;
    let keep_alive = body.u16()?;
    let client_id = body.text()?;
    let will = will(flags, body)?;
    let login = login(flags, body)?;
    if flags & 1 != 0 {
        return Err(Malformed("a reserved flag is set"));
    }
    Ok(Connect {
        client_id,
        clean: flags & 2 != 0,
        keep_alive,
        will,
        login,
    })
}

fn will(flags: u8, body: &mut Body) -> Result<Option<Message>, PacketError> {
    match (flags & 0x04 != 0, flags & 0x38) {
        (false, 0) => return Ok(None),
        (false, _) => return Err(Malformed("flags of a will without a will")),
        (true, _) => {}
    }
    let topic = body.text()?;
    let payload = body.bytes()?;
    Ok(Some(Message {
        topic,
        payload,
        // The broker itself publishes it: at least once is the most it promises.
        qos: requested_qos((flags >> 3) & 3)?,
        retain: flags & 0x20 != 0,
    }))
}

fn login(flags: u8, body: &mut Body) -> Result<Option<Login>, PacketError> {
    match (flags & 0x80 != 0, flags & 0x40 != 0) {
        (false, false) => Ok(None),
        (false, true) => Err(Malformed("a password without a user name")),
        (true, has_password) => {
            let user = body.text()?;
            let password = if has_password {
                body.bytes()?
            } else {
                Bytes::new()
            };
            Ok(Some(Login { user, password }))
        }
    }
}

fn publish(flags: u8, body: &mut Body) -> Result<Publish, PacketError> {
    let qos = match (flags >> 1) & 3 {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        2 => return Err(PacketError::ExactlyOnce),
        _ => return Err(Malformed("QoS 3")),
    };
    let topic = body.text()?;
    let id = match qos {
        Qos::AtMostOnce => None,
        Qos::AtLeastOnce => Some(body.id()?),
    };
    let payload = std::mem::take(&mut body.0);
    Ok(Publish {
        message: Message {
            topic,
            payload,
            qos,
            retain: flags & 1 != 0,
        },
        id,
    })
}

fn requested_qos(number: u8) -> Result<Qos, PacketError> {
    match number {
        0 => Ok(Qos::AtMostOnce),
        // A subscriber that asks for 2 is granted 1, as the specification allows.
        1 | 2 => Ok(Qos::AtLeastOnce),
        _ => Err(Malformed("QoS 3")),
    }
}

/// What is left of a packet; every step is checked.
struct Body(Bytes);

impl Body {
    fn u8(&mut self) -> Result<u8, PacketError> {
        self.0.try_get_u8().map_err(|_| Malformed("it ends early"))
    }

    fn u16(&mut self) -> Result<u16, PacketError> {
        self.0.try_get_u16().map_err(|_| Malformed("it ends early"))
    }

    fn id(&mut self) -> Result<u16, PacketError> {
        match self.u16()? {
            0 => Err(Malformed("packet id 0")),
            id => Ok(id),
        }
    }

    fn qos(&mut self) -> Result<Qos, PacketError> {
        requested_qos(self.u8()?)
    }

    fn bytes(&mut self) -> Result<Bytes, PacketError> {
        let length = usize::from(self.u16()?);
        match length <= self.0.len() {
            true => Ok(self.0.split_to(length)),
            false => Err(Malformed("it ends early")),
        }
    }

    fn text(&mut self) -> Result<String, PacketError> {
        let text = String::from_utf8(self.bytes()?.into())
            .map_err(|_| Malformed("a text is not UTF-8"))?;
        match text.contains('\0') {
            true => Err(Malformed("a text holds NUL")),
            false => Ok(text),
        }
    }

    /// Items up to the end, at least one.
    fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, PacketError>,
    ) -> Result<Vec<T>, PacketError> {
        let mut items = vec![item(self)?];
        while !self.0.is_empty() {
            items.push(item(self)?);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut as _;
    use proptest::prelude::*;

    use super::*;

    fn read_all(bytes: &[u8]) -> Result<Option<(Packet, usize)>, PacketError> {
        read(&mut BytesMut::from(bytes), 1024)
    }

    #[test]
    fn a_connect_with_everything_is_read() {
        let bytes = b"\x10\x20\0\x04MQTT\x04\xee\0\x3c\0\x02id\0\x03a/b\0\x04gone\0\x01u\0\x02pw";
        let (packet, size) = read_all(bytes).unwrap().unwrap();
        assert_eq!(size, bytes.len());
        let Packet::Connect(connect) = packet else {
            panic!("{packet:?}")
        };
        let will = connect.will.unwrap();
        assert_eq!((connect.client_id.as_str(), connect.keep_alive), ("id", 60));
        assert_eq!(
            (will.topic.as_str(), &will.payload[..]),
            ("a/b", &b"gone"[..])
        );
        assert!(connect.clean && will.retain && will.qos == Qos::AtLeastOnce);
        assert_eq!(connect.login.unwrap().user, "u");
    }

    #[test]
    fn half_a_packet_is_waited_for() {
        let bytes = b"\x30\x06\0\x01tabc";
        for end in 0..bytes.len() {
            assert_eq!(read_all(&bytes[..end]), Ok(None), "{end}");
        }
        assert!(read_all(bytes).unwrap().is_some());
    }

    #[test]
    fn an_oversize_packet_is_refused_by_its_header() {
        let error = read(&mut BytesMut::from(&b"\x30\xff\xff\xff\x7f"[..]), 1024);
        assert_eq!(error, Err(PacketError::TooLarge(268_435_460)));
    }

    #[test]
    fn other_versions_are_named() {
        let mqtt5 = b"\x10\x0d\0\x04MQTT\x05\x02\0\x3c\0\0\0";
        assert_eq!(read_all(mqtt5), Err(PacketError::Level(5)));
        let mqtt31 = b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x3c\0\x01a";
        assert_eq!(read_all(mqtt31), Err(PacketError::Level(3)));
    }

    #[test]
    fn what_is_against_the_specification_is_refused() {
        for bytes in [
            &b"\x00\x00"[..],                      // reserved type
            b"\xf0\x00",                           // reserved type
            b"\x20\x02\0\0",                       // CONNACK from a client
            b"\x50\x02\0\x01",                     // PUBREC
            b"\x36\x05\0\x01t\0\x01",              // QoS 3
            b"\x32\x05\0\x01t\0\0",                // packet id 0
            b"\x30\x03\0\x05t",                    // the topic ends early
            b"\x30\x03\0\x01\0",                   // NUL in the topic
            b"\x30\x03\0\x01\xff",                 // not UTF-8
            b"\x82\x02\0\x01",                     // no filter
            b"\x80\x06\0\x01\0\x01t\0",            // flags of SUBSCRIBE
            b"\x82\x06\0\x01\0\x01t\x03",          // QoS 3
            b"\xa2\x03\0\x01\0",                   // half a filter
            b"\x40\x03\0\x01\0",                   // bytes left over
            b"\x30\x80\x80\x80\x80\x01",           // five bytes of length
            b"\x10\x0c\0\x04MQTT\x04\x01\0\0\0\0", // reserved flag
        ] {
            assert!(matches!(read_all(bytes), Err(Malformed(_))), "{bytes:x?}");
        }
        assert_eq!(
            read_all(b"\x34\x05\0\x01t\0\x01"),
            Err(PacketError::ExactlyOnce)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = read(&mut buffer, 150) {}
        }

        #[test]
        fn no_body_panics(first: u8, body in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut buffer = BytesMut::new();
            buffer.put_u8(first);
            buffer.put_u8(u8::try_from(body.len()).unwrap());
            buffer.put_slice(&body);
            prop_assert!(!matches!(read(&mut buffer, 1024), Ok(None)));
        }
    }
}
