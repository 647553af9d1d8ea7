//! Numbers, digests and names, each with a type of its own.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use bincode::de::{BorrowDecode, BorrowDecoder, Decoder};
use bincode::error::DecodeError;
use bincode::{Decode, Encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An entry's place in its ledger: 0, 1, 2, without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The place after this one.
    #[must_use]
    pub fn next(self) -> Seq {
        Seq(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Wall time in microseconds since 1970-01-01T00:00:00Z. Below 2^53 until the year 2255, so it is exact in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(transparent)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// This time plus `micros`; stays at the end of time instead of wrapping.
    #[must_use]
    pub fn plus(self, micros: u64) -> UnixMicros {
        UnixMicros(self.0.saturating_add(micros))
    }
}

/// A session's logical clock (Lamport 1978): one more than the receipt before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(transparent)]
pub struct Lamport(pub u64);

/// Lower-case hex of `bytes`.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    text("", bytes)
}

/// A prefix and lower-case hex. Every document holds a dozen of these, so it does without the formatter.
fn text(prefix: &str, bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble });
    let mut text = String::with_capacity(prefix.len() + bytes.len() * 2);
    text.push_str(prefix);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

/// Exactly `N` bytes from `2 * N` lower-case hex digits; `None` for anything else.
#[must_use]
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let text = text.as_bytes();
    if text.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = match pair {
            [high, low] => digit(*high)? << 4 | digit(*low)?,
            _ => return None,
        };
    }
    Some(bytes)
}

/// Why a text is not an identifier of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct BadId {
    expected: &'static str,
}

macro_rules! bytes_as_text {
    ($(#[$doc:meta])* $name:ident, $len:literal, $prefix:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&text($prefix, &self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                text.strip_prefix($prefix).and_then(unhex).map($name).ok_or(BadId { expected: $expected })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&text($prefix, &self.0))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_str(Text(PhantomData))
            }
        }
    };
}

bytes_as_text!(
    /// A BLAKE3 digest of exact bytes. As text: `blake3:` and 64 hex digits, what `b3sum` prints.
    Digest, 32, "blake3:", "`blake3:` and 64 lower-case hex digits"
);
bytes_as_text!(
    /// An Ed25519 public key. The key is its own id, so that a signature can be checked as mathematics by
    /// anybody; whether the key is *trusted* is a question to the ledger's state.
    KeyId, 32, "ed25519:", "`ed25519:` and 64 lower-case hex digits"
);
bytes_as_text!(
    /// A ledger, by the 16 random bytes of its genesis. As text: 32 hex digits.
    LedgerId, 16, "", "32 lower-case hex digits"
);

impl Digest {
    /// The plain BLAKE3 hash of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }
}

/// Tenants, ids, principals, sessions, actions, roles: 1 to 128 of `A-Z a-z 0-9 . _ : @ / -`.
///
/// ASCII only, so that two names that look the same are the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Encode)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// The longest name, in bytes: room for a UUID, a URN or a dotted path, and small enough to hold by the million.
    pub const LEN_MAX: usize = 128;

    /// The text of the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the path of a URL keeps it, however it is normalised on its way: no part between slashes is empty, `.` or `..`
    /// (RFC 3986, 6.2.2.3). What the HTTP API has in its paths must be: intents' tenants and ids, and connectors.
    #[must_use]
    pub fn is_kept_by_paths(&self) -> bool {
        self.0.split('/').all(|part| !matches!(part, "" | "." | ".."))
    }

    /// The same, for documents.
    ///
    /// # Errors
    /// In words, if it is not.
    pub(crate) fn require_kept_by_paths<E: de::Error>(&self) -> Result<(), E> {
        if self.is_kept_by_paths() {
            return Ok(());
        }
        Err(E::custom(format_args!(
            "{self} has a part between slashes that is empty, . or .., which paths of URLs do not keep"
        )))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Name {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b"._:@/-".contains(&c);
        if text.is_empty() || text.len() > Name::LEN_MAX || !text.bytes().all(allowed) {
            return Err(BadId { expected: "a name: 1 to 128 of A-Z a-z 0-9 . _ : @ / -" });
        }
        Ok(Name(text.to_owned()))
    }
}

impl<C> Decode<C> for Name {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Name, DecodeError> {
        String::decode(decoder)?.parse().map_err(|e: BadId| DecodeError::OtherString(e.to_string()))
    }
}

impl<'de, C> BorrowDecode<'de, C> for Name {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Name, DecodeError> {
        Name::decode(decoder)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Text(PhantomData))
    }
}

/// Reads a name that stands in paths of URLs.
pub(crate) fn kept_by_paths<'de, D: Deserializer<'de>>(from: D) -> Result<Name, D::Error> {
    let name = Name::deserialize(from)?;
    name.require_kept_by_paths().map(|()| name)
}

/// Reads an identifier from its text, without a copy of the text.
struct Text<T>(PhantomData<T>);

impl<T: FromStr<Err = BadId>> de::Visitor<'_> for Text<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_round_trip_and_refuse_the_near_misses() {
        let digest = Digest::of(b"");
        // BLAKE3 of the empty input, from the BLAKE3 team's test vectors.
        assert_eq!(digest.to_string(), "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for bad in ["", "blake3:", "blake3:AF", "sha256:00", &digest.to_string().to_uppercase()] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_keep_names_without_parts_of_dots() {
        let name = |text: &str| text.parse::<Name>().expect("a name");
        for kept in ["a", "a/b", "...", ".a", "a.", "..a/b..", "a/.../b", "-", "urn:uuid:1/2"] {
            assert!(name(kept).is_kept_by_paths(), "{kept}");
        }
        for eaten in [".", "..", "/", "/a", "a/", "a//b", "../x", "x/..", "a/./b", "a/../b", "https://a"] {
            assert!(!name(eaten).is_kept_by_paths(), "{eaten}");
        }
    }

    #[test]
    fn names_are_short_ascii() {
        for good in ["a", "acme", "agent-7@acme", "payments.refund", "urn:uuid:1/2"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", " ", "a b", "né", "a\n", "a\u{0}", &"x".repeat(129)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }
}
