//! Settings: from what was typed ([`Args`]) to what is used ([`Settings`]).
//!
//! Every setting is read and everything wrong is told at once, before a socket is opened. The staff's passwords
//! and the TLS key come from files, which are refused if others may read them.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use labwatch_contract::topic::Root;
use labwatch_link::settings::{Problems, read_private};
use rustls::ServerConfig;

use crate::{
    password::StaffPasswords,
    quota::{Limit, Quotas},
    tls,
};

/// What was typed.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where to listen for MQTT; `[::]:1883` takes IPv6 and IPv4
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "LABWATCH_LISTEN",
        default_value = "0.0.0.0:1883"
    )]
    pub listen: String,

    /// Where to listen for MQTT over TLS (usually 0.0.0.0:8883); needs --cert and --key
    #[arg(long, value_name = "ADDR:PORT", env = "LABWATCH_TLS_LISTEN")]
    pub tls_listen: Option<String>,

    /// File with the certificate chain (PEM) of the TLS listener
    #[arg(long, value_name = "FILE", env = "LABWATCH_CERT")]
    pub cert: Option<String>,

    /// File with the private key (PEM) of the TLS listener, readable by its owner or its group alone
    #[arg(long, value_name = "FILE", env = "LABWATCH_KEY")]
    pub key: Option<String>,

    /// File with the staff's passwords, one `user:hash` a line, readable by its owner or its group alone; make a line with
    /// `labwatch-broker hash-password USER`. Connections from loopback (127.0.0.0/8, ::1) are staff without a password;
    /// those from another address of this machine are not
    #[arg(long, value_name = "FILE", env = "LABWATCH_STAFF_PASSWORDS")]
    pub staff_passwords: Option<String>,

    /// First level of every topic
    #[arg(
        long,
        value_name = "NAME",
        env = "LABWATCH_ROOT",
        default_value = "lab"
    )]
    pub root: String,

    /// Most connections of one address, one IPv6 /64, and all PCs together
    #[arg(
        long,
        value_name = "N,N,N",
        env = "LABWATCH_MAX_CONNECTIONS",
        default_value = "16,3072,4096"
    )]
    pub max_connections: String,

    /// Most packets a second of one address, one IPv6 /64, and all PCs together; 20 seconds' worth may come at once
    #[arg(
        long,
        value_name = "N,N,N",
        env = "LABWATCH_MAX_MESSAGES",
        default_value = "500,20000,40000"
    )]
    pub max_messages: String,

    /// Most bytes a second of one address, one IPv6 /64, and all PCs together; 20 seconds' worth may come at once
    #[arg(
        long,
        value_name = "N,N,N",
        env = "LABWATCH_MAX_BYTES",
        default_value = "2097152,33554432,67108864"
    )]
    pub max_bytes: String,
}

/// What is used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where MQTT is listened for; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// The TLS listener, if there is one.
    pub tls: Option<Tls>,
    /// The staff's passwords.
    pub staff: StaffPasswords,
    /// First level of every topic.
    pub root: Root,
    /// What a PC, a network and all PCs may use.
    pub quotas: Quotas,
    /// Which addresses are staff without a password: those of this machine's loopback.
    pub is_staff_address: fn(IpAddr) -> bool,
}

/// The TLS listener.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Certificate and key.
    pub config: Arc<ServerConfig>,
}

impl Args {
    /// Reads every setting; `None` when one of them is wrong, and `problems` says which.
    pub fn read(&self, problems: &mut Problems) -> Option<Settings> {
        let listen = problems.check("--listen", read_address(&self.listen));
        let tls = self.read_tls(problems);
        let staff = match &self.staff_passwords {
            None => Some(StaffPasswords::default()),
            Some(file) => problems.check("--staff-passwords", read_passwords(file)),
        };
        let root = problems.check("--root", self.root.parse());
        let connections =
            problems.check("--max-connections", self.max_connections.parse::<Limit>());
        let messages = problems.check("--max-messages", self.max_messages.parse::<Limit>());
        let bytes = problems.check("--max-bytes", self.max_bytes.parse::<Limit>());
        Some(Settings {
            listen: listen?,
            tls: tls?,
            staff: staff?,
            root: root?,
            quotas: Quotas {
                connections: connections?,
                messages: messages?,
                bytes: bytes?,
            },
            is_staff_address: |address| address.to_canonical().is_loopback(),
        })
    }

