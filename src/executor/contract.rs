//! The pinned shape of a connector's output.

use serde_json::Value;

use writ_schemas::canonical;
use writ_schemas::dsse::DOCUMENT_BYTES_MAX;
use writ_schemas::errors::Code;
use writ_schemas::policy::Bundle;
use writ_schemas::strict::{self, Refusal};

/// A compiled JSON Schema (draft 2020-12) without references; patterns run in linear time.
pub struct Contract(jsonschema::Validator);

impl Contract {
    /// Compiles a schema.
    ///
    /// # Errors
    /// `ERR_POLICY_INVALID` with the fault.
    pub fn compile(schema: &Value) -> Result<Contract, Refusal> {
        if refers(schema) {
            return Err(Refusal::new(
                Code::PolicyInvalid,
                "output_schema: references are not taken; write the shape out",
            ));
        }
        jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .with_pattern_options(jsonschema::PatternOptions::regex())
            .build(schema)
            .map(Contract)
            .map_err(|e| Refusal::new(Code::PolicyInvalid, format!("output_schema: {e}")))
    }

    /// Whether an output has the pinned shape.
    #[must_use]
    pub fn holds(&self, output: &Value) -> bool {
        self.0.is_valid(output)
    }
}

/// Whether a schema refers to another, or to a part of itself. A few dozen references can stand for more work than a process
/// has time for; without them, checking takes time in proportion to schema and output.
fn refers(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields
            .iter()
            .any(|(key, value)| matches!(key.as_str(), "$ref" | "$dynamicRef" | "$recursiveRef") || refers(value)),
        Value::Array(items) => items.iter().any(refers),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Checks that every pinned schema of a bundle can be compiled.
///
/// # Errors
/// `ERR_POLICY_INVALID` with the connector's name.
pub fn check_schemas(bundle: &Bundle) -> Result<(), Refusal> {
    for (name, connector) in &bundle.connectors {
        Contract::compile(&connector.output_schema)
            .map_err(|why| Refusal::new(Code::PolicyInvalid, format!("connectors.{name}: {}", why.detail)))?;
    }
    Ok(())
}

/// A connector's answer as strict JSON, with its canonical bytes.
///
/// # Errors
/// As [`strict::parse`].
pub fn canonical_output(bytes: &[u8]) -> Result<(Value, Vec<u8>), Refusal> {
    let value: Value = strict::parse(bytes, DOCUMENT_BYTES_MAX)?;
    let canonical = canonical::bytes(&value).map_err(|e| Refusal::new(Code::OutputNotCanonical, e))?;
    Ok((value, canonical))
}
