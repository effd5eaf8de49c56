//! Which interfaces there are, and which are captured: opened as they come, read to the end as they go.

use std::{net::SocketAddr, thread, time::Duration};

use labwatch_contract::{event::Action, scope::Networks};

use super::{BETWEEN_SETTLE, LOOK_EVERY, RETRY, Watch};
use crate::net::{
    Moment,
    capture::{Capture, LONGEST_WAY},
    gaps, links,
    rtnetlink::News,
    surroundings::{self, Interface, Surroundings, because, glimpses::Passed},
};

/// However often the bell rings.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

impl Watch {
    pub(super) fn look_soon(&mut self) {
        self.look_at = self.look_at.min(self.looked + BETWEEN_LOOKS);
    }

    pub(super) fn handle_news(&mut self, news: Vec<News>) {
        news.into_iter().for_each(|one| self.glimpses.take(one));
        self.look_soon();
    }

    pub(super) fn look(&mut self) -> anyhow::Result<()> {
        let mut here = links::look()?;
        here.remember(&self.here);
        let now = self.clock.now();
        let is_first = self.looked == Duration::ZERO;
        for mut change in self.here.changes(&here, now.time) {
            if is_first {
                change.fields.lab.reason = Some("there at the start".to_owned());
            }
            self.flows.tell(change);
        }
        (self.looked, self.look_at) = (now.uptime, now.uptime + LOOK_EVERY);
        let passed = self.glimpses.passed(&self.here, &here);
        if !is_first {
            self.notice_newcomers(&here);
            passed
                .into_iter()
                .for_each(|one| self.tell_passed(one, now));
        }
        self.looked_time = now.time;
        self.here = here;
        if is_first {
            self.warn_of_absent();
        }
        self.apply_networks();
        self.match_captures(now);
        let here = &self.here;
        self.gaps.forget_gone(|index| here.has(index));
        self.tell_health();
        Ok(())
    }

    /// An interface that came since the last look has been blind since then at the longest; its counters
    /// began at nothing, or where they stood while it was off.
    pub(super) fn notice_newcomers(&mut self, here: &Surroundings) {
        let is_new = |new: &&Interface| {
            let mut known = self.here.interfaces.iter();
            known.all(|old| old.index != new.index)
        };
        for new in here.interfaces.iter().filter(is_new) {
            let mut idle = self.here.idle.iter();
            let idle = idle.find(|idle| idle.index == new.index);
            let counter = idle.map_or(Some(0), |idle| idle.bytes);
            self.gaps.blind(new.index, counter, self.looked_time);
        }
    }

    /// An interface that came and went between two looks: nobody can have captured it.
    fn tell_passed(&mut self, Passed { interface, bytes }: Passed, now: Moment) {
        let event = |action| surroundings::occurrence(action, &interface, now.time);
        let reason = "came and went at once";
        for action in [Action::InterfaceUp, Action::InterfaceDown] {
            self.flows.tell(because(reason, event(action)));
        }
        if let Some(bytes) = bytes.filter(|bytes| *bytes > 0) {
            let reason = format!("{bytes} bytes went over it unseen");
            let gap = gaps::gap(self.looked_time, now.time, reason);
            self.flows.tell(surroundings::gap(&interface, gap));
        }
    }

    pub(super) fn warn_of_absent(&self) {
        let is_here = |name: &str| {
            self.here
                .interfaces
                .iter()
                .any(|one| one.shown.name == name)
        };
        for name in self
            .settings
            .interfaces
            .iter()
            .filter(|name| !is_here(name))
        {
            tracing::warn!("{name} is not up; its traffic is seen as soon as it is");
        }
    }

    pub(super) fn set_broker(&mut self, broker: Option<SocketAddr>) {
        self.broker = broker;
        self.apply_networks();
    }

    pub(super) fn apply_networks(&mut self) {
        let networks = self.networks();
        for capture in &mut self.captures {
            capture.set_networks(&networks);
        }
        self.flows.set_surroundings(&self.here, networks);
    }

    pub(super) fn networks(&self) -> Networks {
        let named = self.settings.local_networks.borrow();
        self.here.networks(&named, self.broker)
    }

