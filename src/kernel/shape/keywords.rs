//! The words of JSON Schema, draft 2020-12, that are taken: a word that checks nothing would let every value pass, and nobody
//! would hear of it.

use serde_json::Value;

/// The one draft that schemas are read by.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// What a keyword holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// A schema.
    Schema,
    /// A list of schemas.
    List,
    /// Schemas, each under a name of the author's.
    Named,
    /// Something else: what it holds is data.
    Data,
}

/// Every keyword that is taken: those that check something, and those that only say something for people.
#[rustfmt::skip] // A table is read by columns.
const KEYWORDS: &[(&str, Holds)] = &[
    ("$anchor", Holds::Data),            ("$comment", Holds::Data),       ("$defs", Holds::Named),
    ("$dynamicAnchor", Holds::Data),     ("$dynamicRef", Holds::Data),    ("$id", Holds::Data),
    ("$ref", Holds::Data),               ("$schema", Holds::Data),        ("additionalProperties", Holds::Schema),
    ("allOf", Holds::List),              ("anyOf", Holds::List),          ("const", Holds::Data),
    ("contains", Holds::Schema),         ("default", Holds::Data),        ("dependentRequired", Holds::Data),
    ("dependentSchemas", Holds::Named),  ("deprecated", Holds::Data),     ("description", Holds::Data),
    ("else", Holds::Schema),             ("enum", Holds::Data),           ("examples", Holds::Data),
    ("exclusiveMaximum", Holds::Data),   ("exclusiveMinimum", Holds::Data), ("format", Holds::Data),
    ("if", Holds::Schema),               ("items", Holds::Schema),        ("maxContains", Holds::Data),
    ("maxItems", Holds::Data),           ("maxLength", Holds::Data),      ("maxProperties", Holds::Data),
    ("maximum", Holds::Data),            ("minContains", Holds::Data),    ("minItems", Holds::Data),
    ("minLength", Holds::Data),          ("minProperties", Holds::Data),  ("minimum", Holds::Data),
    ("multipleOf", Holds::Data),         ("not", Holds::Schema),          ("oneOf", Holds::List),
    ("pattern", Holds::Data),            ("patternProperties", Holds::Named), ("prefixItems", Holds::List),
    ("properties", Holds::Named),        ("propertyNames", Holds::Schema), ("readOnly", Holds::Data),
    ("required", Holds::Data),           ("then", Holds::Schema),         ("title", Holds::Data),
    ("type", Holds::Data),               ("unevaluatedItems", Holds::Schema), ("unevaluatedProperties", Holds::Schema),
    ("uniqueItems", Holds::Data),        ("writeOnly", Holds::Data),
];

/// Words of older drafts, and of this one, that check nothing in it, and what does.
const IDLE: &[(&str, &str)] = &[
    ("$recursiveRef", "$ref"),
    ("additionalItems", "items, beside prefixItems"),
    ("contentEncoding", "pattern"),
    ("contentMediaType", "pattern"),
    ("contentSchema", "pattern"),
    ("definitions", "$defs"),
    ("dependencies", "dependentRequired or dependentSchemas"),
    ("id", "$id"),
];

/// Keywords that check nothing without one of others beside them.
const LEANING: &[(&str, &[&str])] = &[
    ("else", &["if"]),
    ("if", &["then", "else"]),
    ("maxContains", &["contains"]),
    ("minContains", &["contains"]),
    ("then", &["if"]),
];

/// The formats that are checked: all that the standard lists, but for the two of international names, which need tables
/// of Unicode that nothing else here does.
const FORMATS: &[&str] = &[
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "iri",
    "iri-reference",
    "json-pointer",
    "regex",
    "relative-json-pointer",
    "time",
    "uri",
    "uri-reference",
    "uri-template",
    "uuid",
];

/// What a keyword holds.
///
/// # Errors
/// It checks nothing, and which one may have been meant.
pub(super) fn holds(keyword: &str) -> Result<Holds, String> {
    if let Some((_, instead)) = IDLE.iter().find(|(name, _)| *name == keyword) {
        return Err(format!("{keyword} checks nothing: use {instead}"));
    }
    let known = KEYWORDS.iter().find(|(name, _)| *name == keyword);
    known.map(|(_, holds)| *holds).ok_or_else(|| {
        let near = nearest(keyword, KEYWORDS.iter().map(|(name, _)| *name));
        format!("{keyword} is no keyword of draft 2020-12; the nearest is {near}")
    })
}

/// Checks what a keyword says, where the library would take any text for it.
///
/// # Errors
/// What is wrong with it, for a person.
pub(super) fn check(keyword: &str, value: &Value) -> Result<(), String> {
    match (keyword, value) {
        ("format", Value::String(format)) if !FORMATS.contains(&format.as_str()) => {
            let near = nearest(format, FORMATS.iter().copied());
            Err(format!("{format} is no format that is checked here; the nearest is {near}"))
        }
        ("$schema", Value::String(draft)) if draft.trim_end_matches('#') != DRAFT => {
            Err(format!("$schema {draft} is another draft than {DRAFT}"))
        }
        _ => Ok(()),
    }
}

/// Checks what keywords stand beside each other.
///
/// # Errors
/// Which of them checks nothing, and without what.
pub(super) fn check_together(schema: &serde_json::Map<String, Value>) -> Result<(), String> {
    let idle = LEANING
        .iter()
        .find(|(keyword, on)| schema.contains_key(*keyword) && !on.iter().any(|other| schema.contains_key(*other)));
    idle.map_or(Ok(()), |(keyword, on)| Err(format!("{keyword} without {} checks nothing", on.join(" or "))))
}

/// The known word that is the fewest letters away; the first of several.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> &'a str {
    known.min_by_key(|it| strsim::osa_distance(&word.to_lowercase(), &it.to_lowercase())).unwrap_or_default()
}
