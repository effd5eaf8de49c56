//! The agent's settings, from what was typed to what is used.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use labwatch_link::settings::{BrokerArgs, Connection, Problems};

use crate::retention::Bounds;

/// Shorter reports would say less than the rates over 2 s that they hold.
const SHORTEST_REPORT: Duration = Duration::from_secs(2);
const LONGEST_REPORT: Duration = Duration::from_secs(3600);
/// A part of the journals must hold more than one event of ordinary size.
const SMALLEST_JOURNAL: u64 = 1 << 20;
const SHORTEST_AGE: Duration = Duration::from_secs(60);

/// What was typed.
#[derive(Debug, Clone, clap::Args)]
pub struct AgentArgs {
    #[command(flatten)]
    broker: BrokerArgs,

    /// Address in the topics [default: the one that leads to the broker]
    #[arg(long, value_name = "ADDR", env = "LABWATCH_IP")]
    ip: Option<String>,

    /// Network interface to capture on; may be given again [default: every one that is up, loopback excepted]
    #[arg(
        long = "interface",
        value_name = "NAME",
        env = "LABWATCH_INTERFACE",
        value_delimiter = ','
    )]
    interfaces: Vec<String>,

    /// Directory of the journals
    #[arg(
        long,
        value_name = "DIR",
        env = "LABWATCH_STATE_DIR",
        default_value = "/var/lib/labwatch/agent"
    )]
    state_dir: PathBuf,

    /// Most bytes of journals to keep: 256MiB, 1GiB, …; the oldest that the recorder has go first
    #[arg(
        long,
        value_name = "SIZE",
        env = "LABWATCH_JOURNAL_SIZE",
        default_value = "256MiB"
    )]
    journal_size: String,

    /// How long to keep a journal that the recorder has: 30d, 12h, …
    #[arg(
        long,
        value_name = "TIME",
        env = "LABWATCH_JOURNAL_AGE",
        default_value = "30d"
    )]
    journal_age: String,

    /// How often the traffic is reported: 40s, 1m, …
    #[arg(
        long,
        value_name = "TIME",
        env = "LABWATCH_REPORT_EVERY",
        default_value = "40s"
    )]
    report_every: String,

    /// Network that counts as local beside those this PC is on; may be given again
    #[arg(
        long = "local-network",
        value_name = "CIDR",
        env = "LABWATCH_LOCAL_NETWORK",
        value_delimiter = ','
    )]
    local_networks: Vec<String>,
}

/// What is used.
#[derive(Clone)]
pub struct Settings {
    /// Where the broker is.
    pub connection: Connection,
    /// Address in the topics; else the one that leads to the broker.
    pub ip: Option<IpAddr>,
    /// Interfaces to capture on; all that are up when there is none.
    pub interfaces: Vec<String>,
    /// Directory of the journals.
    pub state_dir: PathBuf,
    /// How much of the journals is kept.
    pub bounds: Bounds,
    /// How often the traffic is reported.
    pub report_every: Duration,
    /// Networks that count as local beside those this PC is on.
    pub local_networks: Vec<IpNet>,
}

impl AgentArgs {
    /// Reads every setting; `None` when one is wrong, and `problems` says which.
    pub fn read(self, problems: &mut Problems) -> Option<Settings> {
        let connection = self.broker.read(problems);
        let ip = self
            .ip
            .map(|ip| problems.check("--ip", ip.parse::<IpAddr>()));
        let size = problems.check("--journal-size", read_size(&self.journal_size));
        let age = problems.check("--journal-age", read_age(&self.journal_age));
        let report_every = problems.check("--report-every", read_interval(&self.report_every));
        let read_network = |text: &String| problems.check("--local-network", text.parse::<IpNet>());
        let local_networks: Option<Vec<_>> = self.local_networks.iter().map(read_network).collect();
        if let Some(name) = self.interfaces.iter().find(|name| !is_interface_name(name)) {
            problems.add(
                "--interface",
                format!("{name:?} cannot be the name of an interface"),
            );
        }
        Some(Settings {
            connection: connection?,
            ip: ip.map_or(Some(None), |ip| ip.map(|ip| Some(ip.to_canonical())))?,
            interfaces: self.interfaces,
            state_dir: self.state_dir,
            bounds: Bounds {
                size: size?,
                age: age?,
            },
            report_every: report_every?,
            local_networks: local_networks?,
        })
    }
}

