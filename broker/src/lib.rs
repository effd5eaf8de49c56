//! Labwatch's broker.
