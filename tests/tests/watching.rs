//! `mosquitto_sub` shows the lab live to the server, and to a student's PC nothing but that PC's own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test talks to the world, and fails by a panic"
)]

use labwatch_tests::{lab::Lab, program::eventually, skipped};

const NONE: &[&str] = &[];
const TOOLS: [&str; 4] = ["ip", "dnsmasq", "mosquitto_sub", "mosquitto_pub"];

#[test]
fn the_server_sees_the_lab_live_and_a_pc_only_its_own() {
    if skipped(&TOOLS).is_some() {
        return;
    }
    let lab = Lab::new();
    let mut broker = lab.start_broker();
    let [one, two, _] = &lab.pcs;
    let live = lab.watch(&lab.server, &["-t", "lab/#", "-h", "127.0.0.1"]);
    let mut spy = lab.watch(one, &["-t", "lab/#"]);
    let mut neighbour = lab.watch(one, &["-t", &format!("lab/{}/status", two.ip)]);
    let own = lab.watch(one, &["-t", &format!("lab/{}/status", one.ip)]);
    let _agents = [lab.start_agent(one, NONE), lab.start_agent(two, NONE)];

    for pc in [one, two] {
        let _ = live.wait_for(&[&format!("lab/{}/status", pc.ip), "online"]);
        let _ = live.wait_for(&[&format!("lab/{}/health", pc.ip), "heartbeat"]);
    }
    let _ = own.wait_for(&[&format!("lab/{}/status", one.ip), "online"]);
    // mosquitto_sub ends by itself once every subscription was refused.
    for refused in [&mut spy, &mut neighbour] {
        let _ = refused.wait_for(&["denied"]);
        let _ = refused.wait();
        let got_any = refused
            .lines()
            .iter()
            .any(|line| line.text.starts_with("lab/"));
        assert!(!got_any);
    }
    assert!(broker.is_running());
}

#[test]
fn a_forged_event_ends_the_connection_and_reaches_nobody() {
    if skipped(&TOOLS).is_some() {
        return;
    }
    let lab = Lab::new();
    let _broker = lab.start_broker();
    let [one, two, _] = &lab.pcs;
    let live = lab.watch(&lab.server, &["-t", "lab/#", "-h", "127.0.0.1"]);
    let publish = |topic: String, payload: &str| {
        let mut command = one.command("mosquitto_pub");
        command.args([
            "-h",
            &lab.server.ip.to_string(),
            "-q",
            "1",
            "-t",
            &topic,
            "-m",
            payload,
        ]);
        command.output().unwrap()
    };
    let own = format!("lab/{}/usb", one.ip);
    // Nothing of it is retained: until the watcher's subscription stands it sees nothing.
    eventually("the watcher sees an honest message", || {
        assert!(publish(own.clone(), "honest").status.success());
        live.lines()
            .iter()
            .any(|line| line.text.contains("honest"))
            .then_some(())
    });
    let forged = publish(format!("lab/{}/usb", two.ip), "forged");
    assert!(!forged.status.success(), "{forged:?}");
    assert!(publish(own, "after the forged one").status.success());
    let _ = live.wait_for(&["after the forged one"]);
    assert!(
        live.lines()
            .iter()
            .all(|line| !line.text.ends_with(" forged"))
    );
}
