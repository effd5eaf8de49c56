//! Settings: from what was typed to what is used.
//!
//! What was typed stays text ([`BrokerArgs`]); reading it gives checked values ([`Connection`]) or adds to
//! [`Problems`], so that all mistakes are told at once, before anything is opened. A secret is read from a
//! file that others may not read.

use std::{
    fmt::{self, Display},
    fs,
    io::Read as _,
    net::{IpAddr, SocketAddr},
    os::unix::fs::MetadataExt as _,
    str::FromStr,
};

use labwatch_contract::topic::Root;

/// What is wrong with the settings, in the order it was found.
#[derive(Debug, Default)]
pub struct Problems(Vec<String>);

impl Problems {
    /// The value, or nothing and a problem of this flag.
    pub fn check<T, E: Display>(&mut self, flag: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(flag, error)).ok()
    }

    /// Adds a problem of a flag.
    pub fn add(&mut self, flag: &str, what: impl Display) {
        self.0.push(format!("{flag}: {what}"));
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// Where the broker is and who we are to it, as typed.
#[derive(Debug, Clone, clap::Args)]
pub struct BrokerArgs {
    /// Where the broker is: mqtt://HOST:1883, or mqtts://HOST:8883 with TLS
    #[arg(
        long,
        value_name = "URL",
        env = "LABWATCH_BROKER",
        default_value = "mqtt://127.0.0.1:1883"
    )]
    pub broker: String,

    /// First level of every topic; one root a room, if several rooms share a broker
    #[arg(
        long,
        value_name = "NAME",
        env = "LABWATCH_ROOT",
        default_value = "lab"
    )]
    pub root: String,

    /// User name at the broker
    #[arg(long, value_name = "NAME", env = "LABWATCH_USERNAME")]
    pub username: Option<String>,

    /// File with the password, not readable by others
    #[arg(long, value_name = "FILE", env = "LABWATCH_PASSWORD_FILE")]
    pub password_file: Option<String>,

    /// File with the certificates (PEM) that a mqtts:// broker is trusted by; not for mqtt://
    #[arg(long, value_name = "FILE", env = "LABWATCH_CA")]
    pub ca: Option<String>,
}

/// Where the broker is and who we are to it, checked.
#[derive(Clone)]
pub struct Connection {
    /// Host, port and whether TLS is spoken.
    pub broker: BrokerUrl,
    /// First level of every topic.
    pub root: Root,
    /// User name and password.
    pub(crate) credentials: Option<(String, String)>,
    /// Certificates in PEM, for TLS.
    pub(crate) ca: Option<Vec<u8>>,
}

impl BrokerArgs {
    /// Reads every setting; `None` when one of them is wrong, and `problems` says which.
    pub fn read(&self, problems: &mut Problems) -> Option<Connection> {
        let broker = problems.check("--broker", self.broker.parse::<BrokerUrl>());
        let root = problems.check("--root", self.root.parse());
        let password = self
            .password_file
            .as_ref()
            .map(|file| problems.check("--password-file", read_password(file)));
        let ca = self
            .ca
            .as_ref()
            .map(|file| problems.check("--ca", read_ca(file)));
        if self.username.is_none() && password.is_some() {
            problems.add("--password-file", "a password needs --username");
        }
        let broker = broker?;
        if broker.tls && ca.is_none() {
            problems.add(
                "--ca",
                "mqtts:// needs the certificates that the broker is trusted by",
            );
            return None;
        }
        if !broker.tls && ca.is_some() {
            problems.add(
                "--ca",
                "mqtt:// is not encrypted and looks at no certificate: mqtts:// is",
            );
            return None;
        }
        let credentials = match (&self.username, password) {
            (Some(name), Some(password)) => Some((name.clone(), password?)),
            (Some(name), None) => Some((name.clone(), String::new())),
            (None, Some(_)) => return None,
            (None, None) => None,
        };
        Some(Connection {
            broker,
            root: root?,
            credentials,
            ca: ca.flatten(),
        })
    }
}

/// Reads a file that holds a secret: a password, staff's passwords, a key.
///
/// # Errors
/// In words, with the file's name: others than its owner may change it, or others than its group may read it (which is
/// the owner's choice: systemd hands credentials over as 0440), or it cannot be read.
pub fn read_private(file: &str) -> Result<String, String> {
    let said = |error: std::io::Error| format!("{file}: {error}");
    let mut open = fs::File::open(file).map_err(said)?;
    let mode = open.metadata().map_err(said)?.mode();
    if mode & 0o027 != 0 {
        let mode = mode & 0o7777;
        return Err(format!(
            "{file}: others may read or change it (mode {mode:04o}); chmod 600 it"
        ));
    }
    let mut text = String::new();
    open.read_to_string(&mut text).map_err(said)?;
    Ok(text)
}

fn read_password(file: &str) -> Result<String, String> {
    let text = read_private(file)?;
    let password = text.lines().next().unwrap_or_default();
    if password.is_empty() {
        Err(format!("{file}: its first line is empty"))
    } else {
        Ok(password.to_owned())
    }
}

