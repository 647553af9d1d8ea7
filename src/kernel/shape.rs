//! The pinned shape of what a connector takes and gives: a JSON Schema (draft 2020-12), compiled with its bundle.

use std::fmt;
use std::sync::Arc;

use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use self::keywords::Holds;

mod keywords;

/// The most that a schema may weigh: how many JSON values it is where every reference is written out, with [`PATTERN_WEIGHT`] for
/// each pattern. To check a value takes time in proportion to both their sizes.
pub const WEIGHT_MAX: usize = 4096;

/// How deep a schema may be nested where every reference is written out.
pub const DEPTH_MAX: usize = 64;

/// The most bytes that a pattern may be compiled into.
pub const PATTERN_BYTES_MAX: usize = 16 << 10;

/// What a pattern weighs: at worst, all that it is compiled into is looked at for each character.
pub const PATTERN_WEIGHT: usize = 64;

/// The longest text that can be of the format `regex`, in bytes: to look at one takes time in proportion to the square of its named
/// groups.
const REGEX_LEN_MAX: usize = 1024;

/// How many times as much a schema weighs that asks what its parts have left: it asks them once more, and so do they theirs.
const UNEVALUATED_FACTOR: usize = 4;

/// The most work, weight times size, for which a difference is looked for among alternatives: each has its own in memory.
const ALTERNATIVES_MAX: usize = 1 << 18;

/// A compiled JSON Schema in which every word checks something or is there for people, and which refers to nothing but its own
/// parts, and never around; patterns run in linear time.
#[derive(Clone)]
pub struct Shape {
    schema: Value,
    weight: usize,
    alternatives: bool,
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
        let mut scale = Scale { whole: schema, read: 0, within: Vec::new(), alternatives: false };
        let weight = scale.schema(schema, 0)?;
        if weight > WEIGHT_MAX {
            return Err(too_heavy());
        }
        let patterns = jsonschema::PatternOptions::regex().size_limit(PATTERN_BYTES_MAX);
        let options = jsonschema::options().with_draft(jsonschema::Draft::Draft202012).with_pattern_options(patterns);
        let options = options.should_validate_formats(true);
        let is_regex =
            options.clone().build(&serde_json::json!({"format": "regex"})).map_err(|error| error.to_string())?;
        let is_regex = move |text: &str| text.len() <= REGEX_LEN_MAX && is_regex.is_valid(&Value::from(text));
        let validator = options.with_format("regex", is_regex).build(schema).map_err(|error| {
            if matches!(error.kind(), ValidationErrorKind::Format { format } if format == "regex") {
                return format!("{} is no pattern (regex), or too large a one", error.instance());
            }
            error.to_string()
        })?;
        let alternatives = scale.alternatives;
        Ok(Shape { schema: schema.clone(), weight, alternatives, validator: Arc::new(validator) })
    }

    /// Whether a value has this shape.
    #[must_use]
    pub fn holds(&self, value: &Value) -> bool {
        self.validator.is_valid(value)
    }

    /// The first place where a value does not have it, and the part of the schema that it does not fit; empty where it has the
    /// shape. Only the first: an outsider can have a value be wrong in as many places as it has room for. No place where a large
    /// value fits none of several alternatives: each of those is wrong in places of its own.
    #[must_use]
    pub fn difference(&self, value: &Value) -> String {
        if self.alternatives && self.weight.saturating_mul(size(value)) > ALTERNATIVES_MAX {
            let place = "it does not fit, and is too large to look for a place among alternatives";
            return if self.holds(value) { String::new() } else { place.to_owned() };
        }
        let Err(error) = self.validator.validate(value) else { return String::new() };
        let place = error.instance_path().to_string();
        let place = if place.is_empty() { "the whole" } else { &place };
        format!("{place} does not fit {}", error.schema_path())
    }
}

