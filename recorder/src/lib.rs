//! Labwatch's recorder: keeps what the agents say, per PC, in time-stamped files, and shows it.
//!
//! | module | owns |
//! |---|---|
//! | [`settings`] | from what was typed to what is used |
//! | `intake` | from a message to the lines that are written for it |
//! | `ledger` | how far the record of each journal has come: new, duplicate, gap, refused |
//! | `presence` | which words about coming and going are worth a note |
//! | `quarantine` | what was no valid event, within a cap |
//! | `record` | the lines of the record |
//! | `filing` | which file a line goes to |
//! | `store` | the files themselves, the lock, fsync (shell) |
//! | [`service`] | the recorder at work (shell) |
//! | [`show`] | records as a person reads them |

mod filing;
mod intake;
mod ledger;
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
