//! What the kernel says of links, addresses and routes; names of links are the user's.
#![no_main]

use labwatch_agent::net::{
    netlink::messages,
    rtnetlink,
    surroundings::{
        Surroundings,
        glimpses::Glimpses,
        kernel::{Card, Lists},
    },
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (mut lists, mut glimpses) = (Lists::default(), Glimpses::default());
    for message in messages(bytes) {
        let news = rtnetlink::read(&message);
        glimpses.take(news.clone());
        lists.take(news);
    }
    let here = Surroundings {
        interfaces: lists.interfaces(|_| Card::default()),
        idle: lists.idle(),
        on_link: lists.on_link(),
        ..Surroundings::default()
    };
    let is_there = |index| here.interfaces.iter().any(|one| one.index == index);
    let passed = glimpses.passed(&here, &here);
    assert!(passed.iter().all(|one| !is_there(one.interface.index)), "what is there has not passed");
});
