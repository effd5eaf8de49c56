//! One PC: what was last heard of its agent, and what its silence is by now.

use std::{net::IpAddr, time::Duration};

use labwatch_contract::{
    status::{Reason, Status},
    text::harmless,
};
use uuid::Uuid;

use super::{Seen, doubt::Doubt};

/// One heartbeat missed, and a second for the way: from then on a PC is probed.
const DOUBT: Duration = Duration::from_secs(3);
/// Three heartbeats missed.
const SILENT: Duration = Duration::from_secs(6);
/// How long nothing must have been answered; longer than a cable is pulled by mistake.
const UNANSWERED: Duration = Duration::from_millis(3_500);
/// How long probes that are answered now and then put a verdict off.
const UNCLEAR: Duration = Duration::from_secs(10);
/// How long an agent whose connection was closed may take to come back: systemd starts it again after 1 s.
const GRACE: Duration = Duration::from_millis(4_000);
/// A connection that is closed so soon after a heartbeat was closed by the PC, not by the broker's patience.
const PROMPT: Duration = Duration::from_secs(5);

/// Why a PC is silent, as far as can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The agent said so.
    Stopped,
    /// The agent said so.
    Shutdown,
    /// The agent said goodbye without a reason that we know.
    Unsaid,
    /// The agent's connection was closed; the PC answers.
    Killed,
    /// The agent's connection was closed; the PC answers nothing.
    Vanished,
    /// Connected, no heartbeat; the PC answers.
    Frozen,
    /// No heartbeat, no answer.
    Unreachable,
    /// It was there before the broker went and has not come back; whether it answers.
    NotBack(bool),
    /// It is expected and was never seen; whether it answers.
    NeverSeen(bool),
    /// It goes on under another address.
    Moved(IpAddr),
}

impl Cause {
    /// What an `offline` says itself; `None` for the will, which says only that the connection is gone.
    pub(super) fn of(reason: Reason) -> Option<Self> {
        match reason {
            Reason::Lost => None,
            Reason::Stopped => Some(Self::Stopped),
            Reason::Shutdown => Some(Self::Shutdown),
            _ => Some(Self::Unsaid),
        }
    }

    /// Whether two PCs may be silent for one and the same reason.
    pub(super) fn is_like(self, other: Self) -> bool {
        let kind = |cause| match cause {
            Self::Unreachable | Self::Vanished => Self::Unreachable,
            other => other,
        };
        kind(self) == kind(other)
    }
}

/// Why it is known of the PC at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Basis {
    /// It was connected.
    Connected,
    /// It was connected before the broker went.
    Awaited,
    /// Somebody expects it.
    Expected,
}

/// Which PC it is, whatever its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    host: String,
    boot: String,
}

impl Identity {
    /// `None` for a PC that does not say who it is.
    pub(super) fn of(status: &Status) -> Option<Self> {
        let host = status.host.id.clone();
        let boot = status.host.boot.id.clone();
        (!host.is_empty() && !boot.is_empty()).then_some(Self { host, boot })
    }
}

/// How people know a PC: harmless.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Who {
    /// Its host name; empty when it has none.
    pub(crate) name: String,
    /// Its agent's version.
    pub(crate) version: String,
}

impl Who {
    pub(crate) fn of(status: &Status) -> Self {
        Self {
            name: harmless(&status.host.name),
            version: harmless(&status.agent.version),
        }
    }
}

/// What was told of a PC's silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(super) cause: Cause,
    /// The group it was told with.
    pub(super) group: Option<u64>,
}

/// When the broker said that the connection is gone.
#[derive(Debug, Clone, Copy)]
struct Lost {
    at: Duration,
    prompt: bool,
}

#[derive(Debug)]
pub(super) struct Pc {
    pub(super) who: Who,
    pub(super) identity: Option<Identity>,
    pub(super) connection: Option<Uuid>,
    /// Whether the agent has not said goodbye.
    pub(super) online: bool,
    degraded: bool,
    basis: Basis,
    /// When it said `online`.
    pub(super) came: Duration,
    /// The last sign of life; in the future while it has time to come back.
    pub(super) heard: Duration,
    lost: Option<Lost>,
    pub(super) doubt: Option<Doubt>,
    pub(super) told: Option<Told>,
}

impl Pc {
    pub(super) fn online(status: &Status, now: Duration) -> Self {
        Self {
            who: Who::of(status),
            identity: Identity::of(status),
            connection: Some(status.lab.connection),
            online: true,
            degraded: !status.lab.degraded.is_empty(),
            basis: Basis::Connected,
            came: now,
            heard: now,
            lost: None,
            doubt: None,
            told: None,
        }
    }

    /// A PC that should come by then.
    pub(super) fn expected(by: Duration) -> Self {
        Self {
            who: Who::default(),
            identity: None,
            connection: None,
            online: true,
            degraded: false,
            basis: Basis::Expected,
            came: by,
            heard: by.saturating_sub(SILENT),
            lost: None,
            doubt: None,
            told: None,
        }
    }

    /// Whether its agent was ever seen.
    pub(super) fn was_seen(&self) -> bool {
        self.connection.is_some()
    }

    pub(super) fn is_there(&self) -> bool {
        self.online && self.lost.is_none() && self.told.is_none()
    }

    pub(super) fn silent_for(&self, now: Duration) -> Duration {
        now.saturating_sub(self.heard)
    }

    /// The broker is back; so should this PC be by then.
    pub(super) fn await_return(&mut self, by: Duration) {
        self.trust();
        if self.online && self.told.is_none() {
            if self.basis == Basis::Connected {
                self.basis = Basis::Awaited;
            }
            self.heard = self.heard.max(by.saturating_sub(SILENT));
        }
    }

