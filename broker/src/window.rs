//! The packet ids of QoS 1 messages that a client has not acknowledged yet.
//!
//! One range for live and retained messages, so that they cannot collide. At most [`SIZE`] are open; until one
//! is acknowledged, in whatever order, nothing more is sent. An acknowledgement of an id that is not open is
//! ignored.

use std::collections::HashSet;

/// Most unacknowledged messages of one client.
const SIZE: usize = 256;

/// The open packet ids of one client.
#[derive(Debug, Default)]
pub(crate) struct Window {
    open: HashSet<u16>,
    last: u16,
}

impl Window {
    /// Whether another message may be sent.
    pub(crate) fn has_room(&self) -> bool {
        self.open.len() < SIZE
    }

    /// A packet id that is not open, and open from now on.
    pub(crate) fn next_id(&mut self) -> u16 {
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            // Far fewer are open than there are, so this ends.
            if self.open.insert(self.last) {
                return self.last;
            }
        }
    }

    /// Takes an acknowledgement.
    pub(crate) fn acknowledge(&mut self, id: u16) {
        self.open.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_id_is_never_given_out_again() {
        let mut window = Window::default();
        let stuck = window.next_id();
        for _ in 0..200_000 {
            let id = window.next_id();
            assert!(id != stuck && id != 0);
            window.acknowledge(id);
        }
    }

    #[test]
    fn it_is_full_until_something_is_acknowledged() {
        let mut window = Window::default();
        let ids: Vec<u16> = (0..SIZE).map(|_| window.next_id()).collect();
        assert!(!window.has_room());
        window.acknowledge(60_000);
        assert!(!window.has_room());
        window.acknowledge(ids[100]);
        assert!(window.has_room());
    }
}
