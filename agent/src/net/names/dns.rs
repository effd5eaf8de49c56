//! DNS answers (RFC 1035, 3596): which addresses the name has that was asked for. Multicast DNS (RFC 6762): which
//! addresses the names in it have; LLMNR (RFC 4795) answers like DNS.
//!
//! A message is read as far as it goes, so that one cut off by the capture still teaches what stands in its part.
//! Every compression pointer must point backwards and a name has at most 127 labels: no message makes this loop.
//! Bytes of a label other than letters, digits, `-` and `_` are written `\DDD`, as in a zone file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{reader::Reader, text};

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

const A: u16 = 1;
const AAAA: u16 = 28;
const IN: u16 = 1;

/// Bits of the class that say something else in multicast DNS (RFC 6762 section 10.2).
const CACHE_FLUSH: u16 = 0x8000;

/// Reads a message; `None` for what is no successful answer with an address.
#[must_use]
pub fn parse(message: &[u8]) -> Option<Answer> {
    let header = Header::of_answer(message)?;
    if header.questions != 1 {
        return None;
    }
    let mut reader = Reader::new(message);
    reader.jump(HEADER);
    let name = name(&mut reader)?;
    reader.take(4).ok()?;
    let records = std::iter::from_fn(|| record(&mut reader));
    let records = records.take(header.answers.min(MOST_RECORDS));
    let addresses: Vec<IpAddr> = records
        .filter_map(|record| record.address)
        .take(MOST_ADDRESSES)
        .collect();
    (!addresses.is_empty() && !name.is_empty()).then_some(Answer { name, addresses })
}

/// Reads a message of multicast DNS (RFC 6762): each address in it, in whatever section, with the name that owns it.
/// Empty for what is no answer.
#[must_use]
pub fn parse_multicast(message: &[u8]) -> Vec<(String, IpAddr)> {
    let Some(header) = Header::of_answer(message) else {
        return Vec::new();
    };
    let mut reader = Reader::new(message);
    reader.jump(HEADER);
    for _ in 0..header.questions.min(MOST_RECORDS) {
        if skip_name(&mut reader).is_none() {
            return Vec::new();
        }
        reader.skip(4);
    }
    let records = std::iter::from_fn(|| record(&mut reader));
    let records = records.take(header.records.min(MOST_RECORDS));
    let addresses = records.filter_map(|record| Some((record.owner, record.address?)));
    addresses
        .filter_map(|(mut owner, address)| Some((name(&mut owner)?, address)))
        .take(MOST_ADDRESSES)
        .collect()
}

struct Header {
    questions: usize,
    answers: usize,
    /// In all sections.
    records: usize,
}

impl Header {
    fn of_answer(message: &[u8]) -> Option<Self> {
        let &[_, _, flags_1, flags_2, q1, q2, counts @ ..] = message.first_chunk::<HEADER>()?;
        let is_answer = flags_1 & 0xf8 == 0x80; // QR, opcode QUERY
        let is_success = flags_2 & 0x0f == 0;
        let [a1, a2, n1, n2, r1, r2] = counts;
        let [answers, authority, additional] =
            [[a1, a2], [n1, n2], [r1, r2]].map(|count| usize::from(u16::from_be_bytes(count)));
        (is_answer && is_success).then_some(Self {
            questions: u16::from_be_bytes([q1, q2]).into(),
            answers,
            records: answers + authority + additional,
        })
    }
}

struct Record<'a> {
    /// Where its name begins.
    owner: Reader<'a>,
    /// Of an A or AAAA record.
    address: Option<IpAddr>,
}

/// The next record; `None` at the end of what can be read.
fn record<'a>(reader: &mut Reader<'a>) -> Option<Record<'a>> {
    let owner = *reader;
    skip_name(reader)?;
    let (kind, class) = (reader.be16().ok()?, reader.be16().ok()?);
    reader.skip(4);
    let len = usize::from(reader.be16().ok()?);
    let body = reader.take(len).ok()?;
    let address = match (kind, class & !CACHE_FLUSH) {
        (A, IN) => <[u8; 4]>::try_from(body)
            .ok()
            .map(|ip| Ipv4Addr::from(ip).into()),
        (AAAA, IN) => <[u8; 16]>::try_from(body)
            .ok()
            .map(|ip| Ipv6Addr::from(ip).into()),
        _ => None,
    };
    Some(Record { owner, address })
}

fn skip_name(reader: &mut Reader<'_>) -> Option<()> {
    for _ in 0..=MOST_LABELS {
        match reader.u8().ok()? {
            0 => return Some(()),
            len @ 1..=63 => reader.skip(len.into()),
            0xc0.. => return reader.u8().ok().map(|_| ()),
            _ => return None,
        }
    }
    None
}

/// The name here; behind it the reader goes on after the name's first pointer.
fn name(reader: &mut Reader<'_>) -> Option<String> {
    let mut text = String::new();
    let mut lowest = reader.at();
    let mut resume = None;
    for _ in 0..=MOST_LABELS {
        match reader.u8().ok()? {
            0 => {
                reader.jump(resume.unwrap_or(reader.at()));
                return Some(text);
            }
            len @ 1..=63 => text::push_label(&mut text, reader.take(len.into()).ok()?)?,
            high @ 0xc0.. => {
                let low = reader.u8().ok()?;
                resume.get_or_insert(reader.at());
                let target = usize::from(u16::from_be_bytes([high & 0x3f, low]));
                if target >= lowest {
                    return None;
                }
                reader.jump(target);
                lowest = target;
            }
            _ => return None,
        }
    }
    None
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

    #[test]
    fn multicast_answers_name_the_owners_of_addresses_in_any_section() {
        let pc = name(&[b"PC-8", b"local"]);
        let mut records = [
            record(&pc, 12, &[0]),
            record(&pc, 1, &[192, 168, 0, 8]),
            record(
                &[&[2, b'p', b'c'], &[0xc0, 17][..]].concat(),
                1,
                &[192, 168, 0, 9],
            ),
        ];
        records[1][pc.len() + 2] = 0x80; // its class with the bit that flushes caches
        let mut bytes = [
            &[0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 2],
            &records.concat()[..],
        ]
        .concat();
        let expected = [
            ("pc-8.local".to_owned(), IpAddr::from([192, 168, 0, 8])),
            ("pc.local".to_owned(), IpAddr::from([192, 168, 0, 9])),
        ];
        assert_eq!(parse_multicast(&bytes), expected);
        bytes[2] = 0;
        assert_eq!(parse_multicast(&bytes), [], "a question");
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
            prop_assert!(parse_multicast(&bytes).len() <= MOST_ADDRESSES);
            if let Some(answer) = parse(&bytes) {
                prop_assert!(answer.name.chars().all(|c| c.is_ascii_graphic()));
                prop_assert!(answer.name.len() <= text::LONGEST && answer.addresses.len() <= MOST_ADDRESSES);
            }
        }
    }
}
