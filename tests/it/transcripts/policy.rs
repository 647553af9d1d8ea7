//! A policy in words: each clause changes a bundle. What no clause speaks of is exempt, so that a transcript is about one
//! thing.

use serde_json::{Value, json};

use super::words::{fits, micros, number};
use crate::service::{Manner, Service};

/// A policy as far as it was said, and the service that carries out what it lets pass.
pub(super) struct Policy {
    pub(super) bundle: Value,
    pub(super) service: Option<Service>,
}

impl Policy {
    pub(super) fn nothing() -> Policy {
        let bundle = json!({
            "name": "transcript",
            "gates": {"temporal": "enforced", "proof": "enforced", "budget": "enforced", "escalation": "enforced"},
            "rules": [], "requirements": {}, "budgets": {}, "connectors": {},
        });
        Policy { bundle, service: None }
    }

    /// Takes in a clause. `None` if these words are none.
    pub(super) fn take(&mut self, clause: &str) -> Option<Result<(), String>> {
        let (clause, condition) = clause.split_once(", if ").map_or((clause, None), |(it, when)| (it, Some(when)));
        let done = if let Some([action]) = fits("agents may {}", clause) {
            self.rule_of(action);
            Ok(())
        } else if let Some([budget, limit, unit]) = fits("the budget {} holds {} {}", clause) {
            number(limit).map(|limit| self.bundle["budgets"][budget] = json!({"unit": unit, "limit": limit}))
        } else if let Some([budget, limit, unit, count, time]) = fits("the budget {} holds {} {} in any {} {}", clause)
        {
            number(limit).and_then(|limit| {
                let window = json!({"rolling_us": micros(count, time)?});
                self.bundle["budgets"][budget] = json!({"unit": unit, "limit": limit, "window": window});
                Ok(())
            })
        } else if let Some([action, arg, budget]) = fits("{} costs its {} of {}", clause) {
            self.spend(action, json!({"name": budget, "cost": {"arg": arg}}))
        } else if let Some([action, cost, budget]) = fits("{} costs {} of {}", clause) {
            number(cost).and_then(|cost| self.spend(action, json!({"name": budget, "cost": {"fixed": cost}})))
        } else if let Some([action, key]) = fits("{} answers what it really cost as {}", clause) {
            self.rule(action).and_then(|rule| {
                let spends =
                    rule["spends"]["budgets"].as_array_mut().ok_or_else(|| format!("{action} costs nothing"))?;
                spends.iter_mut().for_each(|spend| spend["actual"] = json!(key));
                Ok(())
            })
        } else if let Some([action, rest]) = fits("{} needs ...", clause) {
            requirement(rest).and_then(|needs| {
                self.bundle["requirements"][action] = needs;
                self.set(action, "requires", json!({"requirement": action}))
            })
        } else if let Some([action, quorum, role, count, unit]) = fits("{} asks {} {} within {} {}", clause) {
            number(quorum).and_then(|quorum| {
                let role = role.trim_end_matches('s');
                let mut to = json!({"role": role, "quorum": quorum, "within_us": micros(count, unit)?});
                if let Some(when) = condition {
                    to["when"] = json!(when);
                }
                self.set(action, "escalates", json!({ "to": to }))
            })
        } else if let Some([action, count, unit]) = fits("{} must begin within {} {}", clause) {
            micros(count, unit).and_then(|window| self.set(action, "window_us", json!(window)))
        } else if let Some([action]) = fits("{} may be asked for once an hour", clause) {
            let rate = json!({"count": 1, "per_us": 3_600_000_000_u64, "burst": 1});
            self.set(action, "timing", json!({"limits": {"rate": rate}}))
        } else if let Some([action, field]) = fits("{} must answer with a {}", clause) {
            let shape = json!({"type": "object", "required": [field]});
            self.connector(action).map(|connector| connector["output_schema"] = shape)
        } else if let Some([action, name]) = fits("{} is carried out by the connector {}", clause) {
            let kept = self.connector(action).cloned();
            kept.and_then(|kept| {
                self.bundle["connectors"] = json!({ name: kept });
                self.set(action, "connector", json!(name))
            })
        } else if let Some([action]) = fits("{} is carried out by the same service", clause) {
            let rules = self.bundle["rules"].as_array().into_iter().flatten();
            let connectors = rules.filter_map(|rule| rule["connector"].as_str()).map(str::to_owned);
            let kinds: Vec<Value> = connectors.map(|name| self.bundle["connectors"][name]["kind"].clone()).collect();
            match kinds.into_iter().find(Value::is_object) {
                Some(kind) => self.connector(action).map(|connector| connector["kind"] = kind),
                None => Err("there is no service".to_owned()),
            }
        } else if let Some([action, rest]) = fits("{} is carried out by a service that ...", clause) {
            manner(rest).and_then(|manner| {
                let service = Service::new(manner);
                let url = format!("http://127.0.0.1:{}/", service.port);
                self.service = Some(service);
                let kind = json!({"http": {"url": url, "timeout_us": 300_000_000}});
                self.connector(action).map(|connector| connector["kind"] = kind)
            })
        } else {
            return None;
        };
        if condition.is_some() && !clause.contains(" asks ") {
            return Some(Err("only whom an action asks has an `if`".to_owned()));
        }
        Some(done)
    }

