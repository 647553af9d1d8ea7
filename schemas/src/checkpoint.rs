//! A checkpoint: a signed head, in the format that transparency logs and witnesses speak.
//!
//! C2SP tlog-checkpoint inside a C2SP signed-note: origin, size, RFC 6962 root, and one extension line with the head of the
//! BLAKE3 chain, so that one signature covers both.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::dsse::Signature;
use crate::ids::{KeyId, hex, unhex};
use crate::keys::{self, SecretKey};

/// The largest note read: a handful of lines and a few co-signatures.
pub const NOTE_BYTES_MAX: usize = 16 * 1024;

const HEAD_LABEL: &str = "writ-chain-head ";

/// What a checkpoint says of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name in the world: unique, no spaces, no plus sign. Fixed in genesis; also the name of its key.
    pub origin: String,
    /// The number of entries.
    pub size: u64,
    /// The RFC 6962 root over their headers.
    pub root: [u8; 32],
    /// The hash of the last entry.
    pub head: [u8; 32],
}

/// Why a note is not a checkpoint of the wanted log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNote {
    /// It does not have the form of a signed note with a checkpoint in it.
    #[error("not a signed checkpoint")]
    Form,
    /// It names another log.
    #[error("it names another log")]
    Origin,
    /// No signature line by the wanted key, or one that does not fit.
    #[error("its signature does not fit the checkpoint key")]
    Signature,
}

/// Whether `origin` can name a log: not empty, at most 128 bytes, printable ASCII without spaces and plus signs (C2SP
/// signed-note).
#[must_use]
pub fn origin_is_valid(origin: &str) -> bool {
    (1..=128).contains(&origin.len()) && origin.bytes().all(|c| c.is_ascii_graphic() && c != b'+')
}

impl Checkpoint {
    /// The text that is signed: four lines, each with its newline.
    #[must_use]
    pub fn body(&self) -> String {
        format!("{}\n{}\n{}\n{HEAD_LABEL}{}\n", self.origin, self.size, STANDARD.encode(self.root), hex(&self.head))
    }

    /// The signed note.
    #[must_use]
    pub fn sign(&self, key: &SecretKey) -> String {
        self.note(&Signature { key: key.id(), bytes: key.sign(self.body().as_bytes()) })
    }

    /// The note that a signature over [`Checkpoint::body`] makes.
    #[must_use]
    pub fn note(&self, by: &Signature) -> String {
        let mut signature = key_hash(&self.origin, &by.key).to_vec();
        signature.extend_from_slice(&by.bytes);
        format!("{}\n— {} {}\n", self.body(), self.origin, STANDARD.encode(signature))
    }

    /// The checkpoint of a note, if `key` signed it as the log `origin`. Signature lines of others are passed over, as
    /// signed-note asks; every byte of the note that is kept here is covered.
    ///
    /// # Errors
    /// What is wrong.
    pub fn open(note: &[u8], origin: &str, key: &KeyId) -> Result<Checkpoint, BadNote> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(BadNote::Form);
        }
        let note = std::str::from_utf8(note).map_err(|_| BadNote::Form)?;
        let (text, signatures) = note.split_once("\n\n").ok_or(BadNote::Form)?;
        let body = format!("{text}\n");
        let checkpoint = Checkpoint::parse(&body).ok_or(BadNote::Form)?;
        if checkpoint.origin != origin {
            return Err(BadNote::Origin);
        }
        if !signatures.ends_with('\n') {
            return Err(BadNote::Form);
        }
        let mut ours = false;
        for line in signatures.split_terminator('\n') {
            let (name, signature) = line.strip_prefix("— ").and_then(|l| l.split_once(' ')).ok_or(BadNote::Form)?;
            let signature = STANDARD.decode(signature).map_err(|_| BadNote::Form)?;
            let (hash, signature) = signature.split_first_chunk::<4>().ok_or(BadNote::Form)?;
            if name == origin && *hash == key_hash(origin, key) {
                let signature = signature.try_into().map_err(|_| BadNote::Signature)?;
                if !keys::verify(key, body.as_bytes(), &signature) {
                    return Err(BadNote::Signature);
                }
                ours = true;
            }
        }
        if ours { Ok(checkpoint) } else { Err(BadNote::Signature) }
    }

    fn parse(body: &str) -> Option<Checkpoint> {
        let mut lines = body.split('\n');
        let origin = lines.next().filter(|origin| origin_is_valid(origin))?.to_owned();
        let size = lines.next()?.parse().ok()?;
        let root = STANDARD.decode(lines.next()?).ok()?.try_into().ok()?;
        let head = unhex(lines.next()?.strip_prefix(HEAD_LABEL)?)?;
        let checkpoint = Checkpoint { origin, size, root, head };
        // One text for one checkpoint: no leading zeros, no further lines.
        (checkpoint.body() == body).then_some(checkpoint)
    }
}

/// The verifier key of C2SP signed-note: `name+hash+base64(0x01 || key)`.
#[must_use]
pub fn verifier_key(origin: &str, key: &KeyId) -> String {
    let mut typed = vec![1];
    typed.extend_from_slice(&key.0);
    format!("{origin}+{}+{}", hex(&key_hash(origin, key)), STANDARD.encode(typed))
}

fn key_hash(origin: &str, key: &KeyId) -> [u8; 4] {
    let hash = Sha256::new().chain_update(origin).chain_update([b'\n', 1]).chain_update(key.0).finalize();
    hash.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (Checkpoint, SecretKey) {
        let checkpoint = Checkpoint { origin: "writ.example/ledger".into(), size: 42, root: [7; 32], head: [9; 32] };
        (checkpoint, SecretKey::from_seed(&[3; 32]))
    }

    #[test]
    fn a_note_opens_with_its_key_only() {
        let (checkpoint, key) = example();
        let note = checkpoint.sign(&key);
        assert_eq!(Checkpoint::open(note.as_bytes(), &checkpoint.origin, &key.id()), Ok(checkpoint.clone()));
        let stranger = SecretKey::from_seed(&[4; 32]).id();
        assert_eq!(Checkpoint::open(note.as_bytes(), &checkpoint.origin, &stranger), Err(BadNote::Signature));
        assert_eq!(Checkpoint::open(note.as_bytes(), "other", &key.id()), Err(BadNote::Origin));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (checkpoint, key) = example();
        let note = checkpoint.sign(&key).into_bytes();
        for bit in 0..note.len() * 8 {
            let mut flipped = note.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Checkpoint::open(&flipped, &checkpoint.origin, &key.id()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn the_verifier_key_is_the_one_that_go_prints() {
        // golang.org/x/mod/sumdb/note, the key of its package example.
        let key = STANDARD.decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").expect("base64");
        let id = KeyId(key[1..].try_into().expect("32 bytes"));
        assert_eq!(
            verifier_key("PeterNeumann", &id),
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
        );
    }
}
