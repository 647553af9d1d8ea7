//! An event in its place: the fixed header, the salted payload commitment, the hash, the chain.
//!
//! The header alone is chained and put in the tree. It binds the payload only through a salted commitment, so a payload can
//! be withheld, redacted or erased, and everything else still verifies. Byte layout: `docs/log-format.md`.

use crate::event::{Event, EventKind};
use crate::ids::{Digest, LedgerId, Seq, UnixMicros};
use crate::strict::Refusal;

/// The version of header, frame and payload encoding that this library writes.
pub const FORMAT_VERSION: u16 = 1;

/// The length of a header in bytes.
pub const HEADER_LEN: usize = 100;

/// The length of a salt in bytes.
pub const SALT_LEN: usize = 16;

/// The largest payload: an intent of the largest envelope with its context, or a policy bundle.
pub const PAYLOAD_BYTES_MAX: usize = crate::dsse::ENVELOPE_BYTES_MAX + 64 * 1024;

/// The hash before entry 0.
pub const ROOT_HASH: [u8; 32] = [0; 32];

const COMMITMENT_CONTEXT: &str = "writ 2026-11 payload commitment v1";
const HASH_CONTEXT: &str = "writ 2026-11 entry hash v1";

/// What is hashed, chained and put in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Format version, [`FORMAT_VERSION`].
    pub version: u16,
    /// Which event the payload holds.
    pub kind: EventKind,
    /// The ledger.
    pub ledger: LedgerId,
    /// The place in it.
    pub seq: Seq,
    /// The time of the batch that this entry was decided in; never falls.
    pub recorded_at: UnixMicros,
    /// The hash of the entry before it; [`ROOT_HASH`] for entry 0.
    pub previous: [u8; 32],
    /// The commitment to salt and payload.
    pub commitment: [u8; 32],
}

impl Header {
    /// The header's bytes, little-endian: version, kind, ledger, seq, recorded_at, previous, commitment.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        let parts: [&[u8]; 7] = [
            &self.version.to_le_bytes(),
            &self.kind.tag().to_le_bytes(),
            &self.ledger.0,
            &self.seq.0.to_le_bytes(),
            &self.recorded_at.0.to_le_bytes(),
            &self.previous,
            &self.commitment,
        ];
        let mut rest = out.as_mut_slice();
        for part in parts {
            if let Some((to, after)) = std::mem::take(&mut rest).split_at_mut_checked(part.len()) {
                to.copy_from_slice(part);
                rest = after;
            }
        }
        out
    }

    /// The header of these bytes; `None` if the version or the kind is not one of this format.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Option<Header> {
        let (version, rest) = bytes.split_first_chunk()?;
        let (kind, rest) = rest.split_first_chunk()?;
        let (ledger, rest) = rest.split_first_chunk()?;
        let (seq, rest) = rest.split_first_chunk()?;
        let (recorded_at, rest) = rest.split_first_chunk()?;
        let (previous, rest) = rest.split_first_chunk()?;
        let (commitment, _) = rest.split_first_chunk()?;
        let version = u16::from_le_bytes(*version);
        if version != FORMAT_VERSION {
            return None;
        }
        Some(Header {
            version,
            kind: EventKind::from_tag(u16::from_le_bytes(*kind))?,
            ledger: LedgerId(*ledger),
            seq: Seq(u64::from_le_bytes(*seq)),
            recorded_at: UnixMicros(u64::from_le_bytes(*recorded_at)),
            previous: *previous,
            commitment: *commitment,
        })
    }

    /// The entry's hash: BLAKE3 in derive-key mode over the header's bytes.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        blake3::derive_key(HASH_CONTEXT, &self.to_bytes())
    }
}

/// The commitment to a payload: BLAKE3 in derive-key mode over salt, then payload. The salt keeps a withheld payload from
/// being guessed.
#[must_use]
pub fn commitment(salt: &[u8; SALT_LEN], payload: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(COMMITMENT_CONTEXT);
    hasher.update(salt).update(payload);
    *hasher.finalize().as_bytes()
}

/// A header with the salt and payload it commits to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What is chained.
    pub header: Header,
    /// 16 random bytes.
    pub salt: [u8; SALT_LEN],
    /// The event, encoded by [`Event::to_payload`].
    pub payload: Vec<u8>,
}

impl Entry {
    /// The event of the payload.
    ///
    /// # Errors
    /// `ERR_LOG_DAMAGED` if the payload is not the one encoding of an event of the header's kind.
    pub fn event(&self) -> Result<Event, Refusal> {
        Event::from_payload(self.header.kind, &self.payload)
    }

    /// The entry's hash.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.header.hash()
    }

    /// The digest of the payload bytes, by which entries of one batch refer to each other.
    #[must_use]
    pub fn payload_digest(&self) -> Digest {
        Digest::of(&self.payload)
    }
}

