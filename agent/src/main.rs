//! Labwatch's agent.
fn main() {}
