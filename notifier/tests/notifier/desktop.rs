//! Pop-ups on a real desktop: Xvfb, a private session bus, and dunst, which is asked what it shows.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    lab::{self, PC33},
    rig::{Broker, Notifier, Running, eventually, have},
};

/// dunst's history says neither urgency nor that a pop-up stays; a format per urgency and a long time-out do.
const DUNSTRC: &str = "\
[global]
    markup = full
    notification_limit = 20
    idle_threshold = 0
[urgency_low]
    format = \"LOW|%s|%b\"
    timeout = 600
[urgency_normal]
    format = \"NORMAL|%s|%b\"
    timeout = 600
[urgency_critical]
    format = \"CRITICAL|%s|%b\"
    timeout = 600
";

/// A desktop of its own.
struct Desktop {
    dunst: Running,
    _bus: Running,
    _screen: Running,
    room: tempfile::TempDir,
    display: String,
    address: String,
}

impl Desktop {
    /// `None`, and said loudly, where a program for it is missing.
    fn start() -> Option<Self> {
        if !have(&["Xvfb", "dbus-daemon", "dunst", "dunstctl", "gdbus"]) {
            return None;
        }
        let room = tempfile::tempdir().unwrap();
        let mut screen = Command::new("Xvfb");
        screen.args([
            "-displayfd",
            "1",
            "-nolisten",
            "tcp",
            "-screen",
            "0",
            "800x600x24",
        ]);
        let (screen, number) = first_line(&mut screen);
        let mut bus = Command::new("dbus-daemon");
        let socket = room.path().join("bus");
        bus.args(["--session", "--nofork", "--nopidfile", "--print-address=1"]);
        bus.arg(format!("--address=unix:path={}", socket.display()));
        let (bus, address) = first_line(&mut bus);
        let display = format!(":{number}");
        let settings = room.path().join("dunstrc");
        std::fs::write(&settings, DUNSTRC).unwrap();
        let mut dunst = Command::new("dunst");
        dunst
            .arg("-config")
            .arg(settings)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        dunst
            .env("DISPLAY", &display)
            .env("DBUS_SESSION_BUS_ADDRESS", &address);
        let desktop = Self {
            dunst: Running::start(&mut dunst),
            _bus: bus,
            _screen: screen,
            room,
            display,
            address,
        };
        desktop.ask(
            "gdbus",
            &[
                "wait",
                "--session",
                "--timeout",
                "30",
                "org.freedesktop.Notifications",
            ],
        );
        Some(desktop)
    }

    fn on(&self, command: &mut Command) {
        command
            .env("DISPLAY", &self.display)
            .env("DBUS_SESSION_BUS_ADDRESS", &self.address)
            .env("XDG_RUNTIME_DIR", self.room.path());
    }

