//! Labwatch's notifier: tells the invigilator at once what happens on the lab's PCs.
//!
//! ```text
//! broker --> inbox (topic, payload) --> rules (finding) --> incidents (fold, cool down, budget) --> notice
//!                                                                                                     |
//!                                      console: one line, or JSON <--bounded queue--- watch <---------'
//!                                      desktop: pop-ups <-------------bounded queue-----'
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`settings`] | flags and environment, checked |
//! | [`policy`] | the exam: who sits where, what is allowed, what counts when |
//! | [`inbox`] | from an MQTT message to findings; what is invalid is counted |
//! | [`rules`] | what is worth telling, how grave it is, and its words |
//! | [`silence`] | who is there, and what it means when one falls silent |
//! | [`incidents`] | many findings, few lines |
//! | [`board`] | the incidents that the broker retains, and who has dealt with them |
//! | [`staff`] | shell: lists, acknowledges, mutes from a terminal |
//! | [`learn`] | shell: listens to a quiet lab and proposes what to allow |
//! | [`mod@line`] | an alert as text or JSON |
//! | [`popups`] | which alerts pop up, and as what |
//! | [`watch`] | shell: the service itself, from the broker to console and desktop |
//!
//! Neither a console that hangs nor a desktop that does not answer keeps the other from telling.

pub mod board;
mod command;
mod console;
#[expect(
    clippy::disallowed_methods,
    reason = "shell: talks to the desktop over D-Bus and waits for it"
)]
mod desktop;
pub mod echo;
pub mod inbox;
pub mod incidents;
#[cfg(test)]
mod lab;
#[expect(
    clippy::disallowed_methods,
    reason = "shell: listens to the broker for a time"
)]
pub mod learn;
pub mod line;
pub mod policy;
pub mod popups;
#[expect(
    clippy::disallowed_methods,
    reason = "shell: sockets that ask PCs whether they live"
)]
mod prober;
mod repeats;
pub mod rules;
pub mod settings;
pub mod silence;
#[expect(
    clippy::disallowed_methods,
    reason = "shell: reads the clock, and talks to the broker"
)]
pub mod staff;
#[expect(
    clippy::disallowed_methods,
    reason = "shell: reads the clock, the environment and the broker's messages"
)]
pub mod watch;
