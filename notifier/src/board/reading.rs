//! What the broker says of the board: incidents, acknowledgements, mutes, marks, from their payloads.

use labwatch_contract::{
    alert::{Alert, AlertAck, AlertAction, MUTE_PREFIX, Mute, WATCHING, Watching},
    text::harmless,
    time::Timestamp,
    topic::Topic,
};

use super::{Acknowledged, Before, Board, MAX_MUTES, MAX_POSTS, Unreadable, post::Post};

impl Board {
    pub(super) fn handle(
        &mut self,
        topic: &Topic,
        payload: &[u8],
        retained: bool,
    ) -> Result<Option<Acknowledged>, Unreadable> {
        match topic {
            Topic::Alert(id) => {
                let id = id.to_string();
                match id.strip_prefix(MUTE_PREFIX) {
                    Some(_) => self.muted(id, payload)?,
                    None if id == WATCHING => self.saw_mark(payload)?,
                    None => self.posted(id, payload, retained)?,
                }
                Ok(None)
            }
            Topic::AlertAck(id) => self.acknowledged(id.to_string(), payload, retained),
            _ => Ok(None),
        }
    }

    fn posted(&mut self, id: String, payload: &[u8], retained: bool) -> Result<(), Unreadable> {
        if payload.is_empty() {
            self.posts.remove(&id);
            return Ok(());
        }
        let alert: Alert = serde_json::from_slice(payload)?;
        if alert.lab.id != id {
            return Ok(());
        }
        if self.posts.len() >= MAX_POSTS && !self.posts.contains_key(&id) {
            self.make_room();
        }
        let early = self.early.remove(&id);
        let post = self
            .posts
            .entry(id)
            .or_insert_with(|| Post::of_others(alert.clone(), retained));
        post.confirmed = true;
        if alert.timestamp > post.alert.timestamp {
            post.alert = alert;
        }
        if let Some(ack) = early {
            post.acknowledge(ack);
        }
        Ok(())
    }

    fn acknowledged(
        &mut self,
        id: String,
        payload: &[u8],
        retained: bool,
    ) -> Result<Option<Acknowledged>, Unreadable> {
        let post = self.posts.get_mut(&id);
        if payload.is_empty() {
            if let Some(post) = post {
                post.ack = None;
            }
            return Ok(None);
        }
        let ack: AlertAck = serde_json::from_slice(payload)?;
        let mut acknowledged = Acknowledged {
            incident: id,
            verdict: ack.lab.verdict,
            line: None,
        };
        match post {
            Some(post) => {
                let news = post.ack.as_ref() != Some(&ack) && !retained;
                acknowledged.line = news.then(|| post.ack_line(&ack));
                post.acknowledge(ack);
            }
            None if self.early.len() < MAX_POSTS => {
                self.early.insert(acknowledged.incident.clone(), ack);
            }
            None => {}
        }
        Ok(Some(acknowledged))
    }

    fn muted(&mut self, id: String, payload: &[u8]) -> Result<(), Unreadable> {
        if payload.is_empty() {
            self.mutes.remove(&id);
            return Ok(());
        }
        let mute: Mute = serde_json::from_slice(payload)?;
        tracing::info!(
            "{} is not shown until {}, says {}",
            harmless(&mute.lab.target),
            mute.lab.until,
            harmless(&mute.user.name)
        );
        let now = mute.timestamp;
        self.mutes.insert(id, mute);
        if self.mutes.len() > MAX_MUTES {
            self.drop_mute(now);
        }
        Ok(())
    }

    /// Of too many mutes the one that ends first goes; what is over by `now` is no loss.
    fn drop_mute(&mut self, now: Timestamp) {
        let first = self.mutes.iter().min_by_key(|(_, mute)| mute.lab.until);
        let Some(id) = first.map(|(id, _)| id.clone()) else {
            return;
        };
        if let Some(mute) = self.mutes.remove(&id).filter(|mute| now < mute.lab.until) {
            tracing::warn!(
                "more than {MAX_MUTES} mutes: that of {} until {} no longer counts here",
                harmless(&mute.lab.target),
                mute.lab.until
            );
        }
    }

    fn saw_mark(&mut self, payload: &[u8]) -> Result<(), Unreadable> {
        if payload.is_empty() {
            return Ok(());
        }
        let Watching { alert, seen } = serde_json::from_slice(payload)?;
        if !self.remembered {
            self.before = Some(Before {
                watched: alert.timestamp,
                in_order: alert.event.action == AlertAction::Resolved,
                seen,
            });
        }
        Ok(())
    }
}
