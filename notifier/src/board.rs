//! The board: the incidents that the broker retains on `alerts/<id>`, with who has dealt with them; what is
//! remembered over a restart, and what several notifiers share.
//!
//! ```text
//! Alert --> admit --> told, or not: known | acknowledged | muted
//!             `--> post --budget--> alerts/<id> (retained) --> recorder, other notifiers, this one after a restart
//! ```
//!
//! Ids are the same for the same incident in every notifier, so two of them write the same post, and one does not
//! write what the other has just written. Invariants: at most 20 posts at once and 10 a second; at most 2,048
//! incidents, the oldest makes room; a resolved one is taken down after 10 minutes, any other after a day. What
//! is good to know is posted only where it changes or ends a posted incident. Nothing is answered by a post, so
//! notifiers cannot chase each other. Payloads that are none are [`Unreadable`], for the caller to count.
//!
//! A broker that was restarted has forgotten the board: what was on it is put up again two seconds after the
//! connection, unless another notifier did. Times are since the start of the program.

mod errands;
mod mark;
mod post;
mod reading;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use labwatch_contract::{
    alert::{AckUser, Alert, AlertAck, Mute, Severity, Verdict},
    text::harmless,
    time::Timestamp,
    topic::Root,
};
use labwatch_link::session::Message;

pub(crate) use self::errands::message_of;
pub use self::mark::Before;
use self::{
    errands::{Errand, SWEEP},
    post::Post,
};
use crate::incidents::budget::Budget;

/// Most incidents, and most mutes.
const MAX_POSTS: usize = 2048;
const MAX_MUTES: usize = 64;
/// How long after the connection the broker has repeated what it retains.
const SETTLE: Duration = Duration::from_secs(2);

/// What becomes of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is told.
    Tell,
    /// It was told before this notifier started.
    Known,
    /// Somebody has dealt with it, and nothing came since.
    Acknowledged,
    /// Staff does not want to see it for now.
    Muted,
}

/// What the board held when the broker had repeated it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// What the notifier before left; nothing when there was none, or the broker has forgotten it.
    pub before: Option<Before>,
    /// Incidents that were open before, and how they were dealt with.
    pub open: Vec<(Alert, Option<Verdict>)>,
}

impl Memory {
    /// How many of the open incidents nobody has acknowledged.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        let open = self.open.iter();
        open.filter(|(_, verdict)| verdict.is_none()).count()
    }
}

/// An acknowledgement that came.
#[derive(Debug, Clone, PartialEq)]
pub struct Acknowledged {
    /// The incident's id.
    pub incident: String,
    /// What it was.
    pub verdict: Verdict,
    /// What is to be told of it, when it is news and the incident is known.
    pub line: Option<Alert>,
}

