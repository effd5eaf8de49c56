//! A whole exam on the console: 30 PCs in three rows, 90 minutes, with the shipped policy and a few lines more, in virtual time.

use labwatch_contract::time::Timestamp;
use serde_json::json;

use super::*;
use crate::policy::file;

const START: &str = "2026-11-22T09:00:00Z";
const EXAM: &str = r#"
exam = "Networks 1"
[window]
start = 2026-11-22T09:05:00Z
end = 2026-11-22T10:30:00Z
[[allow]]
address = "192.168.0.5"
port = [80, 443]
"#;

struct Exam {
    inbox: Inbox,
    incidents: Incidents,
    second: u64,
    lines: Vec<String>,
    /// Incidents that somebody looks at two minutes after they were told.
    to_acknowledge: Vec<(u64, String)>,
}

impl Exam {
    fn new() -> Self {
        let shipped = include_str!("../../../../packaging/etc/policy.toml");
        let seats: Vec<String> = (1..=30)
            .map(|pc| format!("{},192.168.0.{}", seat(pc), 100 + pc))
            .collect();
        let seats = format!("seat,ip\n{}", seats.join("\n"));
        let text = format!("seats = \"room.csv\"\n{shipped}\n{EXAM}");
        let policy = file::read(&text, |_| Ok(seats.clone())).unwrap();
        let mut inbox = Inbox::new(Root::default());
        let at = START.parse().unwrap();
        inbox.set_policy(policy, Duration::ZERO, at);
        Self {
            inbox,
            incidents: Incidents::default(),
            second: 0,
            lines: Vec::new(),
            to_acknowledge: Vec::new(),
        }
    }

    fn at(&self) -> Timestamp {
        let start: Timestamp = START.parse().unwrap();
        Timestamp::from_unix_ms(start.unix_ms() + i64::try_from(self.second).unwrap() * 1000)
            .unwrap()
    }

    /// Lets time pass until `second`, with the reports that all PCs send meanwhile.
    fn pass(&mut self, second: u64) {
        while self.second < second {
            self.second += 1;
            let now = Duration::from_secs(self.second);
            let told = self.incidents.handle_timeout(now);
            self.tell(told);
            self.acknowledge();
            if self.second.is_multiple_of(40) {
                // The two that will talk send reports of their own.
                for pc in (1..=30).filter(|pc| ![14, 15].contains(pc)) {
                    self.hear(
                        pc,
                        "net",
                        &lab::report(&ip(pc), "192.168.0.5", 40_000, 400_000),
                    );
                    self.hear(pc, "health", &lab::health(&ip(pc), json!({})));
                }
            }
        }
    }

    fn hear(&mut self, pc: u8, leaf: &str, payload: &[u8]) {
        let at = self.at();
        let payload = lab::with(payload, "/@timestamp", json!(at.to_string()));
        let seen = Seen {
            at,
            now: Duration::from_secs(self.second),
            retained: false,
        };
        let found = self
            .inbox
            .handle(&format!("lab/{}/{leaf}", ip(pc)), &payload, seen);
        for finding in found {
            let told = self
                .incidents
                .handle(finding, Duration::from_secs(self.second));
            self.tell(told);
        }
    }

    fn tell(&mut self, notices: Vec<crate::incidents::Notice>) {
        for notice in notices {
            if notice.severity == Severity::Critical {
                self.to_acknowledge
                    .push((self.second + 120, notice.id.clone()));
            }
            self.lines
                .push(Style::Plain.line(&notice.into_alert(self.at())));
        }
    }

    fn acknowledge(&mut self) {
        for (_, id) in self
            .to_acknowledge
            .extract_if(.., |(due, _)| *due <= self.second)
        {
            self.incidents.handle_ack(&id, Verdict::Seen);
        }
    }
}

fn ip(pc: u8) -> String {
    format!("192.168.0.{}", 100 + pc)
}

/// Three rows of ten: `A-01` to `C-10`.
fn seat(pc: u8) -> String {
    let row = ["A", "B", "C"][usize::from((pc - 1) / 10)];
    format!("{row}-{:02}", (pc - 1) % 10 + 1)
}

/// A conversation between two PCs as the agent of one of them tells it.
fn between(source: u8, destination: u8, port: u16, direction: &str) -> Vec<u8> {
    let teller = if direction == "egress" {
        source
    } else {
        destination
    };
    let payload = lab::contact(&ip(teller), port);
    let payload = lab::with(&payload, "/source/ip", json!(ip(source)));
    let payload = lab::with(&payload, "/destination/ip", json!(ip(destination)));
    lab::with(&payload, "/network/direction", json!(direction))
}

