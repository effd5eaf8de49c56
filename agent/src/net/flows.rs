//! The network state machine: frames in, events out.
//!
//! ```text
//! opening -> sighting (which end is the peer) -> conversations (who opened, new?) -> announcements (names, bursts) -> event
//! frame   --^                                `-> totals (peer, interface, other)  ---- report -------------------> event
//! ```
//! Frames come twice: those that open a conversation or name a peer at once and in full ([`Flows::handle_opening`]), and all of
//! them a little later, in batches and cut behind their headers ([`Flows::counting`]). Only the latter are counted; each
//! brings the moment at which it came, not at which it was read, so that the order of the two changes nothing.
//!
//! No clock and no I/O: every call brings its [`Moment`], [`Flows::poll_timeout`] says when [`Flows::handle_timeout`] is due, and
//! what has to happen outside is asked for by [`Flows::poll_output`]. Answers may come late or never.
//! How the calls are split into ticks changes no sum. All tables are bounded.

mod announcements;
mod beaten;
mod conversations;
mod counting;
mod discovery;
mod hearing;
mod interval;
mod opener;
mod protocols;
mod rates;
mod sighting;
mod telling;
mod totals;

use std::{
    collections::{HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use labwatch_contract::{
    event::{
        Occurrence,
        contact::{Direction, NameSource},
    },
    scope::{Networks, Scope},
};

pub use announcements::{
    ALREADY_OPEN, BURST, Found, NAME_WAIT, OWN_NAME_WAIT, Owner, PROGRAM_WAIT, Ticket, WINDOW,
};
pub use conversations::IDLE;
pub use counting::Counting;
pub use totals::MOST_PEERS;

use self::{
    announcements::Announcements,
    beaten::{Beaten, Goal},
    conversations::Conversations,
    counting::{TOGETHER, Waiting},
    discovery::Discovery,
    sighting::Sighting,
    totals::{Share, Totals},
};
use super::{
    Moment,
    names::{Listener, Name, Names},
    packet::{Content, Frame, Packet},
    recent::{Recent, Slot},
    surroundings::{Interface, Surroundings, files::TimeServer},
};

const MOST_LOOKED_UP: usize = 4096;
/// Silent flows are looked for so often.
const SWEEP: Duration = IDLE;

/// What has to happen outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Publish this.
    Occurrence(Box<Occurrence>),
    /// Find the program that owns this socket, and answer with [`Flows::handle_owner`].
    FindOwner(Ticket, Socket),
    /// Look this address's name up, and answer with [`Flows::handle_name`].
    FindName(IpAddr),
}

/// A socket of this PC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// TCP or UDP, by IANA's number.
    pub protocol: u8,
    /// This PC's end.
    pub own: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
    /// Who opened the conversation.
    pub direction: Direction,
    /// Index of the interface that its packet was seen on.
    pub interface: u32,
}

/// The state machine.
#[derive(Debug)]
pub struct Flows {
    /// A handful: looked through faster than hashed.
    own: Vec<IpAddr>,
    beaten: Beaten,
    /// None but during [`Flows::counting`].
    waiting: Vec<Waiting>,
    networks: Networks,
    time_servers: HashSet<TimeServer>,
    /// Of the time servers set up by name, the addresses that DNS answers gave them.
    time_servers_heard: Vec<IpAddr>,
    conversations: Conversations,
    discovery: Discovery,
    totals: Totals,
    announcements: Announcements,
    listener: Listener,
    names: Names,
    looked_up: Recent<IpAddr, ()>,
    outputs: VecDeque<Output>,
    remarks: Vec<String>,
    interval_start: Moment,
    swept: Duration,
}

impl Flows {
    /// Begins the first interval.
    #[must_use]
    pub fn new(now: Moment) -> Self {
        let mut flows = Self {
            own: Vec::new(),
            beaten: Beaten::new(),
            waiting: Vec::with_capacity(TOGETHER),
            networks: Networks::default(),
            time_servers: HashSet::new(),
            time_servers_heard: Vec::new(),
            conversations: Conversations::new(),
            discovery: Discovery::new(),
            totals: Totals::default(),
            announcements: Announcements::default(),
            listener: Listener::default(),
            names: Names::default(),
            looked_up: Recent::new(MOST_LOOKED_UP),
            outputs: VecDeque::new(),
            remarks: Vec::new(),
            interval_start: now,
            swept: now.uptime,
        };
        flows.conversations.set_blind_until(now.uptime);
        flows
    }

    /// Takes in the PC's own network; `networks` are made of it, see [`Surroundings::networks`].
    pub fn set_surroundings(&mut self, here: &Surroundings, networks: Networks) {
        self.own = here.addresses().collect();
        self.settle();
        self.beaten.clear();
        self.time_servers = here.time_servers.iter().cloned().collect();
        let mut networks = networks;
        networks.ntp_servers.extend(&self.time_servers_heard);
        if networks != self.networks {
            self.networks = networks;
            self.conversations.set_networks(&self.networks);
        }
    }

    /// Frames of this interface will come. Called again when its addresses have changed.
    pub fn open_interface(&mut self, interface: &Interface) {
        let addresses = interface
            .shown
            .addresses
            .iter()
            .map(|network| network.addr())
            .collect();
        self.totals.open(
            interface.index,
            &interface.shown.name,
            interface.mac.as_deref(),
            addresses,
        );
    }

    /// What went over an interface before `now` may not have been seen.
    pub fn set_blind_until(&mut self, now: Moment) {
        self.conversations.set_blind_until(now.uptime);
    }

    /// Adds to the current report what the kernel could not hand over, and what the interface's own counters grew by.
    pub fn count(&mut self, interface: u32, dropped: u64, counter_bytes: Option<u64>) {
        self.totals.count(interface, dropped, counter_bytes);
    }

