//! What is sent along with each export: names, and secrets.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::resource::decoded;
use super::{Header, Properties, Property, Said, refuse};
use crate::error::Result;

/// The variable that holds all of them.
pub(super) const VARIABLE: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// The most headers, and the longest name.
const HEADERS_MAX: usize = 32;
const NAME_LEN_MAX: usize = 128;

/// What gRPC itself says.
const OURS: [&str; 8] =
    ["content-type", "te", "user-agent", "host", "content-length", "connection", "transfer-encoding", "upgrade"];

/// Those of the variable, else those of the table. No error quotes a value.
pub(super) fn of(table: Properties, variable: Option<Said<String>>) -> Result<BTreeMap<String, Header>> {
    let (by, given) = match variable {
        Some(Said { value, by }) => (by, from_variable(&Zeroizing::new(value))?),
        None => ("telemetry.headers", from_table(table)?),
    };
    if given.len() > HEADERS_MAX {
        return Err(refuse(by, format!("more than {HEADERS_MAX}")));
    }
    let mut headers = BTreeMap::new();
    for (name, value) in given {
        let name = name.to_ascii_lowercase();
        let of_a_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte);
        if name.is_empty() || name.len() > NAME_LEN_MAX || !name.bytes().all(of_a_name) {
            return Err(refuse(by, "a name is to be of a-z 0-9 _ - ."));
        }
        if OURS.contains(&name.as_str()) || name.starts_with("grpc-") {
            return Err(refuse(by, format!("{name} is not to be set: gRPC says it itself")));
        }
        if name.ends_with("-bin") {
            return Err(refuse(by, format!("{name} would hold bytes: only texts are sent")));
        }
        if headers.insert(name.clone(), value).is_some() {
            return Err(refuse(by, format!("{name} is there twice")));
        }
    }
    Ok(headers)
}

fn from_table(table: Properties) -> Result<Vec<(String, Header)>> {
    let place = |(name, value): (String, Property)| match value {
        Property::Secret(secret) => Ok((name, Header::At(secret))),
        Property::Text(_) | Property::Number(_) | Property::Flag(_) => Err(refuse(
            &format!("telemetry.headers.{name}"),
            "it is a secret, which this file is not to hold: { file = \"…\" }, { env = \"…\" } or { command = […] }",
        )),
    };
    table.into_iter().map(place).collect()
}

/// `name=value,name=value`, where values are percent-encoded.
fn from_variable(text: &str) -> Result<Vec<(String, Header)>> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').ok_or_else(|| refuse(VARIABLE, "is to be name=value,name=value"))?;
        let name = name.trim().to_owned();
        let value = decoded(value.trim()).map(Zeroizing::new);
        match value.filter(|value| is_sendable(value)) {
            Some(value) => Ok((name, Header::Held(value))),
            None => Err(refuse(VARIABLE, format!("the value of {name:?} is no percent-encoded text of visible ASCII"))),
        }
    };
    text.split(',').filter(|text| !text.trim().is_empty()).map(pair).collect()
}

/// Whether a header may hold it.
pub(crate) fn is_sendable(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}
