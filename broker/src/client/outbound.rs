//! What a client is sent: answers first, then messages as far as its window allows.
//!
//! A message goes out with the lower of the QoS it was published and subscribed with, as MQTT says. Many are
//! written at once; a client that does not read is cut off by [`SLOW`].

use std::convert::Infallible;

use bytes::BytesMut;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
    time::timeout,
};

use super::{End, SLOW};
use crate::{
    exchange::Delivery,
    packet::{self, Qos},
    window::Window,
};

/// No more is gathered before it is written.
const GATHER: usize = 16 * 1024;

/// What the reading half wants to be said or known.
#[derive(Debug)]
pub(super) enum Answer {
    /// PUBACK.
    Published(u16),
    /// SUBACK with what was granted.
    Subscribed(u16, Vec<Option<Qos>>),
    /// UNSUBACK.
    Unsubscribed(u16),
    /// PINGRESP.
    Pong,
    /// The client has acknowledged a message; nothing is said.
    Acknowledged(u16),
}

/// The writing half.
pub(super) struct Outbound {
    answers: mpsc::Receiver<Answer>,
    deliveries: mpsc::Receiver<(Qos, Delivery)>,
    window: Window,
    buffer: BytesMut,
}

impl Outbound {
    /// A half that says what comes through these.
    pub(super) fn new(
        answers: mpsc::Receiver<Answer>,
        deliveries: mpsc::Receiver<(Qos, Delivery)>,
    ) -> Self {
        Self {
            answers,
            deliveries,
            window: Window::default(),
            buffer: BytesMut::new(),
        }
    }

    /// Writes until there is a reason to end.
    pub(super) async fn run<W: AsyncWrite + Unpin>(mut self, write: W) -> End {
        let Err(end) = self.write(write).await;
        end
    }

    async fn write<W: AsyncWrite + Unpin>(&mut self, mut write: W) -> Result<Infallible, End> {
        loop {
            tokio::select! {
                biased;
                Some(answer) = self.answers.recv() => self.answer(answer),
                Some((granted, delivery)) = self.deliveries.recv(), if self.window.has_room() => {
                    self.deliver(granted, &delivery);
                }
                else => return Err(End::Closed),
            }
            self.gather();
            if !self.buffer.is_empty() {
                let written = timeout(SLOW, async {
                    write.write_all(&self.buffer).await?;
                    write.flush().await
                });
                written.await.map_err(|_| End::Unread)??;
                self.buffer.clear();
            }
        }
    }

    /// Whatever else is there already.
    fn gather(&mut self) {
        while self.buffer.len() < GATHER {
            if let Ok(answer) = self.answers.try_recv() {
                self.answer(answer);
            } else if self.window.has_room()
                && let Ok((granted, delivery)) = self.deliveries.try_recv()
            {
                self.deliver(granted, &delivery);
            } else {
                return;
            }
        }
    }

    fn answer(&mut self, answer: Answer) {
        let out = &mut self.buffer;
        match answer {
            Answer::Published(id) => packet::write_puback(out, id),
            Answer::Subscribed(id, granted) => packet::write_suback(out, id, &granted),
            Answer::Unsubscribed(id) => packet::write_unsuback(out, id),
            Answer::Pong => packet::write_pingresp(out),
            Answer::Acknowledged(id) => self.window.acknowledge(id),
        }
    }

    fn deliver(&mut self, granted: Qos, delivery: &Delivery) {
        let id = match delivery.qos.min(granted) {
            Qos::AtMostOnce => None,
            Qos::AtLeastOnce => Some(self.window.next_id()),
        };
        let (topic, payload) = (&delivery.topic, &delivery.payload);
        packet::write_publish(&mut self.buffer, topic, payload, id, delivery.retain);
    }
}
