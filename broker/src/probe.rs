//! Whether the router still delivers: a message that goes through it every [`EVERY`] and must come back.
//!
//! A thread of its own with a link of its own, so that neither a router that hangs nor a runtime that waits for
//! one can silence it. Its topic is outside every root, so no client sees it. When the message does not come
//! back within [`WITHIN`] the broker is told to end; if it cannot even do that, the process is ended from here.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use rumqttd::{
    Notification,
    local::{LinkRx, LinkTx},
};
use tokio::sync::oneshot;
use tracing::error;

use crate::exchange::{Dial, RouterGone};

/// How often it is tried.
const EVERY: Duration = Duration::from_secs(2);
/// How long a message may take.
const WITHIN: Duration = Duration::from_secs(10);
/// How long the broker may take to end after it was told.
const GRACE: Duration = Duration::from_secs(5);
/// A topic that no client can name: a root has no space.
pub(crate) const TOPIC: &str = "loop back";
/// How long to wait for a router that has too much to do to take the message.
const PATIENCE: Duration = Duration::from_millis(50);

/// A running probe; dropped, it ends.
pub(crate) struct Probe {
    failed: oneshot::Receiver<()>,
    _running: mpsc::Sender<()>,
}

impl Probe {
    /// Starts to probe.
    ///
    /// # Errors
    /// When the router takes no link, or the system no thread.
    pub(crate) fn start(dial: &Dial) -> anyhow::Result<Self> {
        let (mut tx, rx) = dial("probe")?;
        tx.subscribe(TOPIC).map_err(|_| RouterGone)?;
        let (fail, failed) = oneshot::channel();
        let (running, ended) = mpsc::channel();
        thread::Builder::new()
            .name("probe".into())
            .spawn(move || watch(tx, rx, fail, &ended))?;
        Ok(Self {
            failed,
            _running: running,
        })
    }

    /// Waits until the router no longer delivers.
    pub(crate) async fn failed(&mut self) {
        if (&mut self.failed).await.is_err() {
            // The thread is gone without a word; nobody watches the router any more.
            error!("the probe has ended");
        }
    }
}

fn watch(mut tx: LinkTx, mut rx: LinkRx, fail: oneshot::Sender<()>, ended: &mpsc::Receiver<()>) {
    for number in 0_u64.. {
        if !comes_back(&mut tx, &mut rx, number, Instant::now() + WITHIN) {
            error!("the router no longer delivers; ending");
            let _ = fail.send(());
            if ended.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout) {
                error!("the broker hangs; ending it");
                std::process::exit(1);
            }
            return;
        }
        if ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

fn comes_back(tx: &mut LinkTx, rx: &mut LinkRx, number: u64, deadline: Instant) -> bool {
    let text = number.to_string();
    while tx.try_publish(TOPIC, text.clone()).is_err() {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(PATIENCE);
    }
    loop {
        match rx.recv_deadline(deadline) {
            Ok(Some(Notification::Forward(forward))) if forward.publish.payload == text => {
                return true;
            }
            Ok(Some(Notification::Unschedule)) if rx.ready().is_err() => return false,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rumqttd::protocol::{Disconnect, DisconnectReasonCode, Packet};

    use super::*;
    use crate::exchange::start_router;

    #[test]
    fn messages_come_back_from_a_living_router_and_not_from_a_dead_one() {
        let dial = start_router(8);
        let (mut tx, mut rx) = dial("probe").unwrap();
        tx.subscribe(TOPIC).unwrap();
        for number in 0..1_000 {
            assert!(comes_back(
                &mut tx,
                &mut rx,
                number,
                Instant::now() + WITHIN
            ));
        }
        kill_router(&dial);
        let soon = Instant::now() + Duration::from_secs(1);
        assert!(!comes_back(&mut tx, &mut rx, 1_000, soon));
    }

    /// Makes the router panic: it does not expect to hear of a connection that has ended.
    pub(crate) fn kill_router(dial: &Dial) {
        let (mut tx, rx) = dial("killer").unwrap();
        let bye = Disconnect {
            reason_code: DisconnectReasonCode::NormalDisconnection,
        };
        tx.buffer().push_back(Packet::Disconnect(bye, None));
        tx.unsubscribe("x").unwrap();
        rx.ready().unwrap();
    }
}
