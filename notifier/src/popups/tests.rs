use serde_json::json;

use super::*;
use crate::{
    incidents::Incidents,
    lab::{self, PC33},
    rules::tests::found,
};

/// The first alert of a device event.
fn alert(payload: &[u8]) -> Alert {
    let mut told = Incidents::default().handle(found(payload), Duration::ZERO);
    told.remove(0)
        .into_alert("2026-11-22T09:31:06Z".parse().unwrap())
}

fn stick(serial: u32) -> Alert {
    let payload = lab::device(PC33, "device-connected", "<b>Stick</b> & co", &["storage"]);
    alert(&lab::with(
        &payload,
        "/device/serial_number",
        json!(serial.to_string()),
    ))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_name_with_markup_appears_literally() {
    let popup = Popups::new(true, true)
        .handle(&stick(1), seconds(0))
        .unwrap();
    assert!(
        popup
            .body
            .contains("QEMU &lt;b&gt;Stick&lt;/b&gt; &amp; co"),
        "{}",
        popup.body
    );
    let popup = Popups::new(false, true)
        .handle(&stick(1), seconds(0))
        .unwrap();
    assert!(
        popup.body.contains("QEMU <b>Stick</b> & co"),
        "{}",
        popup.body
    );
    assert_eq!(popup.summary, "192.168.0.133: USB storage connected");
}

#[test]
fn info_does_not_pop_up() {
    let gone = alert(&lab::device(
        PC33,
        "device-disconnected",
        "Stick",
        &["storage"],
    ));
    assert_eq!(Popups::new(true, true).handle(&gone, seconds(0)), None);
}

#[test]
fn an_incident_that_goes_on_replaces_its_own_popup() {
    let mut popups = Popups::new(true, true);
    let first = popups.handle(&stick(1), seconds(0)).unwrap();
    assert_eq!(first.replaces, None);
    popups.shown(first.incident, 7);
    assert_eq!(
        popups.handle(&stick(1), seconds(1)).unwrap().replaces,
        Some(7)
    );
    assert_eq!(popups.handle(&stick(2), seconds(2)).unwrap().replaces, None);
}

#[test]
fn the_ids_kept_are_bounded() {
    let mut popups = Popups::new(true, true);
    for id in 0..1000 {
        popups.shown(format!("incident {id}"), id);
    }
    assert_eq!(popups.remembered.len(), MAX_REMEMBERED);
}

#[test]
fn a_storm_gives_five_popups_and_one_a_second_and_one_that_sums_up() {
    let mut popups = Popups::new(true, true);
    let shown = (0..100)
        .filter_map(|serial| popups.handle(&stick(serial), seconds(0)))
        .count();
    assert_eq!(shown, 5);
    assert_eq!(popups.poll_timeout(), Some(seconds(1)));
    assert_eq!(popups.handle_timeout(Duration::from_millis(900)), None);
    let summary = popups.handle_timeout(seconds(1)).unwrap();
    assert_eq!(summary.body, "95 more alerts: see the console.");
    assert_eq!(summary.severity, Severity::Warning);
    assert_eq!(popups.poll_timeout(), None);
}

#[test]
fn a_desktop_that_does_not_answer_is_left_alone_and_told_in_sum_later() {
    let mut popups = Popups::new(true, true);
    let popup = popups.handle(&stick(1), seconds(0)).unwrap();
    assert!(popups.failed(&popup, seconds(3)));
    assert_eq!(popups.handle(&stick(2), seconds(10)), None);
    popups.missed(3);
    assert_eq!(popups.poll_timeout(), Some(seconds(33)));
    let summary = popups.handle_timeout(seconds(33)).unwrap();
    assert_eq!(summary.body, "5 more alerts: see the console.");
    assert!(!popups.failed(&summary, seconds(36)), "said once");
    let summary = popups.handle_timeout(seconds(66)).unwrap();
    assert_eq!(summary.body, "5 more alerts: see the console.");
    assert!(popups.shown(summary.incident, 1), "answers again");
}
