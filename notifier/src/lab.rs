//! Messages of a made-up lab, for tests: payloads as agents write them.

use std::net::IpAddr;

use serde_json::{Value, json};

pub(crate) const PC33: &str = "192.168.0.133";
pub(crate) const PC34: &str = "192.168.0.134";

/// An event of a PC with an IPv4 address, named after its last number. `extra` is merged into the envelope.
pub(crate) fn event(ip: &str, action: &str, extra: Value) -> Vec<u8> {
    let mut event = json!({
        "@timestamp": "2026-11-22T09:31:05.123Z",
        "event": {"action": action, "sequence": 42},
        "host": {"ip": ip, "name": name(ip), "id": id(ip), "boot": {"id": "b1"}},
        "lab": {"journal": "0199aaaa-0000-7000-8000-000000000001", "prev": "0".repeat(64), "uptime_ms": 5_025_000},
    });
    merge(&mut event, extra);
    serde_json::to_vec(&event).unwrap()
}

/// A device event: `vendor` and `product` names, serial number, what it can do.
pub(crate) fn device(ip: &str, action: &str, product: &str, kinds: &[&str]) -> Vec<u8> {
    let extra = json!({
        "device": {
            "vendor": {"id": "46f4", "name": "QEMU"},
            "product": {"id": "0001", "name": product},
            "serial_number": "RIG0001",
            "type": kinds,
        },
        "lab": {"usb": {"port": "2-1", "interfaces": ["08:06:50"], "speed_mbps": 480.0}},
    });
    event(ip, action, extra)
}

/// A volume event of a stick.
pub(crate) fn volume(ip: &str, action: &str, writable: bool) -> Vec<u8> {
    let extra = json!({
        "volume": {
            "device_name": "/dev/sdb1", "mount_name": "/media/student/STICK", "file_system_type": "vfat",
            "size": 8_095_006_720_u64, "removable": true, "bus_type": "usb", "label": "STICK", "writable": writable,
        },
        "lab": {"mount_options": "rw,nosuid,nodev"},
    });
    event(ip, action, extra)
}

/// PC 33 fetches a page from PC 34, as the agent of `ip` sees it.
pub(crate) fn contact(ip: &str, port: u16) -> Vec<u8> {
    let (direction, process, user) = match ip {
        PC33 => ("egress", "curl", "alice"),
        _ => ("ingress", "python3", "bob"),
    };
    let extra = json!({
        "source": {"ip": PC33, "port": 51000},
        "destination": {"ip": PC34, "port": port},
        "network": {"transport": "tcp", "direction": direction, "protocol": "http"},
        "process": {"name": process, "pid": 4711, "user": {"name": user}},
        "lab": {"scope": "intranet", "attribution": "polled"},
    });
    event(ip, "intranet-access", extra)
}

/// An event on a network interface.
pub(crate) fn interface(ip: &str, action: &str, name: &str, kind: &str) -> Vec<u8> {
    let interface = json!({"name": name, "kind": kind, "addresses": ["10.8.0.2/24"]});
    event(ip, action, json!({"lab": {"interface": interface}}))
}

/// The same with a default gateway.
pub(crate) fn with_gateway(payload: &[u8], gateway: &str) -> Vec<u8> {
    let mut changed: Value = serde_json::from_slice(payload).unwrap();
    changed["lab"]["interface"]["gateway"] = json!(gateway);
    serde_json::to_vec(&changed).unwrap()
}

/// A browser's first contact with a site.
pub(crate) fn visit(ip: &str, domain: &str, port: u16) -> Vec<u8> {
    let extra = json!({
        "source": {"ip": ip, "port": 51000},
        "destination": {"ip": "203.0.113.80", "port": port, "domain": domain},
        "network": {"transport": "tcp", "direction": "egress"},
        "process": {"name": "firefox", "pid": 4711, "user": {"name": "alice"}},
        "lab": {"scope": "internet", "attribution": "exact", "name_source": "sni"},
    });
    event(ip, "internet-access", extra)
}

/// A report of a peer that refuses what is asked of it: packets both ways, and nothing said.
pub(crate) fn refused(ip: &str, peer: &str) -> Vec<u8> {
    let mut report: Value = serde_json::from_slice(&report(ip, peer, 740, 540)).unwrap();
    let peer = &mut report["lab"]["peers"][0];
    (peer["sent_payload_bytes"], peer["received_payload_bytes"]) = (json!(0), json!(0));
    serde_json::to_vec(&report).unwrap()
}

/// A traffic report that names one peer.
pub(crate) fn report(ip: &str, peer: &str, sent: u64, received: u64) -> Vec<u8> {
    let packets = |bytes: u64| bytes.div_ceil(1000);
    let peer = json!({
        "ip": peer, "scope": "intranet", "sent_bytes": sent, "received_bytes": received,
        "sent_packets": packets(sent), "received_packets": packets(received),
    });
    let interface = json!({"name": "eth0", "packets": 2, "bytes": sent + received});
    event(
        ip,
        "traffic-report",
        json!({"lab": {"interfaces": [interface], "peers": [peer]}}),
    )
}

/// A heartbeat.
pub(crate) fn health(ip: &str, figures: Value) -> Vec<u8> {
    let mut health = json!({
        "@timestamp": "2026-11-22T09:31:05.123Z",
        "event": {"action": "heartbeat"},
        "host": {"ip": ip, "name": name(ip), "id": id(ip), "boot": {"id": "b1"}},
        "lab": {"cpu_percent": 5.0, "memory_used_percent": 40.0, "disk_used_percent": 30.0},
    });
    merge(&mut health, json!({"lab": figures}));
    serde_json::to_vec(&health).unwrap()
}

/// `online` or `offline`, of the connection with this number.
pub(crate) fn status(ip: &str, action: &str, reason: &str, connection: u128) -> Vec<u8> {
    let status = json!({
        "@timestamp": "2026-11-22T09:12:04.000Z",
        "event": {"action": action},
        "host": {"ip": ip, "name": name(ip), "id": id(ip), "boot": {"id": "b1"}},
        "agent": {"version": "0.1.0"},
        "lab": {"reason": reason, "connection": uuid::Uuid::from_u128(connection), "degraded": [], "journals": []},
    });
    serde_json::to_vec(&status).unwrap()
}

/// A payload with another value at a JSON pointer.
pub(crate) fn with(payload: &[u8], pointer: &str, value: Value) -> Vec<u8> {
    let mut changed: Value = serde_json::from_slice(payload).unwrap();
    *changed.pointer_mut(pointer).unwrap() = value;
    serde_json::to_vec(&changed).unwrap()
}

/// An event as the one with that number; what is no event stays as it is.
pub(crate) fn numbered(payload: &[u8], number: u64) -> Vec<u8> {
    let mut event: Value = serde_json::from_slice(payload).unwrap_or_default();
    match event.pointer_mut("/event/sequence") {
        Some(sequence) => {
            *sequence = json!(number);
            serde_json::to_vec(&event).unwrap()
        }
        None => payload.to_vec(),
    }
}

/// Its machine id.
pub(crate) fn id(ip: &str) -> String {
    format!("id-{ip}")
}

fn name(ip: &str) -> String {
    match ip.parse() {
        Ok(IpAddr::V4(ip)) => format!("pc-{}", ip.octets()[3] % 100),
        _ => "pc-six".into(),
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
