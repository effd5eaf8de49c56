//! The keys of a client's Initial packets (RFC 9001 section 5, RFC 9369 section 3.3), and the opening of packets with them.

use std::fmt;

use ring::{
    aead::{
        AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey, quic::AES_128,
        quic::HeaderProtectionKey,
    },
    hkdf::{HKDF_SHA256, KeyType, Prk, Salt},
};

use super::{Initial, Version};

const SALT_1: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad,
    0xcc, 0xbb, 0x7f, 0x0a,
];
const SALT_2: [u8; 20] = [
    0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb,
    0xf9, 0xbd, 0x2e, 0xd9,
];
const SECRET_LEN: usize = 32;
const KEY_LEN: usize = 16;
/// The sample of the header protection begins so far behind the beginning of the packet number, and is so long.
const SAMPLE_AT: usize = 4;
const SAMPLE_LEN: usize = 16;

/// The keys that follow from a connection id.
pub(super) struct Keys {
    version: Version,
    id: Vec<u8>,
    packet: LessSafeKey,
    iv: [u8; NONCE_LEN],
    header: HeaderProtectionKey,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("version", &self.version)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Keys {
    /// `None` only if the library cannot compute them, which no input brings about.
    pub(super) fn new(version: Version, id: &[u8]) -> Option<Self> {
        let (salt, [key, iv, header]) = match version {
            Version::One => (&SALT_1, ["quic key", "quic iv", "quic hp"]),
            Version::Two => (&SALT_2, ["quicv2 key", "quicv2 iv", "quicv2 hp"]),
        };
        let initial = Salt::new(HKDF_SHA256, salt).extract(id);
        let mut secret = [0; SECRET_LEN];
        expand(&initial, "client in", &mut secret)?;
        let secret = Prk::new_less_safe(HKDF_SHA256, &secret);
        let (mut packet_key, mut header_key) = ([0; KEY_LEN], [0; KEY_LEN]);
        let mut packet_iv = [0; NONCE_LEN];
        expand(&secret, key, &mut packet_key)?;
        expand(&secret, iv, &mut packet_iv)?;
        expand(&secret, header, &mut header_key)?;
        Some(Self {
            version,
            id: id.to_vec(),
            packet: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &packet_key).ok()?),
            iv: packet_iv,
            header: HeaderProtectionKey::new(&AES_128, &header_key).ok()?,
        })
    }

    pub(super) fn id(&self) -> &[u8] {
        &self.id
    }

    /// The payload of a packet; `None` when it was not sealed with these keys, or is not whole.
    pub(super) fn open(&self, initial: &Initial<'_>) -> Option<Vec<u8>> {
        if initial.version != self.version {
            return None;
        }
        let number_at = initial.number_at;
        let sample_at = number_at + SAMPLE_AT;
        let sample = initial.bytes.get(sample_at..sample_at + SAMPLE_LEN)?;
        let mask = self.header.new_mask(sample).ok()?;
        let mut bytes = initial.bytes.to_vec();
        let [first_mask, number_mask @ ..] = mask;
        let first = bytes.first_mut()?;
        *first ^= first_mask & 0x0f;
        let number_len = usize::from(*first & 0x03) + 1;
        let (header, sealed) = bytes.split_at_mut_checked(number_at + number_len)?;
        let mut nonce = self.iv;
        let number = header.iter_mut().skip(number_at).zip(number_mask);
        for ((byte, mask), nonce) in number.zip(nonce.iter_mut().skip(NONCE_LEN - number_len)) {
            *byte ^= mask;
            *nonce ^= *byte;
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let payload = self
            .packet
            .open_in_place(nonce, Aad::from(&*header), sealed);
        payload.ok().map(|payload| payload.to_vec())
    }
}

struct Len(usize);

impl KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label without context (RFC 8446 section 7.1).
fn expand(secret: &Prk, label: &str, out: &mut [u8]) -> Option<()> {
    const PREFIX: &str = "tls13 ";
    let len = u8::try_from(out.len()).ok()?;
    let label_len = [u8::try_from(PREFIX.len() + label.len()).ok()?];
    let info = [
        &[0, len][..],
        &label_len,
        PREFIX.as_bytes(),
        label.as_bytes(),
        &[0],
    ];
    secret.expand(&info, Len(len.into())).ok()?.fill(out).ok()
}

#[cfg(test)]
impl Keys {
    /// An Initial packet of a client, sealed. `header` ends before the length.
    pub(super) fn seal(&self, header: &[u8], number: u16, payload: &[u8]) -> Vec<u8> {
        let len = u16::try_from(payload.len() + 2 + 16).unwrap() | 0x4000;
        let number = number.to_be_bytes();
        let mut header = [header, &len.to_be_bytes(), &number].concat();
        let mut nonce = self.iv;
        nonce[10] ^= number[0];
        nonce[11] ^= number[1];
        let mut sealed = payload.to_vec();
        self.packet
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(&header),
                &mut sealed,
            )
            .unwrap();
        let [first_mask, high, low, ..] = self.header.new_mask(&sealed[2..18]).unwrap();
        let number_at = header.len() - 2;
        header[0] ^= first_mask & 0x0f;
        header[number_at] ^= high;
        header[number_at + 1] ^= low;
        [header, sealed].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 8] = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];

    /// RFC 9001 appendix A.1 and A.2.
    #[test]
    fn the_keys_of_version_1_are_those_of_the_standard() {
        let keys = Keys::new(Version::One, &ID).unwrap();
        let iv = [
            0xfa, 0x04, 0x4b, 0x2f, 0x42, 0xa3, 0xfd, 0x3b, 0x46, 0xfb, 0x25, 0x5c,
        ];
        assert_eq!(keys.iv, iv);
        let sample = [
            0xd1, 0xb1, 0xc9, 0x8d, 0xd7, 0x68, 0x9f, 0xb8, 0xec, 0x11, 0xd2, 0x42, 0xb1, 0x23,
            0xdc, 0x9b,
        ];
        let mask = keys.header.new_mask(&sample).unwrap();
        assert_eq!(mask, [0x43, 0x7b, 0x9a, 0xec, 0x36]);
    }

    /// RFC 9369 appendix A.1.
    #[test]
    fn the_keys_of_version_2_are_those_of_the_standard() {
        let keys = Keys::new(Version::Two, &ID).unwrap();
        let iv = [
            0x91, 0xf7, 0x3e, 0x23, 0x51, 0xd8, 0xfa, 0x91, 0x66, 0x0e, 0x90, 0x9f,
        ];
        assert_eq!(keys.iv, iv);
    }
}
