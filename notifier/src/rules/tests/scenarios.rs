//! Rules that remember: what several messages make together, in virtual time.

use labwatch_contract::{policy::Policy, topic::Root};

use super::*;
use crate::{inbox::Inbox, policy::file};

/// A lab whose messages come at times of the test's choice.
pub(super) struct Lab {
    pub(super) inbox: Inbox,
    second: i64,
}

impl Lab {
    pub(super) fn new() -> Self {
        Self {
            inbox: Inbox::new(Root::default()),
            second: 0,
        }
    }

    pub(super) fn with_policy(text: &str) -> Self {
        let mut lab = Self::new();
        lab.set_policy(text);
        lab
    }

    pub(super) fn set_policy(&mut self, text: &str) -> Vec<Finding> {
        let (now, at) = (self.now(), self.at());
        self.inbox.set_policy(policy(text), now, at)
    }

    pub(super) fn now(&self) -> Duration {
        Duration::from_secs(self.second.unsigned_abs())
    }

    pub(super) fn at(&self) -> Timestamp {
        let start: Timestamp = "2026-11-22T09:31:05Z".parse().unwrap();
        Timestamp::from_unix_ms(start.unix_ms() + self.second * 1000).unwrap()
    }

    /// The finding of a message `after` seconds; none or one.
    #[track_caller]
    pub(super) fn hear(
        &mut self,
        after: i64,
        ip: &str,
        leaf: &str,
        payload: &[u8],
    ) -> Option<Finding> {
        let mut found = self.hear_all(after, ip, leaf, payload);
        assert!(found.len() <= 1, "{found:#?}");
        found.pop()
    }

    /// All findings of a message.
    fn hear_all(&mut self, after: i64, ip: &str, leaf: &str, payload: &[u8]) -> Vec<Finding> {
        self.second += after;
        let at = self.at();
        let payload = lab::with(payload, "/@timestamp", json!(at.to_string()));
        let seen = Seen {
            at,
            now: self.now(),
            retained: false,
        };
        self.inbox
            .handle(&format!("lab/{ip}/{leaf}"), &payload, seen)
    }

    pub(super) fn contact(&mut self, ip: &str, payload: &[u8]) -> Option<Finding> {
        self.hear(1, ip, "net/intranet", payload)
    }

    /// What is told while time passes and these PCs beat.
    pub(super) fn pass(&mut self, seconds: i64, beating: &[&str]) -> Vec<Finding> {
        let mut told = Vec::new();
        for second in 0..seconds {
            for ip in beating.iter().filter(|_| second % 2 == 0) {
                told.extend(self.hear(0, ip, "health", &lab::health(ip, json!({}))));
            }
            for half in 0..2 {
                let now = self.now() + Duration::from_millis(500 * half);
                told.extend(self.inbox.handle_timeout(now, self.at()).findings);
            }
            self.second += 1;
        }
        told
    }

    pub(super) fn online(&mut self, ip: &str) {
        let hello = lab::status(ip, "online", "started", 1);
        self.hear(1, ip, "status", &hello).unwrap();
    }
}

fn policy(text: &str) -> Policy {
    file::read(text, |_| Err("no file".into())).unwrap()
}

#[test]
fn a_conversation_seen_from_both_ends_is_one_incident_that_names_both() {
    let mut lab = Lab::with_policy("[[seats]]\nseat = \"A-08\"\nip = \"192.168.0.134\"\n");
    lab.online(PC33);
    lab.online(PC34);
    let opened = lab.contact(PC33, &lab::contact(PC33, 80)).unwrap();
    let contacted = lab.contact(PC34, &lab::contact(PC34, 80)).unwrap();
    assert_eq!(opened.object, contacted.object);
    assert_eq!(opened.rule.subject, contacted.rule.subject);
    assert_eq!(opened.host, contacted.host, "filed under who opened it");
    assert!(
        opened.message.contains(
            "opened tcp to 192.168.0.134 (pc-34, seat A-08) port 80 (http) by curl (user alice)"
        ),
        "{}",
        opened.message
    );
    assert!(
        contacted.message.starts_with(
            "192.168.0.133 (pc-33): network accessed: contacted 192.168.0.134 (pc-34, seat A-08) with tcp port 80 \
             (http), as that PC says; answered by python3 (user bob)"
        ),
        "{}",
        contacted.message
    );
}

