//! The staircase of gates: an intent and a state in, a decision out.
//!
//! The order is fixed: freeze, trust, envelope, policy, temporal, proof, budget, escalation. The first gate that refuses
//! decides; those after it are not asked. How each answered stands in the decision, which is signed. A new gate is a
//! variant of [`Gate`], a line in `GATES` and a function here.

use serde_json::Value;

use writ_schemas::decision::{
    Answer, Decision, EvidenceFact, EvidenceKnown, ExecutionIntent, Facts, Gate, GateAnswer, KeyFact, ReceiptFact,
    SEMANTICS, Verdict,
};
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::ids::{Digest, KeyId, LedgerId, Name, Seq, UnixMicros};
use writ_schemas::intent::{EVIDENCE_MAX, EXPIRY_AHEAD_MAX, Intent};
use writ_schemas::policy::{Mode, Requires, Rule};
use writ_schemas::several::Several;
use writ_schemas::strict::Refusal;

use crate::budget;
use crate::escalation;
use crate::expression::Found;
use crate::policy::Policy;
use crate::requirement::{self, Asks, Outcome};
use crate::state::{Known, State};
use crate::temporal;

/// The largest action and args that are held against a pinned shape, in bytes: it is done for every decision, on one thread.
pub const INPUT_LEN_MAX: usize = 64 << 10;

/// What is known of an intent before any gate is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nothing: decide it.
    New,
    /// The very same intent was decided by this entry. The answer is that decision, whatever has changed since.
    Known(Seq),
    /// Its id was claimed by other content.
    Reused,
    /// No key that is trusted now signed it, or it has expired: not worth an entry, nor an answer that tells whether its id is taken.
    Stranger(Refusal),
}

/// Looks an intent up by tenant, id and content, and its signer. An id that has expired by `now` is not known any more, unless its execution is
/// still open; also where no entry has come since that would have made the state forget it.
#[must_use]
pub fn identify(state: &State, intent: &Signed<Intent>, now: UnixMicros) -> Identity {
    let Intent { tenant, id, .. } = intent.value();
    match state.ids.get(&(tenant.clone(), id.clone())).filter(|known| state.is_taken(known, now)) {
        Some(known) if known.intent == intent.digest() => Identity::Known(known.decision),
        taken => match (stranger(state, intent, now), taken) {
            (Some(refusal), _) => Identity::Stranger(refusal),
            (None, Some(_)) if is_its_own(state, intent) => Identity::Reused,
            // Who asks in another's name is told that by the gates, and not whether the id is taken.
            (None, Some(_) | None) => Identity::New,
        },
    }
}

/// Why an intent is none of anybody's whom the ledger knows. A key that is trusted for somebody else is no stranger's: what it tries
/// is decided, and recorded.
fn stranger(state: &State, intent: &Signed<Intent>, now: UnixMicros) -> Option<Refusal> {
    let key = intent.signer().and_then(|signer| state.keys.get(&signer));
    still_trusted(key.map(|key| key.revoked)).and_then(|()| still_valid(intent.value(), now)).err()
}

/// Of a key: whether it was ever trusted, and then the entry that revoked it.
fn still_trusted(key: Option<Option<Seq>>) -> Result<(), Refusal> {
    match key {
        None => Err(Refusal::new(Code::KeyUnknown, "the signing key was never trusted")),
        Some(Some(seq)) => Err(Refusal::new(Code::KeyRevoked, format!("revoked by entry {seq}"))),
        Some(None) => Ok(()),
    }
}

/// Whether the signer is whom the intent names.
fn is_its_own(state: &State, intent: &Signed<Intent>) -> bool {
    let Intent { tenant, principal, .. } = intent.value();
    let key = intent.signer().and_then(|signer| state.keys.get(&signer));
    key.is_some_and(|key| key.tenant == *tenant && key.principal == *principal)
}

fn still_valid(intent: &Intent, now: UnixMicros) -> Result<(), Refusal> {
    if intent.expires_at > now {
        return Ok(());
    }
    Err(Refusal::new(Code::IntentExpired, format!("expired at {}", intent.expires_at.0)))
}

impl State {
    fn is_taken(&self, known: &Known, now: UnixMicros) -> bool {
        known.expires_at > now || self.open.contains_key(&known.decision)
    }
}

/// Hears of each gate that is asked. It is told, and tells nothing: a decision is the same whoever listens.
pub trait Observer {
    /// The gate is about to be asked.
    fn asks(&mut self, gate: Gate);

    /// It has answered; why, where it refuses or asks people.
    fn answered(&mut self, gate: Gate, answer: &Answer, refusal: Option<&Refusal>);
}

/// Nobody listens.
impl Observer for () {
    fn asks(&mut self, _: Gate) {}