fn read_ca(file: &str) -> Result<Vec<u8>, String> {
    let pem = fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    let marker = b"-----BEGIN CERTIFICATE-----";
    if pem.windows(marker.len()).any(|window| window == marker) {
        Ok(pem)
    } else {
        Err(format!("{file}: holds no certificate in PEM"))
    }
}

/// `mqtt://HOST:PORT` or `mqtts://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// A name or an address, an IPv6 one without its brackets.
    pub host: String,
    /// TCP port; 1883, or 8883 with TLS, unless it is said.
    pub port: u16,
    /// Whether TLS is spoken.
    pub tls: bool,
}

impl BrokerUrl {
    /// The broker's address, when the URL holds one and not a name.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        let ip: IpAddr = self.host.parse().ok()?;
        Some(SocketAddr::new(ip, self.port))
    }
}

/// A text that is no URL of a broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not mqtt://HOST:PORT or mqtts://HOST:PORT")]
pub struct BrokerUrlError(String);

impl FromStr for BrokerUrl {
    type Err = BrokerUrlError;

    fn from_str(text: &str) -> Result<Self, BrokerUrlError> {
        read_url(text).ok_or_else(|| BrokerUrlError(text.to_owned()))
    }
}

fn read_url(text: &str) -> Option<BrokerUrl> {
    let (tls, rest) = match text.split_once("://")? {
        ("mqtt", rest) => (false, rest),
        ("mqtts", rest) => (true, rest),
        _ => return None,
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[') {
        Some(rest) => rest
            .split_once(']')
            .map(|(host, port)| (host, port.strip_prefix(':')))?,
        None => rest
            .split_once(':')
            .map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port != 0)?,
        None if tls => 8883,
        None => 1883,
    };
    let good = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_' | ':');
    let host = Some(host).filter(|host| !host.is_empty() && host.chars().all(good))?;
    Some(BrokerUrl {
        host: host.to_owned(),
        port,
        tls,
    })
}

impl Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::*;

    fn args(broker: &str) -> BrokerArgs {
        BrokerArgs {
            broker: broker.into(),
            root: "lab".into(),
            username: None,
            password_file: None,
            ca: None,
        }
    }

    #[test]
    fn urls_of_brokers_are_read() {
        for (text, host, port, tls) in [
            ("mqtt://127.0.0.1:1883", "127.0.0.1", 1883, false),
            ("mqtt://lab-server", "lab-server", 1883, false),
            ("mqtts://lab.example/", "lab.example", 8883, true),
            ("mqtt://[fe80::1]:1884", "fe80::1", 1884, false),
        ] {
            let expected = BrokerUrl {
                host: host.into(),
                port,
                tls,
            };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for text in [
            "",
            "lab-server",
            "http://x",
            "mqtt://",
            "mqtt://x:0",
            "mqtt://x:99999",
            "mqtt://a b",
            "mqtt://[::1",
        ] {
            assert!(text.parse::<BrokerUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let wrong = BrokerArgs {
            root: "a/b".into(),
            password_file: Some("/nowhere/password".into()),
            ca: Some("/nowhere/ca.pem".into()),
            ..args("ftp://x")
        };
        let mut problems = Problems::default();
        assert!(wrong.read(&mut problems).is_none());
        let told = problems.to_string();
        for flag in ["--broker", "--root", "--password-file", "--ca"] {
            assert!(told.contains(flag), "{told}");
        }
    }

    #[test]
    fn tls_without_certificates_to_trust_is_refused() {
        let mut problems = Problems::default();
        assert!(args("mqtts://x").read(&mut problems).is_none());
        assert!(problems.to_string().contains("--ca"));
    }

    #[test]
    fn certificates_for_a_broker_without_tls_are_refused() {
        let file = std::env::temp_dir().join(format!("labwatch-ca-{}", std::process::id()));
        fs::write(&file, "-----BEGIN CERTIFICATE-----\n").unwrap();
        let mut problems = Problems::default();
        let read = BrokerArgs {
            ca: file.to_str().map(str::to_owned),
            ..args("mqtt://x")
        }
        .read(&mut problems);
        fs::remove_file(&file).unwrap();
        assert!(read.is_none());
        assert!(problems.to_string().contains("not encrypted"), "{problems}");
    }

    #[test]
    fn a_secret_that_others_may_read_or_change_is_refused() {
        let file = std::env::temp_dir().join(format!("labwatch-secret-{}", std::process::id()));
        fs::write(&file, "secret\n").unwrap();
        for (mode, good) in [
            (0o644, false),
            (0o660, false),
            (0o604, false),
            (0o440, true),
            (0o640, true),
            (0o600, true),
        ] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let secret = read_private(file.to_str().unwrap());
            assert_eq!(secret.is_ok(), good, "{mode:o}: {secret:?}");
        }
        let password = read_password(file.to_str().unwrap());
        assert_eq!(password.as_deref(), Ok("secret"));
        fs::remove_file(&file).unwrap();
    }

    proptest! {
        #[test]
        fn a_written_url_is_read_back(text in "mqtts?://[a-z0-9.-]{1,20}(:[1-9][0-9]{0,3})?") {
            let url: BrokerUrl = text.parse().unwrap();
            prop_assert_eq!(url.to_string().parse(), Ok(url));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<BrokerUrl>();
        }
    }
}