#[test]
fn a_conversation_is_graded_by_what_comes_of_it() {
    let mut lab = Lab::new();
    lab.online(PC33);
    lab.online(PC34);
    lab.contact(PC33, &lab::contact(PC33, 80)).unwrap();
    let unanswered = lab.hear(38, PC33, "net", &lab::report(PC33, PC34, 300, 0));
    assert_eq!(unanswered, None, "an attempt stays one");
    let answered = lab
        .hear(40, PC33, "net", &lab::report(PC33, PC34, 1_234, 5_000))
        .unwrap();
    assert_eq!(
        (answered.rule.id, answered.severity),
        ("intranet-exchange", Severity::Warning)
    );
    assert!(
        answered
            .message
            .ends_with("; was answered: 1.2 kB sent, 5.0 kB received"),
        "{}",
        answered.message
    );
    assert_eq!(
        lab.hear(40, PC33, "net", &lab::report(PC33, PC34, 1_000, 1_000)),
        None
    );
    let lasting = lab
        .hear(40, PC33, "net", &lab::report(PC33, PC34, 1_000, 1_000))
        .unwrap();
    assert_eq!(
        (lasting.rule.id, lasting.severity),
        ("intranet-sustained", Severity::Critical)
    );
    assert_eq!(
        lab.hear(40, PC33, "net", &lab::report(PC33, PC34, 1_000, 1_000)),
        None,
        "said once"
    );
}

#[test]
fn a_lasting_exchange_with_a_machine_that_is_no_lab_pc_is_not_critical() {
    let mut lab = Lab::new();
    lab.online(PC33);
    lab.contact(PC33, &lab::contact(PC33, 80)).unwrap();
    let lasting = lab
        .hear(40, PC33, "net", &lab::report(PC33, PC34, 900_000, 200_000))
        .unwrap();
    assert_eq!(
        (lasting.rule.id, lasting.severity),
        ("intranet-sustained", Severity::Warning)
    );
}

#[test]
fn an_answer_from_a_discovery_port_is_nothing_until_data_goes_both_ways() {
    let mut lab = Lab::new();
    lab.online(PC33);
    let answer = lab::with(
        &lab::contact(PC33, 1900),
        "/network/transport",
        json!("udp"),
    );
    assert_eq!(lab.contact(PC33, &answer), None);
    assert_eq!(
        lab.hear(40, PC33, "net", &lab::report(PC33, PC34, 0, 900)),
        None
    );
    let misused = lab
        .hear(40, PC33, "net", &lab::report(PC33, PC34, 900, 900))
        .unwrap();
    assert_eq!(misused.rule.id, "intranet-exchange");
}

#[test]
fn traffic_that_no_conversation_was_told_of_is_not_graded() {
    let mut lab = Lab::new();
    lab.online(PC33);
    assert_eq!(
        lab.hear(
            40,
            PC33,
            "net",
            &lab::report(PC33, PC34, 9_000_000, 9_000_000)
        ),
        None
    );
}

#[test]
fn ten_machines_within_a_minute_are_a_scan_and_one_a_minute_is_none() {
    let to = |number: u8| {
        lab::with(
            &lab::contact(PC33, 445),
            "/destination/ip",
            json!(format!("192.168.0.{number}")),
        )
    };
    let mut lab = Lab::new();
    let rules: Vec<&str> = (1..=12)
        .filter_map(|number| lab.contact(PC33, &to(number)))
        .map(|found| found.rule.id)
        .collect();
    assert_eq!(&rules[..9], ["intranet-egress"; 9]);
    assert_eq!(&rules[9..], ["intranet-scan"; 3]);
    let mut lab = Lab::new();
    for number in 1..=12 {
        let found = lab.hear(61, PC33, "net/intranet", &to(number)).unwrap();
        assert_eq!(found.rule.id, "intranet-egress");
    }
}

