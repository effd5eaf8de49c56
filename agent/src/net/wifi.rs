//! Which Wi-Fi an interface has joined: `nl80211` over generic netlink (`linux/genetlink.h`, `linux/nl80211.h`).
//!
//! Two questions: which number the family has in this kernel ([`family_request`]), and what an interface is ([`request`]).
//! Neither needs a right. Where there is no Wi-Fi the kernel knows no such family. The name of a network is whatever its
//! owner chose, up to 32 bytes of anything.

use super::netlink::{self, Message, attribute, attributes, u16_at};

const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NL80211_CMD_GET_INTERFACE: u8 = 5;
const NL80211_ATTR_IFINDEX: u16 = 3;
const NL80211_ATTR_SSID: u16 = 52;
/// `genlmsghdr`: command, version, two bytes of nothing.
const HEADER: usize = 4;
const MAX_SSID: usize = 32;

/// Asks for the family's number.
#[must_use]
pub fn family_request(sequence: u32) -> Vec<u8> {
    let name = attribute(CTRL_ATTR_FAMILY_NAME, b"nl80211\0");
    question(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &name, sequence)
}

/// The family's number, out of the answer.
#[must_use]
pub fn family(answer: &Message<'_>) -> Option<u16> {
    let about = (answer.kind == GENL_ID_CTRL).then_some(answer.body)?;
    value(about, CTRL_ATTR_FAMILY_ID).and_then(|number| u16_at(number, 0))
}

/// Asks what an interface is, by its index.
#[must_use]
pub fn request(family: u16, interface: u32, sequence: u32) -> Vec<u8> {
    let index = attribute(NL80211_ATTR_IFINDEX, &interface.to_ne_bytes());
    question(family, NL80211_CMD_GET_INTERFACE, &index, sequence)
}

/// The name of the network that it has joined, or is itself; `None` where there is none, or it hides its name.
#[must_use]
pub fn ssid(family: u16, answer: &Message<'_>) -> Option<String> {
    let about = (answer.kind == family).then_some(answer.body)?;
    let name = value(about, NL80211_ATTR_SSID)?;
    let name = name.get(..name.len().min(MAX_SSID))?;
    let is_hidden = name.iter().all(|byte| *byte == 0);
    (!is_hidden).then(|| String::from_utf8_lossy(name).into_owned())
}

fn question(family: u16, command: u8, about: &[u8], sequence: u32) -> Vec<u8> {
    let body = [&[command, 1, 0, 0], about].concat();
    netlink::request(family, 0, sequence, &body)
}

fn value(body: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut about = attributes(body.get(HEADER..)?);
    about.find_map(|(kind, value)| (kind == wanted).then_some(value))
}

#[cfg(test)]
mod tests {
    use netlink::messages;
    use proptest::prelude::*;

    use super::*;

    const FAMILY: u16 = 33;

    fn answer(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
        let body = [&[0, 1, 0, 0][..], &attributes.concat()].concat();
        netlink::request(kind, 0, 1, &body)
    }

    fn read_ssid(name: &[u8]) -> Option<String> {
        let index = attribute(NL80211_ATTR_IFINDEX, &7_u32.to_ne_bytes());
        let bytes = answer(FAMILY, &[index, attribute(NL80211_ATTR_SSID, name)]);
        ssid(FAMILY, &messages(&bytes).next().unwrap())
    }

    #[test]
    fn the_familys_number_is_found_by_its_name() {
        let number = attribute(CTRL_ATTR_FAMILY_ID, &FAMILY.to_ne_bytes());
        let bytes = answer(GENL_ID_CTRL, &[number]);
        assert_eq!(family(&messages(&bytes).next().unwrap()), Some(FAMILY));
    }

    #[test]
    fn the_networks_name_is_what_its_owner_chose() {
        assert_eq!(read_ssid(b"Caf\xc3\xa9").as_deref(), Some("Café"));
        assert_eq!(
            read_ssid(b"a\x1b[2J\xff").as_deref(),
            Some("a\u{1b}[2J\u{fffd}")
        );
        assert_eq!(read_ssid(&[b'x'; 100]).unwrap().len(), MAX_SSID);
        assert_eq!(read_ssid(&[0; 8]), None);
        assert_eq!(read_ssid(b""), None);
    }

    #[test]
    fn questions_are_as_the_headers_lay_them_out() {
        let bytes = request(FAMILY, 7, 9);
        assert_eq!(bytes.len(), 16 + 4 + 8);
        assert_eq!(&bytes[16..20], [5, 1, 0, 0]);
        assert_eq!(&bytes[20..], [8, 0, 3, 0, 7, 0, 0, 0]);
        let bytes = family_request(9);
        assert_eq!(&bytes[16..], b"\x03\x01\0\0\x0c\0\x02\0nl80211\0");
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for message in messages(&bytes) {
                let _ = (family(&message), ssid(message.kind, &message));
            }
        }
    }
}
