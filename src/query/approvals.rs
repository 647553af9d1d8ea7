//! What waits for people, whom the policy in force asks about it, and what they have said so far.

use std::sync::Arc;

use serde_json::{Value, json};

use writ_kernel::policy::Policy;
use writ_projections::page::{Cursor, Page, Part};
use writ_projections::proofgraph::Graph;
use writ_schemas::act::Statement;
use writ_schemas::event::Event;
use writ_schemas::ids::{Name, Seq};
use writ_schemas::policy::Escalates;

use super::lists::{elsewhere, page};
use super::{Library, view, with};
use crate::error::Result;

/// The most waiting intents in one answer, with 64 KiB of args each at most.
const APPROVALS_MAX: usize = 64;

impl Library {
    /// The intents that wait for approval, of one tenant or of all, in the order of their decisions: what is asked, whom, until when,
    /// whom the policy in force asks, and what was said so far, with whether it counts under that policy's rule; and how many there are.
    ///
    /// # Errors
    /// The log or a view failed.
    pub fn approvals(&self, tenant: Option<&Name>, part: &Part) -> Result<Value> {
        let (views, log) = (self.views.current()?, |seq| self.event(seq));
        let graph = Graph::new(&views.graph, &log);
        let all = graph.waiting(tenant).map_err(view)?;
        let in_force = if all.is_empty() { None } else { self.in_force(&graph)? };
        let from = all.iter().filter(|seq| seq.0 >= part.from());
        let waiting = from.map(|seq| {
            let waits = self.waiting(&graph, in_force.as_deref(), *seq)?;
            Ok((waits, Cursor::from(seq.next().0)))
        });
        let waiting: Result<Page<Value>> = Page::of(waiting, part.limit.min(APPROVALS_MAX));
        Ok(with(page(waiting?), [("count", json!(all.len()))]))
    }

    fn waiting(&self, graph: &Graph<'_>, in_force: Option<&Policy>, seq: Seq) -> Result<Value> {
        let Event::DecisionMade(decision) = self.event(seq)? else { return Err(elsewhere(seq)) };
        let decision = decision.value();
        let Event::IntentAdmitted(admitted) = self.event(decision.intent_seq)? else { return Err(elsewhere(seq)) };
        let intent = admitted.intent.value();
        let asks_now = asks_now(in_force, &intent.action);
        Ok(json!({
            "action": intent.action, "answers": self.answers(graph, decision.intent_seq, asks_now.get("rule"))?,
            "args": intent.args, "asks": decision.asks, "asks_now": asks_now, "decision": seq, "id": intent.id,
            "intent": decision.intent_digest, "principal": intent.principal, "tenant": intent.tenant,
        }))
    }

    /// The policy in force.
    pub(super) fn in_force(&self, graph: &Graph<'_>) -> Result<Option<Arc<Policy>>> {
        graph.policy().map_err(view)?.map(|seq| self.policy(seq)).transpose().map(Option::flatten)
    }

    /// What approvers have said of an intent, and whether it counts under this rule.
    fn answers(&self, graph: &Graph<'_>, intent: Seq, in_force: Option<&Value>) -> Result<Vec<Value>> {
        let answers = graph.answers(intent).map_err(view)?.into_iter().map(|seq| {
            let said = self.event(seq)?;
            Ok(match said.act().map(|act| (&act.value().statement, act.signer())) {
                Some((Statement::Approve { granted, policy, reason, rule, .. }, signer)) => {
                    let counts = Some(&json!(rule)) == in_force;
                    let because = if counts { "" } else { "it is about another rule than the one in force" };
                    json!({
                        "because": because, "counts": counts, "granted": granted, "policy": policy, "reason": reason,
                        "rule": rule, "seq": seq, "signer": signer,
                    })
                }
                _ => Value::Null,
            })
        });
        answers.collect()
    }
}

/// Whom this policy asks about an action, and by which rule; null if nobody.
pub(super) fn asks_now(in_force: Option<&Policy>, action: &Name) -> Value {
    let asked = in_force.and_then(|policy| Some((policy, policy.rule(action)?.escalates.as_ref()?)));
    match asked {
        Some((policy, Escalates::To(asked))) => json!({
            "policy": policy.digest(), "quorum": asked.quorum, "role": asked.role, "rule": policy.bundle().rule_digest(action),
        }),
        Some((_, Escalates::Exempt(_))) | None => Value::Null,
    }
}