#[test]
fn what_the_policy_allows_is_no_finding_from_either_end() {
    let mut lab = Lab::with_policy("[[allow]]\naddress = \"192.168.0.134\"\nport = 80\n");
    assert_eq!(lab.contact(PC33, &lab::contact(PC33, 80)), None);
    assert_eq!(lab.contact(PC34, &lab::contact(PC34, 80)), None);
    assert!(lab.contact(PC33, &lab::contact(PC33, 22)).is_some());
}

#[test]
fn a_denied_name_is_told_with_how_it_was_learned_and_an_allowed_one_is_not() {
    let denied = "denied-names = [\"chat.example\"]\n";
    let mut lab = Lab::with_policy(denied);
    let found = lab
        .hear(
            1,
            PC33,
            "net/internet",
            &lab::visit(PC33, "www.chat.example", 443),
        )
        .unwrap();
    assert_eq!(
        found.message,
        "192.168.0.133 (pc-33): denied name contacted: www.chat.example, name by TLS, opened tcp to 203.0.113.80 \
         port 443 by firefox (user alice) [program: exact]"
    );
    assert_eq!(
        (found.rule.id, found.object.as_str()),
        ("denied-name", "chat.example")
    );
    let other = lab::visit(PC33, "chat.example.org", 443);
    assert_eq!(lab.hear(1, PC33, "net/internet", &other), None);
    let mut lab = Lab::with_policy(&format!("{denied}[[allow]]\nname = \"www.chat.example\"\n"));
    assert_eq!(
        lab.hear(
            1,
            PC33,
            "net/internet",
            &lab::visit(PC33, "www.chat.example", 443)
        ),
        None
    );
}

#[test]
fn a_denied_name_that_only_the_report_knows_is_told() {
    let mut lab = Lab::with_policy("denied-names = [\"chat.example\"]\n");
    lab.online(PC33);
    let report = lab::report(PC33, "203.0.113.80", 900, 800);
    let report = lab::with(&report, "/lab/peers/0/scope", json!("internet"));
    let mut report: Value = serde_json::from_slice(&report).unwrap();
    report["lab"]["peers"][0]["name"] = json!("chat.example");
    report["lab"]["peers"][0]["name_source"] = json!("dns");
    let found = lab
        .hear(40, PC33, "net", &serde_json::to_vec(&report).unwrap())
        .unwrap();
    assert!(
        found.message.contains("chat.example, name by DNS"),
        "{}",
        found.message
    );
}

#[test]
fn ports_of_remote_desktops_and_tunnels_are_named() {
    let mut lab = Lab::new();
    for (port, rule, words) in [
        (3389, "remote-desktop", "remote desktop (RDP)"),
        (1194, "tunnel", "OpenVPN"),
        (22, "tunnel", "SSH"),
    ] {
        let found = lab
            .hear(
                1,
                PC33,
                "net/internet",
                &lab::visit(PC33, "host.example", port),
            )
            .unwrap();
        assert_eq!((found.rule.id, found.severity), (rule, Severity::Warning));
        assert!(found.message.contains(words), "{}", found.message);
    }
    let vnc = lab.contact(PC33, &lab::contact(PC33, 5900)).unwrap();
    assert_eq!(vnc.rule.id, "intranet-remote-desktop");
}

#[test]
fn another_machine_under_an_address_in_use_is_told_and_a_successor_is_not() {
    let stick = lab::device(PC33, "device-disconnected", "Stick", &["storage"]);
    let other = lab::with(
        &lab::health(PC33, json!({})),
        "/host/id",
        json!("id-of-another"),
    );
    let mut lab = Lab::new();
    lab.hear(1, PC33, "usb", &stick);
    let found = lab.hear(5, PC33, "health", &other).unwrap();
    assert_eq!(found.rule.id, "identity-address");
    assert!(
        found
            .message
            .contains("another PC under this address: machine id id-of-an"),
        "{}",
        found.message
    );
    let mut lab = Lab::new();
    lab.hear(1, PC33, "usb", &stick);
    assert_eq!(lab.hear(90, PC33, "health", &other), None);
}

