//! A broker on loopback, and a raw MQTT client that writes its packets byte by byte, so that the broker's own
//! codec is not tested against itself. 127.0.0.1 is staff; 127.0.0.2 and so on are PCs.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use labwatch_broker::{
    Broker,
    password::StaffPasswords,
    quota::{Limit, Quotas},
    settings::Settings,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Liveness only: nothing here should take that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const CONNECT: u8 = 0x10;
pub(crate) const CONNACK: u8 = 0x20;
pub(crate) const PUBLISH: u8 = 0x30;
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const SUBSCRIBE: u8 = 0x82;
pub(crate) const SUBACK: u8 = 0x90;
pub(crate) const UNSUBSCRIBE: u8 = 0xa2;
pub(crate) const UNSUBACK: u8 = 0xb0;
pub(crate) const PINGREQ: u8 = 0xc0;
pub(crate) const PINGRESP: u8 = 0xd0;
pub(crate) const DISCONNECT: u8 = 0xe0;

pub(crate) struct TestBroker {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<SocketAddr>,
    pub(crate) stop: CancellationToken,
    pub(crate) served: JoinHandle<anyhow::Result<()>>,
}

pub(crate) fn limit(each: u32) -> Limit {
    Limit {
        address: each,
        network: each * 100,
        all: each * 100,
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        staff: StaffPasswords::default(),
        root: "lab".parse().unwrap(),
        quotas: Quotas {
            connections: limit(20),
            messages: limit(1_000),
            bytes: limit(10_000_000),
        },
        is_staff_address: |address| address == IpAddr::from([127, 0, 0, 1]),
    }
}

impl TestBroker {
    pub(crate) async fn start(settings: Settings) -> Self {
        let broker = Broker::bind(settings).await.unwrap();
        let address = broker.local_addr().unwrap();
        let tls = broker.tls_local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn(broker.serve(stop.clone()));
        Self {
            address,
            tls,
            stop,
            served,
        }
    }

    /// A TCP connection from 127.0.0.`last`.
    pub(crate) async fn dial(&self, last: u8) -> Client<TcpStream> {
        self.dial_from([127, 0, 0, last]).await
    }

    /// A TCP connection from an address of 127.0.0.0/8.
    pub(crate) async fn dial_from(&self, address: [u8; 4]) -> Client<TcpStream> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((address, 0))).unwrap();
        Client::new(socket.connect(self.address).await.unwrap())
    }

    /// A client that was let in.
    pub(crate) async fn client(&self, last: u8, id: &str) -> Client<TcpStream> {
        let mut client = self.dial(last).await;
        client.send(&connect(id)).await;
        client.expect(CONNACK, &[0, 0]).await;
        client
    }

    /// Staff that reads `filter`.
    pub(crate) async fn reader(&self, filter: &str) -> Client<TcpStream> {
        let mut client = self.client(1, "").await;
        assert_eq!(client.subscribe(filter, 1).await, 1);
        client
    }
}

/// A packet from its first byte and its body.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let more = if length > 0x7f { 0x80 } else { 0 };
        bytes.push(u8::try_from(length & 0x7f).unwrap() | more);
        length >>= 7;
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

fn field(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length[..], bytes].concat()
}

/// CONNECT with a clean session and a keep-alive of a minute.
pub(crate) fn connect(id: &str) -> Vec<u8> {
    connect_with(id, 60, None, None)
}

pub(crate) fn connect_with(
    id: &str,
    keep_alive: u16,
    will: Option<(&str, &[u8])>,
    login: Option<(&str, &str)>,
) -> Vec<u8> {
    let mut flags = 2;
    let mut rest = field(id.as_bytes());
    if let Some((topic, payload)) = will {
        flags |= 0x2c;
        rest.extend(field(topic.as_bytes()));
        rest.extend(field(payload));
    }
    if let Some((user, password)) = login {
        flags |= 0xc0;
        rest.extend(field(user.as_bytes()));
        rest.extend(field(password.as_bytes()));
    }
    let head = [&b"\0\x04MQTT\x04"[..], &[flags], &keep_alive.to_be_bytes()].concat();
    packet(CONNECT, &[head, rest].concat())
}