/// How an entry fails to follow the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainBreak {
    /// It names another ledger.
    #[error("it belongs to ledger {0}")]
    Ledger(LedgerId),
    /// Its seq is not the next one.
    #[error("its seq is {0}")]
    Seq(Seq),
    /// Its `previous` is not the hash of the entry before it.
    #[error("its previous hash is not the hash of the entry before it")]
    Previous,
    /// Its time lies before that of the entry before it.
    #[error("its time lies before that of the entry before it")]
    Time,
    /// Its commitment does not fit its salt and payload.
    #[error("its payload is not the one that its header commits to")]
    Commitment,
}

/// The end of a chain: what the next entry must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The ledger.
    pub ledger: LedgerId,
    /// The seq of the next entry, which is also the number of entries.
    pub next: Seq,
    /// The hash of the last entry: the head.
    pub head: [u8; 32],
    /// The time of the last entry.
    pub last_at: UnixMicros,
}

impl Chain {
    /// The chain before entry 0.
    #[must_use]
    pub fn empty(ledger: LedgerId) -> Chain {
        Chain { ledger, next: Seq(0), head: ROOT_HASH, last_at: UnixMicros(0) }
    }

    /// Puts an event's payload in the next place.
    pub fn append(&mut self, kind: EventKind, at: UnixMicros, salt: [u8; SALT_LEN], payload: Vec<u8>) -> Entry {
        let header = Header {
            version: FORMAT_VERSION,
            kind,
            ledger: self.ledger,
            seq: self.next,
            recorded_at: at,
            previous: self.head,
            commitment: commitment(&salt, &payload),
        };
        self.advance(&header);
        Entry { header, salt, payload }
    }

    /// Checks that `entry` follows, commitment included, and moves on to it.
    ///
    /// # Errors
    /// The first thing that does not hold; the chain then stays where it was.
    pub fn follow(&mut self, entry: &Entry) -> Result<(), ChainBreak> {
        let header = &entry.header;
        if header.ledger != self.ledger {
            return Err(ChainBreak::Ledger(header.ledger));
        }
        if header.seq != self.next {
            return Err(ChainBreak::Seq(header.seq));
        }
        if header.previous != self.head {
            return Err(ChainBreak::Previous);
        }
        if header.recorded_at < self.last_at {
            return Err(ChainBreak::Time);
        }
        if header.commitment != commitment(&entry.salt, &entry.payload) {
            return Err(ChainBreak::Commitment);
        }
        self.advance(header);
        Ok(())
    }

    fn advance(&mut self, header: &Header) {
        self.next = header.seq.next();
        self.head = header.hash();
        self.last_at = header.recorded_at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain_of_two() -> (Chain, [Entry; 2]) {
        let mut chain = Chain::empty(LedgerId([1; 16]));
        let one = chain.append(EventKind::LedgerOpened, UnixMicros(5), [2; 16], b"one".to_vec());
        let two = chain.append(EventKind::DecisionMade, UnixMicros(5), [3; 16], b"two".to_vec());
        (chain, [one, two])
    }

    #[test]
    fn a_header_is_its_bytes() {
        let (_, [_, two]) = chain_of_two();
        assert_eq!(Header::from_bytes(&two.header.to_bytes()), Some(two.header));
        let mut newer = two.header.to_bytes();
        newer[0] = 2;
        assert_eq!(Header::from_bytes(&newer), None);
    }

    #[test]
    fn what_was_appended_follows_and_nothing_else_does() {
        let (end, [one, two]) = chain_of_two();
        let mut chain = Chain::empty(LedgerId([1; 16]));
        assert_eq!(chain.follow(&two), Err(ChainBreak::Seq(Seq(1))));
        assert_eq!(chain.follow(&one), Ok(()));
        let with = |change: &dyn Fn(&mut Entry)| {
            let mut changed = two.clone();
            change(&mut changed);
            chain.clone().follow(&changed)
        };
        assert_eq!(
            with(&|e| e.header.ledger.0[0] = 9),
            Err(ChainBreak::Ledger(LedgerId([9, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])))
        );
        assert_eq!(with(&|e| e.header.previous[0] ^= 1), Err(ChainBreak::Previous));
        assert_eq!(with(&|e| e.header.recorded_at.0 -= 1), Err(ChainBreak::Time));
        assert_eq!(with(&|e| e.salt[0] ^= 1), Err(ChainBreak::Commitment));
        assert_eq!(with(&|e| e.payload[0] ^= 1), Err(ChainBreak::Commitment));
        assert_eq!(chain.follow(&two), Ok(()));
        assert_eq!(chain, end);
    }
}
