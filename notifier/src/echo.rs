//! Echo requests and replies (RFC 792, RFC 4443): the bytes of a probe, and whether an answer is one of ours.
//!
//! A request carries 8 random bytes that only its receiver can send back. What is no reply, is too short or
//! carries other bytes is not ours; no bytes panic.

/// Where the TCP probe knocks: `discard`, which nobody serves, so that the refusal proves life (RFC 863).
pub const PROBE_PORT: u16 = 9;

/// What a request carries.
pub type Cookie = [u8; 8];

/// Which of the two protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// ICMP.
    V4,
    /// ICMPv6.
    V6,
}

impl Family {
    const fn types(self) -> (u8, u8) {
        match self {
            Self::V4 => (8, 0),
            Self::V6 => (128, 129),
        }
    }
}

/// A request. The checksum of an ICMPv6 one is left to the kernel, which knows the addresses in it.
#[must_use]
pub fn request(family: Family, cookie: Cookie) -> [u8; 16] {
    let (kind, _) = family.types();
    let mut bytes = [0; 16];
    let (head, body) = bytes.split_at_mut(8);
    body.copy_from_slice(&cookie);
    if let [kind_at, _, _, _, _, identifier, _, sequence] = head {
        (*kind_at, *identifier, *sequence) = (kind, 1, 1);
    }
    if family == Family::V4 {
        let sum = checksum(&bytes);
        let [_, _, high, low, ..] = &mut bytes;
        [*high, *low] = sum.to_be_bytes();
    }
    bytes
}

/// Whether these bytes are a reply to a request with this cookie. A raw ICMP socket puts the IPv4 header before
/// it, other sockets do not.
#[must_use]
pub fn is_reply(family: Family, cookie: Cookie, bytes: &[u8]) -> bool {
    let (_, reply) = family.types();
    let after_header = match (family, bytes.first()) {
        (Family::V4, Some(first)) if first >> 4 == 4 => bytes.get(usize::from(first & 0xf) * 4..),
        _ => Some(bytes),
    };
    let Some([kind, code, _, _, _, _, _, _, body @ ..]) = after_header else {
        return false;
    };
    *kind == reply && *code == 0 && body.starts_with(&cookie)
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(u16::from_be_bytes([*high, 0])),
        _ => 0,
    });
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COOKIE: Cookie = *b"labwatch";

    fn reply(family: Family) -> Vec<u8> {
        let mut bytes = request(family, COOKIE).to_vec();
        bytes[0] = family.types().1;
        bytes
    }

    #[test]
    fn a_reply_with_our_cookie_is_ours_with_and_without_an_ip_header() {
        for family in [Family::V4, Family::V6] {
            assert!(is_reply(family, COOKIE, &reply(family)));
            assert!(!is_reply(family, *b"somebody", &reply(family)));
            assert!(
                !is_reply(family, COOKIE, &request(family, COOKIE)),
                "a request is no reply"
            );
        }
        let mut raw = vec![0x45; 20];
        raw.extend(reply(Family::V4));
        assert!(is_reply(Family::V4, COOKIE, &raw));
    }

    #[test]
    fn the_checksum_makes_the_sum_of_all_words_zero() {
        assert_eq!(checksum(&request(Family::V4, COOKIE)), 0);
        assert_eq!(checksum(&[0x45]), !0x4500);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, cookie: [u8; 8]) {
            for family in [Family::V4, Family::V6] {
                let ours = is_reply(family, cookie, &bytes);
                prop_assert!(!ours || bytes.windows(8).any(|window| window == cookie));
            }
        }
    }
}