/// PUBLISH; with an id it is one of QoS 1.
pub(crate) fn publish(topic: &str, payload: &[u8], id: Option<u16>, retain: bool) -> Vec<u8> {
    let id: Vec<u8> = id.into_iter().flat_map(u16::to_be_bytes).collect();
    let qos = if id.is_empty() { 0 } else { 2 };
    let body = [field(topic.as_bytes()), id, payload.to_vec()].concat();
    packet(PUBLISH | qos | u8::from(retain), &body)
}

/// A message as it was received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) id: Option<u16>,
    pub(crate) retain: bool,
}

pub(crate) struct Client<S> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next packet; `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some(packet) = self.take() {
                return Some(packet);
            }
            let mut chunk = vec![0; 64 * 1024];
            let read = timeout(PATIENCE, self.stream.read(&mut chunk));
            match read.await.expect("the broker says nothing") {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
            }
        }
    }

    fn take(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = *self.buffer.first()?;
        let (mut length, mut at) = (0, 1);
        loop {
            let byte = *self.buffer.get(at)?;
            length |= usize::from(byte & 0x7f) << (7 * (at - 1));
            at += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let body = self.buffer.get(at..at + length)?.to_vec();
        self.buffer.drain(..at + length);
        Some((first, body))
    }

    pub(crate) async fn expect(&mut self, first: u8, body: &[u8]) {
        assert_eq!(self.next().await, Some((first, body.to_vec())));
    }

    /// That the broker closes the connection, whatever it says before.
    pub(crate) async fn expect_end(&mut self) {
        while self.next().await.is_some() {}
    }

    /// Subscribes; the granted QoS or 0x80.
    pub(crate) async fn subscribe(&mut self, filter: &str, qos: u8) -> u8 {
        let body = [&[0, 9][..], &field(filter.as_bytes()), &[qos]].concat();
        self.send(&packet(SUBSCRIBE, &body)).await;
        let (first, body) = self.next().await.unwrap();
        assert_eq!((first, &body[..2]), (SUBACK, &[0, 9][..]));
        body[2]
    }

    pub(crate) async fn unsubscribe(&mut self, filter: &str) {
        let body = [&[0, 10][..], &field(filter.as_bytes())].concat();
        self.send(&packet(UNSUBSCRIBE, &body)).await;
        loop {
            match self.next().await.expect("the broker has closed") {
                (first, _) if first & 0xf0 == PUBLISH => {}
                answer => return assert_eq!(answer, (UNSUBACK, vec![0, 10])),
            }
        }
    }

    /// Publishes with QoS 1 and waits for the acknowledgement.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &[u8], retain: bool) {
        self.send(&publish(topic, payload, Some(7), retain)).await;
        self.expect(PUBACK, &[0, 7]).await;
    }

    /// The next message, acknowledged.
    pub(crate) async fn message(&mut self) -> Received {
        let (first, body) = self.next().await.expect("the broker has closed");
        assert_eq!(first & 0xf0, PUBLISH, "{first:x} {body:?}");
        let end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = String::from_utf8(body[2..end].to_vec()).unwrap();
        let (id, payload) = match first & 6 {
            0 => (None, &body[end..]),
            _ => {
                let id = [body[end], body[end + 1]];
                self.send(&packet(PUBACK, &id)).await;
                (Some(u16::from_be_bytes(id)), &body[end + 2..])
            }
        };
        Received {
            topic,
            payload: payload.to_vec(),
            id,
            retain: first & 1 != 0,
        }
    }

    /// That nothing but the answer to a ping comes.
    pub(crate) async fn expect_nothing(&mut self) {
        self.send(&packet(PINGREQ, &[])).await;
        self.expect(PINGRESP, &[]).await;
    }
}

impl Client<TcpStream> {
    /// Ends the connection by a reset, as a crashed PC would.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}
