//! Settings of the recorder: from what was typed to what is used.
//!
//! [`RecorderArgs`] is what was typed; [`RecorderArgs::read`] gives checked [`Settings`] or adds every mistake to the
//! problems at once. Nothing is opened here; whether the directory can be written to is found at the start.

use std::path::PathBuf;

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
}

/// What the recorder uses.
#[derive(Clone)]
pub struct Settings {
    /// Where the broker is and who we are to it.
    pub connection: Connection,
    /// Directory of the records.
    pub dir: PathBuf,
}

impl RecorderArgs {
    /// Reads every setting; `None` when one of them is wrong, and `problems` says which.
    pub fn read(&self, problems: &mut Problems) -> Option<Settings> {
        let connection = self.broker.read(problems);
        let dir = problems.check("--dir", check_dir(&self.dir));
        Some(Settings {
            connection: connection?,
            dir: dir?,
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
        assert!(read(&["--dir="]).is_err_and(|told| told.contains("empty")));
    }
}
