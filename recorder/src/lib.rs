//! Labwatch's recorder.
