//! What a connector answered, as the one text that is hashed and kept.

use serde_json::Value;

use writ_schemas::canonical;
use writ_schemas::dsse::DOCUMENT_BYTES_MAX;
use writ_schemas::errors::Code;
use writ_schemas::strict::{self, Refusal};

/// A connector's answer as strict JSON, with its canonical bytes.
///
/// # Errors
/// As [`strict::parse`].
pub fn canonical_output(bytes: &[u8]) -> Result<(Value, Vec<u8>), Refusal> {
    let value: Value = strict::parse(bytes, DOCUMENT_BYTES_MAX)?;
    let canonical = canonical::bytes(&value).map_err(|e| Refusal::new(Code::OutputNotCanonical, e))?;
    Ok((value, canonical))
}