#[test]
fn one_pc_under_two_addresses_in_turn_is_told_and_a_move_is_not() {
    let one = lab::health(PC33, json!({}));
    let two = lab::with(
        &lab::health(PC34, json!({})),
        "/host/id",
        json!(format!("id-{PC33}")),
    );
    let mut lab = Lab::new();
    assert_eq!(lab.hear(2, PC33, "health", &one), None);
    assert_eq!(lab.hear(2, PC34, "health", &two), None, "a move");
    assert_eq!(lab.hear(2, PC33, "health", &one), None, "and back");
    let found = lab.hear(2, PC34, "health", &two).unwrap();
    assert_eq!(
        (found.rule.id, found.severity),
        ("identity-two-addresses", Severity::Warning)
    );
    assert!(
        found
            .message
            .contains("says to be the same PC as 192.168.0.133"),
        "{}",
        found.message
    );
}

#[test]
fn copied_pcs_with_one_machine_id_are_technical_and_one_incident() {
    let mut lab = Lab::new();
    let mut found = Vec::new();
    for round in 0..3 {
        for pc in 1..=5 {
            let ip = format!("192.168.0.{pc}");
            let beat = lab::with(&lab::health(&ip, json!({})), "/host/id", json!("copied"));
            found.extend(lab.hear(i64::from(round == 0), &ip, "health", &beat));
        }
    }
    let last = found.last().unwrap();
    assert_eq!((last.severity, &last.host), (Severity::Technical, &None));
    assert_eq!(last.object, "machine id copied");
}

#[test]
fn a_restart_of_the_pc_is_told_and_one_that_was_shut_down_in_order_is_good_to_know() {
    let newer = lab::with(&lab::health(PC33, json!({})), "/host/boot/id", json!("b2"));
    let mut lab = Lab::new();
    lab.hear(1, PC33, "health", &lab::health(PC33, json!({})));
    let found = lab.hear(60, PC33, "health", &newer).unwrap();
    assert_eq!(
        (found.rule.id, found.severity),
        ("pc-restarted", Severity::Warning)
    );
    let mut lab = Lab::new();
    lab.online(PC33);
    lab.hear(
        1,
        PC33,
        "status",
        &lab::status(PC33, "offline", "shutdown", 1),
    );
    let found = lab.hear(60, PC33, "health", &newer).unwrap();
    assert_eq!(found.severity, Severity::Info);
}

#[test]
fn two_journals_at_once_are_told_and_what_an_old_one_still_delivers_is_not() {
    let event = |journal: u8, uptime_ms: u64| {
        let quiet = lab::event(PC33, "teleported", json!({"lab": {"uptime_ms": uptime_ms}}));
        lab::with(
            &quiet,
            "/lab/journal",
            json!(format!("0199aaaa-0000-7000-8000-00000000000{journal}")),
        )
    };
    let mut lab = Lab::new();
    assert_eq!(lab.hear(1, PC33, "usb", &event(1, 100_000)), None);
    let again = lab.hear(1, PC33, "usb", &event(2, 200_000)).unwrap();
    assert_eq!(
        (again.rule.id, again.severity),
        ("agent-restarted", Severity::Technical)
    );
    assert_eq!(
        lab.hear(1, PC33, "usb", &event(1, 150_000)),
        None,
        "sent late"
    );
    let both = lab.hear(1, PC33, "usb", &event(1, 260_000)).unwrap();
    assert_eq!(
        (both.rule.id, both.severity),
        ("identity-journal", Severity::Warning)
    );
}

#[test]
fn a_pc_that_is_slow_for_a_minute_is_technical_and_a_busy_moment_is_nothing() {
    let mut lab = Lab::new();
    let busy = lab::health(PC33, json!({"cpu_percent": 99.0}));
    let mut told = Vec::new();
    for _ in 0..40 {
        told.extend(lab.hear(2, PC33, "health", &busy));
    }
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].rule.id, told[0].severity),
        ("pc-slow", Severity::Technical)
    );
    let calm = lab
        .hear(2, PC33, "health", &lab::health(PC33, json!({})))
        .unwrap();
    assert_eq!(
        (calm.rule.id, calm.rule.course),
        ("pc-slow-over", Course::Ending)
    );
    for _ in 0..20 {
        assert_eq!(lab.hear(2, PC33, "health", &busy), None);
    }
    assert_eq!(
        lab.hear(2, PC33, "health", &lab::health(PC33, json!({}))),
        None
    );
}

