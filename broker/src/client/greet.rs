//! The first packet: who a client is, whether it may come in, and the CONNACK.
//!
//! From a fresh connection to a [`Guest`], within [`GREETING`]. Staff by address is not asked for a password. A
//! user name that is an IP address is not looked at: it is how PCs log in at Mosquitto, and here the address
//! itself decides. A session is never resumed, whatever the client asks.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::BytesMut;
use labwatch_contract::MAX_PACKET;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{End, GREETING, Guest, LEAVING, timeout};
use crate::{
    access::{self, Deed, Who},
    front::Front,
    packet::{self, Connect, Login, Packet, PacketError, Welcome},
    registry::Seat,
};

/// Longest client id, in bytes.
const MAX_CLIENT_ID: usize = 256;
/// How long a client may be silent that asks for no keep-alive, or for a longer one.
const MAX_KEEP_ALIVE: Duration = Duration::from_secs(60 * 60);
/// How long a client that was refused may take to hear so.
const FAREWELL: Duration = Duration::from_secs(1);

/// Reads the CONNECT, checks it, answers it.
pub(super) async fn greet<S>(
    front: &Arc<Front>,
    stream: &mut S,
    buffer: &mut BytesMut,
    address: IpAddr,
) -> Result<Guest, End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let read = timeout(GREETING, read_connect(stream, buffer));
    let admitted = match read.await.map_err(|_| End::Silent)? {
        Ok(connect) => admit(front, connect, address).await,
        Err(end) => Err(end),
    };
    let welcome = match &admitted {
        Ok(_) => Welcome::Accepted,
        Err(End::Packet(PacketError::Level(_))) => Welcome::Level,
        Err(End::ClientId) => Welcome::ClientId,
        Err(End::Login) => Welcome::Login,
        Err(End::Will(_)) => Welcome::NotAllowed,
        Err(_) => return admitted,
    };
    let mut answer = BytesMut::new();
    packet::write_connack(&mut answer, welcome);
    let sent = timeout(GREETING, stream.write_all(&answer));
    sent.await.map_err(|_| End::Unread)??;
    stream.flush().await?;
    if admitted.is_err() {
        // Closing with bytes unread would reset the connection, and the answer with it.
        let _ = timeout(FAREWELL, farewell(stream)).await;
    }
    admitted
}

async fn farewell<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> std::io::Result<()> {
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

async fn read_connect<S>(stream: &mut S, buffer: &mut BytesMut) -> Result<Connect, End>
where
    S: AsyncRead + Unpin,
{
    loop {
        match packet::read(buffer, MAX_PACKET)? {
            Some((Packet::Connect(connect), _)) => return Ok(connect),
            Some(_) => return Err(End::OutOfTurn("another packet before CONNECT")),
            None if stream.read_buf(buffer).await? == 0 => return Err(End::Closed),
            None => {}
        }
    }
}

async fn admit(front: &Arc<Front>, connect: Connect, address: IpAddr) -> Result<Guest, End> {
    let who = identify(front, connect.login, address).await?;
    if let Some(will) = &connect.will {
        let deed = Deed::Will {
            topic: &will.topic,
            retain: will.retain,
            payload: &will.payload,
        };
        access::allows(&front.root, &who, deed).map_err(End::Will)?;
    }
    let id = match connect.client_id {
        id if id.is_empty() && connect.clean => uuid::Uuid::new_v4().to_string(),
        id if id.is_empty() || id.len() > MAX_CLIENT_ID => return Err(End::ClientId),
        id => id,
    };
    let keep_alive = match connect.keep_alive {
        0 => MAX_KEEP_ALIVE,
        seconds => Duration::from_millis(u64::from(seconds) * 1_500).min(MAX_KEEP_ALIVE),
    };
    let seat = take_seat(front, &who, &id).await?;
    Ok(Guest {
        who,
        id,
        seat,
        keep_alive,
        will: connect.will,
    })
}

async fn identify(front: &Arc<Front>, login: Option<Login>, address: IpAddr) -> Result<Who, End> {
    if (front.is_staff_address)(address) {
        return Ok(Who::Staff(None));
    }
    match login {
        Some(login) if !login.user.is_empty() && login.user.parse::<IpAddr>().is_err() => {
            let user = login.user.clone();
            match front.log_in(login, address).await {
                true => Ok(Who::Staff(Some(user))),
                false => Err(End::Login),
            }
        }
        _ => Ok(Who::Pc(address)),
    }
}

/// Takes the client id over from an older connection, if there is one.
async fn take_seat(front: &Front, who: &Who, id: &str) -> Result<Seat, End> {
    let (seat, older) = front.registry.enter(who.clone(), id.to_owned());
    if let Some(older) = older {
        tokio::select! {
            // One that does not leave in time has lost the id all the same.
            _ = timeout(LEAVING, older.cancelled()) => {}
            () = seat.taken_over() => return Err(End::TakenOver),
        }
    }
    Ok(seat)
}
