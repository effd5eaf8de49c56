//! Names as they are told: lower case, printable ASCII, at most [`LONGEST`] characters.
//!
//! Every other byte is written `\DDD`, as in a zone file, so no name can hide what it holds or forge another.

use std::fmt::Write as _;

/// Longest name (RFC 1035); one that is longer is none.
pub(super) const LONGEST: usize = 255;

/// A label of a name in the DNS, in which a dot is one of those other bytes. `None` when the name gets too long.
pub(super) fn push_label(text: &mut String, label: &[u8]) -> Option<()> {
    if !text.is_empty() {
        text.push('.');
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    push(text, label, is_plain)
}

/// A name that stands there as text, with or without the final dot. `None` for one that is empty or too long.
pub(super) fn host(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.strip_suffix(b".").unwrap_or(bytes);
    let mut text = String::new();
    push(&mut text, bytes, |byte| {
        byte.is_ascii_graphic() && byte != b'\\'
    })?;
    (!text.is_empty()).then_some(text)
}

fn push(text: &mut String, bytes: &[u8], is_plain: impl Fn(u8) -> bool) -> Option<()> {
    for &byte in bytes.get(..=LONGEST).unwrap_or(bytes) {
        if is_plain(byte) {
            text.push(char::from(byte.to_ascii_lowercase()));
        } else {
            write!(text, "\\{byte:03}").ok()?;
        }
    }
    (text.len() <= LONGEST).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_lower_case_and_printable() {
        assert_eq!(host(b"Www.Example.").as_deref(), Some("www.example"));
        assert_eq!(host(b"server4:443").as_deref(), Some("server4:443"));
        assert_eq!(
            host(b"a\x1b[2J\\\xc3\xa9").as_deref(),
            Some("a\\027[2j\\092\\195\\169")
        );
        assert_eq!(host(b""), None);
        assert_eq!(host(b"."), None);
        assert_eq!(host(&[b'a'; 256]), None);
    }
}
