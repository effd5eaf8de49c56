//! What staff does from a terminal: list the open incidents, acknowledge one, mute a PC or a rule.
//!
//! Each command makes its own connection, reads what the broker retains below `alerts/`, and writes at most one retained
//! message there. Nothing says when a broker has repeated all of it, and a slow one begins late; so it is waited for the
//! mark that notifiers leave there, and for a moment of quiet after it. It is done when the broker has sent that message
//! back: running notifiers have it then, and the recorder too. Exit 1 where there is no such incident, or no broker in
//! time.

use std::{fmt::Write as _, net::IpAddr, time::Duration};

use anyhow::{Context as _, bail};
use chrono::Utc;
use labwatch_contract::{
    alert::{AckLab, AckUser, Alert, AlertAck, MUTE_PREFIX, Mute, MuteLab, Verdict},
    text::harmless,
    time::Timestamp,
    topic::{Name, Root},
};
use labwatch_link::{
    service::{self, ServiceArgs},
    session::{Incoming, Message, Publisher, SessionSettings, session},
    settings::{BrokerArgs, Connection, Problems},
};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    board::{Board, message_of},
    incidents::word,
    line::Style,
};

/// How long the broker may take to accept us, and to send our message back.
const PATIENCE: Duration = Duration::from_secs(5);
/// When a notifier's mark has come and then nothing more for so long, the broker has repeated all it retains.
const QUIET: Duration = Duration::from_millis(500);

/// What staff can do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Say that somebody has dealt with an incident, and how; every notifier then stops repeating it
    Ack(AckArgs),
    /// Print the open incidents, the gravest first
    List(ListArgs),
    /// Do not show what is about a PC or from a rule for a while; it is recorded all the same
    Mute(MuteArgs),
}

/// Arguments of `ack`.
#[derive(Debug, clap::Args)]
pub struct AckArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    /// The incident, as `list` prints it
    id: String,
    /// Who has dealt with it
    #[arg(long, value_name = "NAME")]
    by: String,
    /// What it was: seen, false-alarm, technical, suspected
    #[arg(long, value_name = "VERDICT")]
    verdict: String,
    /// In words
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    /// The alerts as JSON, one a line
    #[arg(long)]
    json: bool,
}

/// Arguments of `mute`.
#[derive(Debug, clap::Args)]
pub struct MuteArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    /// A PC's address, or a rule's id
    #[arg(value_name = "PC|RULE")]
    target: String,
    /// Until when: 2026-11-22T10:30:00Z, or how long from now: 10m; 0s ends it
    #[arg(long, value_name = "TIME")]
    until: String,
    /// Who wants it
    #[arg(long, value_name = "NAME", env = "USER", default_value = "staff")]
    by: String,
}

/// What is to be done, checked.
enum Task {
    Acknowledge(String, AlertAck),
    List { json: bool },
    Mute(Mute),
}

impl Command {
    /// Does it; gives the exit code.
    #[must_use]
    pub fn run(&self) -> std::process::ExitCode {
        // Whoever types a command wants its answer, not the session's log.
        let args = ServiceArgs {
            check: false,
            log: "error".into(),
        };
        service::run(&args, |problems| self.read(problems), act)
    }

    fn read(&self, problems: &mut Problems) -> Option<(Connection, Task)> {
        let (broker, task) = match self {
            Self::Ack(args) => (&args.broker, read_ack(args, problems)),
            Self::List(args) => (&args.broker, Some(Task::List { json: args.json })),
            Self::Mute(args) => (&args.broker, read_mute(args, problems)),
        };
        let connection = broker.read(problems);
        Some((connection?, task?))
    }
}

fn read_ack(args: &AckArgs, problems: &mut Problems) -> Option<Task> {
    let id = problems.check("ID", args.id.parse::<Name>());
    let verdict = serde_json::from_value::<Verdict>(Value::String(args.verdict.clone()));
    let verdict = verdict.map_err(|_| "one of seen, false-alarm, technical, suspected");
    let verdict = problems.check("--verdict", verdict);
    if args.by.trim().is_empty() {
        problems.add("--by", "somebody must have dealt with it");
    }
    let ack = AlertAck {
        timestamp: now(),
        user: AckUser {
            name: args.by.clone(),
        },
        lab: AckLab {
            verdict: verdict?,
            note: args.note.clone(),
        },
    };
    Some(Task::Acknowledge(id?.to_string(), ack))
}

fn read_mute(args: &MuteArgs, problems: &mut Problems) -> Option<Task> {
    let until = problems.check("--until", read_until(&args.until, now()));
    let target = match args.target.parse::<IpAddr>() {
        Ok(address) => Some(address.to_canonical().to_string()),
        Err(_) => problems
            .check("PC|RULE", args.target.parse::<Name>())
            .map(|name| name.to_string()),
    };
    Some(Task::Mute(Mute {
        timestamp: now(),
        user: AckUser {
            name: args.by.clone(),
        },
        lab: MuteLab {
            target: target?,
            until: until?,
        },
    }))
}

/// A moment, or a while from now.
fn read_until(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let wait = humantime::parse_duration(text)
        .map_err(|_| "neither a time such as 2026-11-22T10:30:00Z nor a while such as 10m")?;
    let wait = i64::try_from(wait.as_millis()).map_err(|_| "too long")?;
    let until = now.unix_ms().checked_add(wait);
    until
        .and_then(Timestamp::from_unix_ms)
        .ok_or_else(|| "too long".into())
}

fn now() -> Timestamp {
    Utc::now().into()
}

