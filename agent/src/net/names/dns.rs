//! DNS answers (RFC 1035, 3596): which addresses the name has that was asked for.
//!
//! A message is read as far as it goes, so that one cut off by the capture still teaches what stands in its part.
//! Every compression pointer must point backwards and a name has at most 127 labels: no message makes this loop.
//! Bytes of a label other than letters, digits, `-` and `_` are written `\DDD`, as in a zone file.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A successful answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The name that was asked for, in lower case, without the final dot.
    pub name: String,
    /// Its addresses, in the order of the message, at most 64.
    pub addresses: Vec<IpAddr>,
}

const HEADER: usize = 12;
const MOST_ADDRESSES: usize = 64;
const MOST_RECORDS: usize = 256;
const MOST_LABELS: usize = 127;
const LONGEST_NAME: usize = 255;

const A: u16 = 1;
const AAAA: u16 = 28;
const IN: u16 = 1;

pub(super) fn parse(message: &[u8]) -> Option<Answer> {
    let &[_, _, flags_1, flags_2, q1, q2, a1, a2, ..] = message.first_chunk::<HEADER>()?;
    let is_answer = flags_1 & 0xf8 == 0x80; // QR, opcode QUERY
    let is_success = flags_2 & 0x0f == 0;
    if !is_answer || !is_success || u16::from_be_bytes([q1, q2]) != 1 {
        return None;
    }
    let mut reader = Reader {
        message,
        at: HEADER,
    };
    let name = reader.name()?;
    reader.skip(4)?;
    let records = usize::from(u16::from_be_bytes([a1, a2])).min(MOST_RECORDS);
    let addresses: Vec<IpAddr> = std::iter::from_fn(|| reader.record())
        .take(records)
        .flatten()
        .take(MOST_ADDRESSES)
        .collect();
    (!addresses.is_empty() && !name.is_empty()).then_some(Answer { name, addresses })
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let bytes = self.message.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn skip(&mut self, len: usize) -> Option<()> {
        self.take(len).map(|_| ())
    }

    fn be16(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().copied().map(u16::from_be_bytes)
    }

    /// The next record: outer `None` at the end of what can be read, inner `None` for a record without address.
    fn record(&mut self) -> Option<Option<IpAddr>> {
        self.skip_name()?;
        let (kind, class) = (self.be16()?, self.be16()?);
        self.skip(4)?;
        let len = usize::from(self.be16()?);
        let body = self.take(len)?;
        Some(match (kind, class) {
            (A, IN) => <[u8; 4]>::try_from(body)
                .ok()
                .map(|ip| Ipv4Addr::from(ip).into()),
            (AAAA, IN) => <[u8; 16]>::try_from(body)
                .ok()
                .map(|ip| Ipv6Addr::from(ip).into()),
            _ => None,
        })
    }

    fn skip_name(&mut self) -> Option<()> {
        for _ in 0..=MOST_LABELS {
            match *self.take(1)?.first()? {
                0 => return Some(()),
                len @ 1..=63 => self.skip(usize::from(len))?,
                0xc0.. => return self.skip(1),
                _ => return None,
            }
        }
        None
    }

    /// The name here; behind it the reader goes on after the name's first pointer.
    fn name(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut lowest = self.at;
        let mut resume = None;
        for _ in 0..=MOST_LABELS {
            match *self.take(1)?.first()? {
                0 => {
                    self.at = resume.unwrap_or(self.at);
                    return Some(text);
                }
                len @ 1..=63 => push_label(&mut text, self.take(usize::from(len))?)?,
                high @ 0xc0.. => {
                    let low = *self.take(1)?.first()?;
                    resume.get_or_insert(self.at);
                    self.at = usize::from(u16::from_be_bytes([high & 0x3f, low]));
                    if self.at >= lowest {
                        return None;
                    }
                    lowest = self.at;
                }
                _ => return None,
            }
        }
        None
    }
}

