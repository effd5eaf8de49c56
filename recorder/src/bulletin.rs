//! What the recorder has said for those who come later: its last checkpoint, and the alert of its disk.
//!
//! Both are retained by the broker, which may forget them when it is started again, and both may find no room among
//! acknowledgements. So each is due on every connection until it is out, and before any acknowledgement; an alert that
//! is over is said once. Pure.

use labwatch_contract::topic::Topic;

/// The words, by topic; there are two of them at most.
#[derive(Debug, Default)]
pub(crate) struct Bulletin {
    words: Vec<Word>,
}

#[derive(Debug)]
struct Word {
    topic: Topic,
    payload: Vec<u8>,
    /// Not said since it is true, or not on this connection.
    due: bool,
    /// To be said on the next connections as well.
    stays: bool,
}

impl Bulletin {
    /// Says something on a topic in place of what was said before, on each connection if it `stays`.
    pub(crate) fn put(&mut self, topic: Topic, payload: Vec<u8>, stays: bool) {
        self.words.retain(|word| word.topic != topic);
        self.words.push(Word {
            topic,
            payload,
            due: true,
            stays,
        });
    }

    /// The broker may have forgotten all of it.
    pub(crate) fn handle_connected(&mut self) {
        for word in &mut self.words {
            word.due = true;
        }
    }

    /// Says what is due; `say` tells whether there was room.
    pub(crate) fn say(&mut self, mut say: impl FnMut(&Topic, &[u8]) -> bool) {
        for word in self.words.iter_mut().filter(|word| word.due) {
            word.due = !say(&word.topic, &word.payload);
        }
        self.words.retain(|word| word.due || word.stays);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(bulletin: &mut Bulletin, room: bool) -> Vec<Vec<u8>> {
        let mut said = Vec::new();
        bulletin.say(|_, payload| {
            said.push(payload.to_vec());
            room
        });
        said
    }

    #[test]
    fn what_is_true_is_said_again_on_each_connection_and_what_is_over_once() {
        let mut bulletin = Bulletin::default();
        let alert = || Topic::Alert("recorder-disk".parse().unwrap());
        bulletin.put(Topic::Checkpoint, b"first".to_vec(), true);
        bulletin.put(Topic::Checkpoint, b"second".to_vec(), true);
        bulletin.put(alert(), b"opened".to_vec(), true);
        assert_eq!(said(&mut bulletin, true), [&b"second"[..], b"opened"]);
        assert!(said(&mut bulletin, true).is_empty());
        bulletin.handle_connected();
        assert_eq!(said(&mut bulletin, true), [&b"second"[..], b"opened"]);
        bulletin.put(alert(), b"resolved".to_vec(), false);
        assert_eq!(said(&mut bulletin, true), [b"resolved"]);
        bulletin.handle_connected();
        assert_eq!(said(&mut bulletin, true), [b"second"]);
    }

    #[test]
    fn what_found_no_room_is_due_until_it_does() {
        let mut bulletin = Bulletin::default();
        bulletin.put(Topic::Checkpoint, b"one".to_vec(), false);
        assert_eq!(said(&mut bulletin, false), [b"one"]);
        assert_eq!(said(&mut bulletin, true), [b"one"]);
        assert!(said(&mut bulletin, true).is_empty());
    }
}
