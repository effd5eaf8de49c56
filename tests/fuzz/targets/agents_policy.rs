//! The policy as agents read it: whatever passes the check names few networks, none wider than a site.
#![no_main]

use labwatch_contract::policy::{AgentPolicy, MAX_LOCAL_NETWORKS, is_of_a_site};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    if let Ok(policy) = serde_json::from_slice::<AgentPolicy>(payload)
        && policy.check().is_ok()
    {
        assert!(policy.local_networks.len() <= MAX_LOCAL_NETWORKS);
        assert!(policy.local_networks.iter().all(is_of_a_site));
    }
});