#[test]
fn memory_disk_and_dropped_packets_are_technical() {
    for (figures, rule, beats) in [
        (json!({"memory_used_percent": 97.0}), "pc-memory-full", 16),
        (json!({"disk_used_percent": 99.0}), "pc-disk-full", 6),
        (json!({"degraded": ["no-journal"]}), "pc-disk-errors", 1),
    ] {
        let mut lab = Lab::new();
        let told: Vec<Finding> = (0..beats)
            .filter_map(|_| lab.hear(2, PC33, "health", &lab::health(PC33, figures.clone())))
            .collect();
        assert_eq!(told.len(), 1, "{rule}");
        assert_eq!(
            (told[0].rule.id, told[0].severity),
            (rule, Severity::Technical)
        );
    }
    let mut lab = Lab::new();
    let dropped = |count: u64| lab::health(PC33, json!({"capture_dropped": count}));
    assert_eq!(
        lab.hear(2, PC33, "health", &dropped(7)),
        None,
        "from before our time"
    );
    let found = lab.hear(2, PC33, "health", &dropped(19)).unwrap();
    assert!(
        found.message.contains("12 packets were dropped"),
        "{}",
        found.message
    );
}

#[test]
fn a_link_that_comes_and_goes_is_flapping_and_technical() {
    let mut lab = Lab::new();
    let rules: Vec<&str> = ["up", "down", "up", "down", "up"]
        .into_iter()
        .filter_map(|way| {
            let action = format!("interface-{way}");
            lab.hear(
                3,
                PC33,
                "net/interface",
                &lab::interface(PC33, &action, "eth0", "ethernet"),
            )
        })
        .map(|found| found.rule.id)
        .collect();
    assert_eq!(
        rules,
        [
            "interface-up",
            "interface-down",
            "interface-up",
            "interface-down",
            "link-flapping"
        ]
    );
}

#[test]
fn an_interface_that_was_not_there_before_and_a_second_default_route_are_warnings() {
    let mut lab = Lab::new();
    lab.online(PC33);
    lab.hear(40, PC33, "net", &lab::report(PC33, PC34, 1, 1));
    let new = lab.hear(
        1,
        PC33,
        "net/interface",
        &lab::interface(PC33, "interface-up", "eth1", "ethernet"),
    );
    assert_eq!(new.unwrap().rule.id, "interface-new");
    let route = |name: &str, gateway: &str| {
        let payload = lab::interface(PC33, "route-changed", name, "ethernet");
        lab::with_gateway(&payload, gateway)
    };
    let first = lab
        .hear(1, PC33, "net/interface", &route("eth0", "192.168.0.1"))
        .unwrap();
    assert_eq!(
        (first.rule.id, first.severity),
        ("route-changed", Severity::Info)
    );
    assert_eq!(
        lab.hear(1, PC33, "net/interface", &route("eth0", "192.168.0.1")),
        None,
        "renewed"
    );
    assert_eq!(
        lab.hear(1, PC33, "net/interface", &route("eth0", "fe80::1")),
        None,
        "a router"
    );
    let second = lab
        .hear(1, PC33, "net/interface", &route("eth1", "10.0.0.1"))
        .unwrap();
    assert_eq!(
        (second.rule.id, second.severity),
        ("route-second", Severity::Warning)
    );
}

#[test]
fn a_renewed_lease_and_a_new_ipv6_address_of_the_same_card_are_nothing() {
    let renewed = lab::interface(PC33, "address-changed", "eth0", "ethernet");
    let addresses = json!(["192.168.0.133/24", "2001:db8::9c1e/64"]);
    let renewed = lab::with(&renewed, "/lab/interface/addresses", addresses);
    assert_eq!(Lab::new().hear(1, PC33, "net/interface", &renewed), None);
}