/// How many JSON values a value is.
fn size(value: &Value) -> usize {
    match value {
        Value::Object(fields) => fields.values().fold(1, |sum, part| sum + size(part)),
        Value::Array(items) => items.iter().fold(1, |sum, part| sum + size(part)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

/// Weighs a schema. A few dozen references, or a dozen questions about what is unevaluated, can stand for more work than a process
/// has time for.
struct Scale<'a> {
    whole: &'a Value,
    /// How many values were read, so that weighing itself comes to an end.
    read: usize,
    /// The references that led here.
    within: Vec<&'a str>,
    /// Whether something may fit in one of several ways.
    alternatives: bool,
}

impl<'a> Scale<'a> {
    /// The weight of a schema.
    fn schema(&mut self, schema: &'a Value, depth: usize) -> Result<usize, String> {
        self.enter(depth)?;
        let fields = match schema {
            Value::Object(fields) => fields,
            Value::Bool(_) => return Ok(1),
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(format!("{schema} is no schema"));
            }
        };
        keywords::check_together(fields)?;
        let mut weight: usize = 1;
        for (keyword, value) in fields {
            weight = weight.saturating_add(self.keyword(keyword, value, depth)?);
        }
        let asks_the_rest = fields.contains_key("unevaluatedProperties") || fields.contains_key("unevaluatedItems");
        Ok(if asks_the_rest { weight.saturating_mul(UNEVALUATED_FACTOR) } else { weight })
    }

    fn keyword(&mut self, keyword: &str, value: &'a Value, depth: usize) -> Result<usize, String> {
        let holds = keywords::holds(keyword)?;
        keywords::check(keyword, value)?;
        self.alternatives |= matches!(keyword, "anyOf" | "oneOf");
        let patterns = match (keyword, value) {
            ("$ref", Value::String(reference)) => return self.follow(reference, depth),
            ("$dynamicRef", Value::String(reference)) => return Err(not_a_part(reference)),
            // These would say that another document begins here, or another draft, and what references then mean.
            ("$id" | "$schema", Value::String(of)) if depth > 0 => return Err(format!("{keyword} {of} below the top")),
            ("pattern", Value::String(_)) => 1,
            ("patternProperties", Value::Object(patterns)) => patterns.len(),
            _ => 0,
        };
        let patterns = patterns.saturating_mul(PATTERN_WEIGHT);
        Ok(patterns.saturating_add(match (holds, value) {
            (Holds::Schema, _) => self.schema(value, depth + 1)?,
            (Holds::List, Value::Array(parts)) => self.all(parts, depth + 1, Scale::schema)?,
            (Holds::Named, Value::Object(parts)) => self.all(parts.values(), depth + 1, Scale::schema)?,
            // What holds no schemas where it should, the library refuses.
            (Holds::List | Holds::Named | Holds::Data, _) => self.data(value, depth + 1)?,
        }))
    }

    /// The weight of what is no schema.
    fn data(&mut self, value: &'a Value, depth: usize) -> Result<usize, String> {
        match value {
            Value::Object(fields) => self.all(fields.values(), depth, Scale::data),
            Value::Array(items) => self.all(items, depth, Scale::data),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => self.enter(depth).map(|()| 1),
        }
    }

    /// The weight of a list or a map, and of its parts.
    fn all(
        &mut self,
        parts: impl IntoIterator<Item = &'a Value>,
        depth: usize,
        weigh: impl Fn(&mut Self, &'a Value, usize) -> Result<usize, String>,
    ) -> Result<usize, String> {
        self.enter(depth)?;
        parts.into_iter().try_fold(1_usize, |weight, part| Ok(weight.saturating_add(weigh(self, part, depth + 1)?)))
    }

    /// Takes one more value in.
    fn enter(&mut self, depth: usize) -> Result<(), String> {
        self.read += 1;
        if self.read > WEIGHT_MAX {
            return Err(too_heavy());
        }
        if depth > DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX}"));
        }
        Ok(())
    }

    /// The weight of what a reference stands for.
    fn follow(&mut self, reference: &'a str, depth: usize) -> Result<usize, String> {
        let part = reference.strip_prefix('#').filter(|pointer| !pointer.contains('%'));
        let part = part.and_then(|pointer| self.whole.pointer(pointer)).ok_or_else(|| not_a_part(reference))?;
        if reference == "#" || self.within.contains(&reference) {
            return Err(format!("{reference} refers to itself"));
        }
        self.within.push(reference);
        let weight = self.schema(part, depth + 1)?;
        self.within.pop();
        Ok(weight)
    }
}

fn too_heavy() -> String {
    format!("more than {WEIGHT_MAX} values where references are written out; a pattern counts {PATTERN_WEIGHT}")
}

