//! A value to the one byte string that is hashed and signed: RFC 8785 (JSON Canonicalization Scheme).

use serde::Serialize;

use crate::strict::INTEGER_MAX;

/// Room for nearly every document, so that it does not grow while it is written.
const USUAL_LEN: usize = 2048;

/// The RFC 8785 bytes of `value`.
///
/// Sorting is slow, and most of what is written here stands in order as it is. Floats occur only inside of JSON values,
/// which hold none that is not finite; a type with a float of its own has no business here.
///
/// # Errors
/// A value that JSON cannot say (a map with keys that are not strings).
pub fn bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut plain = Vec::with_capacity(USUAL_LEN);
    serde_json::to_writer(&mut plain, value)?;
    if !stands_in_order(&plain) {
        return serde_json_canonicalizer::to_vec(value);
    }
    debug_assert_eq!(serde_json_canonicalizer::to_vec(value).ok().as_ref(), Some(&plain));
    Ok(plain)
}

/// Whether compact JSON, as serde_json writes it, is surely its own canonical form: the keys of every object rise, and every
/// number is an integer that a double holds. Strings are escaped alike in both. Keys with escapes or beyond ASCII do not sort
/// by their bytes, and fractions are printed in another way: of these it is not sure.
fn stands_in_order(json: &[u8]) -> bool {
    // The last key of each open object. Arrays have no keys, so they need no place here.
    let mut open: Vec<Option<&[u8]>> = Vec::new();
    let mut rest = json;
    while let Some((first, after)) = rest.split_first() {
        match first {
            b'"' => {
                let Some(end) = string_end(after) else { return false };
                let (text, behind) = after.split_at(end);
                rest = behind.get(1..).unwrap_or_default();
                if rest.first() == Some(&b':') {
                    let Some(last) = open.last_mut() else { return false };
                    if last.is_some_and(|last| last >= text) || text.iter().any(|c| !c.is_ascii() || *c == b'\\') {
                        return false;
                    }
                    *last = Some(text);
                }
                continue;
            }
            b'0'..=b'9' => {
                let (digits, behind) = rest.split_at(rest.iter().take_while(|c| c.is_ascii_digit()).count());
                if matches!(behind.first(), Some(b'.' | b'e' | b'E')) || !is_exact(digits) {
                    return false;
                }
                rest = behind;
                continue;
            }
            b'{' => open.push(None),
            b'}' => drop(open.pop()),
            _ => {}
        }
        rest = after;
    }
    true
}

/// Where the string ends whose opening quote stands before `text`.
fn string_end(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    text.iter().position(|c| {
        let ends = *c == b'"' && !escaped;
        escaped = *c == b'\\' && !escaped;
        ends
    })
}

/// Whether every reader holds an integer of these digits exactly.
fn is_exact(digits: &[u8]) -> bool {
    std::str::from_utf8(digits).ok().and_then(|text| text.parse::<u64>().ok()).is_some_and(|it| it <= INTEGER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expected: &str) {
        let value: serde_json::Value = serde_json::from_str(input).expect("JSON");
        assert_eq!(String::from_utf8(bytes(&value).expect("canonical")).expect("UTF-8"), expected);
    }

    #[test]
    fn sorts_by_utf16_and_prints_numbers_as_ecmascript_does() {
        // RFC 8785, section 3.2.2 and 3.2.3.
        check(
            r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#,
            "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}",
        );
        check(
            r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#,
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}",
        );
    }

    #[test]
    fn what_stands_in_order_is_canonical_and_what_might_not_is_sorted() {
        for (json, short) in [
            (r#"{"a":[{"b":1,"c":"}{\\"},{"a":null}],"b":{"a":"\"x\":"},"c":-9007199254740991}"#, true),
            (r#"["b","a",{"a":{},"b":[]}]"#, true),
            (r#"["\"","\\","b"]"#, true),
            (r#"{"":0,"a":{"z":1},"b":"\u001f\né€😀"}"#, true),
            (r#"{"A":1,"a":2,"a.b":3,"aa":4}"#, true),
            (r#"{"a":1.0}"#, false),
            (r#"[1e21]"#, false),
            (r#"[-0.0]"#, false),
            (r#"[9007199254740992]"#, false),
            (r#"[18446744073709551615]"#, false),
            (r#"{"é":1,"z":2}"#, false),
            (r#"{"\n":1,"a":2}"#, false),
        ] {
            let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
            let plain = serde_json::to_vec(&value).expect("JSON");
            assert_eq!(stands_in_order(&plain), short, "{json}");
            assert_eq!(bytes(&value).ok(), serde_json_canonicalizer::to_vec(&value).ok(), "{json}");
        }
        assert!(!stands_in_order(br#"{"b":1,"a":2}"#) && !stands_in_order(br#"{"a":{"a":1,"a":2}}"#));
        assert!(stands_in_order(br#"{"b":{"a":1},"c":[{"a":1},{"a":1}]}"#));
    }
}