fn push_label(text: &mut String, label: &[u8]) -> Option<()> {
    if !text.is_empty() {
        text.push('.');
    }
    for &byte in label {
        match byte {
            b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                text.push(char::from(byte.to_ascii_lowercase()));
            }
            _ => write!(text, "\\{byte:03}").ok()?,
        }
    }
    (text.len() <= LONGEST_NAME).then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(labels: &[&[u8]]) -> Vec<u8> {
        let mut bytes: Vec<u8> = labels
            .iter()
            .flat_map(|label| [&[u8::try_from(label.len()).unwrap()], *label].concat())
            .collect();
        bytes.push(0);
        bytes
    }

    fn record(owner: &[u8], kind: u8, body: &[u8]) -> Vec<u8> {
        let len = u8::try_from(body.len()).unwrap();
        [owner, &[0, kind, 0, 1, 0, 0, 0, 60, 0, len], body].concat()
    }

    fn message(flags: [u8; 2], asked: &[u8], records: &[Vec<u8>]) -> Vec<u8> {
        let count = u8::try_from(records.len()).unwrap();
        let header = [0, 7, flags[0], flags[1], 0, 1, 0, count, 0, 0, 0, 0];
        [&header, asked, &[0, 1, 0, 1], &records.concat()].concat()
    }

    const ANSWER: [u8; 2] = [0x81, 0x80];
    const POINTER: &[u8] = &[0xc0, 12];

    #[test]
    fn addresses_behind_an_alias_belong_to_the_name_that_was_asked_for() {
        let records = [
            record(POINTER, 5, &name(&[b"cdn", b"example"])),
            record(&name(&[b"cdn", b"example"]), 1, &[203, 0, 113, 5]),
            record(
                POINTER,
                28,
                &[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5],
            ),
        ];
        let answer = parse(&message(ANSWER, &name(&[b"WWW", b"example"]), &records)).unwrap();
        assert_eq!(answer.name, "www.example");
        let expected: [IpAddr; 2] = [
            "203.0.113.5".parse().unwrap(),
            "2001:db8::5".parse().unwrap(),
        ];
        assert_eq!(answer.addresses, expected);
    }

    #[test]
    fn an_answer_cut_off_by_the_capture_teaches_what_is_there() {
        let records = [
            record(POINTER, 1, &[203, 0, 113, 5]),
            record(POINTER, 1, &[203, 0, 113, 6]),
        ];
        let whole = message(ANSWER, &name(&[b"a"]), &records);
        let cut = parse(&whole[..whole.len() - 1]).unwrap();
        assert_eq!(cut.addresses.len(), 1);
    }

    #[test]
    fn questions_failures_and_empty_answers_teach_nothing() {
        let records = [record(POINTER, 1, &[203, 0, 113, 5])];
        for flags in [[0x01, 0x00], [0x81, 0x83], [0xa9, 0x80]] {
            assert_eq!(parse(&message(flags, &name(&[b"a"]), &records)), None);
        }
        assert_eq!(parse(&message(ANSWER, &name(&[b"a"]), &[])), None);
        assert_eq!(parse(&message(ANSWER, &name(&[]), &records)), None);
    }

    #[test]
    fn hostile_bytes_of_a_name_are_written_as_numbers() {
        let records = [record(POINTER, 1, &[203, 0, 113, 5])];
        let asked = name(&[b"a.b\x1b[2J\"", "é".as_bytes()]);
        let answer = parse(&message(ANSWER, &asked, &records)).unwrap();
        assert_eq!(answer.name, "a\\046b\\027\\0912j\\034.\\195\\169");
    }

    #[test]
    fn a_pointer_to_itself_or_forwards_is_refused() {
        for pointer in [[0xc0, 12], [0xc0, 14], [0xff, 0xff]] {
            assert_eq!(
                parse(&message(
                    ANSWER,
                    &pointer,
                    &[record(POINTER, 1, &[1, 2, 3, 4])]
                )),
                None
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_names_stay_printable(
            honest in any::<bool>(),
            mut bytes in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            if honest && bytes.len() > HEADER {
                bytes[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 9]);
            }
            if let Some(answer) = parse(&bytes) {
                prop_assert!(answer.name.chars().all(|c| c.is_ascii_graphic()));
                prop_assert!(answer.name.len() <= LONGEST_NAME && answer.addresses.len() <= MOST_ADDRESSES);
            }
        }
    }
}
