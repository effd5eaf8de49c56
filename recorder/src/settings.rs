//! Settings of the recorder: from what was typed to what is used.
//!
//! [`RecorderArgs`] is what was typed; [`RecorderArgs::read`] gives checked [`Settings`] or adds every mistake to the
//! problems at once. Nothing is opened here; whether the directory can be written to is found at the start.

use std::{path::PathBuf, time::Duration};

use labwatch_link::settings::{BrokerArgs, Connection, Problems};

/// What the recorder takes, as typed.
#[derive(Debug, Clone, clap::Args)]
pub struct RecorderArgs {
    /// Where the broker is.
    #[command(flatten)]
    pub broker: BrokerArgs,

    /// Directory of the records: a folder for each PC, made if it is not there
    #[arg(
        long,
        value_name = "DIR",
        env = "LABWATCH_DIR",
        default_value = "/var/lib/labwatch/recorder"
    )]
    pub dir: String,

    /// Remove records that are older, e.g. 90d; nothing is ever removed without it
    #[arg(long, value_name = "AGE", env = "LABWATCH_RETENTION")]
    pub retention: Option<String>,
}

/// What the recorder uses.
#[derive(Clone)]
pub struct Settings {
    /// Where the broker is and who we are to it.
    pub connection: Connection,
    /// Directory of the records.
    pub dir: PathBuf,
    /// Records older than this are removed, at least a day.
    pub retention: Option<Duration>,
}

impl RecorderArgs {
    /// Reads every setting; `None` when one of them is wrong, and `problems` says which.
    pub fn read(&self, problems: &mut Problems) -> Option<Settings> {
        let connection = self.broker.read(problems);
        let dir = problems.check("--dir", check_dir(&self.dir));
        let retention = self.retention.as_deref().map(check_retention).transpose();
        let retention = problems.check("--retention", retention);
        Some(Settings {
            connection: connection?,
            dir: dir?,
            retention: retention?,
        })
    }
}

fn check_dir(dir: &str) -> Result<PathBuf, &'static str> {
    let path = PathBuf::from(dir);
    if dir.is_empty() {
        Err("the name of the directory is empty")
    } else if path.exists() && !path.is_dir() {
        Err("is there and is no directory")
    } else {
        Ok(path)
    }
}

fn check_retention(age: &str) -> Result<Duration, String> {
    let age = humantime::parse_duration(age).map_err(|error| error.to_string())?;
    if age < Duration::from_secs(24 * 3600) {
        return Err("less than a day".to_owned());
    }
    Ok(age)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: RecorderArgs,
    }

    fn read(arguments: &[&str]) -> Result<Settings, String> {
        let line = Line::try_parse_from([&["labwatch-recorder"], arguments].concat()).unwrap();
        let mut problems = Problems::default();
        let settings = line.args.read(&mut problems);
        settings.ok_or_else(|| problems.to_string())
    }

    #[test]
    fn without_any_flag_the_settings_are_in_order() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.dir, PathBuf::from("/var/lib/labwatch/recorder"));
        assert_eq!(
            settings.connection.broker.to_string(),
            "mqtt://127.0.0.1:1883"
        );
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let told = read(&["--broker", "ftp://x", "--root", "a/b", "--dir", "/dev/null"]);
        let told = told.err().unwrap();
        for flag in ["--broker", "--root", "--dir"] {
            assert!(told.contains(flag), "{told}");
        }
        for age in ["", "soon", "1h", "-1d"] {
            assert!(
                read(&[&format!("--retention={age}")])
                    .is_err_and(|told| told.contains("--retention")),
                "{age}"
            );
        }
        assert_eq!(
            read(&["--retention", "90d"]).unwrap().retention,
            Some(Duration::from_secs(90 * 24 * 3600))
        );
        assert!(read(&["--dir="]).is_err_and(|told| told.contains("empty")));
    }
}