    fn ask(&self, program: &str, args: &[&str]) -> String {
        let mut command = Command::new(program);
        self.on(command.args(args));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{program} {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn count(&self, which: &str) -> usize {
        self.ask("dunstctl", &["count", which])
            .trim()
            .parse()
            .unwrap()
    }

    fn waits_for(&self, popups: usize) {
        eventually("the pop-ups", || self.count("displayed") >= popups);
    }

    /// All pop-ups that there were: `URGENCY|summary|body`, as the desktop laid them out, and whether it stayed.
    fn shown(&self) -> BTreeSet<(String, bool)> {
        self.ask("dunstctl", &["close-all"]);
        eventually("an empty screen", || self.count("displayed") == 0);
        let history: Value = serde_json::from_str(&self.ask("dunstctl", &["history"])).unwrap();
        let popups = history["data"][0].as_array().unwrap().iter();
        popups
            .map(|popup| {
                let text = popup["message"]["data"].as_str().unwrap().to_owned();
                (text, popup["timeout"]["data"] == json!(0))
            })
            .collect()
    }

    fn notifier(&self, broker: &Broker, choice: &str) -> Notifier {
        let mut command = Notifier::command(&broker.url());
        self.on(command.args(["--desktop", choice]));
        let notifier = Notifier::watching(broker, command);
        eventually("the desktop", || {
            notifier.log().contains("alerts pop up on the desktop")
        });
        notifier
    }
}

/// Starts a program that says on stdout where it is to be found.
fn first_line(command: &mut Command) -> (Running, String) {
    let mut running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut line = String::new();
    let mut stdout = BufReader::new(running.0.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    (running, line.trim().to_owned())
}

fn stick(serial: &str) -> Vec<u8> {
    let stick = lab::device(PC33, "device-connected", "<b>Stick</b>", &["storage"]);
    lab::with(&stick, "/device/serial_number", json!(serial))
}

/// A pop-up without its time, which has a date on any day but one.
fn without_time(text: &str) -> String {
    let (summary, body) = text.rsplit_once('|').unwrap();
    let (time, message) = body.split_once(" · ").unwrap();
    assert!(time.ends_with("09:31:05Z"), "{time}");
    format!("{summary}|{message}")
}

const USB: &str = "lab/192.168.0.133/usb";

#[test]
fn the_desktop_shows_who_what_and_how_grave_and_markup_literally() {
    let (Some(desktop), Some(broker)) = (Desktop::start(), Broker::start()) else {
        return;
    };
    let notifier = desktop.notifier(&broker, "auto");
    broker.publish(USB, &stick("A1"));
    broker.publish(
        USB,
        &lab::device(PC33, "device-connected", "Ultra", &["storage", "keyboard"]),
    );
    broker.publish(USB, &lab::event(PC33, "events-lost", json!({})));
    broker.publish(
        USB,
        &lab::device(PC33, "device-present", "Keyboard", &["keyboard"]),
    );
    desktop.waits_for(3);
    let expected = [
        (
            "NORMAL|192.168.0.133: USB storage connected|192.168.0.133 (pc-33): usb device connected: storage, \
             QEMU &lt;b&gt;Stick&lt;/b&gt;, serial A1, port 2-1",
            false,
        ),
        (
            "CRITICAL|192.168.0.133: USB storage that types keys|192.168.0.133 (pc-33): usb device connected: \
             storage and keyboard in one device, QEMU Ultra, serial RIG0001, port 2-1",
            true,
        ),
        (
            "LOW|192.168.0.133: USB notices lost|192.168.0.133 (pc-33): usb notices lost: the kernel dropped some; \
             the PC looks again",
            false,
        ),
    ];
    let expected = expected.map(|(text, stays)| (text.to_owned(), stays));
    let shown = desktop.shown().into_iter();
    assert_eq!(
        shown
            .map(|(text, stays)| (without_time(&text), stays))
            .collect::<BTreeSet<_>>(),
        BTreeSet::from(expected),
        "{}",
        notifier.log()
    );
}

#[test]
fn an_incident_that_goes_on_replaces_its_popup() {
    let (Some(desktop), Some(broker)) = (Desktop::start(), Broker::start()) else {
        return;
    };
    let notifier = desktop.notifier(&broker, "on");
    let volume = |action| lab::volume(PC33, action, true);
    broker.publish(USB, &volume("volume-mounted"));
    desktop.waits_for(1);
    broker.publish(USB, &volume("volume-removed"));
    notifier.line("volume mounted");
    notifier.line("volume pulled");
    // One more of another incident comes after it, so that the second one has been shown by then.
    broker.publish(USB, &stick("A1"));
    desktop.waits_for(2);
    let shown: Vec<String> = desktop.shown().into_iter().map(|(text, _)| text).collect();
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert!(shown[0].contains("USB storage connected"), "{shown:?}");
    assert!(
        shown[1].contains("Volume pulled while mounted"),
        "{shown:?}"
    );
}

#[test]
fn a_storm_gives_a_handful_of_popups_and_one_that_sums_up() {
    let (Some(desktop), Some(broker)) = (Desktop::start(), Broker::start()) else {
        return;
    };
    let notifier = desktop.notifier(&broker, "auto");
    for pc in 1..=20 {
        let ip = format!("192.168.1.{pc}");
        let device = lab::device(&ip, "device-connected", "Stick", &["storage"]);
        broker.publish(&format!("lab/{ip}/usb"), &device);
    }
    (0..20).for_each(|_| drop(notifier.line("usb device connected")));
    eventually("the summary", || desktop.count("displayed") > 5);
    let shown = desktop.shown();
    assert!(shown.len() < 12, "{shown:?}");
    assert!(
        shown
            .iter()
            .any(|(text, _)| text.contains("Lab: more alerts")),
        "{shown:?}"
    );
}

#[test]
fn a_desktop_that_hangs_costs_no_line_on_the_console() {
    let (Some(desktop), Some(broker)) = (Desktop::start(), Broker::start()) else {
        return;
    };
    let mut notifier = desktop.notifier(&broker, "auto");
    desktop.dunst.signal("STOP");
    for serial in ["A1", "A2", "A3", "A4"] {
        broker.publish(USB, &stick(serial));
        notifier.line(&format!("serial {serial}"));
    }
    eventually("the log", || {
        notifier.log().contains("the desktop does not answer")
    });
    broker.publish(USB, &stick("A5"));
    notifier.line("serial A5");
    assert_eq!(
        notifier
            .log()
            .matches("the desktop does not answer")
            .count(),
        1
    );
    notifier.running.signal("TERM");
    assert_eq!(notifier.running.end().code(), Some(0), "{}", notifier.log());
    desktop.dunst.signal("CONT");
}

#[test]
fn without_a_session_bus_the_console_goes_on() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let notifier = Notifier::start(&broker, &["--desktop", "auto"]);
    broker.publish(USB, &stick("A1"));
    notifier.line("serial A1");
    eventually("the log", || {
        notifier
            .log()
            .contains("no desktop answers, alerts stand on the console")
    });
}

#[test]
fn where_popups_are_demanded_a_missing_desktop_is_a_failure() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let mut notifier = Notifier::spawn(Notifier::command(&broker.url()).args(["--desktop", "on"]));
    assert_eq!(notifier.running.end().code(), Some(1));
    eventually("the log", || {
        notifier
            .log()
            .contains("--desktop on, but no desktop answers")
    });
}

#[test]
fn a_desktop_that_comes_later_shows_what_comes_then() {
    let (Some(mut desktop), Some(broker)) = (Desktop::start(), Broker::start()) else {
        return;
    };
    desktop.dunst.signal("KILL");
    desktop.dunst.end();
    let mut command = Notifier::command(&broker.url());
    desktop.on(command.args(["--desktop", "auto"]));
    let notifier = Notifier::watching(&broker, command);
    eventually("the log", || notifier.log().contains("no desktop answers"));
    let mut dunst = Command::new("dunst");
    desktop.on(dunst
        .arg("-config")
        .arg(desktop.room.path().join("dunstrc")));
    desktop.dunst = Running::start(dunst.stdout(Stdio::null()).stderr(Stdio::null()));
    desktop.ask(
        "gdbus",
        &[
            "wait",
            "--session",
            "--timeout",
            "30",
            "org.freedesktop.Notifications",
        ],
    );
    broker.publish(USB, &stick("A1"));
    desktop.waits_for(1);
    eventually("the log", || notifier.log().contains("the desktop answers"));
}

#[test]
fn a_popup_that_somebody_has_seen_acknowledges_its_incident() {
    let (Some(desktop), Some(broker)) = (Desktop::start(), Broker::start()) else {
        return;
    };
    let mut command = Notifier::command(&broker.url());
    desktop.on(command.args(["--desktop", "auto"]).env("USER", "kim"));
    let notifier = Notifier::watching(&broker, command);
    eventually("the desktop", || {
        notifier.log().contains("alerts pop up on the desktop")
    });
    broker.publish(USB, &stick("A1"));
    notifier.line("serial A1");
    desktop.waits_for(1);
    // A click may come before the listener is there; people click again.
    eventually("the acknowledgement", || {
        desktop.ask("dunstctl", &["action", "0"]);
        desktop.ask("dunstctl", &["history-pop"]);
        notifier.any_line_within(500).is_some_and(|line| {
            line.contains("acknowledged by kim as seen: 192.168.0.133 (pc-33): usb device")
        })
    });
}
