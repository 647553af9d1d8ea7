//! Texts from outside, as a person may see them.
//!
//! Whoever signed an intent, named a file or answered a call wrote its text, and a person reads it on a terminal. What steers that, turns the
//! direction of writing or cannot be seen at all stands there as `\u{…}`, so that nobody but this program says what is to be seen.

use unicode_general_category::{GeneralCategory, get_general_category};

/// Whether a character is not seen as what it is: a control (Cc), a format character (Cf: bidirectional ones, tags, joiners), a separator of
/// lines, one that has no meaning yet or none for everybody, or one that looks like nothing.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    // Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties, as far as the categories below do not have it; and what is blank by
    // design: a pattern of no dots, a head of no note.
    let looks_like_nothing = matches!(c,
        '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0100}'..='\u{e01ef}' | '\u{2800}' | '\u{1d159}');
    looks_like_nothing
        || matches!(
            get_general_category(c),
            GeneralCategory::Control
                | GeneralCategory::Format
                | GeneralCategory::LineSeparator
                | GeneralCategory::ParagraphSeparator
                | GeneralCategory::PrivateUse
                | GeneralCategory::Surrogate
                | GeneralCategory::Unassigned
        )
}

/// A text from outside, in one line.
#[must_use]
pub fn text(text: &str) -> String {
    escaped(text, is_hidden, braced)
}

/// Lines of this program, which may quote what came from outside: their ends stay.
#[must_use]
pub fn lines(text: &str) -> String {
    escaped(text, |c| c != '\n' && is_hidden(c), braced)
}

/// A JSON text: what is hidden in its strings is escaped as JSON does, so that it reads as the same value.
#[must_use]
pub fn json(text: &str) -> String {
    escaped(text, is_hidden, |c, out| {
        c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
    })
}

fn braced(c: char, out: &mut String) {
    out.extend(c.escape_unicode());
}

fn escaped(text: &str, is_hidden: impl Fn(char) -> bool, escape: impl Fn(char, &mut String)) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) { escape(c, &mut out) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_or_hides_is_shown_and_the_rest_is_left_alone() {
        let hidden = [
            0..=0x1f,
            0x7f..=0x9f,
            0xad..=0xad,
            0x34f..=0x34f,
            0x600..=0x605,
            0x61c..=0x61c,
            0x115f..=0x1160,
            0x180b..=0x180f,
            0x200b..=0x200f,
            0x2028..=0x202e,
            0x2060..=0x206f,
            0x2800..=0x2800,
            0x3164..=0x3164,
            0xe000..=0xf8ff,
            0xfdd0..=0xfdef,
            0xfe00..=0xfe0f,
            0xfeff..=0xfeff,
            0xffa0..=0xffa0,
            0xfff0..=0xfffb,
            0xfffe..=0xffff,
            0x1d159..=0x1d159,
            0x1d173..=0x1d17a,
            0xe0000..=0xe0fff,
            0x10_ffff..=0x10_ffff,
        ];
        for code in hidden.into_iter().flatten() {
            let c = char::from_u32(code).expect("a character");
            assert_eq!(text(&format!("a{c}b")), format!("a\\u{{{code:x}}}b"));
            let there: String = serde_json::from_str(&json(&serde_json::json!(c).to_string())).expect("JSON");
            assert_eq!(there, c.to_string(), "{code:x}");
        }
        for seen in [
            "",
            "plain {\"a\": 1}",
            "Grüße",
            "日本語　全角",
            "हिन्दी",
            "e\u{301}",
            "שלום",
            "عربى",
            "👍",
            "│─┼",
            "\u{fffd}",
        ] {
            assert_eq!([text(seen), lines(seen), json(seen)], [seen, seen, seen]);
        }
        assert_eq!((text("a\nb"), lines("a\nb\t").as_str()), ("a\\u{a}b".to_owned(), "a\nb\\u{9}"));
    }
}
