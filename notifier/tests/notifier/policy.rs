//! The policy file as its author meets it: checked, published, changed while the notifier runs, and learned.

use std::{
    fs,
    process::{Command, Stdio},
};

use crate::{
    lab::{self, PC33},
    rig::{Broker, Notifier, eventually, have},
};

const POLICY: &str = "exam = \"Networks 1\"\nseats = \"room.csv\"\n";
const SEATS: &str = "seat,ip,student\nA-07,192.168.0.133,Alice\n";

#[test]
fn it_is_published_without_students_for_agents_and_a_change_takes_effect_at_once() {
    let (Some(broker), true) = (Broker::start(), have(&["mosquitto_sub"])) else {
        return;
    };
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("policy.toml");
    fs::write(&path, POLICY).unwrap();
    fs::write(room.path().join("room.csv"), SEATS).unwrap();
    let policy = path.to_str().unwrap();
    let notifier = Notifier::start(&broker, &["--desktop", "off", "--policy", policy]);
    assert!(
        broker
            .retained("lab/policy")
            .contains("\"student\":\"Alice\"")
    );
    assert_eq!(
        broker.retained("lab/policy/agents"),
        "{\"local_networks\":[]}\n"
    );

    let stick = lab::device(PC33, "device-connected", "Stick", &["storage"]);
    broker.publish("lab/192.168.0.133/usb", &stick);
    notifier.line("WARNING    A-07 · 192.168.0.133 (pc-33): usb device connected");

    fs::write(&path, "exam = \"Networks 1\"\ndenid-names = []\n").unwrap();
    let refused = notifier.line("TECHNICAL  policy file refused, the old one stays in force");
    assert!(refused.contains("line 2: \"denid-names\""), "{refused}");
    assert!(broker.retained("lab/policy").contains("Alice"));

    fs::write(&path, "local-networks = [\"10.20.0.0/16\"]\n").unwrap();
    notifier.line("changed policy in force");
    eventually("the new policy", || {
        broker
            .retained("lab/policy/agents")
            .contains("10.20.0.0/16")
    });
}

#[test]
fn a_policy_file_that_hangs_holds_nobody_up_and_is_said() {
    let (Some(broker), true) = (Broker::start(), have(&["mkfifo"])) else {
        return;
    };
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("policy.toml");
    // The witness of the start sends no heartbeats.
    let quiet = "[severity]\nagent-frozen = \"off\"\nagent-unreachable = \"off\"\n";
    fs::write(&path, format!("exam = \"one\"\n{quiet}")).unwrap();
    let policy = path.to_str().unwrap();
    let mut notifier = Notifier::start(&broker, &["--desktop", "off", "--policy", policy]);
    fs::remove_file(&path).unwrap();
    // Whoever opens it waits for a writer, as at a share whose server is gone.
    let made = Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    notifier.line("policy file out of reach, the old one stays in force");
    let stick = lab::device(PC33, "device-connected", "Stick", &["storage"]);
    broker.publish("lab/192.168.0.133/usb", &stick);
    notifier.line("usb device connected");
    fs::write(&path, format!("exam = \"two\"\n{quiet}")).unwrap();
    notifier.line("changed policy in force: two");
    notifier.running.signal("TERM");
    assert_eq!(notifier.running.end().code(), Some(0));
}

#[test]
fn a_check_tells_every_mistake_with_its_line() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("policy.toml");
    fs::write(&path, "exam = 1\n[[allow]]\nport = 0\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_labwatch-notifier"))
        .args(["--check", "--policy", path.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("line 1: ") && told.contains("line 3: 0 is no port"),
        "{told}"
    );
}

#[test]
fn a_quiet_lab_is_learned_as_an_allow_list() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let mut learner = Command::new(env!("CARGO_BIN_EXE_labwatch-notifier"))
        .args(["learn", "--for", "3s", "--broker", &broker.url()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Nobody says when it has subscribed, so it is told until it is over.
    while learner.try_wait().unwrap().is_none() {
        broker.publish("lab/192.168.0.133/net/intranet", &lab::contact(PC33, 80));
    }
    let output = learner.wait_with_output().unwrap();
    let proposal = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(
        proposal.contains("[[allow]]\naddress = \"192.168.0.134\"\ntransport = \"tcp\"\nport = 80\nprogram = \"curl\"\n"),
        "{proposal}"
    );
}
