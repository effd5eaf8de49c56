//! Looks names of peers up in reverse (getnameinfo(3)), off the packet path on one thread of its own.
//!
//! A resolver may take half a minute to give up, and cannot be stopped meanwhile. So questions wait in a bounded queue,
//! one that has waited longer than [`PATIENCE`] is dropped, and nobody waits for the answer. Which addresses are asked
//! for, and that none is asked for again too soon, the state machine decides.

use std::{
    net::IpAddr,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::poller::Waker;

const MOST_WAITING: usize = 256;
const PATIENCE: Duration = Duration::from_secs(30);
const LONGEST_NAME: usize = 253;

/// Asks the thread; its answers come by the receiver of [`start`].
pub(super) struct Lookup(SyncSender<(Instant, IpAddr)>);

impl Lookup {
    pub(super) fn ask(&self, ip: IpAddr) {
        if self.0.try_send((Instant::now(), ip)).is_err() {
            tracing::debug!("too many addresses wait for their name");
        }
    }
}

/// Starts the thread, which rings `waker` when there is an answer; it ends when the [`Lookup`] is dropped.
pub(super) fn start(waker: Waker) -> anyhow::Result<(Lookup, Receiver<(IpAddr, String)>)> {
    let (ask, questions) = sync_channel(MOST_WAITING);
    let (answer, answers) = sync_channel(MOST_WAITING);
    thread::Builder::new()
        .name("lookup".into())
        .spawn(move || run(&questions, &answer, &waker))
        .context("cannot start the thread that looks names up")?;
    Ok((Lookup(ask), answers))
}

fn run(
    questions: &Receiver<(Instant, IpAddr)>,
    answers: &SyncSender<(IpAddr, String)>,
    waker: &Waker,
) {
    let fresh = questions
        .iter()
        .filter(|(asked, _)| asked.elapsed() < PATIENCE);
    for (_, ip) in fresh {
        let found = dns_lookup::lookup_addr(&ip)
            .ok()
            .and_then(|name| usable(&name));
        if let Some(name) = found {
            if answers.send((ip, name)).is_err() {
                return;
            }
            waker.wake();
        }
    }
}

/// Without a name the resolver gives back the address. The name is what the peer's network says: it must be printable.
fn usable(name: &str) -> Option<String> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let is_address = name
        .split('%')
        .next()
        .is_some_and(|name| name.parse::<IpAddr>().is_ok());
    let is_clean = !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    (is_clean && !is_address).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_hostile_text_are_no_names() {
        assert_eq!(
            usable("PC-2.lab.example.").as_deref(),
            Some("pc-2.lab.example")
        );
        for bad in [
            "192.168.0.1",
            "fe80::1%eth0",
            "",
            "a\u{1b}[2J",
            "a b",
            &"x".repeat(254),
        ] {
            assert_eq!(usable(bad), None, "{bad}");
        }
    }
}
