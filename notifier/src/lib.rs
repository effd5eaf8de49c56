//! Labwatch's notifier.
