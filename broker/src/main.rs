//! Labwatch's broker.
fn main() {}