/// A payload that is none of its topic.
#[derive(Debug, thiserror::Error)]
#[error("no payload of its topic: {0}")]
pub struct Unreadable(#[from] serde_json::Error);

/// The board of one root.
#[derive(Debug)]
pub struct Board {
    root: Root,
    /// `lab/alerts/`
    prefix: String,
    posts: BTreeMap<String, Post>,
    mutes: BTreeMap<String, Mute>,
    /// Acknowledgements of incidents that have not come yet.
    early: BTreeMap<String, AlertAck>,
    waiting: VecDeque<Errand>,
    budget: Budget,
    connected: bool,
    /// When the broker will have repeated everything.
    settles: Option<Duration>,
    remembered: bool,
    before: Option<Before>,
    next_mark: Duration,
    next_sweep: Duration,
}

impl Board {
    /// An empty board.
    #[must_use]
    pub fn new(root: Root) -> Self {
        Self {
            prefix: format!("{root}/alerts/"),
            root,
            posts: BTreeMap::new(),
            mutes: BTreeMap::new(),
            early: BTreeMap::new(),
            waiting: VecDeque::new(),
            budget: Budget::new(20, Duration::from_millis(100)),
            connected: false,
            settles: None,
            remembered: false,
            before: None,
            next_mark: Duration::ZERO,
            next_sweep: SWEEP,
        }
    }

    /// The broker has accepted us; it will repeat what it retains.
    pub fn connected(&mut self, now: Duration) {
        self.connected = true;
        self.settles = Some(now + SETTLE);
        for post in self.posts.values_mut() {
            post.confirmed = false;
        }
    }

    /// The broker is out of reach: nothing can be posted.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.settles = None;
    }

    /// Takes a message, if it is one of the board; gives the acknowledgement that it is, if it is one.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(&mut self, message: &Message) -> Result<Option<Acknowledged>, Unreadable> {
        let below = message.topic.strip_prefix(&self.prefix);
        // Nearly all messages are of PCs; one look tells them apart.
        match below.map(|_| self.root.parse(&message.topic)) {
            Some(Ok(topic)) => self.handle(&topic, &message.payload, message.retain),
            _ => Ok(None),
        }
    }

    /// The open incidents, the gravest first, and how and by whom each was dealt with; harmless.
    #[must_use]
    pub fn open(&self) -> Vec<(&Alert, Option<(&'static str, String)>)> {
        let open = self.posts.values().filter(|post| post.is_open());
        let mut open: Vec<_> = open
            .map(|post| (&post.alert, post.ack.as_ref()))
            .map(|(alert, ack)| {
                let dealt_with =
                    |ack: &AlertAck| (post::verdict(ack.lab.verdict), harmless(&ack.user.name));
                (alert, ack.map(dealt_with))
            })
            .collect();
        open.sort_by_key(|(alert, _)| (Reverse(alert.event.severity), alert.lab.last));
        open
    }

    /// Whether a notifier has left its mark, before this one's own.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.before.is_some()
    }

    /// What is muted.
    pub fn mutes(&self) -> impl Iterator<Item = &Mute> {
        self.mutes.values()
    }

    /// Whether an alert is to be told; it is posted in any case, if it is of the kind that is.
    pub fn admit(&mut self, alert: &Alert, now: Duration) -> Admission {
        let admission = self.admission(alert);
        let known = self.posts.get(&alert.lab.id);
        let is_news = alert.event.severity != Severity::Info || known.is_some();
        if is_news && !known.is_some_and(|post| post.says(alert)) {
            self.post(alert, now);
        }
        admission
    }

    /// What the board holds, once after the start when the broker has repeated it; after a later connection only
    /// what the broker has forgotten is put up again.
    pub fn settle(&mut self, now: Duration) -> Option<Memory> {
        self.settles.filter(|settles| *settles <= now)?;
        self.settles = None;
        let forgotten: Vec<String> = self
            .posts
            .iter()
            .filter(|(_, post)| !post.confirmed)
            .map(|(id, _)| id.clone())
            .collect();
        for id in forgotten {
            self.wait(id);
        }
        if std::mem::replace(&mut self.remembered, true) {
            return None;
        }
        let before = |post: &&Post| post.from_before && post.is_open();
        let open = self.posts.values().filter(before);
        let dealt_with = |post: &Post| post.ack.as_ref().map(|ack| ack.lab.verdict);
        Some(Memory {
            open: open
                .map(|post| (post.alert.clone(), dealt_with(post)))
                .collect(),
            before: self.before.take(),
        })
    }

    /// The acknowledgement of an incident, as this notifier's user gives it.
    #[must_use]
    pub fn acknowledge(&self, id: &str, user: &str, at: Timestamp) -> Option<Message> {
        self.posts.get(id)?;
        let ack = AlertAck {
            timestamp: at,
            user: AckUser { name: user.into() },
            lab: labwatch_contract::alert::AckLab {
                verdict: Verdict::Seen,
                note: None,
            },
        };
        message_of(&format!("{}/ack", self.topic(id)), &ack)
    }

    fn admission(&mut self, alert: &Alert) -> Admission {
        let at = alert.timestamp;
        let host = alert.host.as_ref().map(|host| host.ip.to_string());
        let is_muted = |mute: &Mute| {
            let target = Some(&mute.lab.target);
            at < mute.lab.until && (target == host.as_ref() || target == Some(&alert.rule.id))
        };
        if self.mutes.values().any(is_muted) {
            return Admission::Muted;
        }
        match self.posts.get_mut(&alert.lab.id) {
            Some(post) => post.admission(alert),
            None => Admission::Tell,
        }
    }

    fn post(&mut self, alert: &Alert, now: Duration) {
        if self.posts.len() >= MAX_POSTS && !self.posts.contains_key(&alert.lab.id) {
            self.make_room();
        }
        let id = alert.lab.id.clone();
        let early = self.early.remove(&id);
        let post = self
            .posts
            .entry(id.clone())
            .and_modify(|post| post.update(alert, now))
            .or_insert_with(|| Post::new(alert.clone(), now));
        post.ack = post.ack.take().or(early);
        self.wait(id);
    }

    /// The oldest makes room; it stays with the broker.
    fn make_room(&mut self) {
        let age = |(_, post): &(&String, &Post)| (post.is_open(), post.alert.timestamp);
        let oldest = self.posts.iter().min_by_key(age);
        if let Some(id) = oldest.map(|(id, _)| id.clone()) {
            self.posts.remove(&id);
        }
    }

    fn topic(&self, id: &str) -> String {
        format!("{}{id}", self.prefix)
    }
}

#[cfg(test)]
mod tests;
