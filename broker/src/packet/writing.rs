//! The broker's answers and messages, to bytes.
//!
//! What is written was checked before: a topic is as short as every topic that got in, and an id is not 0. Appends
//! to a buffer of the caller's, which sends it.

use bytes::{BufMut as _, BytesMut};

use super::Qos;

/// The broker's answer to a CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Welcome {
    /// Come in; no session was resumed.
    Accepted,
    /// Another version of MQTT.
    Level,
    /// No client id, yet a session to keep; or one that is too long.
    ClientId,
    /// Wrong user name or password.
    Login,
    /// Not with this will.
    NotAllowed,
}

/// Writes a CONNACK.
pub fn write_connack(out: &mut BytesMut, welcome: Welcome) {
    let code = match welcome {
        Welcome::Accepted => 0,
        Welcome::Level => 1,
        Welcome::ClientId => 2,
        Welcome::Login => 4,
        Welcome::NotAllowed => 5,
    };
    out.put_slice(&[0x20, 2, 0, code]);
}

/// Writes a PUBACK.
pub fn write_puback(out: &mut BytesMut, id: u16) {
    out.put_slice(&[0x40, 2]);
    out.put_u16(id);
}

/// Writes an UNSUBACK.
pub fn write_unsuback(out: &mut BytesMut, id: u16) {
    out.put_slice(&[0xb0, 2]);
    out.put_u16(id);
}

/// Writes a PINGRESP.
pub fn write_pingresp(out: &mut BytesMut) {
    out.put_slice(&[0xd0, 0]);
}

/// Writes a SUBACK: per filter the QoS that is granted, `None` for a refusal.
pub fn write_suback(out: &mut BytesMut, id: u16, granted: &[Option<Qos>]) {
    out.put_u8(0x90);
    write_length(out, 2 + granted.len());
    out.put_u16(id);
    for qos in granted {
        out.put_u8(qos.map_or(0x80, Qos::number));
    }
}

/// Writes a PUBLISH; with an id it is one of QoS 1.
pub fn write_publish(
    out: &mut BytesMut,
    topic: &[u8],
    payload: &[u8],
    id: Option<u16>,
    retain: bool,
) {
    let qos = if id.is_some() { 2 } else { 0 };
    out.put_u8(0x30 | qos | u8::from(retain));
    write_length(out, 2 + topic.len() + id.map_or(0, |_| 2) + payload.len());
    // Every topic that got in was at most 256 bytes long.
    out.put_u16(u16::try_from(topic.len()).unwrap_or(u16::MAX));
    out.put_slice(topic);
    if let Some(id) = id {
        out.put_u16(id);
    }
    out.put_slice(payload);
}

fn write_length(out: &mut BytesMut, mut length: usize) {
    loop {
        let low = u8::try_from(length & 0x7f).unwrap_or_default();
        length >>= 7;
        match length {
            0 => return out.put_u8(low),
            _ => out.put_u8(low | 0x80),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_filter_is_0x80() {
        let mut out = BytesMut::new();
        write_suback(&mut out, 7, &[Some(Qos::AtLeastOnce), None]);
        assert_eq!(&out[..], b"\x90\x04\0\x07\x01\x80");
    }
}
