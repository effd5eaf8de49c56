//! What can happen, in any order.

use proptest::prelude::*;

/// One thing that happens.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Occur,
    /// The agent publishes so many messages.
    Send(u8),
    /// The recorder takes so many messages.
    Take(u8),
    Commit,
    /// The recorder's acknowledgements go out, and come in.
    Acknowledge,
    LoseAck,
    Duplicate(u8),
    Reorder(u8),
    LoseMessage(u8),
    Connect,
    Disconnect,
    BrokerForgets,
    MoveAddress,
    BeginJournal,
    DropJournal,
    Damage(u8),
    Remember,
    /// Killed, with so many lines of the journal that were not synced.
    KillAgent(u8),
    SyncJournal,
    /// Killed, with so many lines of the log that were not synced.
    KillRecorder(u8),
    Wait(u16),
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Occur),
        6 => (1_u8..8).prop_map(Step::Send),
        6 => (1_u8..8).prop_map(Step::Take),
        4 => Just(Step::Commit),
        4 => Just(Step::Acknowledge),
        1 => Just(Step::LoseAck),
        2 => any::<u8>().prop_map(Step::Duplicate),
        2 => any::<u8>().prop_map(Step::Reorder),
        2 => any::<u8>().prop_map(Step::LoseMessage),
        4 => Just(Step::Connect),
        1 => Just(Step::Disconnect),
        1 => Just(Step::BrokerForgets),
        1 => Just(Step::MoveAddress),
        1 => Just(Step::BeginJournal),
        1 => Just(Step::DropJournal),
        1 => any::<u8>().prop_map(Step::Damage),
        1 => Just(Step::Remember),
        1 => (0_u8..4).prop_map(Step::KillAgent),
        2 => Just(Step::SyncJournal),
        1 => (0_u8..4).prop_map(Step::KillRecorder),
        3 => (1_u16..12_000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..60)
}