#[test]
fn volumes_are_told_by_whether_they_can_be_written_and_shares_as_such() {
    let mounted = lab::volume(PC33, "volume-mounted", true);
    let share = lab::with(&mounted, "/volume/bus_type", json!("network"));
    for (payload, rule) in [
        (mounted, "volume-mounted"),
        (
            lab::volume(PC33, "volume-mounted", false),
            "volume-read-only",
        ),
        (share, "network-share"),
    ] {
        assert_eq!(found(&payload).rule.id, rule);
    }
}

#[test]
fn a_keyboard_that_is_more_is_told_as_such() {
    for kinds in [
        ["keyboard", "network"],
        ["keyboard", "phone"],
        ["keyboard", "bluetooth"],
    ] {
        let finding = found(&lab::device(PC33, "device-connected", "X", &kinds));
        assert_eq!(finding.rule.id, "usb-composite", "{kinds:?}");
    }
}

#[test]
fn outside_the_exam_nothing_is_an_alarm_and_who_comes_and_goes_is_still_told() {
    let window = "[window]\nstart = 2026-11-22T10:00:00Z\nend = 2026-11-22T11:00:00Z\n";
    let mut lab = Lab::with_policy(window);
    let stick = lab::device(PC33, "device-connected", "Stick", &["storage"]);
    assert_eq!(lab.hear(0, PC33, "usb", &stick), None);
    lab.online(PC33);
    let gone = lab
        .hear(
            1,
            PC33,
            "status",
            &lab::status(PC33, "offline", "stopped", 1),
        )
        .unwrap();
    assert_eq!(gone.severity, Severity::Info);
    let during = lab.hear_all(1800, PC33, "usb", &stick);
    let told: Vec<_> = during
        .iter()
        .map(|one| (one.rule.id, one.severity))
        .collect();
    let [gone, stick] = [
        ("agent-offline", Severity::Warning),
        ("usb-storage", Severity::Warning),
    ];
    assert_eq!(told, [gone, stick, stick], "what lasts, and what is new");
}

#[test]
fn the_policy_says_how_grave_a_rule_is_and_which_seat_it_was() {
    let mut lab = Lab::with_policy(
        "[severity]\nusb-mouse = \"off\"\nusb-storage = \"critical\"\n[[seats]]\nseat = \"A-07\"\nname = \"pc-33\"\n",
    );
    let mouse = lab::device(PC33, "device-connected", "Mouse", &["mouse"]);
    assert_eq!(lab.hear(0, PC33, "usb", &mouse), None);
    let stick = lab::device(PC33, "device-connected", "Stick", &["storage"]);
    let found = lab.hear(0, PC33, "usb", &stick).unwrap();
    assert_eq!(
        (found.severity, found.seat.as_deref()),
        (Severity::Critical, Some("A-07"))
    );
}

#[test]
fn no_words_of_a_rule_say_what_somebody_meant() {
    let words = ids().chain(["denied name contacted"]);
    assert!(words.into_iter().all(|words| !words.contains("cheat")));
}

#[test]
fn whoever_has_a_seat_and_never_comes_is_told_with_it() {
    let mut lab = Lab::with_policy("[[seats]]\nseat = \"A-07\"\nip = \"192.168.0.133\"\n");
    let start: Timestamp = "2026-11-22T09:31:05Z".parse().unwrap();
    let mut found = Vec::new();
    lab.inbox.silence.connected(Duration::ZERO);
    for half in 1..100 {
        let now = Duration::from_millis(500 * half);
        found.extend(lab.inbox.handle_timeout(now, start).findings);
    }
    let told: Vec<_> = found
        .iter()
        .map(|one| (one.rule.id, one.seat.as_deref()))
        .collect();
    assert_eq!(told, [("agent-never-seen", Some("A-07"))]);
}

#[test]
fn a_pc_that_is_gone_stays_an_incident_until_it_is_back() {
    let silent = crate::silence::RULES;
    let ended: Vec<_> = silent
        .iter()
        .filter(|rule| rule.course == Course::Ending)
        .map(|rule| rule.id)
        .collect();
    assert_eq!(
        ended,
        [
            "agent-online",
            "agent-sees-all",
            "agent-not-expected",
            "agent-moved",
            "agents-back"
        ]
    );
    assert!(silent.iter().all(|rule| rule.course != Course::Passing));
}
