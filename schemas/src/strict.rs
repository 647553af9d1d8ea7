//! Bytes from outside to JSON that means one thing: strict I-JSON (RFC 7493).
//!
//! The JSON parser keeps the last of two equal keys and turns 2^64 into a float; the canonicaliser rounds
//! 9007199254740993. Either would let two readers see two documents in the same signed bytes, so all of it is refused by
//! name here, before any other code sees a value.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use serde::de::{self, DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::errors::Code;

/// The largest integer that every JSON reader holds exactly: 2^53 - 1 (RFC 7493, section 2.2).
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// The deepest nesting accepted. Deeper than any document here, far from the stack's end.
pub const DEPTH_MAX: usize = 32;

/// Why bytes are not a document: a registered code, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// The registered code.
    pub code: Code,
    /// What and where, for a person. Bounded.
    pub detail: String,
}

impl Refusal {
    /// The longest detail kept, in characters: a refusal is stored and published, and must not grow with hostile input.
    pub const DETAIL_MAX: usize = 200;

    /// A refusal with its detail cut to [`Refusal::DETAIL_MAX`] and its control characters replaced.
    #[must_use]
    pub fn new(code: Code, detail: impl fmt::Display) -> Refusal {
        // Whatever it quotes came from outside, and it is stored, published and printed: nothing in it may steer a terminal.
        let tame = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        Refusal { code, detail: detail.to_string().chars().take(Refusal::DETAIL_MAX).map(tame).collect() }
    }
}

/// Parses `bytes` into `T`, refusing everything that is not strict I-JSON or not exactly the shape of `T`.
///
/// # Errors
/// `ERR_TOO_LARGE` above `bytes_max`; `ERR_JSON_*` by kind; `ERR_SCHEMA` where it is JSON but not a `T`.
pub fn parse<T: DeserializeOwned + Serialize>(bytes: &[u8], bytes_max: usize) -> Result<T, Refusal> {
    check_len(bytes, bytes_max)?;
    let text = utf8(bytes)?;
    scan(text)?;
    match as_written(text) {
        Some(parsed) => Ok(parsed),
        None => in_any_order(text),
    }
}

/// The short way, of nearly every document: bytes that `T` writes again to the letter hold no key twice, no number that
/// changed, and no other shape. `None` says nothing: other bytes may be strict, too.
fn as_written<T: DeserializeOwned + Serialize>(text: &str) -> Option<T> {
    let parsed: T = serde_json::from_str(text).ok()?;
    let mut again = Vec::with_capacity(text.len());
    serde_json::to_writer(&mut again, &parsed).ok()?;
    (again == text.as_bytes()).then_some(parsed)
}

/// The long way: blanks, keys in any order, escapes.
fn in_any_order<T: DeserializeOwned + Serialize>(text: &str) -> Result<T, Refusal> {
    walk(text)?;
    let schema = |e: serde_json::Error| Refusal::new(Code::Schema, e);
    let value: Value = serde_json::from_str(text).map_err(schema)?;
    let parsed: T = serde_path_to_error::deserialize(&value).map_err(|e| match e.path().iter().next() {
        Some(_) => Refusal::new(Code::Schema, format!("{}: {}", e.path(), e.inner())),
        None => Refusal::new(Code::Schema, e.inner()),
    })?;
    // The derived readers take more shapes than the derived writers make: structs by position, missing fields as null,
    // unknown fields of variants. Only what is written again is what was read.
    match first_difference(&value, &serde_json::to_value(&parsed).map_err(schema)?) {
        None => Ok(parsed),
        Some(place) => Err(Refusal::new(Code::Schema, format!("not the shape that is written at {place}"))),
    }
}

/// Checks that a document of our own can be read again: short enough, and no number beyond what every reader holds.
///
/// # Errors
/// `ERR_TOO_LARGE`, `ERR_JSON_NUMBER`, `ERR_JSON_DEPTH`.
pub fn check_written(bytes: &[u8], bytes_max: usize) -> Result<(), Refusal> {
    check_len(bytes, bytes_max)?;
    scan(utf8(bytes)?)
}

fn check_len(bytes: &[u8], bytes_max: usize) -> Result<(), Refusal> {
    if bytes.len() > bytes_max {
        return Err(Refusal::new(Code::TooLarge, format!("{} bytes, at most {bytes_max}", bytes.len())));
    }
    Ok(())
}

