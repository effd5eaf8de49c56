use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener, UdpSocket},
    process::Command,
    thread,
};

use super::*;

const PEER: &str = "192.0.2.1:9";

fn question(protocol: u8, own: SocketAddr, direction: Direction) -> Question {
    let socket = Socket {
        protocol,
        own,
        peer: PEER.parse().unwrap(),
        direction,
        interface: 0,
    };
    Question {
        ticket: Ticket::default(),
        socket,
        asked: monotonic(),
    }
}

/// The answer, however late.
fn answer(finder: &mut Finder, question: Question) -> Owner {
    let mut answers = finder.answer(&[question]);
    match answers.pop() {
        Some((_, owner)) => owner,
        None => wait(finder),
    }
}

/// The answer to what was put off.
fn wait(finder: &mut Finder) -> Owner {
    loop {
        thread::sleep(Duration::from_millis(5));
        finder.hear();
        if let Some((_, owner)) = finder.answer(&[]).pop() {
            return owner;
        }
    }
}

fn found(owner: Owner) -> Found {
    match owner {
        Owner::Program(found) => found,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_search_for_sockets_that_have_gone_is_given_up() {
    let wanted = Wanted {
        inode: u64::MAX,
        uid: 0,
    };
    let mut asked = 0;
    let until = monotonic() + Duration::from_secs(60);
    let found = Holders::new().find(&[wanted], until, || {
        asked += 1;
        false
    });
    assert!(found.is_empty() && asked <= 1, "asked {asked} times");
}

#[test]
fn sockets_that_wait_for_anybody_are_found_by_the_kernel() {
    let mut finder = Finder::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let bound = UdpSocket::bind("127.0.0.1:0").unwrap();
    for (protocol, own) in [
        (protocol::TCP, listener.local_addr().unwrap()),
        (protocol::UDP, bound.local_addr().unwrap()),
    ] {
        let question = question(protocol, own, Direction::Ingress);
        assert_eq!(answer(&mut finder, question), Owner::Agent);
    }
    let own = listener.local_addr().unwrap();
    let question = question(protocol::TCP, own, Direction::Egress);
    let found = found(answer(&mut finder, question));
    assert_ne!(
        found.attribution,
        Attribution::Exact,
        "a listener has opened nothing"
    );
}

#[test]
fn what_nobody_listens_for_has_no_program() {
    let own = "127.0.0.1:1".parse().unwrap();
    let question = question(protocol::TCP, own, Direction::Ingress);
    let found = found(answer(&mut Finder::new(), question));
    assert_eq!(
        (found.process, found.attribution, found.reason),
        (Process::default(), Attribution::None, Some(NOBODY))
    );
}

#[test]
fn the_only_program_of_its_user_that_ended_with_its_socket_is_named_and_not_called_exact() {
    use std::os::unix::process::CommandExt as _;
    const USER: u32 = 54_321;
    let mut finder = Finder::new();
    thread::sleep(MARGIN);
    let own = "127.0.0.1:1".parse().unwrap();
    let mut question = question(protocol::TCP, own, Direction::Egress);
    let program = Command::new("sleep").arg("0.3").uid(USER).spawn();
    let (Ok(mut program), Some(_)) = (program, finder.notices()) else {
        let why = "not root, or the kernel gives no notices of processes here";
        let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
        return;
    };
    // What has ended can no longer be read.
    while program.try_wait().unwrap().is_none() {
        finder.hear();
        thread::sleep(Duration::from_millis(5));
    }
    question.asked = monotonic();
    let closed = Location::Closed(Some(USER));
    assert_eq!(finder.conclude(question, closed, &HashMap::new()), None);
    assert!(finder.due().is_some());
    let found = found(wait(&mut finder));
    assert_eq!(found.process.name.as_deref(), Some("sleep"));
    assert_eq!(found.process.pid, Some(program.id()));
    assert_eq!(
        (found.attribution, found.reason),
        (Attribution::Polled, Some(ENDED))
    );
}

#[test]
fn searches_in_vain_become_rare_and_one_that_finds_ends_that() {
    let mut rest = Rest::default();
    let mut now = Duration::from_secs(60);
    let mut rests = Vec::new();
    for _ in 0..9 {
        assert!(rest.is_over(now));
        rest.begin(false, now);
        assert!(!rest.is_over(now));
        rests.push((rest.until - now).as_millis());
        now = rest.until;
    }
    assert_eq!(rests, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    rest.begin(true, now);
    assert!(rest.is_over(now));
    rest.begin(false, now);
    assert_eq!(rest.until, now + SHORTEST_REST);
    rest.begin(false, now + LONGEST_REST * 3);
    assert_eq!(rest.length, SHORTEST_REST);
}