fn not_a_part(reference: &str) -> String {
    format!("{reference} is no part of this schema, such as #/$defs/name")
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
            (json!({"properties": {"a": {"$ref": "#"}}}), "# refers to itself"),
            (json!({"$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"$ref": "#/$defs/a"}}}), "refers to itself"),
            (json!({"$ref": "#/$defs/a"}), "#/$defs/a is no part of this schema"),
            (json!({"$ref": "#a", "$defs": {"a": {"$anchor": "a"}}}), "#a is no part of this schema"),
            (json!({"$ref": "#/$defs/%61", "$defs": {"a": {}}}), "is no part of this schema"),
            (json!({"$ref": "elsewhere#/$defs/a", "$defs": {"a": {}}}), "is no part of this schema"),
            (json!({"$ref": "#/title", "title": "no schema"}), "no schema"),
            (json!({"items": {"$id": "b", "$ref": "#/$defs/a"}, "$defs": {"a": {}}}), "$id b below the top"),
            (json!({"items": {"$schema": "https://json-schema.org/draft/2020-12/schema"}}), "below the top"),
            (json!({"anyOf": [{"$dynamicRef": "#x"}]}), "#x is no part of this schema"),
            (json!({"properties": [1]}), "[1]"),
            (json!([{"type": "object"}]), "not a JSON Schema object"),
            (json!({"type": "objekt"}), "objekt"),
            (json!({"pattern": "(a"}), "regex"),
        ] {
            let refused = Shape::compile(&schema).expect_err("no schema");
            assert!(refused.contains(why), "{schema}: {refused}");
        }
    }

    #[test]
    fn a_reference_to_a_part_is_that_part() {
        let shape = Shape::compile(&json!({
            "$id": "here", "type": "object", "properties": {"from": {"$ref": "#/$defs/account"}, "to": {"$ref": "#/$defs/account"}},
            "$defs": {"account": {"required": ["iban"], "properties": {"iban": {"$ref": "#/$defs/iban"}}}, "iban": {"maxLength": 3}},
        }));
        let shape = shape.expect("a schema");
        assert!(shape.holds(&json!({"from": {"iban": "abc"}, "to": {"iban": "d"}})));
        let difference = shape.difference(&json!({"from": {"iban": "abc"}, "to": {"iban": "abcd"}}));
        assert!(difference.starts_with("/to/iban does not fit") && difference.ends_with("maxLength"), "{difference}");
        assert!(!shape.holds(&json!({"from": {}})));
    }

    /// What it misspells would let every value pass.
    #[test]
    fn a_schema_has_no_word_that_checks_nothing() {
        for (schema, why) in [
            (json!({"requried": ["a"]}), "requried is no keyword of draft 2020-12; the nearest is required"),
            (json!({"items": {"maxmium": 5}}), "maxmium is no keyword of draft 2020-12; the nearest is maximum"),
            (
                json!({"allOf": [{"additionalproperties": false}]}),
                "additionalproperties is no keyword of draft 2020-12; the nearest is additionalProperties",
            ),
            (json!({"$defs": {"a": {"Type": "integer"}}}), "Type is no keyword of draft 2020-12; the nearest is type"),
            (json!({"not": {"x-note": 1}}), "x-note is no keyword of draft 2020-12; the nearest is not"),
            (
                json!({"if": {"mimimum": 1}, "then": false}),
                "mimimum is no keyword of draft 2020-12; the nearest is minimum",
            ),
            (json!({"definitions": {"a": {}}}), "definitions checks nothing: use $defs"),
            (json!({"id": "here"}), "id checks nothing: use $id"),
            (
                json!({"dependencies": {"a": ["b"]}}),
                "dependencies checks nothing: use dependentRequired or dependentSchemas",
            ),
            (json!({"additionalItems": false}), "additionalItems checks nothing: use items, beside prefixItems"),
            (json!({"contentEncoding": "base64"}), "contentEncoding checks nothing: use pattern"),
            (json!({"not": {"items": {"$recursiveRef": "#"}}}), "$recursiveRef checks nothing: use $ref"),
            (json!({"then": {"type": "null"}}), "then without if checks nothing"),
            (json!({"if": {"type": "null"}}), "if without then or else checks nothing"),
            (json!({"properties": {"a": {"minContains": 2}}}), "minContains without contains checks nothing"),
            (json!({"format": "nonsense"}), "nonsense is no format that is checked here; the nearest is hostname"),
            (json!({"format": "datetime"}), "datetime is no format that is checked here; the nearest is date-time"),
            (json!({"format": "idn-email"}), "idn-email is no format that is checked here; the nearest is email"),
            (
                json!({"$schema": "http://json-schema.org/draft-07/schema#"}),
                "$schema http://json-schema.org/draft-07/schema# is another draft than https://json-schema.org/draft/2020-12/schema",
            ),
        ] {
            assert_eq!(Shape::compile(&schema), Err(why.to_owned()), "{schema}");
        }
    }

    /// A word is a keyword by where it stands.
    #[test]
    fn what_an_author_names_or_gives_as_data_is_no_keyword() {
        let shape = Shape::compile(&json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "$comment": "c", "title": "t", "default": {"requried": 1},
            "properties": {"requried": {"const": {"maxmium": 1, "$ref": "elsewhere", "$id": "b"}}},
            "patternProperties": {"^x-": {"enum": [{"format": "nonsense"}]}}, "examples": [{"$ref": "#"}],
            "dependentRequired": {"maxmium": ["requried"]},
        }));
        let shape = shape.expect("a schema");
        assert!(shape.holds(&json!({"requried": {"maxmium": 1, "$ref": "elsewhere", "$id": "b"}})));
        assert!(!shape.holds(&json!({"maxmium": 1})) && !shape.holds(&json!({"x-a": 1})));
    }

    #[test]
    fn a_format_is_asserted() {
        #[rustfmt::skip] // A table is read by columns.
        let rows = [
            ("date",                  "2026-02-28",                           "2026-02-29"),
            ("date-time",             "2026-02-28T12:00:00Z",                 "2026-02-28 12:00"),
            ("duration",              "P1DT2H",                               "1 day"),
            ("email",                 "a@example.com",                        "a.example.com"),
            ("hostname",              "a.example.com",                        "-a.example.com"),
            ("ipv4",                  "127.0.0.1",                            "127.0.0.256"),
            ("ipv6",                  "::1",                                  "1"),
            ("iri",                   "https://example.com/ü",                "/ü"),
            ("iri-reference",         "/ü",                                   "\\ü"),
            ("json-pointer",          "/a/0",                                 "a"),
            ("regex",                 "^a+$",                                 "(a"),
            ("relative-json-pointer", "1/a",                                  "/a"),
            ("time",                  "12:00:00Z",                            "12 o'clock"),
            ("uri",                   "https://example.com/",                 "example"),
            ("uri-reference",         "/a",                                   "\\a"),
            ("uri-template",          "/a/{b}",                               "/a/{b"),
            ("uuid",                  "123e4567-e89b-12d3-a456-426614174000", "123"),
        ];
        for (format, good, bad) in rows {
            let shape = Shape::compile(&json!({"properties": {"a": {"format": format}}})).expect(format);
            assert!(shape.holds(&json!({"a": good})) && shape.holds(&json!({"a": 5})), "{format}");
            assert_eq!(shape.difference(&json!({"a": bad})), "/a does not fit /properties/a/format", "{format}");
        }
        let regex = Shape::compile(&json!({"format": "regex"})).expect("a schema");
        assert!(regex.holds(&json!("a".repeat(1024))) && !regex.holds(&json!("a".repeat(1025))), "bounded");
    }

    /// A schema of a few hundred bytes that each level makes twice as much work.
    fn doubled(levels: usize, twice: impl Fn(Value) -> Value) -> Value {
        (0..levels).fold(json!({"properties": {"a": {"type": "integer"}}}), |below, _| twice(below))
    }

    #[test]
    fn no_schema_stands_for_more_work_than_it_may_weigh() {
        let defs = |levels: usize, each: usize| {
            let name = |level: usize| format!("#/$defs/d{level}");
            let next = |level| (format!("d{}", level + 1), json!({"allOf": vec![json!({"$ref": name(level)}); each]}));
            let mut defs: serde_json::Map<String, Value> = (0..levels).map(next).collect();
            defs.insert("d0".to_owned(), json!({"type": "integer"}));
            json!({"$ref": name(levels), "$defs": defs})
        };
        let chain = |levels: usize| {
            let next = |level: usize| (format!("d{level}"), json!({"$ref": format!("#/$defs/d{}", level + 1)}));
            let mut defs: serde_json::Map<String, Value> = (0..levels).map(next).collect();
            defs.insert(format!("d{levels}"), json!({"type": "integer"}));
            json!({"$ref": "#/$defs/d0", "$defs": defs})
        };
        let unevaluated = |levels| doubled(levels, |below| json!({"allOf": [below], "unevaluatedProperties": false}));
        let conditions = |levels| doubled(levels, |below| json!({"if": below, "then": {}, "unevaluatedItems": false}));
        let patterns = |count: usize| json!({"allOf": (0..count).map(|i| json!({"pattern": format!("a{i}")})).collect::<Vec<_>>()});
        let named = |count: usize| json!({"patternProperties": (0..count).map(|i| (format!("a{i}"), json!({}))).collect::<serde_json::Map<_, _>>()});
        let plain = |count: usize| json!({"enum": vec![json!("a"); count]});
        for (light, heavy) in [
            (defs(5, 2), defs(12, 2)),
            (defs(2, 9), defs(20, 9)),
            (unevaluated(4), unevaluated(6)),
            (conditions(4), conditions(6)),
            (patterns(60), patterns(64)),
            (named(60), named(64)),
        ] {
            assert!(Shape::compile(&light).is_ok(), "{light}");
            let refused = Shape::compile(&heavy).expect_err("too heavy");
            assert!(refused.contains("more than 4096 values"), "{heavy}: {refused}");
        }
        let lists = |depth: usize| json!({"const": (1..depth).fold(json!([]), |inner, _| json!([inner]))});
        for (deep, deeper) in [(chain(61), chain(62)), (lists(DEPTH_MAX), lists(DEPTH_MAX + 1))] {
            assert!(Shape::compile(&deep).is_ok(), "{deep}");
            assert_eq!(Shape::compile(&deeper).expect_err("too deep"), "nested deeper than 64");
        }
        assert_eq!(Shape::compile(&plain(WEIGHT_MAX - 2)).map(|shape| shape.weight), Ok(WEIGHT_MAX));
        assert_eq!(Shape::compile(&plain(WEIGHT_MAX - 1)).map(|shape| shape.weight), Err(too_heavy()));
    }

    #[test]
    fn a_pattern_is_no_larger_than_it_may_be() {
        let pattern = |text: &str| Shape::compile(&json!({"pattern": text}));
        for text in
            [r"^\d{4}-\d{2}-\d{2}$", r"^\w{1,32}$", "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", "[01]*1[01]{100}x"]
        {
            assert!(pattern(text).is_ok(), "{text}");
        }
        for text in ["[01]*1[01]{600}x", r"\w{200}", r"\w{200}{200}{200}"] {
            assert!(pattern(text).expect_err("too large").contains("too large"), "{text}");
        }
    }

    #[test]
    fn among_alternatives_a_place_is_told_for_what_is_small() {
        let either = json!({"anyOf": [{"items": {"type": "string"}}, {"items": {"type": "null"}}]});
        let (shape, one) = (Shape::compile(&either), Shape::compile(&json!({"items": {"type": "string"}})));
        let (shape, one) = (shape.expect("a schema"), one.expect("a schema"));
        let many = |count: usize, of: Value| Value::from(vec![of; count]);
        assert_eq!(shape.difference(&many(10, json!(1))), "the whole does not fit /anyOf");
        assert!(shape.difference(&many(50_000, json!(1))).contains("too large to look for a place"));
        assert_eq!(shape.difference(&many(50_000, json!("a"))), "");
        assert_eq!(one.difference(&many(50_000, json!(1))), "/0 does not fit /items/type");

        let shape = Shape::compile(&json!({"anyOf": [{"enum": vec![0; 12]}]})).expect("a schema");
        let most = ALTERNATIVES_MAX / 16;
        assert_eq!((shape.weight, size(&many(most - 1, json!(1)))), (16, most));
        assert_eq!(shape.difference(&many(most - 1, json!(1))), "the whole does not fit /anyOf");
        assert!(shape.difference(&many(most, json!(1))).contains("too large"));
        assert_eq!(size(&json!({"a": [1, {"b": []}], "c": null})), 6);
    }

    #[test]
    fn the_name_of_a_reference_is_a_text_like_any_other() {
        let shape = Shape::compile(&json!({"enum": ["$ref", 1, null, true]})).expect("no reference");
        assert!(shape.holds(&json!("$ref")) && !shape.holds(&json!("$dynamicRef")));
        let shape = Shape::compile(&json!({"properties": {"$ref": {"type": "integer"}, "$id": {"type": "null"}}}));
        let shape = shape.expect("members of these names");
        assert!(shape.holds(&json!({"$ref": 1, "$id": null})) && !shape.holds(&json!({"$ref": "a"})));
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