    /// Adds to the current report what has to be said in words.
    pub fn remark(&mut self, remark: String) {
        self.remarks.push(remark);
    }

    /// No more frames of this interface; the next report is the last with it.
    pub fn close_interface(&mut self, interface: u32) {
        self.totals.close(interface);
    }

    /// Takes in a frame that may open a conversation or name a peer; it is not counted.
    pub fn handle_opening(&mut self, frame: &Frame<'_>, interface: u32, now: Moment) {
        let Content::Ip(packet) = frame.content else {
            return;
        };
        let seen = Sighting::new(&packet, &self.own);
        let is_answer = self
            .discovery
            .is_answer(&seen, None, &self.networks, now.uptime);
        let belonging = (seen.is_of_conversation() && !is_answer)
            .then(|| self.conversations.handle(&seen, &self.networks, now.uptime));
        if let Some(belonging) = &belonging {
            self.tell_if_new(&seen, belonging, interface, now);
        }
        if hearing::is_worth_it(&packet, &seen, belonging.as_ref()) {
            self.hear_names(&packet, &seen, belonging.as_ref(), (interface, now));
        }
    }

    /// Begins to count frames of this interface.
    pub fn counting(&mut self, interface: u32) -> Counting<'_> {
        Counting::new(self, interface)
    }

    /// Counts a frame that has been read, and looks at it whatever came before.
    pub fn handle_frame(&mut self, frame: &Frame<'_>, interface: u32, now: Moment) {
        self.totals.add_frames(interface, 1, frame.len.into());
        self.end_second(now.uptime);
        match frame.content {
            Content::Ip(packet) => {
                self.handle_packet(&packet, frame.len, interface, now);
            }
            Content::Other | Content::Malformed => self.totals.add_other(frame.len),
        }
    }

    /// Returns where further packets of its flow go in this second, if they need not be looked at.
    fn handle_packet(
        &mut self,
        packet: &Packet<'_>,
        len: u32,
        interface: u32,
        now: Moment,
    ) -> Option<Goal> {
        let seen = Sighting::new(packet, &self.own);
        let is_answer = self
            .discovery
            .is_answer(&seen, Some(len), &self.networks, now.uptime);
        let belonging = (seen.is_of_conversation() && !is_answer)
            .then(|| self.conversations.handle(&seen, &self.networks, now.uptime));
        let scope_of_others = || match is_answer {
            true => Some(Scope::Infrastructure),
            false => (!seen.ours).then(|| self.networks.scope(&seen.contact())),
        };
        let share = Share {
            sent: seen.sent,
            packets: 1,
            bytes: len.into(),
            payload: belonging.map_or(0, |_| packet.payload_len.into()),
            scope: belonging.map(|one| one.scope).or_else(scope_of_others),
            service_port: belonging.and_then(|one| one.service_port),
        };
        let known_as = belonging.map(|one| one.peer).unwrap_or_default();
        let peer = self.totals.add(seen.peer, &share, known_as, now.uptime);
        let mut belonging = belonging?;
        if peer != known_as {
            belonging.peer = peer;
            self.conversations.set_peer(&belonging, peer);
        }
        self.tell_if_new(&seen, &belonging, interface, now);
        let goal = Goal {
            flow: belonging.flow,
            peer,
            sent: seen.sent,
        };
        // Where the table of peers is full each packet looks for a place.
        (!discovery::has_service(&seen) && peer != Slot::default()).then_some(goal)
    }

    /// Takes in the answer to [`Output::FindOwner`].
    pub fn handle_owner(&mut self, ticket: Ticket, owner: Owner, now: Moment) {
        let program = match &owner {
            Owner::Program(found) => found.process.name.clone(),
            Owner::Agent | Owner::Unknown => None,
        };
        let conversation = self.announcements.handle_owner(ticket, owner);
        if let (Some(conversation), Some(name)) = (conversation, program) {
            self.conversations.set_program(&conversation, name);
        }
        self.release(now);
    }

    /// Takes in a name that a look-up found.
    pub fn handle_name(&mut self, ip: IpAddr, domain: String, now: Moment) {
        let name = Name {
            domain,
            source: NameSource::Reverse,
        };
        if self.names.learn(ip, name, now.uptime) {
            self.release(now);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.release(now);
        if now.uptime >= self.swept + SWEEP {
            self.swept = now.uptime;
            self.settle();
            self.conversations.forget_silent(now.uptime);
            self.listener.forget_silent(now.uptime);
        }
    }

    /// When [`Flows::handle_timeout`] is due next, on the clock of [`Moment::uptime`]; `None` while there is nothing to wait for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let sweep = (!self.conversations.is_empty()).then(|| self.swept + SWEEP);
        self.announcements
            .next_due(&self.names)
            .into_iter()
            .chain(sweep)
            .min()
    }

    /// Puts an event of another part of the network side in line.
    pub fn tell(&mut self, occurrence: Occurrence) {
        self.outputs
            .push_back(Output::Occurrence(Box::new(occurrence)));
    }

    /// Whether [`Flows::poll_output`] has something.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// What has to happen outside, in order; `None` when all has been fetched.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Tells all that still waits, and the traffic up to now: the end.
    pub fn finish(&mut self, now: Moment) {
        self.release(Moment {
            uptime: Duration::MAX,
            ..now
        });
        self.end_interval(now);
    }

    fn release(&mut self, now: Moment) {
        let released = self.announcements.release(&self.names, &self.networks, now);
        released.into_iter().for_each(|one| self.tell(one));
    }
}

#[cfg(test)]
mod tests;
