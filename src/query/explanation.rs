//! Why an intent was decided as it was: its rule's requirement, held against what the decision says was found.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use writ_kernel::expression::Found;
use writ_kernel::policy::Policy;
use writ_kernel::requirement::{self, Explained};
use writ_projections::proofgraph::{Graph, Relation};
use writ_schemas::act::Statement;
use writ_schemas::decision::{Answer, Decision, Gate, GateAnswer};
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::ids::{Name, Seq};
use writ_schemas::intent::Intent;
use writ_schemas::policy::Requires;

use super::{Library, view};
use crate::error::{Failure, Result};

/// The most compiled policies that are kept for questions. Compiling one costs a thousand times what asking it does.
const POLICIES_MAX: usize = 4;

/// The policies that questions asked for last, by the entries that put them in force. A clone shares them.
#[derive(Clone, Default)]
pub(super) struct Policies(Arc<Mutex<Vec<Kept>>>);

type Kept = (Seq, Arc<Policy>);

impl Policies {
    fn get(&self, seq: Seq) -> Option<Arc<Policy>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(of, _)| *of == seq)?;
        let found = kept.remove(at);
        let policy = Arc::clone(&found.1);
        kept.push(found);
        Some(policy)
    }

    fn keep(&self, seq: Seq, policy: &Arc<Policy>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(of, _)| *of != seq); // another question may have been quicker
        if kept.len() >= POLICIES_MAX {
            kept.remove(0);
        }
        kept.push((seq, Arc::clone(policy)));
    }
}

impl Library {
    /// The policy that an entry put in force; nothing if it did not, or if this build does not take it.
    ///
    /// # Errors
    /// The log failed.
    pub(super) fn policy(&self, seq: Seq) -> Result<Option<Arc<Policy>>> {
        if let Some(policy) = self.policies.get(seq) {
            return Ok(Some(policy));
        }
        let event = self.event(seq)?;
        let Event::PolicyActivated(act) = &event else { return Ok(None) };
        let Statement::ActivatePolicy { bundle } = &act.value().statement else { return Ok(None) };
        let Ok(policy) = Policy::compile(bundle) else { return Ok(None) };
        let policy = Arc::new(policy);
        self.policies.keep(seq, &policy);
        Ok(Some(policy))
    }

    /// The decision of an intent, and its rule's requirement with what was found of each part. Null where the gate of proof
    /// requirements was not asked.
    ///
    /// # Errors
    /// As [`Library::case`].
    pub fn explanation(&self, tenant: &Name, id: &Name) -> Result<Value> {
        let (views, log) = (self.views.current()?, |seq| self.event(seq));
        let graph = Graph::new(&views.graph, &log);
        let case = graph.case(tenant, id).map_err(view)?;
        let case = case.ok_or_else(|| Failure::new(Code::NotFound, format!("{tenant}/{id}")))?;
        let (Event::IntentAdmitted(admitted), Event::DecisionMade(decision)) =
            (self.event(case.intent)?, self.event(case.decision)?)
        else {
            return Err(Failure::new(Code::ViewDamaged, "a case that points to other entries"));
        };
        let (intent, decision) = (admitted.intent.value(), decision.value());
        let parents = graph.node(case.decision).map_err(view)?.map(|node| node.parents).unwrap_or_default();
        let under = parents.iter().find(|parent| parent.relation == Relation::Under);
        let policy = under.map(|parent| self.policy(parent.seq)).transpose()?.flatten();
        let explained = policy.and_then(|policy| explain(&policy, intent, decision));
        Ok(json!({
            "because": decision.because, "code": decision.code, "decision": case.decision, "gates": decision.gates, "id": id,
            "requirement": explained, "tenant": tenant, "verdict": decision.verdict,
        }))
    }
}

/// The requirement of a decision, if the gate was asked, held against what the decision says was found.
fn explain(policy: &Policy, intent: &Intent, decision: &Decision) -> Option<Explained> {
    let asked = |gate: &GateAnswer| gate.gate == Gate::Proof && matches!(gate.answer, Answer::Passed | Answer::Refused);
    let rule = policy.rule(&intent.action).filter(|_| decision.gates.iter().any(asked))?;
    let Requires::Requirement(name) = &rule.requires else { return None };
    let found = Found {
        facts: &decision.facts,
        intent,
        effect: intent.effect_digest().ok()?,
        signer: decision.signer,
        now: decision.now,
    };
    let requirement = policy.bundle().requirements.get(name)?;
    let told = requirement::tell(requirement, policy.expressions(), &found);
    Some(Explained::of(requirement, &told, &found))
}
