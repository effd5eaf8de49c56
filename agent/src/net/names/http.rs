//! The host that a plain HTTP/1 request is for (RFC 9110 section 7.2, RFC 9112 section 3).
//!
//! A request to a proxy names a host that is not the peer, and an address is no name: neither teaches anything.

use std::net::{IpAddr, Ipv6Addr};

use super::{reader::Short, text};

const METHODS: [&[u8]; 9] = [
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"PROPFIND ",
    b"REPORT ",
];
/// Longer headers are no browser's.
const LONGEST: usize = 8 * 1024;

/// Whether a request of the peer's own begins here.
pub(super) fn begins(stream: &[u8]) -> bool {
    let method = METHODS
        .iter()
        .find_map(|method| stream.strip_prefix(*method));
    method.is_some_and(|target| matches!(target.first(), Some(b'/' | b'*')))
}

/// The name in the `Host` field of the request that `stream` begins with; `None` without one.
///
/// # Errors
/// [`Short`] when the field may come with further bytes.
pub fn host(stream: &[u8]) -> Result<Option<String>, Short> {
    if !begins(stream) {
        let could_begin = METHODS.iter().any(|method| method.starts_with(stream));
        return if could_begin {
            Err(Short(stream.len() + 1))
        } else {
            Ok(None)
        };
    }
    let head = stream.get(..LONGEST).unwrap_or(stream);
    for line in head.split_inclusive(|&byte| byte == b'\n').skip(1) {
        let Some(line) = line.strip_suffix(b"\n") else {
            break;
        };
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(None);
        }
        if let Some((field, value)) = line.split_at_checked(5)
            && field.eq_ignore_ascii_case(b"host:")
        {
            return Ok(name(value.trim_ascii()));
        }
    }
    if head.len() == LONGEST {
        return Ok(None);
    }
    Err(Short(stream.len() + 1))
}

fn name(value: &[u8]) -> Option<String> {
    let colon = value.iter().rposition(|&byte| byte == b':');
    let (host, _port) = colon
        .and_then(|colon| value.split_at_checked(colon))
        .filter(|(_, port)| port.iter().skip(1).all(u8::is_ascii_digit))
        .unwrap_or((value, &[]));
    let host = text::host(host)?;
    let in_brackets = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_address = host.parse::<IpAddr>().is_ok()
        || in_brackets.is_some_and(|host| host.parse::<Ipv6Addr>().is_ok());
    (!is_address).then_some(host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REQUEST: &[u8] =
        b"GET /a?b HTTP/1.1\r\nAccept: */*\r\nhOST:  Www.Example.:80 \r\n\r\nbody";

    #[test]
    fn the_host_of_a_request_is_found_wherever_it_is_cut() {
        let end = REQUEST.windows(2).rposition(|two| two == b"80").unwrap() + 5;
        for cut in 0..REQUEST.len() {
            match host(&REQUEST[..cut]) {
                Ok(name) => {
                    assert_eq!(name.as_deref(), Some("www.example"));
                    assert!(cut >= end, "{cut}");
                }
                Err(Short(needed)) => assert!(cut < end && needed > cut, "{cut}"),
            }
        }
    }

    #[test]
    fn requests_to_a_proxy_addresses_and_other_protocols_name_nobody() {
        for stream in [
            &b"CONNECT www.example:443 HTTP/1.1\r\nHost: www.example\r\n\r\n"[..],
            b"GET http://www.example/ HTTP/1.1\r\nHost: www.example\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: 203.0.113.5:80\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: [2001:db8::5]:80\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
            b"GET / HTTP/1.0\r\n\r\nHost: www.example\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
        ] {
            assert_eq!(host(stream), Ok(None), "{}", stream.escape_ascii());
        }
        let endless = [&b"GET / HTTP/1.1\r\nA: "[..], &[b'a'; LONGEST]].concat();
        assert_eq!(host(&endless), Ok(None));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), honest: bool) {
            if honest {
                bytes.splice(0..0, *b"GET / HTTP/1.1\r\nHost: ");
            }
            let _ = host(&bytes);
        }
    }
}
