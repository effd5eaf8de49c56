//! The staff's passwords: lines of `user:hash`, the hash an Argon2id PHC string.
//!
//! From the text of the file to yes or no for a user and a password. Lines are made by
//! `labwatch-broker hash-password USER`; empty lines and lines that begin with `#` are skipped. A user name is
//! letters, digits, `.`, `_`, `-` and no IP address: those are the PCs' user names on Mosquitto.

use std::{collections::HashMap, net::IpAddr};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use labwatch_contract::topic::Name;

/// Why a line or a password is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Not a user's name.
    #[error("{0:?} is no user name: letters, digits, `.`, `_`, `-`, and no IP address")]
    User(String),
    /// Not `user:hash`.
    #[error("line {0} is not `user:hash` as `labwatch-broker hash-password USER` writes it")]
    Line(usize),
    /// Two lines for one user.
    #[error("line {0} names a user for the second time")]
    Twice(usize),
    /// An empty password.
    #[error("the password is empty")]
    Empty,
    /// No random salt, or the like.
    #[error("the password cannot be hashed: {0}")]
    Hash(String),
}

/// User names and the hashes of their passwords.
#[derive(Debug, Clone, Default)]
pub struct StaffPasswords(HashMap<String, String>);

impl StaffPasswords {
    /// Reads the text of a password file.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, PasswordError> {
        let mut users = HashMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (user, hash) = line.split_once(':').ok_or(PasswordError::Line(number))?;
            check_user(user)?;
            if PasswordHash::new(hash).is_err() || !hash.starts_with("$argon2") {
                return Err(PasswordError::Line(number));
            }
            if users.insert(user.to_owned(), hash.to_owned()).is_some() {
                return Err(PasswordError::Twice(number));
            }
        }
        Ok(Self(users))
    }

    /// Whether this is the user's password. Takes tens of milliseconds of a core, for an unknown user too.
    pub(crate) fn verify(&self, user: &str, password: &[u8]) -> bool {
        let Some(hash) = self.0.get(user) else {
            // As long as for a known one, so that names cannot be found out by the time it takes.
            let _ = Argon2::default().hash_password(password);
            return false;
        };
        PasswordHash::new(hash)
            .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
    }
}

/// A line for the password file, with a new salt.
///
/// # Errors
/// [`PasswordError`] when the user name or the password is no good.
pub fn hash_password(user: &str, password: &str) -> Result<String, PasswordError> {
    check_user(user)?;
    if password.is_empty() {
        return Err(PasswordError::Empty);
    }
    let hash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|error| PasswordError::Hash(error.to_string()))?;
    Ok(format!("{user}:{hash}"))
}

fn check_user(user: &str) -> Result<(), PasswordError> {
    match user.parse::<Name>().is_ok() && user.parse::<IpAddr>().is_err() {
        true => Ok(()),
        false => Err(PasswordError::User(user.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_made_is_read_and_verified() {
        let line = hash_password("anna", "correct horse").unwrap();
        let staff = StaffPasswords::parse(&format!("# staff\n\n{line}\n")).unwrap();
        assert!(staff.verify("anna", b"correct horse"));
        assert!(!staff.verify("anna", b"wrong"));
        assert!(!staff.verify("bert", b"correct horse"));
        assert!(!staff.verify("anna", b""));
    }

    #[test]
    fn two_hashes_of_one_password_differ() {
        assert_ne!(
            hash_password("a", "x").unwrap(),
            hash_password("a", "x").unwrap()
        );
    }

    #[test]
    fn wrong_lines_are_named() {
        let good = hash_password("anna", "x").unwrap();
        let parse = |text: &str| StaffPasswords::parse(text).unwrap_err();
        assert_eq!(parse("anna"), PasswordError::Line(1));
        assert_eq!(parse("\nanna:secret"), PasswordError::Line(2));
        assert_eq!(parse(&format!("{good}\n{good}")), PasswordError::Twice(2));
        assert!(matches!(parse("10.0.0.1:x"), PasswordError::User(_)));
        assert!(matches!(parse(":x"), PasswordError::User(_)));
        assert_eq!(hash_password("anna", ""), Err(PasswordError::Empty));
    }
}
