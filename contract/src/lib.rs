//! What Labwatch's programs say to each other.
//!
//! | module | owns |
//! |---|---|
//! | [`topic`] | the MQTT topics, their text and who they belong to |
//! | [`event`] | the numbered, journalled events and their payload, one file per topic |
//! | [`status`], [`health`], [`ack`], [`alert`], [`policy`] | the payloads that are not numbered |
//! | [`scope`] | whether an address is of the local networks, the internet or infrastructure |
//! | [`chain`] | the SHA-256 chain over a journal's payloads |
//! | [`checkpoint`] | the recorder's signature under its record |
//! | [`text`] | foreign text made harmless for a terminal |
//! | [`time`] | time stamps and durations as they are written |
//!
//! Everything here is pure: no clock, no file, no socket. Foreign bytes give an error or a value, never
//! a panic. `docs/contract.md` is the same for people.

pub mod ack;
pub mod alert;
pub mod chain;
pub mod checkpoint;
pub mod event;
pub mod health;
pub mod policy;
pub mod scope;
pub mod status;
pub mod text;
pub mod time;
pub mod topic;

/// Largest payload that an agent publishes, in bytes; a longer report is split.
pub const MAX_PAYLOAD: usize = 200 * 1024;

/// Largest MQTT packet that the broker takes, in bytes.
pub const MAX_PACKET: usize = 256 * 1024;
