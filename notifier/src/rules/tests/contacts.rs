//! Who talks to whom, in the lab and outside: single events, and what several make together in virtual time.

use super::{rig::Lab, *};

#[test]
fn both_ends_of_a_conversation_name_both_ends() {
    says(
        &lab::contact(PC33, 80),
        Severity::Warning,
        "intranet-egress",
        "192.168.0.133 (pc-33): network accessed: opened tcp to 192.168.0.134 port 80 (http) by curl (user alice) \
         [program: polled]",
    );
    says(
        &lab::contact(PC34, 80),
        Severity::Warning,
        "intranet-ingress",
        "192.168.0.134 (pc-34): network accessed: was contacted by 192.168.0.133 with tcp port 80 (http), answered \
         by python3 (user bob) [program: polled]",
    );
}

#[test]
fn a_ping_by_nobody_known_is_told_without_ports() {
    let payload = lab::event(
        PC33,
        "intranet-access",
        json!({
            "source": {"ip": PC33}, "destination": {"ip": PC34, "domain": "pc-34.lab"},
            "network": {"transport": "icmp", "direction": "egress"},
            "lab": {"scope": "intranet", "attribution": "none"},
        }),
    );
    assert_eq!(
        found(&payload).message,
        "192.168.0.133 (pc-33): network accessed: opened icmp to 192.168.0.134 (pc-34.lab) by an unknown program"
    );
}

#[test]
fn a_direction_that_is_not_said_is_read_off_the_source() {
    let payload = lab::with(
        &lab::contact(PC34, 80),
        "/network/direction",
        json!("sideways"),
    );
    assert_eq!(found(&payload).rule.id, "intranet-ingress");
}

