//! What the network side's thread exchanges with the others: events and questions out, answers and orders in.
//!
//! Whoever has something for the thread rings its [`Waker`]. Events wait for their receiver, and the thread with them.

use std::{
    net::{IpAddr, SocketAddr},
    sync::mpsc::{Receiver, TryIter},
};

use labwatch_contract::event::Occurrence;
use tokio::sync::{mpsc, watch as latest};
use tokio_util::sync::CancellationToken;

use crate::net::{
    flows::{Flows, Output, Owner, Ticket},
    lookup::{self, Lookup},
    poller::Waker,
    processes::{self, Processes},
};

pub(super) struct Outside {
    processes: Processes,
    owners: Receiver<(Ticket, Owner)>,
    lookup: Lookup,
    names: Receiver<(IpAddr, String)>,
    occurrences: mpsc::Sender<Occurrence>,
    broker: latest::Receiver<Option<SocketAddr>>,
    stop: CancellationToken,
}

impl Outside {
    /// Starts the threads that answer questions.
    pub(super) fn start(
        waker: &Waker,
        occurrences: mpsc::Sender<Occurrence>,
        broker: latest::Receiver<Option<SocketAddr>>,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let (processes, owners) = processes::start(waker.clone())?;
        let (lookup, names) = lookup::start(waker.clone())?;
        Ok(Self {
            processes,
            owners,
            lookup,
            names,
            occurrences,
            broker,
            stop,
        })
    }

    /// Hands over what has come out of `flows`.
    pub(super) fn deliver(&mut self, flows: &mut Flows) {
        while let Some(output) = flows.poll_output() {
            match output {
                Output::FindOwner(ticket, socket) => self.processes.ask(ticket, socket),
                Output::FindName(ip) => self.lookup.ask(ip),
                // Without a receiver the agent is about to end, by `stop`.
                Output::Occurrence(occurrence) => {
                    let _ = self.occurrences.blocking_send(*occurrence);
                }
            }
        }
    }

    pub(super) fn owners(&self) -> TryIter<'_, (Ticket, Owner)> {
        self.owners.try_iter()
    }

    pub(super) fn names(&self) -> TryIter<'_, (IpAddr, String)> {
        self.names.try_iter()
    }

    /// Where the broker listens, if that has changed since the last call.
    pub(super) fn new_broker(&mut self) -> Option<Option<SocketAddr>> {
        let has_changed = self.broker.has_changed().unwrap_or_default();
        has_changed.then(|| *self.broker.borrow_and_update())
    }

    pub(super) fn is_over(&self) -> bool {
        self.stop.is_cancelled()
    }
}
