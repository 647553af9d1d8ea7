//! Published files that a test holds to the code.

use std::path::PathBuf;

use serde_json::Value;

/// How a published file is written anew, once a person has judged that it should change.
pub(crate) const REMEDY: &str =
    "run `WRIT_BLESS=1 cargo test -p writ-schemas --test schemas`, then read the difference in git";

/// The path of a file of this crate.
pub(crate) fn path(relative: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// The text of a file of this crate.
pub(crate) fn read(relative: &str) -> String {
    std::fs::read_to_string(path(relative)).unwrap_or_else(|e| panic!("schemas/{relative}: {e}; {REMEDY}"))
}

/// The JSON of a file of this crate.
pub(crate) fn json(relative: &str) -> Value {
    serde_json::from_str(&read(relative)).unwrap_or_else(|e| panic!("schemas/{relative}: {e}"))
}

/// Whether this run writes published files instead of holding them.
#[allow(clippy::disallowed_methods, reason = "a person at a terminal asks for it; no product code reads it")]
pub(crate) fn blessing() -> bool {
    std::env::var("WRIT_BLESS").is_ok_and(|value| value == "1")
}

/// Holds a file to `expected`, or writes it when blessing.
#[track_caller]
pub(crate) fn check(relative: &str, expected: &str) {
    if blessing() {
        std::fs::write(path(relative), expected).unwrap_or_else(|e| panic!("schemas/{relative}: {e}"));
        return;
    }
    let found = read(relative);
    if found == expected {
        return;
    }
    let line = found.lines().zip(expected.lines()).take_while(|(found, expected)| found == expected).count();
    panic!(
        "schemas/{relative}:{}: not what the code says\n  file: {}\n  code: {}\n{REMEDY}",
        line + 1,
        found.lines().nth(line).unwrap_or("(end)"),
        expected.lines().nth(line).unwrap_or("(end)"),
    );
}

/// As [`check`], for a value as indented JSON.
#[track_caller]
pub(crate) fn check_json(relative: &str, expected: &Value) {
    check(relative, &format!("{expected:#}\n"));
}
