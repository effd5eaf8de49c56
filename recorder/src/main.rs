//! Labwatch's recorder.
fn main() {}
