//! The seats of a room as CSV (RFC 4180, without line feeds in fields): a heading line, then one PC a line.
//!
//! `seat,name,mac,ip,student` in any order; `seat` alone must be there, an empty field is not known. Each mistake is told
//! with its line. Bounded: 1,000 seats.

use std::{collections::HashSet, net::IpAddr};

use labwatch_contract::policy::Seat;

use super::file::MOST_SEATS;

/// The seats, and what is wrong, each with its line from 1.
pub(super) fn read(text: &str) -> (Vec<Seat>, Vec<(usize, String)>) {
    let mut seats = Vec::new();
    let mut wrong = Vec::new();
    let mut taken = HashSet::new();
    let lines = text.trim_start_matches('\u{feff}').lines().zip(1..);
    let mut lines = lines.filter(|(line, _)| !line.trim().is_empty());
    let columns = match lines.next() {
        Some((heading, number)) => match columns(heading) {
            Ok(columns) => columns,
            Err(what) => return (seats, vec![(number, what)]),
        },
        None => return (seats, vec![(1, "the file of seats is empty".into())]),
    };
    for (line, number) in lines {
        if seats.len() == MOST_SEATS {
            wrong.push((number, format!("more than {MOST_SEATS} seats")));
            break;
        }
        match seat(&columns, line, &mut taken) {
            Ok(seat) => seats.push(seat),
            Err(what) => wrong.push((number, what)),
        }
    }
    (seats, wrong)
}

fn columns(heading: &str) -> Result<Vec<String>, String> {
    let columns: Vec<String> = fields(heading)?
        .into_iter()
        .map(|name| name.trim().to_lowercase())
        .collect();
    let known = ["seat", "name", "mac", "ip", "student"];
    if let Some(name) = columns.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!(
            "no column is called {name:?}: {}",
            known.join(", ")
        ));
    }
    if !columns.iter().any(|name| name == "seat") {
        return Err("there is no column seat".into());
    }
    Ok(columns)
}

fn seat(columns: &[String], line: &str, taken: &mut HashSet<String>) -> Result<Seat, String> {
    let fields = fields(line)?;
    if fields.len() > columns.len() {
        return Err(format!(
            "{} fields where the heading has {}",
            fields.len(),
            columns.len()
        ));
    }
    let mut seat = Seat::default();
    for (column, field) in columns.iter().zip(fields) {
        set(&mut seat, column, field.trim())?;
    }
    check(&seat, taken)?;
    Ok(seat)
}

/// Puts a field of that name into a seat; an empty one is not known.
pub(super) fn set(seat: &mut Seat, field: &str, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let known = Some(text.to_owned());
    match field {
        "seat" => text.clone_into(&mut seat.seat),
        "name" => seat.name = known,
        "student" => seat.student = known,
        "mac" => seat.mac = Some(mac(text)?),
        "ip" => {
            let ip: Result<IpAddr, _> = text.parse();
            let ip = ip.map_err(|_| format!("{text:?} is no address"))?;
            seat.ip = Some(ip.to_canonical());
        }
        other => return Err(format!("a seat has no {other:?}")),
    }
    Ok(())
}

/// Checks that a seat has a label, and that nothing of it belongs to an earlier one.
pub(super) fn check(seat: &Seat, taken: &mut HashSet<String>) -> Result<(), String> {
    if seat.seat.is_empty() {
        return Err("the seat has no label".into());
    }
    let marks = [
        Some(format!("seat {}", seat.seat)),
        seat.mac.as_ref().map(|mac| format!("MAC {mac}")),
        seat.ip.map(|ip| format!("address {ip}")),
    ];
    for mark in marks.into_iter().flatten() {
        if !taken.insert(mark.clone()) {
            return Err(format!("{mark} is there twice"));
        }
    }
    Ok(())
}

/// `2C:6E:85:00:B6:3A` as the contract writes it: `2c-6e-85-00-b6-3a`.
fn mac(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let good = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if parts.len() != 6 || !parts.iter().all(good) {
        return Err(format!("{text:?} is no MAC such as 2c-6e-85-00-b6-3a"));
    }
    Ok(parts.join("-").to_lowercase())
}

/// Fields of a line; quotes may hold commas, and two quotes in them are one.
fn fields(line: &str) -> Result<Vec<String>, String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let Some(field) = fields.last_mut() else {
            break;
        };
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' | ';' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    if quoted {
        return Err("a quote is not closed".into());
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_list_of_seats_is_read_in_any_order_of_columns() {
        let text = "\u{feff}Seat,IP,Student,MAC\r\nA-01,192.168.0.101,\"Doe, \"\"Jo\"\" J.\",2C:6E:85:00:B6:3A\r\n\r\nA-02,,,\r\n";
        let (seats, wrong) = read(text);
        assert_eq!(wrong, []);
        assert_eq!(seats.len(), 2);
        assert_eq!(seats[0].student.as_deref(), Some("Doe, \"Jo\" J."));
        assert_eq!(seats[0].mac.as_deref(), Some("2c-6e-85-00-b6-3a"));
        assert_eq!(seats[0].ip, "192.168.0.101".parse().ok());
        assert_eq!((seats[1].seat.as_str(), seats[1].ip), ("A-02", None));
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let text = "seat,ip,mac\nA-01,192.168.0.1,\nA-01,,\nA-02,nowhere,\n,1.2.3.4,\nA-03,,xx\nA-04,,,,\nA-05,\"1,\n";
        let (seats, wrong) = read(text);
        assert_eq!(seats.len(), 1);
        let lines: Vec<usize> = wrong.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [3, 4, 5, 6, 7, 8], "{wrong:?}");
        assert_eq!(
            read("ip\n1.2.3.4").1,
            [(1, "there is no column seat".into())]
        );
        assert_eq!(read("seat,shoe size").1.len(), 1);
        assert_eq!(read("").1.len(), 1);
    }

    proptest! {
        #[test]
        fn no_text_panics_and_no_list_is_longer_than_it_may_be(text in "(seat,ip\n)?(\\PC|[\",;\n]){0,200}") {
            prop_assert!(read(&text).0.len() <= MOST_SEATS);
        }
    }
}
