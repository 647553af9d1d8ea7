//! Signed documents as DSSE envelopes (secure-systems-lab/dsse, protocol and envelope v1.0).
//!
//! A [`Signed`] keeps the exact bytes that were signed, beside the value they parse to. Nothing is ever rebuilt from the
//! value: what is stored, served and verified are those bytes.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bincode::de::{BorrowDecode, BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::errors::Code;
use crate::ids::{Digest, KeyId};
use crate::keys::{self, SecretKey, SignatureBytes};
use crate::strict::{self, Refusal};

/// The largest document, in bytes of its payload: 1 MiB, Kafka's own default for a record.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// The largest envelope: base64 grows a payload by a third, plus room for signatures.
pub const ENVELOPE_BYTES_MAX: usize = DOCUMENT_BYTES_MAX / 3 * 4 + 8 * 1024;

/// The most signatures on one document: more than any quorum of operators here.
pub const SIGNATURES_MAX: usize = 16;

/// A kind of document that is signed.
pub trait Document: Serialize + DeserializeOwned {
    /// The DSSE payload type, `application/vnd.writ.<kind>.v1+json`.
    const PAYLOAD_TYPE: &'static str;
}

/// One signature and the key that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Signature {
    /// The public key.
    pub key: KeyId,
    /// The signature over the pre-authentication encoding.
    pub bytes: SignatureBytes,
}

/// A document as those see it who sign it, whatever its kind.
pub trait ToSign {
    /// What is to be signed.
    fn message(&self) -> Vec<u8>;

    /// Takes a signature over [`ToSign::message`], in place of an earlier one of the same key.
    fn attach(&mut self, signature: Signature);
}

/// A document, the bytes that were signed, and the signatures over them.
#[derive(Clone, Debug, PartialEq)]
pub struct Signed<T> {
    value: T,
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

/// The pre-authentication encoding: what is really signed, so that no document can pass for one of another kind.
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

impl<T: Document> Signed<T> {
    /// The canonical bytes of `value`, not signed yet. Everything that refers to a document does so by digest or seq,
    /// never by signature, so that signing can wait until a batch is decided.
    ///
    /// # Errors
    /// A value that could not be read again: too large, or with a number that not every reader holds. Writing it would make
    /// a log that does not open.
    pub fn unsigned(value: T) -> Result<Signed<T>, Refusal> {
        let payload = canonical::bytes(&value).map_err(|e| Refusal::new(Code::Schema, e))?;
        strict::check_written(&payload, DOCUMENT_BYTES_MAX)?;
        Ok(Signed { value, payload, signatures: Vec::new() })
    }

    /// Adds the signature of `key`.
    #[must_use]
    pub fn sign(mut self, key: &SecretKey) -> Signed<T> {
        self.add_signature(key);
        self
    }

    /// Adds the signature of `key`, in place of an earlier one of the same key.
    pub fn add_signature(&mut self, key: &SecretKey) {
        self.attach(Signature { key: key.id(), bytes: key.sign(&self.message()) });
    }

    /// The document.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// The exact bytes that were signed.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The digest of the exact bytes that were signed. Signatures are no part of it.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.payload)
    }

    /// The signatures, each by another key.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The key of the one signature of a document that has a single signer.
    pub fn signer(&self) -> Option<KeyId> {
        match self.signatures.as_slice() {
            [one] => Some(one.key),
            _ => None,
        }
    }

    /// Whether there is at least one signature and every one of them fits.
    ///
    /// This is mathematics; whether the keys are trusted is for the ledger's state to say.
    pub fn verify(&self) -> bool {
        !self.signatures.is_empty() && self.check_signatures().is_ok()
    }

    /// Checks those signatures that are there, none of them included.
    ///
    /// # Errors
    /// `ERR_SIGNATURE_INVALID`, which names the key whose signature does not fit or stands twice.
    fn check_signatures(&self) -> Result<(), Refusal> {
        let message = self.message();
        for (at, one) in self.signatures.iter().enumerate() {
            let refuse =
                |what: &str| Err(Refusal::new(Code::SignatureInvalid, format!("the signature by {} {what}", one.key)));
            if self.signatures.iter().take(at).any(|other| other.key == one.key) {
                return refuse("stands twice");
            }
            if !keys::verify(&one.key, &message, &one.bytes) {
                return refuse("does not fit");
            }
        }
        Ok(())
    }

    /// The document of a payload and its signatures, strictly parsed; signatures are not checked.
    ///
    /// # Errors
    /// As [`strict::parse`]; `ERR_ENVELOPE` for too many signatures.
    pub fn from_parts(payload: Vec<u8>, signatures: Vec<Signature>) -> Result<Signed<T>, Refusal> {
        if signatures.len() > SIGNATURES_MAX {
            return Err(Refusal::new(Code::Envelope, format!("more than {SIGNATURES_MAX} signatures")));
        }
        let value = strict::parse(&payload, DOCUMENT_BYTES_MAX)?;
        Ok(Signed { value, payload, signatures })
    }

    /// Parses an envelope from outside and checks its signatures as mathematics.
    ///
    /// # Errors
    /// What is wrong with it, by registered code.
    pub fn from_envelope(bytes: &[u8]) -> Result<Signed<T>, Refusal> {
        let signed = Signed::from_draft(bytes)?;
        if signed.signatures.is_empty() {
            return Err(Refusal::new(Code::SignatureInvalid, "it is not signed"));
        }
        Ok(signed)
    }

