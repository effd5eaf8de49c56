//! Chaos: everything breaks under load, and each event that an agent has journalled is recorded exactly once.
//!
//! `LABWATCH_CHAOS_SEED` sets what is left to chance, `LABWATCH_CHAOS_ROUNDS` how often the whole does everything,
//! `LABWATCH_CHAOS_FAULTS` what breaks, by the names of `Fault`, with commas; `LABWATCH_CHAOS_KEEP` names a directory that
//! records and journals are copied to at the end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test talks to the world, and fails by a panic"
)]

use labwatch_tests::{
    chaos::{self, Plan, faults::ALL, torn},
    skipped,
};

const TOOLS: [&str; 8] = [
    "ip",
    "dnsmasq",
    "sysctl",
    "mount",
    "setpriv",
    "cc",
    "mosquitto_sub",
    "mosquitto_pub",
];

fn setting(name: &str) -> Option<String> {
    std::env::var(format!("LABWATCH_CHAOS_{name}")).ok()
}

fn number(name: &str) -> Option<u64> {
    setting(name).map(|value| value.parse().expect("a setting is a number"))
}

fn seed() -> u64 {
    number("SEED").unwrap_or_else(|| fastrand::u64(..1_000_000))
}

fn run(mut plan: Plan) {
    if let Some(named) = setting("FAULTS") {
        let find = |name| ALL.into_iter().find(|fault| format!("{fault:?}") == name);
        let faults = named
            .split(',')
            .map(|name| find(name).expect("a fault's name"));
        plan.faults = faults.collect();
    }
    chaos::run(&plan);
}

#[test]
fn everything_breaks_once_and_every_event_is_recorded_exactly_once() {
    if skipped(&TOOLS).is_none() {
        run(Plan::short(seed()));
    }
}

#[test]
fn a_log_torn_at_some_bytes_is_a_record_that_is_whole_as_far_as_it_goes() {
    if skipped(&TOOLS).is_none() {
        let seed = seed();
        println!("seed {seed}");
        torn::run(4_000, Some(24), &mut fastrand::Rng::with_seed(seed));
    }
}

#[test]
#[ignore = "takes long: scripts/chaos runs it"]
fn a_log_torn_at_any_byte_is_a_record_that_is_whole_as_far_as_it_goes() {
    if skipped(&TOOLS).is_none() {
        torn::run(1_500, None, &mut fastrand::Rng::with_seed(0));
    }
}

#[test]
#[ignore = "takes long: scripts/chaos runs it"]
fn everything_breaks_at_length_in_a_full_room() {
    if skipped(&TOOLS).is_none() {
        let rounds = number("ROUNDS").unwrap_or(1);
        run(Plan::whole(seed(), rounds.try_into().unwrap()));
    }
}
