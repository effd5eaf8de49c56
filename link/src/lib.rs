//! What Labwatch's four services share: the settings of the connection, the MQTT session, the frame of a service.
//!
//! | module | owns |
//! |---|---|
//! | [`settings`] | from what was typed to what is used, every mistake told at once |
//! | [`backoff`] | how long to wait before the next try (pure) |
//! | [`session`] | one MQTT session: connect, subscribe on each ConnAck, hand over, say goodbye |
//! | [`service`] | signals, grace period, logging, systemd, exit codes |

pub mod backoff;
pub mod service;
#[expect(
    clippy::disallowed_methods,
    reason = "shell: the network, and the waits between two tries"
)]
pub mod session;
#[expect(
    clippy::disallowed_methods,
    reason = "shell: password and CA are read from files"
)]
pub mod settings;

pub use rumqttc::QoS;
