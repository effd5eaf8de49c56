//! The exam's policy on its way to the PCs: from the file by the notifier and the broker into an agent's capture.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test talks to the world, and fails by a panic"
)]

use std::{fs, net::SocketAddr, process::Command};

use labwatch_contract::event::Action;
use labwatch_tests::{
    lab::{INTERNET, Lab, SERVER},
    program::eventually,
    record, skipped, traffic,
};

const TOOLS: [&str; 5] = ["ip", "dnsmasq", "sysctl", "mosquitto_sub", "mosquitto_pub"];
const WEB: u16 = 8090;

#[test]
fn a_network_that_the_policy_calls_local_is_so_on_the_pcs_and_no_pc_can_say_so_itself() {
    if skipped(&TOOLS).is_some() {
        return;
    }
    let lab = Lab::new();
    let policy = lab.dir.path().join("policy.toml");
    fs::write(&policy, "exam = \"Networks 1\"\n").unwrap();
    let _broker = lab.start_broker();
    let _recorder = lab.start_recorder(&[""; 0]);
    let notifier = lab.start_notifier(&["--policy", policy.to_str().unwrap()]);
    let pc = &lab.pcs[0];
    let agent = lab.start_agent(pc, &[""; 0]);
    let _ = notifier.wait_for(&[&pc.ip.to_string(), "connected"]);

    let forged = "{\"local_networks\":[\"203.0.113.0/24\"]}";
    let told = forge(pc.command("mosquitto_pub"), &SERVER.to_string(), forged);
    assert!(!told, "a PC has published the policy");
    traffic::serve_pages(&lab.internet, WEB);
    traffic::fetch_page(pc, SocketAddr::new(INTERNET.into(), WEB));
    eventually("the contact as one with the internet", || {
        let events = record::events(&lab.records(), pc.into(), &Action::InternetAccess);
        (!events.is_empty()).then_some(())
    });

    fs::write(&policy, "local-networks = [\"203.0.113.0/24\"]\n").unwrap();
    let _ = agent.wait_for(&["networks that count as local", "203.0.113.0/24"]);
    traffic::serve_pages(&lab.internet, WEB + 1);
    traffic::fetch_page(pc, SocketAddr::new(INTERNET.into(), WEB + 1));
    let port = (WEB + 1).to_string();
    let _ = notifier.wait_for(&["network accessed: opened tcp", &INTERNET.to_string(), &port]);

    let hostile = forge(
        lab.server.command("mosquitto_pub"),
        "127.0.0.1",
        "{\"local_networks\":[\"0.0.0.0/0\"]}",
    );
    assert!(hostile, "staff may publish it");
    let _ = agent.wait_for(&["a policy is refused", "wider than any site"]);
}

/// Publishes a policy for agents; whether the broker has taken it.
fn forge(mut publisher: Command, broker: &str, payload: &str) -> bool {
    let host = ["-h", broker, "-q", "1", "-r", "-t", "lab/policy/agents"];
    let status = publisher.args(host).args(["-m", payload]).status();
    status.unwrap().success()
}
