//! The values of a policy file: seats, allowed conversations, networks, names, times, durations.

use std::{collections::HashSet, net::IpAddr, ops::Range, time::Duration};

use ipnet::IpNet;
use labwatch_contract::{
    policy::{Allowed, Level, Seat, Unfit, is_of_a_site},
    time::Timestamp,
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::policy::seats;

/// Longest wait before the same is told again.
const MOST_COOL_DOWN: Duration = Duration::from_secs(24 * 60 * 60);

/// What is wrong in a table, with its place where it has one.
type Wrong = Vec<(Option<Range<usize>>, String)>;

/// A seat written as a table.
pub(super) fn seat(table: &DeTable<'_>, taken: &mut HashSet<String>) -> Result<Seat, Wrong> {
    let mut seat = Seat::default();
    let mut wrong = Vec::new();
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        let set = string(value.get_ref()).and_then(|text| seats::set(&mut seat, name, text));
        wrong.extend(set.err().map(|what| (Some(value.span()), what)));
    }
    let checked = seats::check(&seat, taken);
    wrong.extend(checked.err().map(|what| (None, what)));
    if wrong.is_empty() {
        Ok(seat)
    } else {
        Err(wrong)
    }
}

/// An allowed conversation.
pub(super) fn allowed(table: &DeTable<'_>) -> Result<Allowed, Wrong> {
    let mut allowed = Allowed::default();
    let mut wrong = Vec::new();
    for (key, value) in table {
        let set = set(&mut allowed, key.get_ref(), value.get_ref());
        wrong.extend(set.err().map(|what| (Some(value.span()), what)));
    }
    if wrong.is_empty() {
        Ok(allowed)
    } else {
        Err(wrong)
    }
}

fn set(allowed: &mut Allowed, key: &str, value: &DeValue<'_>) -> Result<(), String> {
    match key {
        "address" | "network" => allowed.network = Some(network(string(value)?)?),
        "name" => allowed.name = Some(domain(string(value)?)?),
        "port" => allowed.ports = ports(value)?,
        "transport" => allowed.transport = Some(string(value)?.to_lowercase()),
        "program" => allowed.program = Some(string(value)?.to_owned()),
        // Why it is allowed; for whoever reads the file.
        "note" => return string(value).map(|_| ()),
        other => {
            return Err(format!(
                "{other:?} is not known here: address, network, name, port, transport, program, note"
            ));
        }
    }
    Ok(())
}

fn string<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
    match value {
        DeValue::String(text) => Ok(text),
        _ => Err("this must be a text in quotes".into()),
    }
}

/// One port or a list of them.
fn ports(value: &DeValue<'_>) -> Result<Vec<u16>, String> {
    let one = |value: &DeValue<'_>| match value {
        DeValue::Integer(number) => number
            .to_string()
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| format!("{number} is no port")),
        _ => Err("a port is a number from 1 to 65535".to_owned()),
    };
    match value {
        DeValue::Array(values) if values.len() <= 100 => {
            values.iter().map(Spanned::get_ref).map(one).collect()
        }
        DeValue::Array(_) => Err("more than 100 ports".into()),
        single => Ok(vec![one(single)?]),
    }
}

/// A network in CIDR notation, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    let address = || {
        text.parse()
            .map(|ip: IpAddr| IpNet::from(ip.to_canonical()))
    };
    text.parse()
        .map(|network: IpNet| network.trunc())
        .or_else(|_| address())
        .map_err(|_| format!("{text:?} is neither an address nor a network such as 10.0.0.0/24"))
}

/// A network that may count as local.
pub(super) fn local_network(text: &str) -> Result<IpNet, String> {
    let network = network(text)?;
    if is_of_a_site(&network) {
        Ok(network)
    } else {
        Err(Unfit::TooWide(network).to_string())
    }
}

/// A name as DNS has it, lower case; `*.` in front says what is meant anyway.
pub(super) fn domain(text: &str) -> Result<String, String> {
    let name = text
        .trim_end_matches('.')
        .trim_start_matches("*.")
        .to_lowercase();
    let good = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(plain)
    };
    if name.len() > 253 || !name.split('.').all(good) {
        return Err(format!(
            "{text:?} is no name such as chat.example (letters beyond ASCII as xn--…)"
        ));
    }
    Ok(name)
}

/// A moment with its offset from UTC.
pub(super) fn time(value: &DeValue<'_>) -> Result<Timestamp, String> {
    let text = match value {
        DeValue::Datetime(time) => time.to_string(),
        DeValue::String(text) => text.to_string(),
        _ => String::new(),
    };
    text.parse()
        .map_err(|_| "a time is written as 2026-11-22T09:00:00+01:00, with its offset".into())
}

/// `off`, `technical`, `info`, `warning`, `critical`.
pub(super) fn level(value: &DeValue<'_>) -> Result<Level, String> {
    match string(value)? {
        "off" => Ok(Level::Off),
        "technical" => Ok(Level::Technical),
        "info" => Ok(Level::Info),
        "warning" => Ok(Level::Warning),
        "critical" => Ok(Level::Critical),
        other => Err(format!(
            "{other:?} is none of off, technical, info, warning, critical"
        )),
    }
}

/// A duration such as `90s`, in seconds.
pub(super) fn seconds(value: &DeValue<'_>) -> Result<u64, String> {
    let text = string(value)?;
    let time = humantime::parse_duration(text).map_err(|error| format!("{text:?}: {error}"))?;
    if time < Duration::from_secs(1) || time > MOST_COOL_DOWN {
        return Err(format!("{text:?} is not between 1s and 24h"));
    }
    Ok(time.as_secs())
}
