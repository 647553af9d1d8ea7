//! The registry of codes as published, and the promise that it only grows.

use std::collections::BTreeSet;

use writ_schemas::errors::Code;

use crate::golden;

#[test]
fn the_published_registry_is_the_enum() {
    let entries: Vec<_> = Code::ALL.iter().map(|code| code.entry()).collect();
    golden::check("v1/error-codes.json", &format!("{}\n", serde_json::to_string_pretty(&entries).unwrap()));
}

/// Blessing adds lines and never takes one away, so that a renamed code fails even then.
#[test]
fn released_codes_stay() {
    const LIST: &str = "v1/released-codes.txt";
    let registered: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let text = if golden::path(LIST).exists() { golden::read(LIST) } else { String::new() };
    let released: BTreeSet<&str> = text.lines().collect();
    let gone: Vec<_> = released.difference(&registered).collect();
    assert!(
        gone.is_empty(),
        "schemas/{LIST}: {gone:?} were released and are not in schemas/src/errors.rs: put them back; codes are never \
         renamed, reused or removed"
    );
    golden::check(LIST, &registered.iter().map(|code| format!("{code}\n")).collect::<String>());
}
