//! Labwatch's notifier.
fn main() {}
