//! Payloads of events: what is read whole has a head, and is written on one line.
#![no_main]

use labwatch_contract::event::{Event, Head};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let head = Head::from_payload(payload);
    if let (Ok(event), Ok(head)) = (Event::from_payload(payload), head) {
        assert_eq!(event.place, head.place);
        assert!(event.to_payload().is_ok_and(|payload| !payload.contains(&b'\n')));
    }
});