async fn act(
    (connection, task): (Connection, Task),
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let root = connection.root.clone();
    let id = Uuid::new_v4().simple().to_string();
    let settings = SessionSettings {
        filters: vec![format!("{root}/alerts/#")],
        client_id: format!("staff-{id:.12}"),
        connection,
        outgoing_queue: 4,
        incoming_queue: 256,
    };
    let (session, publisher, incoming) = session(settings, (), stop.clone());
    let desk = Desk {
        root,
        publisher,
        incoming,
    };
    let work = async {
        let done = stop.run_until_cancelled(desk.work(task)).await;
        stop.cancel();
        done.unwrap_or_else(|| bail!("interrupted"))
    };
    tokio::join!(session.run(), work).1
}

struct Desk {
    root: Root,
    publisher: Publisher,
    incoming: mpsc::Receiver<Incoming>,
}

impl Desk {
    async fn work(mut self, task: Task) -> anyhow::Result<()> {
        self.accepted().await?;
        match task {
            Task::List { json: true } => {
                let board = self.read_board().await?;
                for (alert, _) in board.open() {
                    println!("{}", Style::Json.line(alert));
                }
                Ok(())
            }
            Task::List { json: false } => {
                print!("{}", list(&self.read_board().await?));
                Ok(())
            }
            Task::Acknowledge(id, ack) => {
                let board = self.read_board().await?;
                if !board.open().iter().any(|(alert, _)| alert.lab.id == id) {
                    bail!("no open incident has the id {id}; list prints them");
                }
                self.publish(&format!("alerts/{id}/ack"), &ack).await?;
                println!("{id} is acknowledged.");
                Ok(())
            }
            Task::Mute(mute) => {
                let name = mute.lab.target.replace(':', ".");
                self.publish(&format!("alerts/{MUTE_PREFIX}{name}"), &mute)
                    .await?;
                println!("{} is not shown until {}.", mute.lab.target, mute.lab.until);
                Ok(())
            }
        }
    }

    async fn accepted(&mut self) -> anyhow::Result<()> {
        let accepted = timeout(PATIENCE, async {
            while let Some(incoming) = self.incoming.recv().await {
                if let Incoming::Connected(_) = incoming {
                    return true;
                }
            }
            false
        });
        if !accepted.await.unwrap_or(false) {
            bail!("no connection to the broker");
        }
        Ok(())
    }

    /// What the broker retains.
    async fn read_board(&mut self) -> anyhow::Result<Board> {
        let mut board = Board::new(self.root.clone());
        let end = Instant::now() + PATIENCE;
        loop {
            let quiet = Instant::now() + QUIET;
            let until = if board.is_watched() {
                end.min(quiet)
            } else {
                end
            };
            match timeout_at(until, self.incoming.recv()).await {
                Ok(Some(Incoming::Message(message))) => {
                    if let Err(error) = board.read(&message) {
                        eprintln!("{}: {error}", harmless(&message.topic));
                    }
                }
                Ok(Some(Incoming::Connected(_))) => {}
                Ok(Some(Incoming::Disconnected { reason })) => bail!("connection lost: {reason}"),
                Ok(None) | Err(_) if board.is_watched() || board.mutes().next().is_some() => break,
                Ok(None) | Err(_) if !board.open().is_empty() => break,
                Ok(None) | Err(_) => bail!(
                    "the broker has sent nothing of a notifier: none has watched since it was started, or it is too slow"
                ),
            }
        }
        Ok(board)
    }

    /// Publishes, and waits until it comes back.
    async fn publish(
        &mut self,
        topic: &str,
        payload: &impl serde::Serialize,
    ) -> anyhow::Result<()> {
        let topic = format!("{}/{topic}", self.root);
        let message = message_of(&topic, payload).context("it cannot be written")?;
        self.publisher.try_publish(message.clone())?;
        let back = timeout(PATIENCE, async {
            while let Some(incoming) = self.incoming.recv().await {
                let same = |came: &Message| came.topic == topic && came.payload == message.payload;
                if matches!(&incoming, Incoming::Message(came) if same(came)) {
                    return true;
                }
            }
            false
        });
        if back.await.unwrap_or(false) {
            Ok(())
        } else {
            bail!("the broker did not take it: is this the server itself, is the user name right?")
        }
    }
}

/// The open incidents for people.
fn list(board: &Board) -> String {
    let mut text = String::new();
    let open = board.open();
    for (alert, ack) in &open {
        let Alert { event, lab, .. } = alert;
        let dealt_with = match ack {
            Some(ack) => format!("{} by {}", ack.0, ack.1),
            None => "open".into(),
        };
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{}  {:<9}  {}  {}\n    {dealt_with}",
            lab.last,
            word(event.severity).to_uppercase(),
            harmless(&lab.id),
            harmless(&alert.message),
        );
    }
    if open.is_empty() {
        text.push_str("No incident is open.\n");
    }
    for mute in board.mutes() {
        let _ = writeln!(
            text,
            "muted until {}: {} (by {})",
            mute.lab.until,
            harmless(&mute.lab.target),
            harmless(&mute.user.name)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_is_a_moment_or_a_while() {
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let until = |text| read_until(text, now).map(|until| until.to_string());
        assert_eq!(until("10m"), Ok("2026-11-22T10:10:00.000Z".into()));
        assert_eq!(until("0s"), Ok("2026-11-22T10:00:00.000Z".into()));
        assert_eq!(
            until("2026-11-22T11:00:00Z"),
            Ok("2026-11-22T11:00:00.000Z".into())
        );
        for wrong in ["", "soon", "10", "99999999999y"] {
            assert!(until(wrong).is_err(), "{wrong}");
        }
    }
}