    fn read_tls(&self, problems: &mut Problems) -> Option<Option<Tls>> {
        let cert = self.cert.as_ref();
        let chain = cert.map(|file| problems.check("--cert", tls::read_chain(file)));
        let key = self.key.as_ref();
        let key = key.map(|file| problems.check("--key", tls::read_key(file)));
        let listen = self.tls_listen.as_ref();
        let listen = listen.map(|text| problems.check("--tls-listen", read_address(text)));
        let (listen, chain, key) = match (listen, chain, key) {
            (None, None, None) => return Some(None),
            (Some(listen), Some(chain), Some(key)) => (listen?, chain?, key?),
            _ => {
                problems.add("--tls-listen", "goes together with --cert and --key");
                return None;
            }
        };
        let config = problems.check("--key", tls::config(chain, key))?;
        Some(Some(Tls { listen, config }))
    }
}

fn read_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not ADDR:PORT, such as 0.0.0.0:1883 or [::]:1883"))
}

fn read_passwords(file: &str) -> Result<StaffPasswords, String> {
    let text = read_private(file)?;
    StaffPasswords::parse(&text).map_err(|error| format!("{file}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt as _,
    };

    use clap::Parser as _;

    use super::*;
    use crate::password::hash_password;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn read(flags: &[&str]) -> Result<Settings, String> {
        let typed = ["labwatch-broker"].iter().chain(flags);
        let args = Cli::try_parse_from(typed).unwrap().args;
        let mut problems = Problems::default();
        let settings = args.read(&mut problems).filter(|_| problems.is_empty());
        settings.ok_or_else(|| problems.to_string())
    }

    #[test]
    fn without_flags_it_listens_everywhere_without_tls() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.listen.to_string(), "0.0.0.0:1883");
        assert!(settings.tls.is_none());
        assert!((settings.is_staff_address)(
            "::ffff:127.0.0.1".parse().unwrap()
        ));
        assert!(!(settings.is_staff_address)("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let told = read(&[
            "--listen",
            "everywhere",
            "--tls-listen",
            "8883",
            "--cert",
            "/nowhere/cert",
            "--key",
            "/nowhere/key",
            "--staff-passwords",
            "/nowhere/staff",
            "--root",
            "a/b",
            "--max-connections",
            "1",
            "--max-messages",
            "x",
            "--max-bytes",
            "0,0,0",
        ])
        .unwrap_err();
        for flag in [
            "--listen",
            "--tls-listen",
            "--cert",
            "--key",
            "--staff-passwords",
            "--root",
            "--max-connections",
            "--max-messages",
            "--max-bytes",
        ] {
            assert!(told.contains(&format!("{flag}:")), "{flag} in {told}");
        }
    }

    #[test]
    fn tls_needs_all_three_of_its_flags() {
        assert!(
            read(&["--tls-listen", "0.0.0.0:8883"])
                .unwrap_err()
                .contains("--cert and --key")
        );
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the flag is about a file, so there has to be one"
    )]
    #[test]
    fn a_password_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("staff");
        fs::write(&file, hash_password("anna", "secret").unwrap()).unwrap();
        let name = file.to_str().unwrap();
        for (mode, good) in [(0o644, false), (0o600, true)] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let read = read(&["--staff-passwords", name]);
            assert_eq!(read.is_ok(), good, "{mode:o}: {read:?}");
        }
    }
}
