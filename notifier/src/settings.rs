//! Settings of the notifier: from what was typed ([`Args`]) to what is used ([`Settings`]).

use std::{
    net::{AddrParseError, IpAddr},
    path::PathBuf,
    str::FromStr,
};

use clap::builder::BoolishValueParser;
use labwatch_contract::policy::Policy;
use labwatch_link::settings::{BrokerArgs, Connection, Problems};

use crate::policy::source::Source;

/// What the notifier takes beside what every service does.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    broker: BrokerArgs,

    /// The exam's policy (TOML): window, seats, what is allowed and denied; read again when it changes
    #[arg(long, value_name = "FILE", env = "LABWATCH_POLICY")]
    policy: Option<PathBuf>,

    /// Pop-ups on the desktop: auto (where one answers), on (fail without), off
    #[arg(
        long,
        value_name = "auto|on|off",
        env = "LABWATCH_DESKTOP",
        default_value = "auto"
    )]
    desktop: String,

    /// Alerts as JSON, one a line, instead of text
    #[arg(long, env = "LABWATCH_JSON", value_parser = BoolishValueParser::new())]
    json: bool,

    /// Ring the terminal's bell for what is a warning or graver
    #[arg(long, env = "LABWATCH_BELL", value_parser = BoolishValueParser::new())]
    bell: bool,

    /// Run a command for each alert, the alert as JSON on its stdin (by /bin/sh, 10 s at most)
    #[arg(long, value_name = "CMD", env = "LABWATCH_EXEC")]
    exec: Option<String>,

    /// A PC that should be there (repeatable): told when it was never seen
    #[arg(
        long,
        value_name = "ADDR",
        env = "LABWATCH_EXPECT",
        value_delimiter = ','
    )]
    expect: Vec<String>,
}

/// The settings, checked.
#[derive(Clone)]
pub struct Settings {
    /// Where the broker is and who we are to it.
    pub connection: Connection,
    /// The policy, and where it is read again.
    pub policy: Option<(Source, Policy)>,
    /// Whether alerts pop up.
    pub desktop: Desktop,
    /// Whether the console gets JSON.
    pub json: bool,
    /// Whether the bell rings.
    pub bell: bool,
    /// The command that is run for each alert.
    pub exec: Option<String>,
    /// PCs that should be there.
    pub expect: Vec<IpAddr>,
}

/// Whether alerts pop up on the desktop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Desktop {
    /// Where a desktop answers, now or later.
    Auto,
    /// It must answer at the start; the notifier fails without.
    On,
    /// Never.
    Off,
}

/// A word that is none of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of auto, on, off")]
pub struct DesktopError(String);

impl FromStr for Desktop {
    type Err = DesktopError;

    fn from_str(text: &str) -> Result<Self, DesktopError> {
        match text {
            "auto" => Ok(Self::Auto),
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            other => Err(DesktopError(other.to_owned())),
        }
    }
}

impl Args {
    /// Reads every setting; `None` when one of them is wrong, and `problems` says which.
    pub fn read(&self, problems: &mut Problems) -> Option<Settings> {
        let connection = self.broker.read(problems);
        let desktop = problems.check("--desktop", self.desktop.parse());
        let exec = self.exec.clone();
        if exec.as_ref().is_some_and(|line| line.trim().is_empty()) {
            problems.add("--exec", "the command is empty");
        }
        let expect: Vec<_> = self.expect.iter().map(|text| text.parse()).collect();
        let expect = problems.check(
            "--expect",
            expect.into_iter().collect::<Result<_, AddrParseError>>(),
        );
        let policy = self.policy.as_deref().map(Source::open);
        let policy = policy.map(|opened| problems.check("--policy", opened));
        Some(Settings {
            connection: connection?,
            policy: match policy {
                None => None,
                Some(opened) => Some(opened?),
            },
            desktop: desktop?,
            json: self.json,
            bell: self.bell,
            exec,
            expect: expect?,
        })
    }
}