/// What happens: second, PC, leaf, payload.
type Scene = Vec<(u64, u8, &'static str, Vec<u8>)>;

fn script() -> Scene {
    let scenes = [
        beginning(),
        devices(),
        conversations(),
        a_scan_and_ways_out(),
        end(),
    ];
    let mut script: Scene = scenes.into_iter().flatten().collect();
    script.sort_by_key(|(second, ..)| *second);
    script
}

fn at(minute: u64, second: u64) -> u64 {
    minute * 60 + second
}

fn device(pc: u8, action: &str, product: &str, kinds: &[&str]) -> (u8, &'static str, Vec<u8>) {
    (pc, "usb", lab::device(&ip(pc), action, product, kinds))
}

fn then(
    second: u64,
    (pc, leaf, payload): (u8, &'static str, Vec<u8>),
) -> (u64, u8, &'static str, Vec<u8>) {
    (second, pc, leaf, payload)
}

fn status(pc: u8, action: &str, reason: &str) -> (u8, &'static str, Vec<u8>) {
    (
        pc,
        "status",
        lab::status(&ip(pc), action, reason, pc.into()),
    )
}

/// All come, one has a stick before the exam, and all fetch the tasks.
fn beginning() -> Scene {
    let mut scene = vec![
        then(
            at(2, 0),
            device(3, "device-connected", "Stick", &["storage"]),
        ),
        then(
            at(3, 0),
            device(3, "device-disconnected", "Stick", &["storage"]),
        ),
    ];
    for pc in 1..=30 {
        scene.push(then(10 + u64::from(pc), status(pc, "online", "started")));
        let tasks = between(pc, 1, 80, "egress");
        let tasks = lab::with(&tasks, "/destination/ip", json!("192.168.0.5"));
        scene.push((at(6, 0), pc, "net/intranet", tasks));
    }
    scene
}

/// A stick that is mounted and pulled, and a loose mouse.
fn devices() -> Scene {
    let volume = |action| (7, "usb", lab::volume(&ip(7), action, true));
    let mut scene = vec![
        then(
            at(12, 0),
            device(7, "device-connected", "DataTraveler", &["storage"]),
        ),
        then(at(12, 2), volume("volume-mounted")),
        then(at(15, 0), volume("volume-removed")),
        then(
            at(15, 1),
            device(7, "device-disconnected", "DataTraveler", &["storage"]),
        ),
    ];
    for step in 0..60 {
        let action = if step % 2 == 0 {
            "device-disconnected"
        } else {
            "device-connected"
        };
        scene.push(then(at(20, step), device(12, action, "Mouse", &["mouse"])));
    }
    scene
}

/// Two neighbours talk, and go on; both agents tell it. One opens an AI chat four times, another an encyclopaedia.
fn conversations() -> Scene {
    let mut scene = vec![
        (
            at(30, 0),
            14,
            "net/intranet",
            between(14, 15, 8000, "egress"),
        ),
        (
            at(30, 0),
            15,
            "net/intranet",
            between(14, 15, 8000, "ingress"),
        ),
        (
            at(41, 5),
            22,
            "net/internet",
            lab::visit(&ip(22), "www.wikipedia.org", 443),
        ),
    ];
    for step in 0..4 {
        let report = |pc, peer, sent, received| lab::report(&ip(pc), &ip(peer), sent, received);
        scene.push((
            at(30, 41) + step * 40,
            14,
            "net",
            report(14, 15, 20_000, 90_000),
        ));
        scene.push((
            at(30, 42) + step * 40,
            15,
            "net",
            report(15, 14, 90_000, 20_000),
        ));
        scene.push((
            at(40 + step, 0),
            21,
            "net/internet",
            lab::visit(&ip(21), "chatgpt.com", 443),
        ));
    }
    scene
}

/// One tries everybody; a keyboard that is a stick; a phone as a way out.
fn a_scan_and_ways_out() -> Scene {
    let interface = |action| {
        (
            9,
            "net/interface",
            lab::interface(&ip(9), action, "usb0", "usb"),
        )
    };
    let mut scene = vec![
        then(
            at(55, 0),
            device(28, "device-connected", "Ultra", &["storage", "keyboard"]),
        ),
        then(
            at(58, 0),
            device(28, "device-disconnected", "Ultra", &["storage", "keyboard"]),
        ),
        then(
            at(60, 0),
            device(9, "device-connected", "Phone", &["phone", "network"]),
        ),
        then(at(60, 2), interface("interface-up")),
        then(at(63, 0), interface("interface-down")),
        then(
            at(63, 1),
            device(9, "device-disconnected", "Phone", &["phone", "network"]),
        ),
    ];
    for peer in 1..=20 {
        let tried = between(25, peer, 22, "egress");
        let tried = lab::with(&tried, "/network/protocol", json!("ssh"));
        scene.push((at(50, 0) + u64::from(peer), 25, "net/intranet", tried));
    }
    scene
}

/// A disk that is full for a while; who hands in shuts down.
fn end() -> Scene {
    let full = json!({"disk_used_percent": 98.5});
    let beats = (0..10).map(|beat| {
        (
            at(70, 0) + beat * 2,
            18,
            "health",
            lab::health(&ip(18), full.clone()),
        )
    });
    let last = (1..=5).map(|pc| then(at(89, 0) + u64::from(pc), status(pc, "offline", "shutdown")));
    beats.chain(last).collect()
}

#[test]
fn the_console_shows_a_whole_exam_as_the_golden_file_has_it() {
    let mut exam = Exam::new();
    for (second, pc, leaf, payload) in script() {
        exam.pass(second);
        exam.hear(pc, leaf, &payload);
    }
    exam.pass(92 * 60);
    let expected: Vec<&str> = include_str!("../../../fixtures/exam.txt").lines().collect();
    assert!(
        exam.lines == expected,
        "the console shows:\n{}",
        exam.lines.join("\n")
    );
}
