//! Labwatch's agent.
