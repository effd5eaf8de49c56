use labwatch_contract::policy::Level;
use proptest::prelude::*;

use super::*;

const WHOLE: &str = r#"
exam = "Networks 1"
local-networks = ["10.20.0.0/16", "10.30.0.1"]
seats = "room.csv"
denied-names = ["Chat.Example.", "*.paste.example"]

[window]
start = 2026-11-22T10:00:00+01:00
end = "2026-11-22T10:30:00Z"

[[allow]]
address = "192.168.0.5"
port = [80, 443]
transport = "TCP"
note = "the tasks"

[[allow]]
name = "uni.example"
program = "firefox"

[severity]
usb-mouse = "off"
usb-storage = "critical"

[cool-down]
intranet-egress = "2m"
"#;

fn no_file(_: &str) -> Result<String, String> {
    Err("there is no such file".into())
}

/// Lines and words of all that is wrong.
fn wrong(text: &str) -> Vec<String> {
    let Mistakes(mistakes) = read(text, no_file).unwrap_err();
    mistakes.iter().map(ToString::to_string).collect()
}

#[test]
fn a_whole_policy_is_read() {
    let policy = read(WHOLE, |file| {
        assert_eq!(file, "room.csv");
        Ok("seat,ip\nA-01,192.168.0.101\n".into())
    })
    .unwrap();
    assert_eq!(policy.exam, "Networks 1");
    assert_eq!(policy.seats[0].seat, "A-01");
    let window = policy.window.unwrap();
    assert_eq!(window.start.to_string(), "2026-11-22T09:00:00.000Z");
    assert_eq!(policy.local_networks[1].to_string(), "10.30.0.1/32");
    assert_eq!(policy.denied, ["chat.example", "paste.example"]);
    assert_eq!(policy.allowed[0].ports, [80, 443]);
    assert_eq!(policy.allowed[0].transport.as_deref(), Some("tcp"));
    assert_eq!(policy.severities["usb-mouse"], Level::Off);
    assert_eq!(policy.cool_downs["intranet-egress"], 120);
}

#[test]
fn seats_can_stand_in_the_file_itself() {
    let policy = read(
        "[[seats]]\nseat = \"A-01\"\nip = \"192.168.0.101\"\nstudent = \"Jo\"\n",
        no_file,
    );
    assert_eq!(policy.unwrap().seats[0].student.as_deref(), Some("Jo"));
}

#[test]
fn all_mistakes_are_told_with_their_lines() {
    let text = r#"exam = 5
local-networks = ["10.0.0.0/8",
  "10.0.0.0/99"]
seats = "room.csv"
alow = []
denied-names = ["a b"]
[window]
start = 2026-11-22T10:00:00
[[allow]]
port = 70000
[[allow]]
note = "anything"
[severity]
usb-teapot = "off"
usb-mouse = "loud"
[cool-down]
usb-mouse = "0s"
"#;
    let told = wrong(text);
    let starts: Vec<&str> = told
        .iter()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    let lines = [1, 3, 4, 5, 6, 7, 8, 10, 11, 14, 15, 17].map(|line| format!("line {line}"));
    assert_eq!(starts, lines, "{told:#?}");
    assert!(
        told[2].contains("room.csv: there is no such file"),
        "{told:?}"
    );
}

#[test]
fn text_that_is_no_toml_is_told_with_its_line() {
    let told = wrong("exam = \"x\"\n[window\n");
    assert!(told[0].starts_with("line 2: "), "{told:?}");
}

#[test]
fn mistakes_in_the_file_of_seats_name_it() {
    let Mistakes(told) =
        read("seats = \"room.csv\"", |_| Ok("seat,ip\nA-01,x\n".into())).unwrap_err();
    assert_eq!(told[0].to_string(), "room.csv line 2: \"x\" is no address");
}

#[test]
fn an_empty_file_is_a_policy_that_says_nothing() {
    assert_eq!(read("", no_file), Ok(Policy::default()));
}

#[test]
fn the_shipped_example_is_in_order() {
    let example = include_str!("../../../../packaging/etc/policy.toml");
    let policy = read(example, no_file).unwrap();
    assert!(policy.denied.iter().any(|name| name == "chatgpt.com"));
}

proptest! {
    #[test]
    fn no_text_panics(text in "((exam|window|seats|allow|severity)( = |\\.))?(\\PC|[\\[\\]{}=\"'\n]){0,200}") {
        let _ = read(&text, no_file);
    }

    #[test]
    fn a_changed_policy_is_read_or_refused(at in 0..WHOLE.len(), byte in 0_u8..128) {
        let mut changed = WHOLE.as_bytes().to_vec();
        changed[at] = byte;
        if let Ok(text) = String::from_utf8(changed) {
            let _ = read(&text, |_| Ok("seat\nA".into()));
        }
    }
}