    /// The same for an envelope that others are still to sign: it may have no signature yet, but none that does not fit.
    ///
    /// # Errors
    /// As [`Signed::from_envelope`].
    pub fn from_draft(bytes: &[u8]) -> Result<Signed<T>, Refusal> {
        let envelope: Envelope = strict::parse(bytes, ENVELOPE_BYTES_MAX).map_err(|mut refusal| {
            if refusal.code == Code::Schema {
                refusal.code = Code::Envelope;
            }
            refusal
        })?;
        if envelope.payload_type != T::PAYLOAD_TYPE {
            return Err(Refusal::new(Code::Envelope, format!("payloadType is not {}", T::PAYLOAD_TYPE)));
        }
        let payload =
            unbase64(&envelope.payload).ok_or_else(|| Refusal::new(Code::Envelope, "payload is not base64"))?;
        let signatures = envelope.signatures.iter().map(EnvelopeSignature::parse).collect::<Result<_, _>>()?;
        let signed = Signed::from_parts(payload, signatures)?;
        signed.check_signatures()?;
        Ok(signed)
    }

    /// The envelope as canonical JSON.
    pub fn to_envelope(&self) -> Vec<u8> {
        let envelope = Envelope {
            payload: STANDARD.encode(&self.payload),
            payload_type: T::PAYLOAD_TYPE.to_owned(),
            signatures: self
                .signatures
                .iter()
                .map(|one| EnvelopeSignature { keyid: one.key.to_string(), sig: STANDARD.encode(one.bytes) })
                .collect(),
        };
        // Strings only, and the fields stand in canonical order, so plain JSON is RFC 8785 here; a test holds it.
        serde_json::to_vec(&envelope).unwrap_or_default()
    }
}

impl<T: Document> ToSign for Signed<T> {
    fn message(&self) -> Vec<u8> {
        pae(T::PAYLOAD_TYPE, &self.payload)
    }

    fn attach(&mut self, signature: Signature) {
        self.signatures.retain(|other| other.key != signature.key);
        self.signatures.push(signature);
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeSignature {
    keyid: String,
    sig: String,
}

impl EnvelopeSignature {
    fn parse(&self) -> Result<Signature, Refusal> {
        let key = self.keyid.parse().map_err(|e| Refusal::new(Code::Envelope, format!("keyid: {e}")))?;
        let bytes = unbase64(&self.sig).and_then(|sig| sig.try_into().ok());
        let bytes = bytes.ok_or_else(|| Refusal::new(Code::Envelope, "sig is not 64 bytes in base64"))?;
        Ok(Signature { key, bytes })
    }
}

/// DSSE readers accept the standard and the URL-safe alphabet.
fn unbase64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

impl<T> Encode for Signed<T> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.payload.encode(encoder)?;
        self.signatures.encode(encoder)
    }
}

impl<T: Document, C> Decode<C> for Signed<T> {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Signed<T>, DecodeError> {
        let payload = Vec::decode(decoder)?;
        let signatures = Vec::decode(decoder)?;
        Signed::from_parts(payload, signatures).map_err(|refusal| DecodeError::OtherString(refusal.to_string()))
    }
}

impl<'de, T: Document, C> BorrowDecode<'de, C> for Signed<T> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Signed<T>, DecodeError> {
        Signed::decode(decoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Note {
        n: u64,
    }
    impl Document for Note {
        const PAYLOAD_TYPE: &'static str = "application/vnd.writ.note.v1+json";
    }

    #[test]
    fn pae_of_the_specification() {
        // The example of the DSSE protocol document.
        let expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world".to_vec();
        assert_eq!(pae("http://example.com/HelloWorld", b"hello world"), expected);
    }

    #[test]
    fn an_envelope_round_trips_and_is_canonical() {
        let signed = Signed::unsigned(Note { n: 7 }).expect("JSON").sign(&SecretKey::from_seed(&[1; 32]));
        let envelope = signed.to_envelope();
        assert_eq!(Signed::from_envelope(&envelope), Ok(signed));
        let value: serde_json::Value = serde_json::from_slice(&envelope).expect("JSON");
        assert_eq!(canonical::bytes(&value).expect("canonical"), envelope);
    }

    #[test]
    fn a_stranger_is_refused_by_name() {
        let signed = Signed::unsigned(Note { n: 7 }).expect("JSON").sign(&SecretKey::from_seed(&[1; 32]));
        let good = String::from_utf8(signed.to_envelope()).expect("UTF-8");
        let code = |text: String| Signed::<Note>::from_envelope(text.as_bytes()).err().map(|r| r.code);
        assert_eq!(code(good.clone()), None);
        assert_eq!(code(good.replace("note", "nota")), Some(Code::Envelope));
        assert_eq!(code(good.replace("keyid", "keyId")), Some(Code::Envelope));
        assert_eq!(code(good.replace("eyJuIjo3fQ==", "eyJuIjo4fQ==")), Some(Code::SignatureInvalid));
        assert_eq!(code(good.replace("eyJuIjo3fQ==", "!")), Some(Code::Envelope));
        let unsigned = Signed::unsigned(Note { n: 7 }).expect("JSON");
        assert_eq!(code(String::from_utf8(unsigned.to_envelope()).expect("UTF-8")), Some(Code::SignatureInvalid));
        assert_eq!(Signed::from_draft(&unsigned.to_envelope()), Ok(unsigned));
    }
}
