//! The staircase of gates: an intent and a state in, a decision out.
//!
//! The order is fixed: freeze, trust, envelope, policy, temporal, proof, budget, escalation. The first gate that refuses
//! decides; those after it are not asked. How each answered stands in the decision, which is signed. A new gate is a
//! variant of [`Gate`], a line in `GATES` and a function here.

use serde_json::Value;

use writ_schemas::decision::{
    Amount, Answer, BudgetFact, Decision, EvidenceFact, EvidenceKnown, ExecutionIntent, Facts, Gate, GateAnswer,
    KeyFact, SEMANTICS, Verdict,
};
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::ids::{Digest, KeyId, LedgerId, Seq, UnixMicros};
use writ_schemas::intent::{EVIDENCE_MAX, EXPIRY_AHEAD_MAX, Intent};
use writ_schemas::policy::{Cost, Mode, Requires, Rule, Spends};
use writ_schemas::strict::Refusal;

use crate::policy::Policy;
use crate::requirement;
use crate::state::State;

/// What is known of an intent before any gate is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nothing: decide it.
    New,
    /// The very same intent was decided by this entry. The answer is that decision, whatever has changed since.
    Known(Seq),
    /// Its id was claimed by other content.
    Reused,
}

/// Looks an intent up by tenant, id and content.
#[must_use]
pub fn identify(state: &State, intent: &Signed<Intent>) -> Identity {
    let Intent { tenant, id, .. } = intent.value();
    match state.ids.get(&(tenant.clone(), id.clone())) {
        None => Identity::New,
        Some(known) if known.intent == intent.digest() => Identity::Known(known.decision),
        Some(_) => Identity::Reused,
    }
}

/// Decides an intent that is [`Identity::New`]. Pure: replay calls it with the same arguments and must get the same bytes.
///
/// `intent_seq` is the entry that holds the intent; `signer` the key whose signature intake has checked as mathematics.
#[must_use]
pub fn decide(
    state: &State,
    ledger: LedgerId,
    intent: &Signed<Intent>,
    signer: KeyId,
    intent_seq: Seq,
    now: UnixMicros,
) -> Decision {
    let case = Case::new(state, intent.value(), signer, now);
    let mut gates = Vec::with_capacity(GATES.len());
    let mut refused: Option<Refusal> = None;
    for (gate, ask) in GATES {
        let answer = match refused {
            Some(_) => Answer::NotReached,
            None => ask(&case).unwrap_or_else(|refusal| {
                refused = Some(refusal);
                Answer::Refused
            }),
        };
        gates.push(GateAnswer { gate: *gate, answer });
    }
    let execution = match (&refused, case.rule, case.effect) {
        (None, Some(rule), Some(effect)) => Some(case.execution(ledger, rule, effect)),
        _ => None,
    };
    let (verdict, code, because) = match (refused, &execution) {
        (Some(refusal), _) => (Verdict::Fail, refusal.code, refusal.detail),
        (None, Some(_)) => (Verdict::Pass, Code::Ok, String::new()),
        // The policy gate does not pass without a rule, nor the envelope gate without an effect.
        (None, None) => (Verdict::Fail, Code::PolicyNone, "nothing to execute".to_owned()),
    };
    Decision {
        ledger,
        semantics: SEMANTICS,
        intent_seq,
        intent_digest: intent.digest(),
        signer,
        tenant: case.intent.tenant.clone(),
        id: case.intent.id.clone(),
        round: 0,
        now,
        policy: state.policy.as_ref().map(Policy::digest),
        gates,
        facts: case.facts,
        verdict,
        code,
        because,
        execution,
    }
}

/// Whether a decision's intent claimed its id: it got past trust and envelope. Earlier refusals are keyed by their source,
/// so nobody can squat a stranger's id.
#[must_use]
pub fn claims_id(decision: &Decision) -> bool {
    [Gate::Trust, Gate::Envelope]
        .iter()
        .all(|gate| decision.gates.iter().any(|answer| answer.gate == *gate && answer.answer == Answer::Passed))
}

/// One intent before the gates.
struct Case<'a> {
    intent: &'a Intent,
    effect: Option<Digest>,
    now: UnixMicros,
    policy: Option<&'a Policy>,
    rule: Option<&'a Rule>,
    facts: Facts,
}

