//! What happens at the PC: events, journals, addresses, and the agent that is killed.

use std::net::IpAddr;

use labwatch_agent::{
    outbox::{Demand, Outbox, Transmit},
    sealer::Sealer,
};
use labwatch_contract::{
    chain::Digest,
    event::{Action, Boot, Fields, Host, Occurrence},
    status::JournalRange,
};
use uuid::Uuid;

use super::{File, Message, World, index};

impl World {
    pub(super) fn occur(&mut self, action: Action) {
        let host = Host {
            ip: self.ip,
            name: String::new(),
            id: String::new(),
            mac: None,
            boot: Boot::default(),
        };
        let occurrence = Occurrence {
            time: "2026-11-22T09:31:05Z".parse().unwrap(),
            action,
            fields: Fields::default(),
        };
        let sealed = self.sealer.seal(occurrence, &host, 0).unwrap();
        let file = self.files.get_mut(&self.present).unwrap();
        file.lines.push(sealed.payload.clone());
        self.outbox.handle_event(sealed);
    }

    pub(super) fn meet_demands(&mut self) {
        while let Some(demand) = self.outbox.poll_demand() {
            match demand {
                Demand::Begin => self.begin_journal(),
                Demand::Lost(..) => self.occur(Action::EventsDropped),
                Demand::Announce => self.announce(),
            }
        }
    }

    pub(super) fn announce(&mut self) {
        let online = Message::Online(self.outbox.journals());
        self.retained.insert(self.ip, online.clone());
        self.up.push_back((self.ip, online));
    }

    pub(super) fn send(&mut self, messages: u8) {
        for _ in 0..messages {
            let Some(transmit) = self.outbox.poll_transmit(self.now) else {
                return;
            };
            match transmit {
                Transmit::Fresh(event) => {
                    self.up.push_back((self.ip, Message::Event(event.payload)))
                }
                Transmit::Stored { journal, sequence } => self.read_back(journal, sequence),
            }
        }
    }

    fn read_back(&mut self, journal: Uuid, sequence: u64) {
        let file = &self.files[&journal];
        assert!(!file.dropped, "a journal that is gone is not read");
        if !file.damaged.contains(&sequence) {
            let line = file.lines[usize::try_from(sequence).unwrap() - 1].clone();
            return self.up.push_back((self.ip, Message::Event(line)));
        }
        let last = u64::try_from(file.lines.len()).unwrap();
        let next = (sequence..=last).find(|next| !file.damaged.contains(next));
        self.outbox.handle_damage(journal, sequence, next);
        self.meet_demands();
    }

    pub(super) fn connect(&mut self) {
        if !self.connected {
            self.connected = true;
            self.outbox.handle_connected(self.now);
            self.announce();
        }
    }

    pub(super) fn disconnect(&mut self) {
        self.connected = false;
        self.outbox.handle_disconnected();
    }

    pub(super) fn move_address(&mut self) {
        self.disconnect();
        self.ip = match self.ip {
            IpAddr::V4(ip) if ip.octets() == [10, 0, 0, 1] => [10, 0, 0, 2].into(),
            _ => [10, 0, 0, 1].into(),
        };
    }

    fn next_name(&mut self) -> Uuid {
        self.names += 1;
        let name = Uuid::from_u128(self.names);
        self.files.insert(name, File::default());
        self.present = name;
        name
    }

    pub(super) fn begin_journal(&mut self) {
        let name = self.next_name();
        self.sealer.begin(name);
        self.outbox.handle_begun(name);
    }

    pub(super) fn drop_journal(&mut self) {
        let present = self.present;
        let mut closed = self.files.iter_mut().filter(|(name, _)| **name != present);
        if let Some((name, file)) = closed.find(|(_, file)| !file.dropped && !file.lines.is_empty())
        {
            file.dropped = true;
            self.outbox.handle_dropped(*name);
        }
    }

    pub(super) fn damage(&mut self, at: u8) {
        let present = self.present;
        let file = self.files.get_mut(&present).unwrap();
        let synced: Vec<_> = (1..).take(file.synced).collect();
        file.damaged
            .extend(index(at, synced.len()).map(|at| synced[at]));
    }

    pub(super) fn kill_agent(&mut self, kept: u8) {
        self.disconnect();
        self.retained.remove(&self.ip);
        for file in self.files.values_mut() {
            file.lines.truncate(file.synced + usize::from(kept));
            file.synced = file.lines.len();
        }
        let here = || {
            self.files
                .iter()
                .filter(|(_, file)| !file.dropped && !file.lines.is_empty())
        };
        let range = |(name, file): (&Uuid, &File)| JournalRange {
            journal: *name,
            first: 1,
            last: u64::try_from(file.lines.len()).unwrap(),
        };
        let past: Vec<_> = here().map(range).collect();
        let prev = here().next_back().and_then(|(_, file)| file.lines.last());
        let prev = prev.map_or(Digest::ZERO, |line| Digest::of(line));
        let name = self.next_name();
        self.sealer = Sealer::new(name, prev);
        self.outbox = Outbox::new(&past, self.confirmed.clone(), name);
    }
}
