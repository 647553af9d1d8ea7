//! Who exports: the attributes of the resource.

use std::collections::BTreeMap;

use super::{Said, TEXT_LEN_MAX, refuse};
use crate::error::Result;

/// The variable that holds any of them.
pub(super) const VARIABLE: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// The most attributes: each is sent with every batch.
const ATTRIBUTES_MAX: usize = 64;

/// Attributes of the table, the variables before it, and defaults. `OTEL_SERVICE_NAME` goes before the other variable.
pub(super) fn of<const N: usize>(
    table: [(&'static str, Option<Said<String>>); N],
    service_name: Option<Said<String>>,
    attributes: Option<Said<String>>,
) -> Result<BTreeMap<String, String>> {
    let mut resource = BTreeMap::from([
        ("service.name".to_owned(), "writ".to_owned()),
        ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ]);
    for (name, said) in table {
        if let Some(said) = said {
            resource.insert(name.to_owned(), said.is(|text| is_fine(text), "a text of 1 to 255 bytes")?);
        }
    }
    if let Some(Said { value: text, by }) = attributes {
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| refuse(by, "is to be name=value,name=value"))?;
            let pair = decoded(name.trim()).zip(decoded(value.trim()));
            let Some((name, value)) = pair.filter(|(name, value)| is_fine(name) && is_fine(value)) else {
                return Err(refuse(
                    by,
                    format!("{:?}: a name and a percent-encoded text, 1 to 255 bytes each", name.trim()),
                ));
            };
            resource.insert(name, value);
        }
    }
    if let Some(said) = service_name {
        resource.insert("service.name".to_owned(), said.is(|text| is_fine(text), "a text of 1 to 255 bytes")?);
    }
    if resource.len() > ATTRIBUTES_MAX {
        return Err(refuse(VARIABLE, format!("more than {ATTRIBUTES_MAX} attributes")));
    }
    Ok(resource)
}

fn is_fine(text: &str) -> bool {
    (1..=TEXT_LEN_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// A percent-encoded text, as W3C baggage has it.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            let digits =
                std::str::from_utf8(digits).ok().filter(|it| it.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}