    /// Nothing is known against it any more.
    pub(super) fn trust(&mut self) {
        self.lost = None;
        self.doubt = None;
    }

    /// Time in which nothing could be heard does not count.
    pub(super) fn excuse(&mut self, pause: Duration, now: Duration) {
        self.heard = self.heard.max(now.min(self.heard + pause));
        self.doubt = None;
    }

    /// A sign of life; what had been told, when it is there again. Anybody on the PC can send one: while the agent's
    /// connection is gone it says that the PC lives, and only the agent's next `online` that the agent does.
    pub(super) fn alive(&mut self, now: Duration) -> Option<Told> {
        self.heard = now;
        if !self.online {
            // Its last words overtook what it had sent before them.
            return None;
        }
        if let Some(lost) = &mut self.lost {
            if !lost.prompt {
                // From here on it has as long to come back as one whose connection was closed.
                *lost = Lost {
                    at: now,
                    prompt: true,
                };
            }
            self.basis = Basis::Connected;
            return None;
        }
        self.trust();
        self.basis = Basis::Connected;
        self.told.take()
    }

    /// It has gone in order, or elsewhere; what had been told.
    pub(super) fn leave(&mut self, cause: Cause) -> Option<Told> {
        self.online = false;
        self.trust();
        self.told.replace(Told { cause, group: None })
    }

    /// The broker says that the connection is gone.
    pub(super) fn lose(&mut self, seen: Seen) {
        let prompt = !seen.retained && self.silent_for(seen.now) < PROMPT;
        if self.lost.is_none() {
            self.lost = Some(Lost {
                at: seen.now,
                prompt,
            });
        }
        if seen.retained {
            self.basis = Basis::Awaited;
        }
    }

    pub(super) fn tell(&mut self, cause: Cause, group: Option<u64>) {
        self.told = Some(Told { cause, group });
        self.doubt = None;
    }

    /// When it is in doubt, if no sign of life comes before; at once while its connection is gone.
    pub(super) fn doubtful_at(&self) -> Option<Duration> {
        let missed = self.online && self.told.is_none();
        let lost = self.lost.map(|lost| lost.at);
        missed.then(|| lost.unwrap_or(self.heard + DOUBT))
    }

    /// Whether it is to be probed now.
    pub(super) fn ask(&mut self, now: Duration) -> bool {
        if self.doubtful_at().is_none_or(|doubtful| now < doubtful) {
            self.doubt = None;
            return false;
        }
        self.doubt.get_or_insert_default().ask(now)
    }

    /// What its silence is, once that is sure enough.
    pub(super) fn verdict(&self, now: Duration) -> Option<Cause> {
        let doubt = self.doubt.as_ref()?;
        let leaning = self.leaning()?;
        let silent = self.silent_for(now);
        let closed = self.lost.filter(|lost| lost.prompt);
        let sure = match (self.basis, closed) {
            (Basis::Connected, Some(closed)) => now >= closed.at + GRACE,
            (Basis::Connected, None) => {
                let clear = doubt.always_answered() || doubt.mute_for(now) >= UNANSWERED;
                silent >= if clear { SILENT } else { UNCLEAR }
            }
            (Basis::Awaited | Basis::Expected, _) => {
                silent >= SILENT && (doubt.always_answered() || doubt.mute_for(now) >= UNANSWERED)
                    || silent >= UNCLEAR
            }
        };
        sure.then_some(leaning)
    }

    /// What it looks like by the last probe.
    pub(super) fn leaning(&self) -> Option<Cause> {
        let answers = self.doubt.as_ref()?.answers()?;
        let closed = self.lost.is_some_and(|lost| lost.prompt);
        Some(match (self.basis, closed, answers) {
            (Basis::Awaited, ..) => Cause::NotBack(answers),
            (Basis::Expected, ..) => Cause::NeverSeen(answers),
            (Basis::Connected, true, true) => Cause::Killed,
            (Basis::Connected, true, false) => Cause::Vanished,
            (Basis::Connected, false, true) => Cause::Frozen,
            (Basis::Connected, false, false) => Cause::Unreachable,
        })
    }
}

/// What is new about a PC that says `online`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It was not there, as far as we know; how long, when that was told.
    New {
        /// Whether it had come before we did.
        retained: bool,
        /// How long it had been silent, when that was told.
        gone_for: Option<Duration>,
    },
    /// It is there as before.
    Same(Sight),
}

/// How what an agent sees has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Not at all.
    Unchanged,
    /// It does not see everything, or something else than before.
    Partial,
    /// It sees everything again.
    Full,
}

impl Arrival {
    pub(super) fn of(known: Option<&Pc>, status: &Status, seen: Seen) -> Self {
        let blind = !status.lab.degraded.is_empty();
        match known.filter(|pc| pc.was_seen()) {
            None => Self::New {
                retained: seen.retained,
                gone_for: None,
            },
            Some(pc) if pc.told.is_some() || !pc.online => Self::New {
                retained: false,
                gone_for: Some(pc.silent_for(seen.now)),
            },
            // An agent that was started anew is news however short it was away; a connection is not.
            Some(pc)
                if pc.connection != Some(status.lab.connection)
                    && status.lab.reason != Reason::Reconnected
                    && !seen.retained =>
            {
                Self::New {
                    retained: false,
                    gone_for: None,
                }
            }
            Some(pc) => Self::Same(match (pc.degraded, blind) {
                (true, false) => Sight::Full,
                (false, true) => Sight::Partial,
                (true, true) if status.lab.reason == Reason::DegradedChanged => Sight::Partial,
                _ => Sight::Unchanged,
            }),
        }
    }
}
