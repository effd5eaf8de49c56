use std::{
    io::{self, Write},
    sync::mpsc::{Receiver, Sender, channel},
};

use labwatch_contract::alert::Alert;
use tokio::runtime::Builder;

use super::*;
use crate::{
    incidents::Incidents,
    lab::{self, PC33},
    rules::tests::found,
};

pub(crate) fn alert() -> Alert {
    let stick = lab::device(PC33, "device-connected", "Stick", &["storage"]);
    let mut told = Incidents::default().handle(found(&stick), Duration::ZERO);
    told.remove(0)
        .into_alert("2026-11-22T09:31:06Z".parse().unwrap())
}

/// A terminal that takes a write only when the test lets it.
struct Held {
    go: Receiver<()>,
    written: Sender<Vec<u8>>,
}

impl Write for Held {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.ends_with(b"\n") {
            self.go.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
        }
        let _ = self.written.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn held() -> (Console, Sender<()>, Receiver<Vec<u8>>) {
    let (let_go, go) = channel();
    let (written, lines) = channel();
    let console = Console::start(Held { go, written }, Style::Plain, false).unwrap();
    (console, let_go, lines)
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(future)
}

#[test]
fn a_held_terminal_blocks_nobody_and_what_it_did_not_take_is_counted() {
    let (console, let_go, lines) = held();
    for _ in 0..QUEUE + 10 {
        console.show(&alert());
    }
    let missed = console.missed.load(Ordering::Relaxed);
    assert!((9..=10).contains(&missed), "{missed}");
    for _ in 0..QUEUE {
        let_go.send(()).unwrap();
    }
    let taken: Vec<u8> = lines.iter().take(2).flatten().collect();
    assert!(String::from_utf8_lossy(&taken).contains("usb device connected"));
}

#[test]
fn a_closed_stdout_is_told() {
    let (console, let_go, _lines) = held();
    drop(let_go);
    console.show(&alert());
    block_on(console.closed().cancelled());
}

#[test]
fn what_is_queued_at_the_end_is_still_written() {
    let (console, let_go, lines) = held();
    for _ in 0..3 {
        console.show(&alert());
        let_go.send(()).unwrap();
    }
    block_on(console.finish());
    let all: Vec<u8> = lines.iter().flatten().collect();
    assert_eq!(String::from_utf8_lossy(&all).lines().count(), 3);
}
