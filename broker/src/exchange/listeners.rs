//! PCs' subscriptions: one topic each, served from here and not by the router.
//!
//! rumqttd never forgets a filter, and each has a ring of its own: whoever subscribed once would be in its memory
//! until the broker ends. What is here is gone with its listener. What waits for a listener is bounded by its bytes,
//! so the queue itself need not be; whoever reads too slowly is told that messages are lost, and holds nobody up.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::mpsc;

use super::{
    Exchange,
    subscription::{Delivery, SubscriptionError},
};

/// Bytes that may wait for a listener when another message comes.
const MAX_WAITING: usize = 48 * 1024;

/// Who listens to which topic.
#[derive(Default)]
pub(super) struct Listeners(HashMap<String, Vec<Listener>>);

struct Listener {
    queue: mpsc::UnboundedSender<Delivery>,
    waiting: Arc<AtomicUsize>,
}

impl Listeners {
    /// Hands a message to all who listen to its topic, but for those who are too slow: for them it is the end.
    pub(super) fn tell(&mut self, topic: &str, delivery: &Delivery) {
        if let Some(listeners) = self.0.get_mut(topic) {
            listeners.retain(|listener| listener.take(delivery));
        }
    }

    fn enter(&mut self, topic: &str) -> (mpsc::UnboundedReceiver<Delivery>, Arc<AtomicUsize>) {
        let (queue, messages) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let listener = Listener {
            queue,
            waiting: Arc::clone(&waiting),
        };
        let listeners = self.0.entry(topic.to_owned()).or_default();
        listeners.push(listener);
        (messages, waiting)
    }

    fn leave(&mut self, topic: &str, waiting: &Arc<AtomicUsize>) {
        if let Some(listeners) = self.0.get_mut(topic) {
            listeners.retain(|listener| !Arc::ptr_eq(&listener.waiting, waiting));
            if listeners.is_empty() {
                self.0.remove(topic);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Listener {
    fn take(&self, delivery: &Delivery) -> bool {
        let waiting = self.waiting.fetch_add(size(delivery), Ordering::Relaxed);
        waiting < MAX_WAITING && self.queue.send(delivery.clone()).is_ok()
    }
}

fn size(delivery: &Delivery) -> usize {
    delivery.topic.len() + delivery.payload.len()
}

/// One listener's end of a topic; dropped, it listens no more.
pub(crate) struct Listening {
    exchange: Arc<Exchange>,
    topic: String,
    messages: mpsc::UnboundedReceiver<Delivery>,
    waiting: Arc<AtomicUsize>,
}

impl Listening {
    pub(super) fn new(exchange: &Arc<Exchange>, topic: &str, listeners: &mut Listeners) -> Self {
        let (messages, waiting) = listeners.enter(topic);
        Self {
            exchange: Arc::clone(exchange),
            topic: topic.to_owned(),
            messages,
            waiting,
        }
    }

    pub(super) async fn next(&mut self) -> Result<Delivery, SubscriptionError> {
        let next = self.messages.recv().await;
        let delivery = next.ok_or(SubscriptionError::Slow)?;
        self.waiting.fetch_sub(size(&delivery), Ordering::Relaxed);
        Ok(delivery)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut state = self.exchange.state();
        state.listeners.leave(&self.topic, &self.waiting);
    }
}
