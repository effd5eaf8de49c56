use super::*;

fn limit(address: u32, network: u32, all: u32) -> Limit {
    Limit {
        address,
        network,
        all,
    }
}

fn accounts() -> Accounts {
    Accounts::new(Quotas {
        connections: limit(2, 3, 5),
        messages: limit(10, 1_000, 10_000),
        bytes: limit(1_000, 1_000_000, 1_000_000),
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "virtual time has to begin somewhere"
)]
fn some_moment() -> Instant {
    Instant::now()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn connections_are_counted_by_address_network_and_in_all() {
    let (mut book, now) = (accounts(), some_moment());
    assert!(book.connect(ip("10.0.0.1"), now) && book.connect(ip("::ffff:10.0.0.1"), now));
    assert!(!book.connect(ip("10.0.0.1"), now), "third of one address");
    assert!(book.connect(ip("fd00::1"), now) && book.connect(ip("fd00::2"), now));
    assert!(book.connect(ip("fd00::3"), now));
    assert!(!book.connect(ip("fd00::4"), now), "fourth of one /64");
    assert!(!book.connect(ip("10.0.0.2"), now), "sixth in all");
    book.disconnect(ip("10.0.0.1"));
    assert!(book.connect(ip("10.0.0.2"), now));
}

#[test]
fn a_burst_passes_and_a_flood_waits() {
    let (mut book, now) = (accounts(), some_moment());
    let mut spend = |address, bytes, now| book.spend(ip(address), bytes, now).whole;
    for _ in 0..200 {
        assert_eq!(spend("10.0.0.1", 1, now), Duration::ZERO);
    }
    let wait = spend("10.0.0.1", 1, now);
    assert_eq!(wait, Duration::from_millis(100));
    assert_eq!(spend("10.0.0.2", 1, now), Duration::ZERO);
    assert_eq!(spend("10.0.0.1", 1, now + wait * 2), Duration::ZERO);
    assert_eq!(spend("10.0.0.2", 21_000, now), Duration::from_millis(1_001));
}

#[test]
fn a_debt_of_others_slows_a_client_down_and_never_ends_it() {
    let mut book = Accounts::new(Quotas {
        connections: limit(2, 3, 5),
        messages: limit(10, 20, 10_000),
        bytes: limit(1_000, 1_000_000, 1_000_000),
    });
    let (mut modest, mut greedy) = (Patience::default(), Patience::default());
    let start = some_moment();
    let mut ended = 0;
    for second in 0..60 {
        let now = start + Duration::from_secs(second);
        let flood = (0..100).map(|_| book.spend(ip("fd00::1"), 1, now));
        ended += u32::from(greedy.is_at_end(flood.last().unwrap_or_default(), now));
        let wait = book.spend(ip("fd00::2"), 1, now);
        assert!(!modest.is_at_end(wait, now), "after {second} s: {wait:?}");
    }
    let wait = book.spend(ip("fd00::2"), 1, start + Duration::from_secs(60));
    assert!(wait.own.is_zero() && !wait.whole.is_zero(), "{wait:?}");
    assert!(ended > 0, "whoever makes the debt is ended");
}

#[test]
fn whoever_stays_over_the_quota_is_ended_and_whoever_pauses_is_not() {
    let (mut patience, start) = (Patience::default(), some_moment());
    let second = Duration::from_secs(1);
    let over = Wait {
        own: second,
        whole: second,
    };
    assert!(!patience.is_at_end(over, start));
    assert!(!patience.is_at_end(over, start + 29 * second));
    assert!(!patience.is_at_end(Wait::default(), start + 29 * second));
    assert!(!patience.is_at_end(over, start + 31 * second));
    assert!(patience.is_at_end(over, start + 61 * second));
}

#[test]
fn warnings_are_bounded_and_the_swallowed_ones_counted() {
    let (mut book, now) = (accounts(), some_moment());
    let said = (0..100)
        .filter(|_| book.complain(ip("10.0.0.1"), now).is_some())
        .count();
    assert_eq!(said, 10);
    let later = now + Duration::from_secs(1);
    assert_eq!(book.complain(ip("10.0.0.1"), later), Some(90));
}

#[test]
fn idle_accounts_are_forgotten() {
    let (mut book, now) = (accounts(), some_moment());
    for number in 0..u32::try_from(SWEEP_AT).unwrap() {
        let address = IpAddr::from(number.to_be_bytes());
        assert!(book.connect(address, now));
        book.disconnect(address);
    }
    assert!(book.connect(ip("10.0.0.1"), now));
    assert!(book.accounts.len() < 10);
}

#[test]
fn a_limit_is_three_numbers_that_grow() {
    assert_eq!("1, 2,3".parse(), Ok(limit(1, 2, 3)));
    for text in [
        "", "1", "1,2", "0,1,2", "3,2,1", "1,2,3,4", "a,b,c", "-1,2,3",
    ] {
        assert!(text.parse::<Limit>().is_err(), "{text}");
    }
}
