//! Labwatch's recorder: keeps what the agents say, per PC, in time-stamped files, and shows it.
//!
//! | module | owns |
//! |---|---|
//! | [`settings`] | from what was typed to what is used |
//! | `intake` | from a message to the lines that are written for it |
//! | [`ledger`] | how far the record of each journal has come: new, duplicate, gap, refused |
//! | `continuity` | what does not fit together: late events, clocks that jump, two programs as one PC |
//! | `presence` | which words about coming and going are worth a note |
//! | `quarantine` | what was no valid event, within a cap |
//! | `record` | the lines of the record |
//! | [`filing`] | which file a line goes to |
//! | [`frame`] | one commit of the write-ahead log, as bytes |
//! | `marks` | the durable marks, as their file holds them |
//! | `heads` | how far each file has come: what a checkpoint covers |
//! | `alarm` | the alert of a disk that takes nothing |
//! | `bulletin` | what the recorder says again to each broker |
//! | `clock` | whether the recorder's own clock was set |
//! | `store` | log, files, lock, key, fsync, and the thread that writes (shell) |
//! | `exchange` | what service and writer say to each other (shell) |
//! | [`service`] | the recorder at work (shell) |
//! | [`show`] | records as a person reads them |
//! | [`verify`] | whether a record is whole and unchanged |

mod alarm;
mod bulletin;
mod clock;
mod continuity;
#[expect(
    clippy::disallowed_methods,
    reason = "shell: what writer and service say to each other"
)]
mod exchange;
pub mod filing;
pub mod frame;
mod heads;
mod intake;
pub mod ledger;
mod marks;
mod notices;
mod presence;
mod quarantine;
mod recent;
mod record;
#[expect(clippy::disallowed_methods, reason = "shell: the wall clock")]
pub mod service;
pub mod settings;
pub mod show;
#[expect(clippy::disallowed_methods, reason = "shell: the files of the record")]
mod store;
#[expect(
    clippy::disallowed_methods,
    reason = "shell: reads the files of the record"
)]
pub mod verify;