#[test]
fn a_scan_is_one_line_with_what_was_summed() {
    let peers: Vec<String> = (1..=9).map(|n| format!("192.168.0.{n}")).collect();
    let extra = json!({
        "event": {"start": "2026-11-22T09:31:05Z", "end": "2026-11-22T09:31:15Z"},
        "lab": {"scope": "intranet", "burst": {"count": 312, "peers": peers, "ports": [22, 80]}},
    });
    says(
        &lab::event(PC33, "conversation-burst", extra),
        Severity::Warning,
        "conversation-burst",
        "192.168.0.133 (pc-33): network accessed: had 312 more conversations within 10 s, peers 192.168.0.1, \
         192.168.0.2, 192.168.0.3, 192.168.0.4, 192.168.0.5 and 4 more, ports 22, 80: many for one program",
    );
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
fn a_tunnel_to_a_neighbour_is_named() {
    let mut lab = Lab::new();
    let ssh = lab.contact(PC33, &lab::contact(PC33, 22)).unwrap();
    assert_eq!(
        (ssh.rule.id, ssh.severity),
        ("intranet-tunnel", Severity::Warning)
    );
    assert!(
        ssh.message.contains("SSH, which can carry a tunnel"),
        "{}",
        ssh.message
    );
}

#[test]
fn a_conversation_that_is_opened_from_or_to_a_discovery_port_is_an_attempt() {
    let mut lab = Lab::new();
    lab.online(PC33);
    lab.online(PC34);
    let sent = |teller: &str, from: u16, to: u16| {
        let payload = lab::with(
            &lab::contact(teller, to),
            "/network/transport",
            json!("udp"),
        );
        lab::with(&payload, "/source/port", json!(from))
    };
    let opened = lab.contact(PC33, &sent(PC33, 5355, 4000)).unwrap();
    assert_eq!(opened.rule.id, "intranet-egress");
    let asked = lab.contact(PC34, &sent(PC34, 4000, 161)).unwrap();
    assert_eq!(asked.rule.id, "intranet-ingress");
    let answer = lab::numbered(&sent(PC34, 5355, 4000), 43);
    assert_eq!(lab.contact(PC34, &answer), None, "an answer, as it seems");
    let by_the_system = lab::with(
        &sent(PC33, 5355, 4000),
        "/process/user/name",
        json!("systemd-resolve"),
    );
    let by_the_system = lab::numbered(&by_the_system, 44);
    assert_eq!(lab.contact(PC33, &by_the_system), None, "it answers");
}

#[test]
fn a_neighbour_is_not_allowed_by_a_name_it_can_claim() {
    let mut lab = Lab::with_policy("[[allow]]\nname = \"moodle.example\"\n");
    let claimed = |source: &str| {
        let mut payload: Value = serde_json::from_slice(&lab::contact(PC33, 80)).unwrap();
        payload["destination"]["domain"] = json!("moodle.example");
        payload["lab"]["name_source"] = json!(source);
        serde_json::to_vec(&payload).unwrap()
    };
    for (number, source) in (1..).zip(["llmnr", "mdns", "sni", "http", "dns"]) {
        let found = lab.contact(PC33, &lab::numbered(&claimed(source), number));
        assert_eq!(found.unwrap().rule.id, "intranet-egress", "{source}");
    }
    let with_address = "[[allow]]\nname = \"moodle.example\"\naddress = \"192.168.0.134\"\n";
    let mut lab = Lab::with_policy(with_address);
    assert_eq!(lab.contact(PC33, &claimed("dns")), None);
}

#[test]
fn whichever_end_tells_first_both_make_one_incident() {
    let mut lab = Lab::new();
    lab.online(PC33);
    lab.online(PC34);
    let first = lab.contact(PC34, &lab::contact(PC34, 80)).unwrap();
    let second = lab.contact(PC33, &lab::contact(PC33, 80)).unwrap();
    assert_eq!(
        (&first.host, &first.object, first.rule.subject),
        (&second.host, &second.object, second.rule.subject)
    );
    assert!(
        second.message.starts_with(
            "192.168.0.134 (pc-34): network accessed: was contacted by 192.168.0.133 (pc-33) with tcp port 80 (http), \
             as that PC says; opened by curl"
        ),
        "{}",
        second.message
    );
    let report = lab::report(PC33, PC34, 1_234, 5_000);
    assert_eq!(lab.hear(40, PC33, "net", &report), None);
    let report = lab::report(PC34, PC33, 5_000, 1_234);
    let graded = lab.hear(0, PC34, "net", &report).unwrap();
    assert_eq!(
        (graded.rule.id, &graded.host, &graded.object),
        ("intranet-exchange", &first.host, &first.object)
    );
}

#[test]
fn what_only_the_other_end_says_is_told_of_the_pc_that_says_it() {
    let mut lab = Lab::with_policy("[[seats]]\nseat = \"A-08\"\nip = \"192.168.0.134\"\n");
    lab.online(PC33);
    lab.online(PC34);
    let said = lab.contact(PC34, &lab::contact(PC34, 80)).unwrap();
    assert_eq!(said.rule.id, "intranet-ingress");
    assert_eq!(
        (said.host.unwrap().ip.to_string(), said.seat.as_deref()),
        (PC34.to_owned(), Some("A-08"))
    );
    assert!(
        said.message
            .contains("was contacted by 192.168.0.133 (pc-33)"),
        "{}",
        said.message
    );
}

#[test]
fn what_the_opener_may_do_is_no_finding_from_the_other_end_either() {
    for allowed in [
        "program = \"curl\"",
        "name = \"pc-34.lab\"\nnetwork = \"192.168.0.134/32\"",
    ] {
        let mut lab = Lab::with_policy(&format!("[[allow]]\n{allowed}\n"));
        lab.online(PC33);
        lab.online(PC34);
        let mut opened: Value = serde_json::from_slice(&lab::contact(PC33, 80)).unwrap();
        opened["destination"]["domain"] = json!("pc-34.lab");
        let opened = serde_json::to_vec(&opened).unwrap();
        assert_eq!(lab.contact(PC33, &opened), None, "{allowed}");
        assert_eq!(
            lab.contact(PC34, &lab::contact(PC34, 80)),
            None,
            "{allowed}"
        );
    }
}

#[test]
fn whoever_is_tried_in_a_scan_is_named_and_what_comes_of_it_is_graded() {
    let mut lab = Lab::new();
    lab.online(PC33);
    let mut last = None;
    for number in (1..=12).rev() {
        let peer = format!("192.168.0.{number}");
        let payload = lab::with(&lab::contact(PC33, 445), "/destination/ip", json!(peer));
        last = lab.contact(PC33, &lab::numbered(&payload, number));
    }
    let scan = last.unwrap();
    assert_eq!(scan.rule.id, "intranet-scan");
    assert!(scan.message.contains("192.168.0.1,"), "{}", scan.message);
    let scan = lab.contact(PC33, &lab::numbered(&lab::contact(PC33, 445), 13));
    let scan = scan.unwrap();
    assert!(
        scan.message.contains("within 60 s: 192.168.0.134"),
        "the newest first: {}",
        scan.message
    );
    let answered = lab.hear(20, PC33, "net", &lab::report(PC33, PC34, 900, 900));
    let answered = answered.unwrap();
    assert_eq!(answered.rule.id, "intranet-exchange");
    assert!(answered.message.contains("opened tcp to 192.168.0.134"));
}

#[test]
fn a_report_does_not_deny_what_was_allowed_when_it_was_told() {
    let policy = "denied-names = [\"chat.example\"]\n[[allow]]\nname = \"chat.example\"\n";
    for narrower in [
        "transport = \"udp\"",
        "port = 8443",
        "program = \"firefox\"",
    ] {
        let mut lab = Lab::with_policy(&format!("{policy}{narrower}\n"));
        lab.online(PC33);
        let report = lab::report(PC33, "203.0.113.80", 900, 800);
        let mut report: Value = serde_json::from_slice(&report).unwrap();
        let peer = &mut report["lab"]["peers"][0];
        peer["scope"] = json!("internet");
        peer["name"] = json!("chat.example");
        peer["name_source"] = json!("quic");
        peer["ports"] = json!([443, 8443]);
        peer["processes"] = json!(["curl", "firefox"]);
        let report = serde_json::to_vec(&report).unwrap();
        assert_eq!(lab.hear(40, PC33, "net", &report), None, "{narrower}");
    }
}
