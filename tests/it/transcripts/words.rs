//! How lines are read: words with holes.

/// The words in the holes of `pattern`, if `text` fits it word by word. A hole is `{}`, alone or with a comma behind it; `...`
/// at the end is whatever is left, at least a word.
pub(super) fn fits<'a, const N: usize>(pattern: &str, text: &'a str) -> Option<[&'a str; N]> {
    let (mut rest, mut holes) = (text, Vec::with_capacity(N));
    for wanted in pattern.split(' ') {
        if wanted == "..." {
            holes.push(Some(rest).filter(|rest| !rest.is_empty())?);
            return holes.try_into().ok();
        }
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        match wanted.strip_prefix("{}") {
            Some(end) => holes.push(word.strip_suffix(end).filter(|word| !word.is_empty() && !word.ends_with(','))?),
            None if word == wanted => {}
            None => return None,
        }
        rest = after;
    }
    if rest.is_empty() { holes.try_into().ok() } else { None }
}

pub(super) fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("{word} is no number"))
}

/// `1 second`, `2 hours`, in microseconds.
pub(super) fn micros(count: &str, unit: &str) -> Result<u64, String> {
    let one = match unit.trim_end_matches('s') {
        "second" => 1_000_000,
        "minute" => 60_000_000,
        "hour" => 3_600_000_000,
        _ => return Err(format!("{unit} is no unit of time")),
    };
    Ok(number(count)? * one)
}

#[test]
fn words_fit_or_they_do_not() {
    assert_eq!(fits("{} grants {}", "bob grants p-1"), Some(["bob", "p-1"]));
    assert_eq!(fits("{} is {}, {}", "p-1 is FAIL, ERR_X"), Some(["p-1", "FAIL", "ERR_X"]));
    assert_eq!(fits("{} needs ...", "pay needs all of: a; b"), Some(["pay", "all of: a; b"]));
    for other in ["bob grants", "bob grants p-1 twice", "bob  grants p-1", "bob refuses p-1", "bob grants p-1,", ""] {
        assert_eq!(fits::<2>("{} grants {}", other), None, "{other}");
    }
    assert_eq!(fits::<2>("{} needs ...", "pay needs"), None);
}
