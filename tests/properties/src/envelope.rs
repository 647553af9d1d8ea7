//! Property: bytes read as a signed intent, act or evidence never panic; what is accepted is the same again through its
//! envelope and through its parts; the canonical form of an accepted intent's effect is its own canonical form.
//!
//! The bytes are tried as an envelope, and, because a fuzzer cannot sign, as a payload that is then really signed.
use serde_json::Value;
use writ_schemas::act::Act;
use writ_schemas::canonical;
use writ_schemas::dsse::{DOCUMENT_BYTES_MAX, Document, Signed};
use writ_schemas::evidence::Evidence;
use writ_schemas::intent::Intent;
use writ_schemas::keys::SecretKey;
use writ_schemas::strict;

/// Holds the property against an input.
pub fn check(bytes: &[u8]) {
    if let Some(intent) = check_document::<Intent>(bytes) {
        check_effect(intent.value());
    }
    check_document::<Act>(bytes);
    check_document::<Evidence>(bytes);
}

/// The document of the bytes, if they are accepted in one of the two ways.
fn check_document<T: Document + Clone + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Option<Signed<T>> {
    if let Ok(signed) = Signed::<T>::from_envelope(bytes) {
        check_round_trip(&signed);
        return Some(signed);
    }
    let mut signed = Signed::<T>::from_parts(bytes.to_vec(), Vec::new()).ok()?;
    assert!(!signed.verify() && signed.signer().is_none(), "nobody signed it");
    assert!(Signed::<T>::from_envelope(&signed.to_envelope()).is_err(), "an envelope that nobody signed");
    signed.add_signature(&SecretKey::from_seed(&[1; 32]));
    check_round_trip(&signed);
    Some(signed)
}

fn check_round_trip<T: Document + Clone + PartialEq + std::fmt::Debug>(signed: &Signed<T>) {
    let again = Signed::<T>::from_envelope(&signed.to_envelope());
    assert_eq!(again.as_ref(), Ok(signed), "through the envelope");
    let parts = Signed::<T>::from_parts(signed.payload().to_vec(), signed.signatures().to_vec());
    assert_eq!(parts.as_ref(), Ok(signed), "through the parts");
    assert!(signed.verify());
    // What is written of the value is a document as well, and stays as it is.
    let written = Signed::unsigned(signed.value().clone()).expect("an accepted value can be written");
    let read = Signed::<T>::from_parts(written.payload().to_vec(), Vec::new()).expect("and read again");
    let rewritten = Signed::unsigned(read.value().clone()).expect("and written again");
    assert_eq!(rewritten.payload(), written.payload(), "a canonical form is canonical");
}

fn check_effect(intent: &Intent) {
    let effect = intent.effect().expect("strict parsing lets in nothing that JSON cannot say");
    let value: Value = strict::parse(&effect, DOCUMENT_BYTES_MAX).expect("an effect is strict JSON");
    assert_eq!(canonical::bytes(&value).ok(), Some(effect), "a canonical form is canonical");
}
