//! The exam's policy as far as the agent goes by it: topic `policy/agents` to the networks that count as local.
//!
//! ```text
//! --local-network --+
//!                   +--> networks --> net (scopes)
//! policy/agents ----'
//! ```
//! The command line always counts, the policy beside it; without one, or when it is taken back by an empty payload, the
//! command line alone. The broker lets nobody but staff write it, and still it is foreign: what is no policy, too long or
//! would make the internet local is refused as a whole with one log line, and what was stays. The window changes
//! nothing here: everything is recorded, also outside the exam.

use ipnet::IpNet;
use labwatch_contract::{
    MAX_PAYLOAD,
    policy::{AgentPolicy, Unfit},
};
use serde_json::{Map, Value};
use tokio::sync::watch;
use tracing::{info, warn};

/// Why a policy does not count.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("it has {0} bytes")]
    TooLong(usize),
    #[error("it is none: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

/// The local networks in force.
#[derive(Debug)]
pub(crate) struct Standing {
    named: Vec<IpNet>,
    networks: watch::Sender<Vec<IpNet>>,
    refused: bool,
}

impl Standing {
    /// Those of the command line.
    #[must_use]
    pub(crate) fn new(named: Vec<IpNet>) -> Self {
        Self {
            networks: watch::Sender::new(joined(&named, &[])),
            named,
            refused: false,
        }
    }

    /// The networks that count as local beside those the PC is on.
    #[must_use]
    pub(crate) fn networks(&self) -> watch::Receiver<Vec<IpNet>> {
        self.networks.subscribe()
    }

    /// Takes a message of the topic.
    pub(crate) fn handle(&mut self, payload: &[u8]) {
        match read(payload) {
            Ok(policy) => {
                self.refused = false;
                self.set(policy.unwrap_or_default());
            }
            Err(_) if self.refused => {}
            Err(error) => {
                self.refused = true;
                warn!("a policy is refused, what was in force stays: {error}");
            }
        }
    }

    fn set(&self, policy: AgentPolicy) {
        let newer = joined(&self.named, &policy.local_networks);
        self.networks.send_if_modified(|networks| {
            if *networks == newer {
                return false;
            }
            info!("networks that count as local, by settings and policy: {newer:?}");
            *networks = newer;
            true
        });
    }
}

/// `None` where it was taken back.
fn read(payload: &[u8]) -> Result<Option<AgentPolicy>, Refusal> {
    if payload.is_empty() {
        return Ok(None);
    }
    if payload.len() > MAX_PAYLOAD {
        return Err(Refusal::TooLong(payload.len()));
    }
    // A struct could be read from a list as well.
    let fields: Map<String, Value> = serde_json::from_slice(payload)?;
    let policy: AgentPolicy = serde_json::from_value(Value::Object(fields))?;
    policy.check()?;
    Ok(Some(policy))
}

fn joined(named: &[IpNet], more: &[IpNet]) -> Vec<IpNet> {
    let mut all: Vec<IpNet> = named.iter().chain(more).map(IpNet::trunc).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn standing() -> Standing {
        Standing::new(vec!["192.0.2.0/24".parse().unwrap()])
    }

    fn after(standing: &mut Standing, payload: &str) -> Vec<String> {
        standing.handle(payload.as_bytes());
        let networks = standing.networks();
        let networks = networks.borrow();
        networks.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn networks_of_the_policy_count_beside_those_of_the_command_line() {
        let mut standing = standing();
        let policy = r#"{"local_networks":["203.0.113.7/24","192.0.2.0/24"],"more":1}"#;
        assert_eq!(
            after(&mut standing, policy),
            ["192.0.2.0/24", "203.0.113.0/24"]
        );
        assert_eq!(
            after(&mut standing, r#"{"local_networks":[]}"#),
            ["192.0.2.0/24"]
        );
    }

    #[test]
    fn a_policy_that_is_taken_back_leaves_the_command_line() {
        let mut standing = standing();
        after(&mut standing, r#"{"local_networks":["203.0.113.0/24"]}"#);
        assert_eq!(after(&mut standing, ""), ["192.0.2.0/24"]);
    }

    #[test]
    fn what_is_no_policy_or_would_make_the_internet_local_changes_nothing() {
        let mut standing = standing();
        after(&mut standing, r#"{"local_networks":["203.0.113.0/24"]}"#);
        let many: Vec<String> = (0..=255)
            .map(|net| format!("\"10.0.{net}.0/24\""))
            .collect();
        for hostile in [
            "[]",
            "{\"local_networks\":[\"203.0.113.0/33\"]}",
            "{\"local_networks\":[\"0.0.0.0/0\"]}",
            "{\"local_networks\":[\"2000::/3\"]}",
            "\u{1b}[2J",
            &format!(
                "{{\"local_networks\":[{},\"10.1.0.0/16\"]}}",
                many.join(",")
            ),
            &" ".repeat(MAX_PAYLOAD + 1),
            r#"{"local_networks":[],"window":{"start":"2026-11-22T10:00:00Z","end":"2026-11-22T09:00:00Z"}}"#,
        ] {
            assert_eq!(
                after(&mut standing, hostile),
                ["192.0.2.0/24", "203.0.113.0/24"],
                "{hostile:.60}"
            );
        }
    }

    #[test]
    fn nobody_is_woken_by_the_same_policy_again() {
        let mut standing = standing();
        let mut networks = standing.networks();
        networks.mark_unchanged();
        after(&mut standing, r#"{"local_networks":["192.0.2.9/24"]}"#);
        assert!(!networks.has_changed().unwrap());
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload: Vec<u8>, network in "[0-9a-f.:/]{0,24}") {
            let mut standing = standing();
            standing.handle(&payload);
            let policy = format!("{{\"local_networks\":[{network:?}]}}");
            standing.handle(policy.as_bytes());
        }
    }
}