    fn rule_of(&mut self, action: &str) {
        let exempt = || json!({"exempt": "not in this transcript"});
        let rule = json!({
            "action": action, "requires": exempt(), "spends": exempt(), "timing": exempt(), "escalates": exempt(),
            "connector": action, "window_us": 60_000_000,
        });
        self.bundle["rules"].as_array_mut().expect("rules").push(rule);
        self.bundle["connectors"][action] = json!({"kind": "echo", "output_schema": {"type": "object"}});
    }

    fn rule(&mut self, action: &str) -> Result<&mut Value, String> {
        let rules = self.bundle["rules"].as_array_mut().expect("rules");
        let rule = rules.iter_mut().find(|rule| rule["action"] == action);
        rule.ok_or_else(|| format!("nobody said that agents may {action}"))
    }

    fn set(&mut self, action: &str, field: &str, value: Value) -> Result<(), String> {
        self.rule(action).map(|rule| rule[field] = value)
    }

    fn connector(&mut self, action: &str) -> Result<&mut Value, String> {
        self.rule(action)?;
        Ok(&mut self.bundle["connectors"][action])
    }

    fn spend(&mut self, action: &str, spend: Value) -> Result<(), String> {
        let rule = self.rule(action)?;
        match rule["spends"]["budgets"].as_array_mut() {
            Some(spends) => spends.push(spend),
            None => rule["spends"] = json!({"budgets": [spend]}),
        }
        Ok(())
    }
}

fn manner(words: &str) -> Result<Manner, String> {
    match words {
        "hangs up" => Ok(Manner::HangsUp),
        "refuses" => Ok(Manner::Refuses),
        "waits until it is told to answer" => Ok(Manner::Waits(b"{}".to_vec())),
        _ => match words.strip_prefix("answers ") {
            Some(body) => Ok(Manner::Answers(body.as_bytes().to_vec())),
            None => Err(format!("no service {words}")),
        },
    }
}

/// `all of: a; b`, `any of: a; b`, `2 of: a; b; c`, or one part.
fn requirement(words: &str) -> Result<Value, String> {
    let Some((how, parts)) = words.split_once(" of: ") else { return part(words) };
    let parts = parts.split("; ").map(part).collect::<Result<Vec<Value>, String>>()?;
    match how {
        "all" => Ok(json!({ "all_of": parts })),
        "any" => Ok(json!({ "any_of": parts })),
        count => Ok(json!({"at_least": {"count": number(count)?, "of": parts}})),
    }
}

fn part(words: &str) -> Result<Value, String> {
    let article = |word: &str| matches!(word, "a" | "an");
    if let Some(words) = words.strip_suffix(" once") {
        let mut part = part(words)?;
        let need = part.get_mut("evidence").ok_or_else(|| format!("no evidence, so not once: {words}"))?;
        need["once"] = json!(true);
        return Ok(part);
    }
    let evidence = |kind: &str, role: &str, more: Value| {
        let mut need = json!({"kind": kind, "role": role, "about_effect": false});
        for (field, value) in more.as_object().into_iter().flatten() {
            need[field] = value.clone();
        }
        json!({ "evidence": need })
    };
    if let Some(expression) = words.strip_prefix("that ") {
        return Ok(json!({ "expression": expression }));
    }
    if let Some([action]) = fits("an earlier {} in the session", words) {
        return Ok(json!({"receipt": {"action": action}}));
    }
    let (who, not_submitter) = match words.strip_suffix(" who is not the one who asks") {
        Some(rest) => (rest, json!({"not_submitter": true})),
        None => (words, json!({})),
    };
    if let Some([an, kind, one, role]) = fits("{} {} by {} {}", who)
        && article(an)
    {
        return match number(one) {
            Ok(signers) => Ok(evidence(kind, role.trim_end_matches('s'), json!({ "signers": signers }))),
            Err(_) if article(one) => Ok(evidence(kind, role, not_submitter)),
            Err(why) => Err(why),
        };
    }
    if let Some([an, kind, one, role]) = fits("{} {} of this very effect by {} {}", words)
        && article(an)
        && article(one)
    {
        return Ok(evidence(kind, role, json!({"about_effect": true})));
    }
    Err(format!("nothing is known of: {words}"))
}
