//! The pinned shape of what a connector takes and gives: a JSON Schema (draft 2020-12), compiled with its bundle.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

/// A compiled JSON Schema without references; patterns run in linear time.
#[derive(Clone)]
pub struct Shape {
    schema: Value,
    validator: Arc<jsonschema::Validator>,
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.schema.fmt(f)
    }
}

impl PartialEq for Shape {
    fn eq(&self, other: &Shape) -> bool {
        self.schema == other.schema
    }
}

/// The shapes of a connector.
#[derive(Clone, Debug, PartialEq)]
pub struct Shapes {
    /// Of the args that it takes; nothing where it takes any.
    pub input: Option<Shape>,
    /// Of its output.
    pub output: Shape,
}

impl Shape {
    /// Compiles a schema.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn compile(schema: &Value) -> Result<Shape, String> {
        if !schema.is_object() {
            return Err("not a JSON Schema object".to_owned());
        }
        if refers(schema) {
            return Err("references are not taken; write the shape out".to_owned());
        }
        let options = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .with_pattern_options(jsonschema::PatternOptions::regex());
        let validator = options.build(schema).map_err(|e| e.to_string())?;
        Ok(Shape { schema: schema.clone(), validator: Arc::new(validator) })
    }

    /// Whether a value has this shape.
    #[must_use]
    pub fn holds(&self, value: &Value) -> bool {
        self.validator.is_valid(value)
    }

    /// The first place where a value does not have it, and the part of the schema that it does not fit; empty where it has the
    /// shape. Only the first: an outsider can have a value be wrong in as many places as it has room for.
    #[must_use]
    pub fn difference(&self, value: &Value) -> String {
        let Err(error) = self.validator.validate(value) else { return String::new() };
        let place = error.instance_path().to_string();
        let place = if place.is_empty() { "the whole" } else { &place };
        format!("{place} does not fit {}", error.schema_path())
    }
}

/// Whether a schema refers to another, or to a part of itself. A few dozen references can stand for more work than a process
/// has time for; without them, checking takes time in proportion to schema and value.
fn refers(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields
            .iter()
            .any(|(key, value)| matches!(key.as_str(), "$ref" | "$dynamicRef" | "$recursiveRef") || refers(value)),
        Value::Array(items) => items.iter().any(refers),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_difference_names_the_place_and_the_rule() {
        let schema = json!({"type": "object", "required": ["a", "b"], "properties": {
            "a": {"type": "integer", "maximum": 5}, "b": {"type": "array", "items": {"type": "string"}}}});
        let shape = Shape::compile(&schema).expect("a schema");
        let says = |value: Value| {
            let difference = shape.difference(&value);
            assert_eq!(difference.is_empty(), shape.holds(&value), "{value}");
            assert!((0..20).all(|_| shape.difference(&value) == difference), "always the same one");
            difference
        };
        assert_eq!(says(json!({"a": 5, "b": []})), "");
        assert_eq!(says(json!({"a": 6, "b": []})), "/a does not fit /properties/a/maximum");
        assert_eq!(says(json!([])), "the whole does not fit /type");
        assert_eq!(says(json!({"a": 1})), "the whole does not fit /required");
        assert_eq!(says(json!({"a": 1, "b": [1, 2]})), "/b/0 does not fit /properties/b/items/type");
    }

    #[test]
    fn a_schema_stands_by_itself() {
        for (schema, why) in [
            (json!(true), "not a JSON Schema object"),
            (json!({"properties": {"a": {"$ref": "#"}}}), "references are not taken"),
            (json!({"anyOf": [{"$dynamicRef": "#x"}]}), "references are not taken"),
            (json!({"not": {"items": {"$recursiveRef": "#"}}}), "references are not taken"),
            (json!([{"type": "object"}]), "not a JSON Schema object"),
            (json!({"type": "objekt"}), "objekt"),
            (json!({"pattern": "(a"}), "regex"),
        ] {
            let refused = Shape::compile(&schema).expect_err("no schema");
            assert!(refused.contains(why), "{schema}: {refused}");
        }
    }

    #[test]
    fn the_name_of_a_reference_is_a_text_like_any_other() {
        let shape = Shape::compile(&json!({"enum": ["$ref", 1, null, true]})).expect("no reference");
        assert!(shape.holds(&json!("$ref")) && !shape.holds(&json!("$dynamicRef")));
    }

    #[test]
    fn two_shapes_are_the_same_if_they_say_the_same() {
        let shape = |schema: Value| Shape::compile(&schema).expect("a schema");
        let one = shape(json!({"type": "object", "minProperties": 1}));
        assert_eq!(one, shape(json!({"minProperties": 1, "type": "object"})));
        assert_ne!(one, shape(json!({"type": "object", "minProperties": 2})));
        assert_eq!(format!("{one:?}"), format!("{:?}", json!({"type": "object", "minProperties": 1})));
    }
}