/// Where two values differ first, as a path. A null or an empty list that a writer leaves out may be read.
fn first_difference(read: &Value, written: &Value) -> Option<String> {
    let under = |key: &str, inner: Option<String>| inner.map(|place| format!("/{key}{place}"));
    match (read, written) {
        (Value::Object(read), Value::Object(written)) => {
            let left_out = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            let unread = written.iter().find(|(key, value)| !read.contains_key(*key) && !is_default(value));
            let differs = read.iter().find_map(|(key, value)| match written.get(key) {
                Some(again) => under(key, first_difference(value, again)),
                None if left_out(value) => None,
                None => Some(format!("/{key}")),
            });
            differs.or_else(|| unread.map(|(key, _)| format!("/{key}")))
        }
        (Value::Array(read), Value::Array(written)) if read.len() == written.len() => read
            .iter()
            .zip(written)
            .enumerate()
            .find_map(|(at, (read, written))| under(&at.to_string(), first_difference(read, written))),
        _ => (read != written).then(String::new),
    }
}

/// What `#[serde(default)]` makes of a missing map or list. A missing field that is written as null was not left out: it is
/// one that writers always write.
fn is_default(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Checks that `bytes` are one strict I-JSON text.
///
/// # Errors
/// The `ERR_JSON_*` codes, with the place.
pub fn check(bytes: &[u8]) -> Result<(), Refusal> {
    let text = utf8(bytes)?;
    scan(text)?;
    walk(text)
}

fn utf8(bytes: &[u8]) -> Result<&str, Refusal> {
    let refuse =
        |e: std::str::Utf8Error| Refusal::new(Code::JsonUtf8, format!("invalid UTF-8 at byte {}", e.valid_up_to()));
    std::str::from_utf8(bytes).map_err(refuse)
}

/// Syntax, and that no object has a key twice.
fn walk(text: &str) -> Result<(), Refusal> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let refuse = |e: serde_json::Error| {
        let said = e.to_string();
        match said.strip_prefix(DUPLICATE) {
            Some(rest) => Refusal::new(Code::JsonDuplicateKey, rest),
            None => Refusal::new(Code::JsonSyntax, said),
        }
    };
    Walk.deserialize(&mut reader).map_err(refuse)?;
    reader.end().map_err(refuse)
}

/// Depth and number tokens, by one pass over the text outside of strings. Whether it is JSON at all is the parser's part.
fn scan(text: &str) -> Result<(), Refusal> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at),
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(Refusal::new(Code::JsonDepth, format!("deeper than {DEPTH_MAX} at byte {at}")));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                let rest = text.get(at..).unwrap_or_default();
                let len =
                    rest.find(|c: char| !matches!(c, '-' | '+' | '.' | 'e' | 'E' | '0'..='9')).unwrap_or(rest.len());
                number(rest.get(..len).unwrap_or_default(), at)?;
                at += len;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// The index of the closing quote of the string that opens at `at`, or of the last byte.
fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while let Some(&byte) = bytes.get(end) {
        match byte {
            b'\\' => end += 1,
            b'"' => return end,
            _ => {}
        }
        end += 1;
    }
    bytes.len()
}