    fn answered(&mut self, _: Gate, _: &Answer, _: Option<&Refusal>) {}
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
    observer: &mut dyn Observer,
) -> Decision {
    decide_round(state, ledger, intent, (signer, intent_seq, 0), now, observer)
}

/// Decides again an intent that was waiting, when the entry before says that it must be; and the intent itself. All gates are
/// asked under the policy now in force, but for the rate.
#[must_use]
pub fn decide_again<'a>(
    state: &'a State,
    ledger: LedgerId,
    now: UnixMicros,
    observer: &mut dyn Observer,
) -> Option<(&'a Signed<Intent>, Decision)> {
    let awaited = state.admitted.as_ref().filter(|admitted| admitted.round > 0)?;
    let escalated = state.escalated.get(&(awaited.tenant.clone(), awaited.intent))?;
    let who = (awaited.signer, awaited.seq, awaited.round);
    Some((&escalated.intent, decide_round(state, ledger, &escalated.intent, who, now, observer)))
}

fn decide_round(
    state: &State,
    ledger: LedgerId,
    intent: &Signed<Intent>,
    (signer, intent_seq, round): (KeyId, Seq, u32),
    now: UnixMicros,
    observer: &mut dyn Observer,
) -> Decision {
    let policy = state.policy.as_deref();
    let case = Case { intent_len: intent.payload().len(), ..Case::of(policy, intent.value(), signer, round, now) };
    let intent_digest = intent.digest();
    let facts = case.look_up(state, intent_digest);
    let Case { effect, rule, .. } = case;
    let Judged { gates, verdict, code, because } = case.judge(&facts, observer);
    let execution = match (verdict, rule, effect) {
        (Verdict::Pass, Some(rule), Some(effect)) => Some(case.execution(ledger, rule, effect, &facts)),
        _ => None,
    };
    let asks = (verdict == Verdict::Escalate).then(|| escalation::asked(&case, &facts)).flatten();
    let Intent { tenant, id, .. } = intent.value();
    Decision {
        asks: asks.map(Box::new),
        ledger,
        semantics: SEMANTICS,
        intent_seq,
        intent_digest,
        signer,
        tenant: tenant.clone(),
        id: id.clone(),
        round,
        now,
        policy: policy.map(Policy::digest),
        gates,
        facts,
        verdict,
        code,
        because,
        execution,
    }
}

/// What the gates answered, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Every gate in its order, and how it answered.
    pub gates: Vec<GateAnswer>,
    /// The verdict.
    pub verdict: Verdict,
    /// `OK`, or the code of the first gate that refused.
    pub code: Code,
    /// What is missing, for a person.
    pub because: String,
}

/// Asks the gates about an intent under these facts, wherever they are from: a policy author asks "what if". The round is the
/// first, unless people have been asked.
#[must_use]
pub fn judge(policy: Option<&Policy>, intent: &Intent, signer: KeyId, facts: &Facts, now: UnixMicros) -> Judged {
    Case::of(policy, intent, signer, u32::from(facts.approval.is_some()), now).judge(facts, &mut ())
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
#[derive(Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) intent: &'a Intent,
    pub(crate) effect: Option<Digest>,
    /// The bytes of action and args.
    pub(crate) effect_len: usize,
    /// The bytes of the whole intent as it was received.
    pub(crate) intent_len: usize,
    pub(crate) signer: KeyId,
    pub(crate) round: u32,
    pub(crate) now: UnixMicros,
    policy: Option<&'a Policy>,
    pub(crate) rule: Option<&'a Rule>,
}

