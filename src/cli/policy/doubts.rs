//! What is odd in a bundle that is valid.

use serde_json::{Value, json};

use writ_schemas::policy::Bundle;

/// Less than so many microseconds looks like seconds that somebody forgot to multiply: up to 27 hours of them.
const SHORT_US: u64 = 100_000;

/// What is odd, each with its place: a time that is over before anybody could act, and a receipt that no rule of the bundle leads to.
pub(super) fn of(bundle: &Bundle) -> Vec<String> {
    let mut doubts = Vec::new();
    let actions: Vec<&str> = bundle.rules.iter().map(|rule| rule.action.as_str()).collect();
    look(&json!(bundle), "", &actions, &mut doubts);
    doubts
}

fn look(value: &Value, place: &str, actions: &[&str], doubts: &mut Vec<String>) {
    let inside = |part: &dyn std::fmt::Display| format!("{place}{}{part}", if place.is_empty() { "" } else { "." });
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let place = inside(key);
                match (key.as_str(), value) {
                    ("input_schema" | "output_schema", _) => {}
                    // The wait before a second attempt may well be short.
                    (_, Value::Number(time)) if key.ends_with("_us") && key != "base_us" => {
                        if let Some(time) = time.as_u64().filter(|time| *time < SHORT_US) {
                            doubts.push(format!("{place}: {time} is in microseconds, a second is 1000000"));
                        }
                    }
                    ("receipt", Value::Object(_)) => {
                        if let Some(action) = value["action"].as_str().filter(|action| !actions.contains(action)) {
                            doubts.push(format!("{place}: no rule here leads to a receipt of {action}"));
                        }
                    }
                    _ => look(value, &place, actions, doubts),
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                look(item, &inside(&at), actions, doubts);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
