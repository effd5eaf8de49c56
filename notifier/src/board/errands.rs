//! What the board has done at the broker: incidents put up and taken down at a bounded rate, marks that somebody watches.
//!
//! A post that waits is written as it is by then, so a flapping incident costs one message. Every [`SWEEP`] what is over is
//! taken down.

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use labwatch_contract::{
    alert::{Mute, SeenRun},
    time::Timestamp,
};
use labwatch_link::{QoS, session::Message};
use serde::Serialize;

use super::{Board, MAX_POSTS};

/// How long a resolved incident stays up, and any other.
const KEEP_RESOLVED: Duration = Duration::from_secs(600);
const KEEP: Duration = Duration::from_secs(24 * 3600);
/// How often it is looked for what is to be taken down.
pub(super) const SWEEP: Duration = Duration::from_secs(60);
/// Most that waits for the broker: each incident once, and as many to take down.
const MAX_WAITING: usize = 2 * MAX_POSTS;
/// How often a notifier says that it watches.
const MARK: Duration = Duration::from_secs(30);

/// What is to be done at the broker.
#[derive(Debug)]
pub(super) enum Errand {
    /// Put the incident up as it is by then.
    PutUp(String),
    /// Take it down.
    TakeDown(String),
}

impl Board {
    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        if !self.connected {
            return None;
        }
        let post = (!self.waiting.is_empty()).then(|| self.budget.ready_at());
        let mark = self.settles.is_none().then_some(self.next_mark);
        let times = [post, self.settles, mark, Some(self.next_sweep)];
        times.into_iter().flatten().min()
    }

    /// What is to be published now; `seen` gives what was judged so far.
    pub fn handle_timeout(
        &mut self,
        now: Duration,
        at: Timestamp,
        seen: impl FnOnce() -> Vec<SeenRun>,
    ) -> Vec<Message> {
        let mut messages = Vec::new();
        if !self.connected {
            return messages;
        }
        if self.next_mark <= now && self.settles.is_none() {
            self.next_mark = now + MARK;
            messages.extend(self.mark(at, seen(), false));
        }
        if self.next_sweep <= now {
            self.next_sweep = now + SWEEP;
            self.sweep(now, at);
        }
        while self.budget.is_ready(now) {
            let Some(errand) = self.waiting.pop_front() else {
                break;
            };
            self.budget.spend(now);
            match errand {
                Errand::PutUp(id) => messages.extend(self.write(&id)),
                Errand::TakeDown(id) => messages.extend(self.clear(&id)),
            }
        }
        messages
    }

    pub(super) fn wait(&mut self, id: String) {
        let post = self.posts.get_mut(&id);
        // A post that waits is written as it is by then.
        if post.is_some_and(|post| !std::mem::replace(&mut post.waiting, true)) {
            self.queue(Errand::PutUp(id));
        }
    }

    /// Bounded: what is not on the board any more needs no post, and then the oldest is not taken down.
    fn queue(&mut self, errand: Errand) {
        if self.waiting.len() >= MAX_WAITING {
            let mut seen = HashSet::new();
            let posts = &self.posts;
            self.waiting.retain(|errand| match errand {
                Errand::PutUp(id) => posts.contains_key(id) && seen.insert(id.clone()),
                Errand::TakeDown(_) => true,
            });
            let is_down = |errand: &Errand| matches!(errand, Errand::TakeDown(_));
            let oldest = self.waiting.iter().position(is_down);
            if let Some(index) = oldest.filter(|_| self.waiting.len() >= MAX_WAITING) {
                self.waiting.remove(index);
            }
        }
        self.waiting.push_back(errand);
    }

    fn write(&mut self, id: &str) -> Vec<Message> {
        let topic = self.topic(id);
        let Some(post) = self.posts.get_mut(id) else {
            // It has made room since.
            return Vec::new();
        };
        (post.confirmed, post.waiting) = (true, false);
        let mut messages: Vec<_> = message_of(&topic, &post.alert).into_iter().collect();
        let topic = format!("{topic}/ack");
        if std::mem::take(&mut post.ack_is_over) {
            messages.push(empty(&topic));
        } else if let Some(ack) = &post.ack {
            messages.extend(message_of(&topic, ack));
        }
        messages
    }

    fn clear(&self, id: &str) -> Vec<Message> {
        if self.mutes.contains_key(id) {
            // It was renewed since.
            return Vec::new();
        }
        let topic = self.topic(id);
        vec![empty(&topic), empty(&format!("{topic}/ack"))]
    }

    fn sweep(&mut self, now: Duration, at: Timestamp) {
        let is_over = |_: &String, mute: &mut Mute| mute.lab.until <= at;
        let over: Vec<String> = self
            .mutes
            .extract_if(.., is_over)
            .map(|(id, _)| id)
            .collect();
        for id in over {
            self.queue(Errand::TakeDown(id));
        }
        let over: Vec<String> = self
            .posts
            .iter()
            .filter(|(_, post)| {
                let keep = if post.is_open() { KEEP } else { KEEP_RESOLVED };
                now.saturating_sub(post.since) > keep || at.since(post.alert.timestamp) > KEEP
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in over {
            self.posts.remove(&id);
            self.queue(Errand::TakeDown(id));
        }
    }
}

/// A retained message; strings and numbers can always be written.
pub(crate) fn message_of(topic: &str, payload: &impl Serialize) -> Option<Message> {
    let payload = Bytes::from(serde_json::to_vec(payload).ok()?);
    Some(Message {
        topic: topic.to_owned(),
        payload,
        qos: QoS::AtLeastOnce,
        retain: true,
    })
}

/// Takes a retained message back.
pub(super) fn empty(topic: &str) -> Message {
    Message {
        topic: topic.to_owned(),
        payload: Bytes::new(),
        qos: QoS::AtLeastOnce,
        retain: true,
    }
}
