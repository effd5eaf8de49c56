//! Topic `checkpoint`: the recorder's signature (Ed25519, RFC 8032) under everything that its record holds.
//!
//! A checkpoint covers the files that grew since the one before: for each its length and the SHA-256 of its
//! bytes so far. `lab.root` is one hash over these heads and the root before, so the newest checkpoint speaks for
//! the whole record. What is signed is the text of [`Summary`] as it is written; a copy kept elsewhere therefore
//! convicts a record that was changed later, whoever holds the recorder's disk.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    chain::{Digest, hex},
    time::Timestamp,
};

/// How far a file of the record has come.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileHead {
    /// Below the recorder's directory: `192.168.0.133/2026-11-22T09-31-05Z.jsonl`.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// The digest of so many bytes of it.
    pub sha256: Digest,
}

/// What a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The store.
    pub recorder: Uuid,
    /// From 1, without holes.
    pub number: u64,
    /// How many files have grown since the one before.
    pub files: u64,
    /// The root of the one before; zeros in the first.
    pub prev: Digest,
    /// See [`root`].
    pub root: Digest,
}

/// A checkpoint, as it is published and recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// When it was made.
    #[serde(rename = "@timestamp")]
    pub timestamp: Timestamp,
    /// What it says.
    pub lab: Summary,
    /// The recorder's public key, 64 hex digits.
    pub key: String,
    /// The signature under time and summary, 128 hex digits.
    pub signature: String,
}

/// Why a checkpoint proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Key or signature are not hex digits of the right number.
    #[error("key or signature are no hex digits")]
    Form,
    /// It was signed with another key, or changed since.
    #[error("the signature does not fit")]
    Signature,
}

/// The root over `heads`, following on `prev`.
#[must_use]
pub fn root<'a>(prev: Digest, heads: impl IntoIterator<Item = &'a FileHead>) -> Digest {
    let mut text = prev.to_string();
    for head in heads {
        text.push_str(&format!("\n{} {} {}", head.file, head.bytes, head.sha256));
    }
    Digest::of(text.as_bytes())
}

/// The recorder's key.
#[derive(Debug, Clone)]
pub struct Key(SigningKey);

impl Key {
    /// The key with this secret.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// Signs a summary.
    #[must_use]
    pub fn sign(&self, timestamp: Timestamp, lab: Summary) -> Checkpoint {
        let signature = self.0.sign(signed_text(timestamp, &lab).as_bytes());
        Checkpoint {
            key: hex(self.0.verifying_key().as_bytes()),
            signature: hex(&signature.to_bytes()),
            timestamp,
            lab,
        }
    }

    /// The public half, 64 hex digits.
    #[must_use]
    pub fn public(&self) -> String {
        hex(self.0.verifying_key().as_bytes())
    }
}

impl Checkpoint {
    /// Checks the signature by the key that the checkpoint names itself; whether that is the recorder's is the
    /// caller's question.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn verify(&self) -> Result<(), CheckpointError> {
        let key: [u8; 32] = unhex(&self.key).ok_or(CheckpointError::Form)?;
        let signature: [u8; 64] = unhex(&self.signature).ok_or(CheckpointError::Form)?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| CheckpointError::Form)?;
        let text = signed_text(self.timestamp, &self.lab);
        key.verify_strict(text.as_bytes(), &Signature::from_bytes(&signature))
            .map_err(|_| CheckpointError::Signature)
    }
}

/// One line for each field, so that another program can check it without writing JSON as we do.
fn signed_text(timestamp: Timestamp, lab: &Summary) -> String {
    let Summary {
        recorder,
        number,
        files,
        prev,
        root,
    } = lab;
    format!("labwatch checkpoint\n{timestamp}\n{recorder}\n{number}\n{files}\n{prev}\n{root}\n")
}

/// Bytes from exactly as many lower-case hex digits as they need.
#[must_use]
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let good = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 2 * N || !text.bytes().all(good) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let head = FileHead {
            file: "192.168.0.133/2026-11-22T09-31-05Z.jsonl".into(),
            bytes: 3,
            sha256: Digest::of(b"abc"),
        };
        Summary {
            recorder: Uuid::from_u128(1),
            number: 1,
            files: 1,
            prev: Digest::ZERO,
            root: root(Digest::ZERO, [&head]),
        }
    }

    #[test]
    fn a_signature_fits_what_was_signed_and_nothing_else() {
        let time = "2026-11-22T09:31:05.123Z".parse().unwrap();
        let checkpoint = Key::new(&[7; 32]).sign(time, summary());
        assert_eq!(checkpoint.verify(), Ok(()));
        assert_eq!(checkpoint.key, Key::new(&[7; 32]).public());
        let text = serde_json::to_string(&checkpoint).unwrap();
        assert_eq!(
            serde_json::from_str::<Checkpoint>(&text).unwrap(),
            checkpoint
        );
        let mut other = checkpoint.clone();
        other.lab.number = 2;
        assert_eq!(other.verify(), Err(CheckpointError::Signature));
        let stranger = Key::new(&[8; 32]).sign(time, summary());
        let mixed = Checkpoint {
            key: stranger.key,
            ..checkpoint.clone()
        };
        assert_eq!(mixed.verify(), Err(CheckpointError::Signature));
        let odd = Checkpoint {
            signature: "é".repeat(64),
            ..checkpoint
        };
        assert_eq!(odd.verify(), Err(CheckpointError::Form));
    }

    #[test]
    fn the_root_depends_on_every_head_and_on_the_root_before() {
        let head = |bytes| FileHead {
            file: "a".into(),
            bytes,
            sha256: Digest::ZERO,
        };
        let one = root(Digest::ZERO, [&head(1)]);
        assert_ne!(one, root(Digest::ZERO, [&head(2)]));
        assert_ne!(one, root(Digest::of(b""), [&head(1)]));
        assert_ne!(one, root(Digest::ZERO, []));
    }
}