    /// Opens what should be captured and is not, closes what is gone.
    pub(super) fn match_captures(&mut self, now: Moment) {
        let named = &self.settings.interfaces;
        let captured: Vec<u32> = self.captures.iter().map(Capture::index).collect();
        // Another name does not hide it.
        let is_wanted = |one: &&Interface| {
            named.is_empty() || named.contains(&one.shown.name) || captured.contains(&one.index)
        };
        let wanted: Vec<Interface> = self
            .here
            .interfaces
            .iter()
            .filter(is_wanted)
            .cloned()
            .collect();
        let is_gone = |capture: &Capture| wanted.iter().all(|one| one.index != capture.index());
        let gone: Vec<Capture> = self
            .captures
            .extract_if(.., |capture| is_gone(capture))
            .collect();
        gone.into_iter().for_each(|capture| self.close(capture));
        if now.uptime >= self.retry_at {
            self.failed.clear();
        }
        self.failed
            .retain(|index, _| wanted.iter().any(|one| one.index == *index));
        for interface in &wanted {
            let mut captures = self.captures.iter_mut();
            if let Some(capture) = captures.find(|capture| capture.index() == interface.index) {
                capture.set_name(&interface.shown.name);
                self.flows.open_interface(interface);
            } else if !self.failed.contains_key(&interface.index) {
                self.open(interface, now);
            }
        }
    }

    pub(super) fn open(&mut self, interface: &Interface, now: Moment) {
        let (name, index) = (&interface.shown.name, interface.index);
        let opened = Capture::open(interface, &self.networks(), &self.poller);
        let gap = match opened {
            Ok(mut capture) => {
                tracing::info!("capturing on {name}");
                let counter = links::counters().get(name).copied();
                capture.set_counter(counter);
                self.captures.push(capture);
                self.flows.open_interface(interface);
                self.flows.set_blind_until(now);
                self.gaps.opened(index, counter, now.time)
            }
            Err(error) => {
                let why = format!("traffic over {name} is not seen: {error:#}");
                let gap = self.gaps.failed(index, &why, now.time);
                self.failed.insert(index, why);
                self.retry_at = now.uptime + RETRY;
                gap
            }
        };
        if let Some(gap) = gap {
            self.tell_gap(index, gap);
        }
    }

    /// What is in its ring is read when its last block has come.
    pub(super) fn close(&mut self, mut capture: Capture) {
        capture.leave(&self.poller);
        let counter = links::counters().get(capture.name()).copied();
        let grown = capture.take_counter(counter);
        self.flows.count(capture.index(), 0, grown);
        let now = self.clock.now();
        self.gaps.blind(capture.index(), counter, now.time);
        self.ending.push((capture, now.uptime + LONGEST_WAY));
    }

    pub(super) fn end_captures(&mut self, now: Duration) {
        let over: Vec<(Capture, Duration)> = self
            .ending
            .extract_if(.., |(_, until)| *until <= now)
            .collect();
        for (mut capture, _) in over {
            let index = capture.index();
            let mut counting = self.flows.counting(index);
            capture.read_rest(self.clock.now(), |frame, now| counting.handle(frame, now));
            drop(counting);
            let counter = capture.counter_at_report();
            self.count(&mut capture, counter);
            let is_open_again = self.captures.iter().any(|one| one.index() == index);
            if !is_open_again {
                self.flows.close_interface(index);
                self.told_unread.remove(&index);
            }
        }
    }

    /// Waits for the last blocks, where the counters say that there are some.
    pub(super) fn read_last(&mut self) {
        let deadline = self.clock.uptime() + LONGEST_WAY;
        let is_over = |watch: &Self| watch.is_settled() && watch.ending.is_empty();
        while !is_over(self) && self.clock.uptime() < deadline {
            let captured: Vec<u32> = self.captures.iter().map(Capture::index).collect();
            captured.into_iter().for_each(|index| self.read(index));
            self.end_captures(self.clock.uptime());
            thread::sleep(BETWEEN_SETTLE);
        }
        self.end_captures(Duration::MAX);
    }
}