/// Bytes: a whole number and `B`, `KiB`, `MiB` or `GiB`.
fn read_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|char: char| !char.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let factor = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(format!("{text:?} is no size such as 256MiB")),
    };
    let size = number.parse().ok().and_then(|n: u64| n.checked_mul(factor));
    let size = size.ok_or_else(|| format!("{text:?} is no size such as 256MiB"))?;
    if size >= SMALLEST_JOURNAL {
        Ok(size)
    } else {
        Err(format!("{text} is less than 1MiB"))
    }
}

fn read_age(text: &str) -> Result<Duration, String> {
    let age = humantime::parse_duration(text).map_err(|error| format!("{text:?}: {error}"))?;
    if age >= SHORTEST_AGE {
        Ok(age)
    } else {
        Err(format!("{text} is less than 1m"))
    }
}

fn read_interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| format!("{text:?}: {error}"))?;
    if (SHORTEST_REPORT..=LONGEST_REPORT).contains(&interval) {
        Ok(interval)
    } else {
        Err(format!("{text} is not between 2s and 1h"))
    }
}

/// As the kernel's `dev_valid_name`: 1 to 15 bytes, no slash, no colon, no blank.
fn is_interface_name(name: &str) -> bool {
    let good = |char: char| !char.is_whitespace() && !matches!(char, '/' | ':' | '\0');
    (1..=15).contains(&name.len()) && name != "." && name != ".." && name.chars().all(good)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        agent: AgentArgs,
    }

    fn read(arguments: &[&str]) -> Result<Settings, String> {
        let typed = Typed::parse_from([&["agent"], arguments].concat());
        let mut problems = Problems::default();
        let settings = typed.agent.read(&mut problems);
        settings
            .filter(|_| problems.is_empty())
            .ok_or_else(|| problems.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.report_every, Duration::from_secs(40));
        assert_eq!(
            settings.connection.broker.to_string(),
            "mqtt://127.0.0.1:1883"
        );
        let kept = (settings.bounds.size, settings.bounds.age.as_secs());
        assert_eq!(kept, (256 * 1024 * 1024, 30 * 24 * 3600));
        assert!(settings.ip.is_none() && settings.interfaces.is_empty());
    }

    #[test]
    fn flags_that_may_be_given_again_are_collected() {
        let settings = read(&[
            "--interface",
            "eth0",
            "--interface",
            "wlan0",
            "--local-network",
            "10.1.0.0/16",
        ])
        .unwrap();
        assert_eq!(settings.interfaces, ["eth0", "wlan0"]);
        assert_eq!(settings.local_networks.len(), 1);
    }

    #[test]
    fn sizes_are_whole_numbers_with_a_unit() {
        assert_eq!(read_size("2GiB"), Ok(2 << 30));
        assert_eq!(read_size("1048576B"), Ok(1 << 20));
        for wrong in [
            "",
            "MiB",
            "1",
            "1MB",
            "-1MiB",
            "1.5GiB",
            "1023KiB",
            "99999999999999999999GiB",
        ] {
            assert!(read_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let wrong = [
            "--ip",
            "1.2.3",
            "--report-every",
            "1s",
            "--local-network",
            "x",
            "--interface",
            "a/b",
            "--root",
            "#",
            "--journal-size",
            "12",
            "--journal-age",
            "1s",
        ];
        let told = read(&wrong).err().unwrap();
        for flag in [
            "--ip",
            "--report-every",
            "--local-network",
            "--interface",
            "--root",
            "--journal-size",
            "--journal-age",
        ] {
            assert!(told.contains(flag), "{told}");
        }
    }
}