type Ask = fn(&Case<'_>, &Facts) -> Result<Answer, Refusal>;

/// The gates, in the order in which they are asked.
const GATES: &[(Gate, Ask)] = &[
    (Gate::Freeze, freeze),
    (Gate::Trust, trust),
    (Gate::Envelope, envelope),
    (Gate::Policy, policy),
    (Gate::Temporal, temporal::ask),
    (Gate::Proof, proof),
    (Gate::Budget, budget::ask),
    (Gate::Escalation, escalation::ask),
];

fn freeze(_: &Case<'_>, facts: &Facts) -> Result<Answer, Refusal> {
    if facts.frozen {
        return Err(Refusal::new(Code::Frozen, "frozen by operators"));
    }
    Ok(Answer::Passed)
}

fn trust(case: &Case<'_>, facts: &Facts) -> Result<Answer, Refusal> {
    still_trusted(facts.key.as_ref().map(|key| key.revoked))?;
    let own = |key: &KeyFact| key.tenant == case.intent.tenant && key.principal == case.intent.principal;
    if !facts.key.as_ref().is_some_and(own) {
        return Err(Refusal::new(Code::TenantMismatch, "the key is trusted for another tenant or principal"));
    }
    Ok(Answer::Passed)
}

fn envelope(case: &Case<'_>, _: &Facts) -> Result<Answer, Refusal> {
    still_valid(case.intent, case.now)?;
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

fn policy(case: &Case<'_>, _: &Facts) -> Result<Answer, Refusal> {
    if case.policy.is_none() {
        return Err(Refusal::new(Code::PolicyNone, "no policy was activated"));
    }
    let Some(rule) = case.rule else {
        return Err(Refusal::new(Code::PolicyNoRule, format!("no rule for action {}", case.intent.action)));
    };
    let shapes = case.policy.and_then(|policy| policy.shapes(&rule.connector));
    if let Some(shape) = shapes.and_then(|shapes| shapes.input.as_ref()) {
        if case.effect_len > INPUT_LEN_MAX {
            return Err(Refusal::new(
                Code::InputSchema,
                format!("action and args have more than {INPUT_LEN_MAX} bytes"),
            ));
        }
        let args = Value::Object(case.intent.args.clone());
        if !shape.holds(&args) {
            return Err(Refusal::new(Code::InputSchema, shape.difference(&args)));
        }
    }
    Ok(Answer::Passed)
}

fn proof(case: &Case<'_>, facts: &Facts) -> Result<Answer, Refusal> {
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
    let Some(found) = case.found(facts) else {
        return Err(Refusal::new(Code::Schema, "action and args have no canonical form"));
    };
    let told = requirement::tell(requirement, policy.expressions(), &found);
    match requirement::outcome(requirement, &told, &found) {
        Outcome::Met => Ok(Answer::Passed),
        Outcome::Unmet => Err(Refusal::new(Code::ProofMissing, requirement::missing(requirement, &told, &found))),
        Outcome::Untold(why) => Err(Refusal::new(Code::ProofError, why)),
    }
}

impl<'a> Case<'a> {
    pub(crate) fn of(
        policy: Option<&'a Policy>,
        intent: &'a Intent,
        signer: KeyId,
        round: u32,
        now: UnixMicros,
    ) -> Case<'a> {
        let rule = policy.and_then(|policy| policy.rule(&intent.action));
        let effect = intent.effect().ok();
        let effect_len = effect.as_ref().map_or(0, Vec::len);
        let effect = effect.map(|bytes| Digest::of(&bytes));
        Case { intent, effect, effect_len, intent_len: effect_len, signer, round, now, policy, rule }
    }

    fn judge(&self, facts: &Facts, observer: &mut dyn Observer) -> Judged {
        let mut gates = Vec::with_capacity(GATES.len());
        let mut refused: Option<Refusal> = None;
        for (gate, ask) in GATES {
            let mut answer = Answer::NotReached;
            if refused.is_none() {
                observer.asks(*gate);
                answer = ask(self, facts).unwrap_or_else(|refusal| {
                    let asks = refusal.code == Code::ApprovalNeeded;
                    refused = Some(refusal);
                    if asks { Answer::Asks } else { Answer::Refused }
                });
                observer.answered(*gate, &answer, refused.as_ref());
            }
            gates.push(GateAnswer { gate: *gate, answer });
        }
        let (verdict, code, because) = match (refused, self.rule.zip(self.effect)) {
            (Some(refusal), _) if refusal.code == Code::ApprovalNeeded => {
                (Verdict::Escalate, refusal.code, refusal.detail)
            }
            (Some(refusal), _) => (Verdict::Fail, refusal.code, refusal.detail),
            (None, Some(_)) => (Verdict::Pass, Code::Ok, String::new()),
            // The policy gate does not pass without a rule, nor the envelope gate without an effect.
            (None, None) => (Verdict::Fail, Code::PolicyNone, "nothing to execute".to_owned()),
        };
        Judged { gates, verdict, code, because }
    }

    /// The facts, from the state.
    pub(crate) fn look_up(&self, state: &State, digest: Digest) -> Facts {
        let Case { intent, now, .. } = *self;
        let key = state.keys.get(&self.signer).map(|key| KeyFact {
            tenant: key.tenant.clone(),
            principal: key.principal.clone(),
            revoked: key.revoked,
        });
        let frozen = state.is_frozen(&intent.tenant, &intent.principal);
        let mut facts = Facts { frozen, key, ..Facts::default() };
        // A stranger's decision must not tell it what the tenant has: no facts about the tenant before trust is clear.
        if trust(self, &facts).is_ok() {
            let asks = self.policy.and_then(|policy| policy.asks(&intent.action));
            let evidence = intent.evidence.iter().take(EVIDENCE_MAX);
            let evidence = evidence.flat_map(|digest| known(state, intent, *digest, now, asks));
            facts.evidence = evidence.take(EVIDENCE_MAX).collect();
            let receipts = asks.iter().flat_map(|asks| &asks.receipts);
            facts.receipts = receipts.map(|action| receipt(state, intent, action, now)).collect();
            facts.pace = temporal::look_up(self, state);
            facts.budget = self.policy.map_or_else(Several::default, |policy| {
                budget::facts(policy, intent, now, |amount| state.spent(&intent.tenant, amount, now))
            });
            facts.approval = (self.round > 0).then(|| state.approval(&intent.tenant, digest)).flatten().map(Box::new);
            if self.rule.and_then(escalation::approvers).is_some() {
                facts.waiting = (self.round == 0).then(|| state.waiting(&intent.tenant));
            }
        }
        facts
    }

    /// What expressions and requirements are held against; nothing where action and args have no canonical form.
    pub(crate) fn found<'b>(&'b self, facts: &'b Facts) -> Option<Found<'b>> {
        Some(Found { facts, intent: self.intent, effect: self.effect?, signer: self.signer, now: self.now })
    }

    /// The evidence that a `PASS` uses up.
    fn uses(&self, facts: &Facts) -> Option<Vec<Digest>> {
        let (policy, rule) = self.policy.zip(self.rule)?;
        let is_asked = policy.bundle().gates.proof == Mode::Enforced && policy.asks(&rule.action)?.once;
        let Requires::Requirement(name) = &rule.requires else { return None };
        let requirement = policy.bundle().requirements.get(name).filter(|_| is_asked)?;
        let found = self.found(facts)?;
        let told = requirement::tell(requirement, policy.expressions(), &found);
        Some(requirement::uses(requirement, &told, &found))
    }

    pub(crate) fn rules(&self) -> Result<(&'a Policy, &'a Rule), Refusal> {
        self.policy.zip(self.rule).ok_or_else(|| Refusal::new(Code::PolicyNone, "no policy was activated"))
    }

    /// The digest of the rule in force, by which answers are bound to it.
    pub(crate) fn rule_digest(&self) -> Option<Digest> {
        self.policy?.rule_digest(&self.intent.action)
    }

    fn execution(&self, ledger: LedgerId, rule: &Rule, effect_digest: Digest, facts: &Facts) -> ExecutionIntent {
        let enforced = self.policy.is_some_and(|policy| policy.bundle().gates.budget == Mode::Enforced);
        let reservation = if enforced { budget::reservation(facts, &rule.spends) } else { Several::default() };
        ExecutionIntent {
            effect_digest,
            connector: rule.connector.clone(),
            idempotency_key: idempotency_key(ledger, self.intent, self.round, effect_digest),
            not_before: self.now,
            not_after: self.now.plus(rule.window_us).min(self.intent.expires_at),
            reservation,
            uses: self.uses(facts).unwrap_or_default(),
        }
    }
}

/// One key for one run of one effect: the digest of ledger, tenant, id, round and effect, a line each.
fn idempotency_key(ledger: LedgerId, intent: &Intent, round: u32, effect: Digest) -> Digest {
    Digest::of(format!("{ledger}\n{}\n{}\n{round}\n{effect}\n", intent.tenant, intent.id).as_bytes())
}

/// A fact for each key that signed this payload; one that nothing is known, if there is none.
fn known(state: &State, intent: &Intent, digest: Digest, now: UnixMicros, asks: Option<&Asks>) -> Vec<EvidenceFact> {
    let registered = state.evidence_of(digest).filter(|it| it.tenant == intent.tenant && it.expires_at > now);
    let mut facts: Vec<EvidenceFact> = registered
        .map(|it| {
            let signer = state.keys.get(&it.signer).filter(|key| key.revoked.is_none() && key.tenant == it.tenant);
            let known = EvidenceKnown {
                seq: it.seq,
                kind: it.kind.clone(),
                signer: it.signer,
                roles: signer.map(|key| key.roles.clone()).unwrap_or_default(),
                principal: signer.filter(|_| asks.is_some_and(|it| it.principal)).map(|key| key.principal.clone()),
                effect: it.effect,
                issued_at: asks.is_some_and(|it| it.age).then_some(it.issued_at),
                expires_at: it.expires_at,
                used: state.used.get(&digest).copied().filter(|_| asks.is_some_and(|it| it.once)),
            };
            EvidenceFact { digest, known: Some(known) }
        })
        .collect();
    if facts.is_empty() {
        facts.push(EvidenceFact { digest, known: None });
    }
    facts
}

/// What the intent's session knows of an action.
fn receipt(state: &State, intent: &Intent, action: &Name, now: UnixMicros) -> ReceiptFact {
    let session = intent.session.as_ref().and_then(|id| state.sessions.get(&(intent.tenant.clone(), id.clone())));
    // An entry that has not come yet would forget it.
    let session = session.filter(|session| session.expires_at > now);
    ReceiptFact { action: action.clone(), seq: session.and_then(|session| session.succeeded.get(action).copied()) }
}