type Ask = fn(&Case<'_>) -> Result<Answer, Refusal>;

/// The gates, in the order in which they are asked.
const GATES: &[(Gate, Ask)] = &[
    (Gate::Freeze, freeze),
    (Gate::Trust, trust),
    (Gate::Envelope, envelope),
    (Gate::Policy, policy),
    (Gate::Temporal, temporal),
    (Gate::Proof, proof),
    (Gate::Budget, budget),
    (Gate::Escalation, escalation),
];

fn freeze(case: &Case<'_>) -> Result<Answer, Refusal> {
    if case.facts.frozen {
        return Err(Refusal::new(Code::Frozen, "frozen by operators"));
    }
    Ok(Answer::Passed)
}

fn trust(case: &Case<'_>) -> Result<Answer, Refusal> {
    let Some(key) = &case.facts.key else {
        return Err(Refusal::new(Code::KeyUnknown, "the signing key was never trusted"));
    };
    if let Some(seq) = key.revoked {
        return Err(Refusal::new(Code::KeyRevoked, format!("revoked by entry {seq}")));
    }
    if key.tenant != case.intent.tenant || key.principal != case.intent.principal {
        return Err(Refusal::new(Code::TenantMismatch, "the key is trusted for another tenant or principal"));
    }
    Ok(Answer::Passed)
}

fn envelope(case: &Case<'_>) -> Result<Answer, Refusal> {
    if case.intent.expires_at <= case.now {
        return Err(Refusal::new(Code::IntentExpired, format!("expired at {}", case.intent.expires_at.0)));
    }
    if case.intent.expires_at > case.now.plus(EXPIRY_AHEAD_MAX) {
        return Err(Refusal::new(Code::ExpiryTooFar, format!("expires at {}", case.intent.expires_at.0)));
    }
    if case.intent.evidence.len() > EVIDENCE_MAX {
        return Err(Refusal::new(Code::Schema, format!("names more than {EVIDENCE_MAX} pieces of evidence")));
    }
    if case.effect.is_none() {
        return Err(Refusal::new(Code::Schema, "action and args have no canonical form"));
    }
    Ok(Answer::Passed)
}

fn policy(case: &Case<'_>) -> Result<Answer, Refusal> {
    if case.policy.is_none() {
        return Err(Refusal::new(Code::PolicyNone, "no policy was activated"));
    }
    if case.rule.is_none() {
        return Err(Refusal::new(Code::PolicyNoRule, format!("no rule for action {}", case.intent.action)));
    }
    Ok(Answer::Passed)
}

fn temporal(case: &Case<'_>) -> Result<Answer, Refusal> {
    not_built(case.policy.map(|policy| &policy.bundle().gates.temporal))
}

fn escalation(case: &Case<'_>) -> Result<Answer, Refusal> {
    not_built(case.policy.map(|policy| &policy.bundle().gates.escalation))
}

/// The answer of a gate that this version has no rules for: a signed exemption, or a refusal. Never a silent pass.
fn not_built(mode: Option<&Mode>) -> Result<Answer, Refusal> {
    match mode {
        Some(Mode::Disabled(why)) => Ok(Answer::Disabled(why.clone())),
        Some(Mode::Enforced) | None => {
            Err(Refusal::new(Code::PolicyInvalid, "a gate that this version cannot enforce"))
        }
    }
}

fn proof(case: &Case<'_>) -> Result<Answer, Refusal> {
    let (policy, rule) = case.rules()?;
    if let Mode::Disabled(why) = &policy.bundle().gates.proof {
        return Ok(Answer::Disabled(why.clone()));
    }
    let name = match &rule.requires {
        Requires::Exempt(why) => return Ok(Answer::Exempt(why.clone())),
        Requires::Requirement(name) => name,
    };
    let Some(requirement) = policy.bundle().requirements.get(name) else {
        return Err(Refusal::new(Code::PolicyInvalid, format!("requirement {name} is not in the policy")));
    };
    let Some(effect) = case.effect else {
        return Err(Refusal::new(Code::Schema, "action and args have no canonical form"));
    };
    match requirement::missing(requirement, &case.facts.evidence, effect) {
        Some(what) => Err(Refusal::new(Code::ProofMissing, what)),
        None => Ok(Answer::Passed),
    }
}

fn budget(case: &Case<'_>) -> Result<Answer, Refusal> {
    let (policy, rule) = case.rules()?;
    if let Mode::Disabled(why) = &policy.bundle().gates.budget {
        return Ok(Answer::Disabled(why.clone()));
    }
    if let Spends::Exempt(why) = &rule.spends {
        return Ok(Answer::Exempt(why.clone()));
    }
    let Some(fact) = &case.facts.budget else {
        return Err(Refusal::new(Code::BudgetError, "the budget is not in the policy"));
    };
    let Some(cost) = fact.cost else {
        return Err(Refusal::new(Code::BudgetError, "the cost is not an integer that is not negative"));
    };
    let after = fact.reserved.checked_add(fact.committed).and_then(|spent| spent.checked_add(cost));
    if after.is_none_or(|after| after > fact.limit) {
        let BudgetFact { name, unit, limit, reserved, committed, .. } = fact;
        return Err(Refusal::new(
            Code::BudgetExceeded,
            format!("{cost} {unit} more than {name} can hold: {committed} spent, {reserved} reserved, limit {limit}"),
        ));
    }
    Ok(Answer::Passed)
}

impl<'a> Case<'a> {
    fn new(state: &'a State, intent: &'a Intent, signer: KeyId, now: UnixMicros) -> Case<'a> {
        let policy = state.policy.as_ref();
        let rule = policy.and_then(|policy| policy.rule(&intent.action));
        let key = state.keys.get(&signer).map(|key| KeyFact {
            tenant: key.tenant.clone(),
            principal: key.principal.clone(),
            revoked: key.revoked,
        });
        let mut facts = Facts { frozen: state.frozen, key, evidence: Vec::new(), budget: None };
        let effect = intent.effect().ok().map(|bytes| Digest::of(&bytes));
        let mut case = Case { intent, effect, now, policy, rule, facts: Facts::default() };
        // A stranger's decision must not tell it what the tenant has: no facts about the tenant before trust is clear.
        std::mem::swap(&mut case.facts, &mut facts);
        if trust(&case).is_ok() {
            case.facts.evidence =
                intent.evidence.iter().take(EVIDENCE_MAX).map(|digest| known(state, intent, *digest, now)).collect();
            case.facts.budget = case.budget_fact(state);
        }
        case
    }

    fn rules(&self) -> Result<(&'a Policy, &'a Rule), Refusal> {
        self.policy.zip(self.rule).ok_or_else(|| Refusal::new(Code::PolicyNone, "no policy was activated"))
    }

    fn budget_fact(&self, state: &State) -> Option<BudgetFact> {
        let (policy, rule) = self.policy.zip(self.rule)?;
        let Spends::Budget { name, cost } = &rule.spends else { return None };
        let budget = policy.bundle().budgets.get(name)?;
        let account = state.accounts.get(&(self.intent.tenant.clone(), name.clone())).copied().unwrap_or_default();
        Some(BudgetFact {
            name: name.clone(),
            unit: budget.unit.clone(),
            limit: budget.tenants.get(&self.intent.tenant).copied().unwrap_or(budget.limit),
            reserved: account.reserved,
            committed: account.committed,
            cost: match cost {
                Cost::Fixed(cost) => Some(*cost),
                Cost::Arg(key) => self.intent.args.get(key).and_then(Value::as_u64),
            },
        })
    }

    fn execution(&self, ledger: LedgerId, rule: &Rule, effect_digest: Digest) -> ExecutionIntent {
        let enforced = self.policy.is_some_and(|policy| policy.bundle().gates.budget == Mode::Enforced);
        let reservation =
            self.facts.budget.as_ref().filter(|_| enforced).and_then(|fact| {
                Some(Amount { budget: fact.name.clone(), unit: fact.unit.clone(), amount: fact.cost? })
            });
        ExecutionIntent {
            effect_digest,
            connector: rule.connector.clone(),
            idempotency_key: idempotency_key(ledger, self.intent, effect_digest),
            not_before: self.now,
            not_after: self.now.plus(rule.window_us).min(self.intent.expires_at),
            reservation,
        }
    }
}

/// One key for one run of one effect: the digest of ledger, tenant, id, round and effect, a line each.
fn idempotency_key(ledger: LedgerId, intent: &Intent, effect: Digest) -> Digest {
    Digest::of(format!("{ledger}\n{}\n{}\n0\n{effect}\n", intent.tenant, intent.id).as_bytes())
}

fn known(state: &State, intent: &Intent, digest: Digest, now: UnixMicros) -> EvidenceFact {
    let known = state.evidence.get(&digest).filter(|it| it.tenant == intent.tenant && it.expires_at > now).map(|it| {
        let signer = state.keys.get(&it.signer).filter(|key| key.revoked.is_none() && key.tenant == it.tenant);
        EvidenceKnown {
            seq: it.seq,
            kind: it.kind.clone(),
            signer: it.signer,
            roles: signer.map(|key| key.roles.clone()).unwrap_or_default(),
            effect: it.effect,
            expires_at: it.expires_at,
        }
    });
    EvidenceFact { digest, known }
}
