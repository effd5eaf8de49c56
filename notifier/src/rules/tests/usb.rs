//! Devices and volumes: what is said of a single event.

use super::*;

#[test]
fn a_stick_is_a_warning_that_says_who_what_and_where() {
    says(
        &lab::device(PC33, "device-connected", "USB HARDDRIVE", &["storage"]),
        Severity::Warning,
        "usb-storage",
        "192.168.0.133 (pc-33): usb device connected: storage, QEMU USB HARDDRIVE, serial RIG0001, port 2-1",
    );
}

#[test]
fn storage_that_types_keys_is_critical_and_named_in_words() {
    says(
        &lab::device(PC33, "device-connected", "Ultra", &["keyboard", "storage"]),
        Severity::Critical,
        "usb-storage-keyboard",
        "192.168.0.133 (pc-33): usb device connected: storage and keyboard in one device, QEMU Ultra, \
         serial RIG0001, port 2-1",
    );
}

#[test]
fn every_kind_of_device_has_its_rule() {
    for (kinds, rule, severity) in [
        (&["storage"][..], "usb-storage", Severity::Warning),
        (&["phone"], "usb-phone", Severity::Warning),
        (&["network"], "usb-network", Severity::Warning),
        (&["network", "storage"], "usb-storage", Severity::Warning),
        (&["bluetooth"], "usb-bluetooth", Severity::Warning),
        (&["keyboard"], "usb-keyboard", Severity::Warning),
        (&["keyboard", "mouse"], "usb-keyboard", Severity::Warning),
        (&["mouse"], "usb-mouse", Severity::Info),
        (&["hub"], "usb-hub", Severity::Info),
        (&["audio"], "usb-other", Severity::Warning),
        (&["video"], "usb-other", Severity::Warning),
        (&["printer"], "usb-other", Severity::Warning),
        (&["teapot"], "usb-other", Severity::Warning),
        (&[], "usb-other", Severity::Warning),
    ] {
        let finding = found(&lab::device(PC33, "device-connected", "X", kinds));
        assert_eq!(
            (finding.rule.id, finding.severity),
            (rule, severity),
            "{kinds:?}"
        );
    }
}

#[test]
fn a_device_without_names_is_told_by_its_ids() {
    let payload = lab::device(PC33, "device-connected", "", &["other"]);
    let payload = lab::with(&payload, "/device/vendor/name", Value::Null);
    assert!(
        found(&payload)
            .message
            .contains(": other kind, 46f4:0001, serial")
    );
}

#[test]
fn a_device_that_goes_is_good_to_know() {
    says(
        &lab::device(PC33, "device-disconnected", "USB HARDDRIVE", &["storage"]),
        Severity::Info,
        "usb-disconnected",
        "192.168.0.133 (pc-33): usb device disconnected: storage, QEMU USB HARDDRIVE, serial RIG0001, port 2-1",
    );
}

#[test]
fn what_is_there_at_the_start_raises_no_alarm_and_hubs_are_not_told() {
    let stick = found(&lab::device(PC33, "device-present", "Stick", &["storage"]));
    assert_eq!(stick.severity, Severity::Info);
    assert!(
        stick
            .message
            .contains("usb device there at the start: storage")
    );
    assert!(nothing(&lab::device(
        PC33,
        "device-present",
        "Hub",
        &["hub"]
    )));
    let mounted = found(&lab::volume(PC33, "volume-present", true));
    assert_eq!(mounted.severity, Severity::Info);
}

#[test]
fn a_mounted_volume_is_told_with_file_system_size_and_whether_it_can_be_written() {
    says(
        &lab::volume(PC33, "volume-mounted", true),
        Severity::Warning,
        "volume-mounted",
        "192.168.0.133 (pc-33): volume mounted: /dev/sdb1 at /media/student/STICK (vfat, 8.1 GB, label STICK, \
         writable, usb)",
    );
    assert!(
        found(&lab::volume(PC33, "volume-mounted", false))
            .message
            .contains("read-only")
    );
}

#[test]
fn an_unmounted_volume_is_good_to_know_and_a_pulled_one_a_warning() {
    let unmounted = found(&lab::volume(PC33, "volume-unmounted", true));
    assert_eq!(unmounted.severity, Severity::Info);
    let pulled = found(&lab::volume(PC33, "volume-removed", true));
    assert_eq!(pulled.severity, Severity::Warning);
    assert!(
        pulled
            .message
            .contains("volume pulled without unmount: /dev/sdb1")
    );
}

#[test]
fn a_volume_names_the_device_it_is_on() {
    let mut payload: Value =
        serde_json::from_slice(&lab::volume(PC33, "volume-mounted", true)).unwrap();
    payload["device"] =
        json!({"vendor": {"id": "46f4"}, "product": {"id": "0001", "name": "Stick"}});
    let finding = found(&serde_json::to_vec(&payload).unwrap());
    assert!(
        finding.message.ends_with(", on Stick"),
        "{}",
        finding.message
    );
}

#[test]
fn two_sticks_in_one_port_are_two_objects_and_one_stick_is_one() {
    let stick = lab::device(PC33, "device-connected", "Stick", &["storage"]);
    let gone = lab::device(PC33, "device-disconnected", "Stick", &["storage"]);
    let other = lab::with(&stick, "/device/serial_number", json!("RIG0002"));
    assert_eq!(found(&stick).object, found(&gone).object);
    assert_ne!(found(&stick).object, found(&other).object);
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
