//! Many PCs in one program: each has a journal of events made up by hand, and all speak over one connection.
//!
//! The connection comes from the server itself and may thus speak for every PC. What has no mark is sent again from the
//! mark on, as an agent does it, until the recorder has confirmed everything. Nothing of Labwatch's own code is used
//! but the digest: bytes on the wire as MQTT 3.1.1 has them.

use std::{
    collections::HashMap,
    fs,
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use labwatch_contract::{chain::Digest, time::Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::lab::Machine;

/// Events that a PC may be ahead of its mark.
const WINDOW: u64 = 64;
/// Messages that may be under way to the broker.
const UNDER_WAY: usize = 1_000;
/// Without any progress so long, everything without a mark is sent again.
const PATIENCE: Duration = Duration::from_secs(3);
/// So long everything may take.
const LIMIT: Duration = Duration::from_secs(240);

struct Pc {
    ip: Ipv4Addr,
    journal: Uuid,
    lines: Vec<Vec<u8>>,
    mark: u64,
    sent: u64,
}

impl Pc {
    /// One more event.
    fn occur(&mut self) {
        let prev = self
            .lines
            .last()
            .map_or(Digest::ZERO, |line| Digest::of(line));
        let event = json!({
            "@timestamp": Timestamp::from_unix_ms(unix_ms()).unwrap(),
            "event": {"action": "traffic-report", "sequence": self.lines.len() + 1},
            "host": {"ip": self.ip, "name": "crowd", "id": format!("{:x}", u32::from(self.ip)), "boot": {"id": "b1"}},
            "lab": {"journal": self.journal, "prev": prev, "uptime_ms": 1, "peers": [], "interfaces": []},
        });
        self.lines.push(serde_json::to_vec(&event).unwrap());
    }
}

/// The PCs.
pub struct Crowd {
    pcs: Vec<Pc>,
}

impl Crowd {
    /// So many PCs from an address on, with so many events each.
    #[must_use]
    pub fn new(first: Ipv4Addr, pcs: u32, events: usize) -> Self {
        let pc = |number| Pc {
            ip: Ipv4Addr::from(u32::from(first) + number),
            journal: Uuid::now_v7(),
            lines: Vec::new(),
            mark: 0,
            sent: 0,
        };
        let mut crowd = Self {
            pcs: (0..pcs).map(pc).collect(),
        };
        crowd.occur(events);
        crowd
    }

    /// So many events more on each of them.
    pub fn occur(&mut self, events: usize) {
        for pc in &mut self.pcs {
            (0..events).for_each(|_| pc.occur());
        }
    }

    /// All their events.
    #[must_use]
    pub fn events(&self) -> usize {
        self.pcs.iter().map(|pc| pc.lines.len()).sum()
    }

    /// Writes their journals into one state directory below `dir`, beside those of the agents.
    pub fn write_journals(&self, dir: &Path) {
        let journals = dir.join("state-crowd/journal");
        fs::create_dir_all(&journals).unwrap();
        for pc in &self.pcs {
            let mut text = pc.lines.join(&b'\n');
            text.push(b'\n');
            fs::write(journals.join(format!("{}.jsonl", pc.journal)), text).unwrap();
        }
    }

    /// Sends everything from a machine until the recorder has confirmed it, whatever breaks meanwhile.
    pub fn deliver(&mut self, from: &Machine, port: u16) {
        let end = Instant::now() + LIMIT;
        while let Err(error) = from.inside(|| self.try_deliver(port, end)) {
            assert!(
                Instant::now() < end,
                "{} events: {error}",
                self.unconfirmed()
            );
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// Sends what has no mark once, and awaits no more than that the broker has it.
    pub fn offer(&mut self, from: &Machine, port: u16) {
        from.inside(|| {
            let mut connection = Connection::open(port).unwrap();
            self.send_window(&mut connection).unwrap();
            while connection.under_way > 0 {
                self.hear(&mut connection).unwrap();
            }
        });
    }

    fn unconfirmed(&self) -> u64 {
        let open = |pc: &Pc| pc.lines.len() as u64 - pc.mark.min(pc.lines.len() as u64);
        self.pcs.iter().map(open).sum()
    }

    fn try_deliver(&mut self, port: u16, end: Instant) -> io::Result<()> {
        let mut connection = Connection::open(port)?;
        let (mut progress, mut open) = (Instant::now(), self.unconfirmed());
        self.rewind();
        while open > 0 {
            self.send_window(&mut connection)?;
            self.hear(&mut connection)?;
            let now = self.unconfirmed();
            if now < open {
                (progress, open) = (Instant::now(), now);
            } else if progress.elapsed() > PATIENCE {
                self.rewind();
                progress = Instant::now();
            }
            if Instant::now() > end {
                return Err(io::Error::new(ErrorKind::TimedOut, "not confirmed in time"));
            }
        }
        Ok(())
    }

    fn rewind(&mut self) {
        for pc in &mut self.pcs {
            pc.sent = pc.mark;
        }
    }

    /// Sends what may be sent now.
    fn send_window(&mut self, connection: &mut Connection) -> io::Result<()> {
        for pc in &mut self.pcs {
            let until = (pc.mark + WINDOW).min(pc.lines.len() as u64);
            pc.sent = pc.sent.max(pc.mark);
            while pc.sent < until && connection.under_way < UNDER_WAY {
                let line = &pc.lines[usize::try_from(pc.sent).unwrap()];
                connection.publish(&format!("lab/{}/net", pc.ip), line)?;
                pc.sent += 1;
            }
        }
        connection.flush()
    }

    /// Reads what has come: marks.
    fn hear(&mut self, connection: &mut Connection) -> io::Result<()> {
        let mut marks = HashMap::new();
        for payload in connection.receive()? {
            let Ok(ack) = serde_json::from_slice::<Value>(&payload) else {
                continue;
            };
            for mark in ack["marks"].as_array().into_iter().flatten() {
                marks.insert(
                    mark["journal"].as_str().unwrap_or_default().to_owned(),
                    mark["sequence"].as_u64(),
                );
            }
        }
        if marks.is_empty() {
            return Ok(());
        }
        for pc in &mut self.pcs {
            if let Some(Some(mark)) = marks.get(&pc.journal.to_string()) {
                pc.mark = pc.mark.max(*mark);
            }
        }
        Ok(())
    }
}

/// One MQTT connection.
struct Connection {
    stream: TcpStream,
    /// To be sent.
    out: Vec<u8>,
    /// Read, and not a whole packet yet.
    read: Vec<u8>,
    number: u16,
    /// Published and not yet acknowledged by the broker.
    under_way: usize,
}

impl Connection {
    /// Connects and asks for all acknowledgements of the recorder.
    fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        let mut connection = Self {
            stream,
            out: Vec::new(),
            read: Vec::new(),
            number: 0,
            under_way: 0,
        };
        let id = format!("chaos-{}", Uuid::new_v4().simple());
        // CONNECT: MQTT 3.1.1, a clean session, no keep-alive; then SUBSCRIBE at QoS 0.
        connection.put(
            0x10,
            &[&text("MQTT")[..], &[4, 2, 0, 0], &text(&id)].concat(),
        );
        connection.put(0x82, &[&[0, 1][..], &text("lab/+/ack"), &[0]].concat());
        connection.flush()?;
        Ok(connection)
    }

    fn put(&mut self, kind: u8, body: &[u8]) {
        self.out.push(kind);
        let mut length = body.len();
        loop {
            let digit = u8::try_from(length & 127).unwrap();
            length >>= 7;
            self.out.push(if length > 0 { digit | 128 } else { digit });
            if length == 0 {
                break;
            }
        }
        self.out.extend_from_slice(body);
    }

    fn publish(&mut self, topic: &str, payload: &[u8]) -> io::Result<()> {
        self.number = self.number.checked_add(1).unwrap_or(1);
        let number = self.number.to_be_bytes();
        self.put(0x32, &[&text(topic)[..], &number, payload].concat());
        self.under_way += 1;
        if self.out.len() > 64 * 1024 {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Payloads of the messages that have come.
    fn receive(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut step = [0; 64 * 1024];
        match self.stream.read(&mut step) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.read.extend_from_slice(&step[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
        let (mut at, mut payloads) = (0, Vec::new());
        while let Some((kind, body, end)) = packet(&self.read[at..]) {
            match kind >> 4 {
                3 => {
                    let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                    payloads.push(body[2 + topic..].to_vec());
                }
                4 => self.under_way -= 1,
                _ => {}
            }
            at += end;
        }
        self.read.drain(..at);
        Ok(payloads)
    }
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [&length[..], text.as_bytes()].concat()
}

/// The first packet of `bytes`: its kind, its body, where it ends.
fn packet(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (mut length, mut at) = (0_usize, 1);
    loop {
        let digit = *bytes.get(at)?;
        length |= usize::from(digit & 127) << (7 * (at - 1));
        at += 1;
        if digit & 128 == 0 {
            break;
        }
    }
    let body = bytes.get(at..at + length)?;
    Some((bytes[0], body, at + length))
}

fn unix_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_millis().try_into().unwrap()
}