fn number(token: &str, at: usize) -> Result<(), Refusal> {
    let refuse = |why| Refusal::new(Code::JsonNumber, format!("{why} at byte {at}"));
    let digits = token.trim_start_matches('-');
    if digits.bytes().all(|c| c.is_ascii_digit()) {
        return match digits.parse::<u64>() {
            Ok(magnitude) if magnitude <= INTEGER_MAX => Ok(()),
            Err(_) if digits.is_empty() => Ok(()), // no number at all; the parser says so
            _ => Err(refuse("an integer beyond 2^53 - 1")),
        };
    }
    match token.parse::<f64>() {
        Ok(value) if !value.is_finite() => Err(refuse("a number beyond a double")),
        // The canonical form prints these as integers, which the rule above would then refuse.
        Ok(value) if (PRINTED_AS_INTEGER_FROM..PRINTED_WITH_EXPONENT_FROM).contains(&value.abs()) => {
            Err(refuse("a number that is canonically an integer beyond 2^53 - 1"))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// 2^53, as a double: the first integer beyond [`INTEGER_MAX`].
const PRINTED_AS_INTEGER_FROM: f64 = 9_007_199_254_740_992.0;

/// From here on ECMAScript, and so RFC 8785, prints an exponent.
const PRINTED_WITH_EXPONENT_FROM: f64 = 1e21;

/// Marks the one error of our own among the parser's; never part of user text, because the parser's messages start
/// with words of its own.
const DUPLICATE: &str = "\u{1}duplicate key ";

/// Visits everything, keeps nothing but the keys of the objects that are open.
struct Walk;

impl<'de> DeserializeSeed<'de> for Walk {
    type Value = ();
    fn deserialize<D: de::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(Walk)
    }
}

impl<'de> Visitor<'de> for Walk {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Walk)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            entries.next_value_seed(Walk)?;
            if let Some(key) = seen.replace(key) {
                return Err(de::Error::custom(format!("{DUPLICATE}{key:?}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn verdict(json: &str) -> Option<Code> {
        check(json.as_bytes()).err().map(|r| r.code)
    }

    #[test]
    fn what_is_no_bundle_is_told_by_its_place() {
        let told = |json: &str| parse::<crate::policy::Bundle>(json.as_bytes(), 1000).map_err(|it| it.detail).err();
        let gates = r#""gates":{"temporal":"enforced","proof":"enforced","budget":"enforced","escalation":"enforced"}"#;
        for (json, place) in [
            (
                format!(r#"{{"name":"n",{gates},"rules":[],"budgets":{{"b":{{"unit":"u","limit":"9"}}}}}}"#),
                "budgets.b.limit: ",
            ),
            (format!(r#"{{"name":"n",{gates},"rules":[{{"acton":"a"}}]}}"#), "rules[0].acton: "),
            (
                gates.replace("enforced", "enforce").replacen('"', r#"{"name":"n","rules":[],""#, 1) + "}",
                "gates.budget: ",
            ),
        ] {
            let told = told(&json).unwrap_or_default();
            assert!(told.starts_with(place), "{json}: {told}");
        }
    }

    #[test]
    fn accepts_ijson() {
        for good in [
            "null",
            "{}",
            "[1,-1,0,0.5,1e300,9007199254740991,-9007199254740991]",
            r#"{"a":{"b":[1]},"b":"\ud83d\ude00"}"#,
            r#"["\"9007199254740992","\\",9]"#,
        ] {
            assert_eq!(verdict(good), None, "{good}");
        }
        assert_eq!(verdict(&format!("{}1{}", "[".repeat(32), "]".repeat(32))), None);
    }

    #[test]
    fn refuses_by_name() {
        let deep = format!("{}1{}", "[".repeat(33), "]".repeat(33));
        let abyss = "[".repeat(1_000_000);
        for (bad, code) in [
            ("", Code::JsonSyntax),
            ("{", Code::JsonSyntax),
            ("{} {}", Code::JsonSyntax),
            ("{'a':1}", Code::JsonSyntax),
            ("[1,]", Code::JsonSyntax),
            ("[01]", Code::JsonSyntax),
            ("[NaN]", Code::JsonSyntax),
            (r#"["\ud800"]"#, Code::JsonSyntax),
            (r#"{"a":1,"a":1}"#, Code::JsonDuplicateKey),
            (r#"{"a":1,"\u0061":2}"#, Code::JsonDuplicateKey),
            (r#"[{"x":{"k":1,"k":2}}]"#, Code::JsonDuplicateKey),
            ("[9007199254740992]", Code::JsonNumber),
            ("[9007199254740993]", Code::JsonNumber),
            ("[-9007199254740992]", Code::JsonNumber),
            ("[18446744073709551616]", Code::JsonNumber),
            ("[1e400]", Code::JsonNumber),
            ("[1e17]", Code::JsonNumber),
            ("[9007199254740993.0]", Code::JsonNumber),
            ("[-]", Code::JsonSyntax),
            ("[1e]", Code::JsonSyntax),
            ("[1-2]", Code::JsonSyntax),
            (deep.as_str(), Code::JsonDepth),
            (abyss.as_str(), Code::JsonDepth),
        ] {
            assert_eq!(verdict(bad), Some(code), "{}", bad.chars().take(60).collect::<String>());
        }
        assert_eq!(check(b"[\"\xff\"]").err().map(|r| r.code), Some(Code::JsonUtf8));
    }

    #[test]
    fn a_hostile_key_cannot_grow_the_refusal() {
        let key = "k".repeat(5_000);
        let refusal = check(format!(r#"{{"{key}":1,"{key}":2}}"#).as_bytes()).expect_err("duplicate");
        assert!(refusal.detail.chars().count() <= Refusal::DETAIL_MAX);
    }

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pair {
        a: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        b: Option<Value>,
    }

    #[test]
    fn the_short_way_takes_only_what_the_long_way_takes() {
        for (text, short, long) in [
            (r#"{"a":1}"#, true, true),
            (r#"{"a":1,"b":{"x":[0.5,-1,"\n"]}}"#, true, true),
            (r#"{"a": 1}"#, false, true),
            (r#"{"b":2,"a":1}"#, false, true),
            (r#"{"a":1,"b":"\u0041"}"#, false, true),
            (r#"{"a":1,"b":null}"#, false, true),
            (r#"{"a":1,"a":1}"#, false, false),
            (r#"{"a":1,"b":{"k":1,"k":1}}"#, false, false),
            (r#"{"a":1,"b":{"k":1,"k":2}}"#, false, false),
            (r#"[1,null]"#, false, false),
            (r#"{"a":1,"c":1}"#, false, false),
            (r#"{"a":1}{}"#, false, false),
        ] {
            let (quick, whole) = (as_written::<Pair>(text), in_any_order::<Pair>(text).ok());
            assert_eq!((quick.is_some(), whole.is_some()), (short, long), "{text}");
            assert!(quick.is_none() || quick == whole, "{text}");
        }
    }
}
