//! Escalation: people are asked, and the intent is decided again when enough of them have granted it, one has refused it, or
//! nobody may answer any more.
//!
//! What waits is in the state whole, so its number and size are bounded. An answer binds the digest of the intent, and that of the
//! rule that its signer saw: under another rule it does not count. Who signed it is judged when it is counted, by the trust of that
//! moment.

use std::collections::BTreeSet;

use writ_schemas::act::Act;
use writ_schemas::decision::{Answer, ApprovalFact, Asked, Facts, VoteFact};
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::ids::{Digest, KeyId, Name, UnixMicros};
use writ_schemas::intent::Intent;
use writ_schemas::policy::{Approvers, Escalates, Mode, Rule};
use writ_schemas::strict::Refusal;

use crate::decide::Case;
use crate::state::{Escalated, State};

/// The most intents of a tenant that wait for approval: more than people can read.
pub const WAITING_MAX: u64 = 256;

/// The largest intent that can wait, in bytes as it was received.
pub const INTENT_LEN_MAX: usize = 64 << 10;

/// The most principals that a rule can ask for.
const QUORUM_MAX: u32 = 16;

/// The longest time to answer: 7 days in microseconds, as long as an intent can live.
const WITHIN_MAX_US: u64 = 7 * 24 * 3_600 * 1_000_000;

/// The gate. `ERR_APPROVAL_NEEDED` is no refusal: it asks.
pub(crate) fn ask(case: &Case<'_>, facts: &Facts) -> Result<Answer, Refusal> {
    let (policy, rule) = case.rules()?;
    if let Some(fact) = facts.approval.as_ref().filter(|fact| fact.passed) {
        // Also where nobody would be asked any more, or fewer: a deadline lets nothing pass.
        return Err(Refusal::new(Code::ApprovalTimedOut, format!("nobody may answer after {}", fact.deadline.0)));
    }
    // Nor does a refusal.
    if let Some(approvers) = approvers(rule)
        && let Some(no) = counted(case, facts, approvers).find(|vote| !vote.granted)
    {
        return Err(Refusal::new(Code::ApprovalDenied, format!("refused by entry {}", no.seq)));
    }
    if let Mode::Disabled(why) = &policy.bundle().gates.escalation {
        return Ok(Answer::Disabled(why.clone()));
    }
    let approvers = match &rule.escalates {
        Some(Escalates::To(approvers)) => approvers,
        Some(Escalates::Exempt(why)) => return Ok(Answer::Exempt(why.clone())),
        None => return Err(Refusal::new(Code::PolicyInvalid, "the rule does not say whom it asks")),
    };
    if let Some(when) = &approvers.when {
        let error = |why: String| Refusal::new(Code::ApprovalError, why);
        let expression = policy.expressions().get(when).ok_or_else(|| error("no such expression".to_owned()))?;
        let found = case.found(facts).ok_or_else(|| error("action and args have no canonical form".to_owned()))?;
        if !expression.holds(&found).map_err(error)? {
            return Ok(Answer::Passed);
        }
    }
    if facts.approval.is_none() {
        return Err(first(case, facts, approvers));
    }
    let granted = granted(case, facts, approvers);
    let Approvers { quorum, role, .. } = approvers;
    if granted >= *quorum {
        return Ok(Answer::Passed);
    }
    Err(Refusal::new(Code::ApprovalNeeded, format!("{granted} of {quorum} in role {role}")))
}

/// The answers that count: about the rule in force, by somebody in the role, and not by the one who asks.
fn counted<'a>(case: &Case<'_>, facts: &'a Facts, approvers: &Approvers) -> impl Iterator<Item = &'a VoteFact> {
    let rule = case.rule_digest();
    facts.approval.iter().flat_map(|fact| &fact.votes).filter(move |vote| {
        Some(vote.rule) == rule
            && vote.signer != case.signer
            && vote.roles.contains(&approvers.role)
            && vote.principal.as_ref().is_some_and(|it| *it != case.intent.principal)
    })
}

/// How many principals have granted it.
fn granted(case: &Case<'_>, facts: &Facts, approvers: &Approvers) -> u32 {
    let granted = counted(case, facts, approvers).filter(|vote| vote.granted);
    let principals: BTreeSet<&Name> = granted.filter_map(|vote| vote.principal.as_ref()).collect();
    u32::try_from(principals.len()).unwrap_or(u32::MAX)
}

/// The first round: there must be room to wait.
fn first(case: &Case<'_>, facts: &Facts, approvers: &Approvers) -> Refusal {
    if facts.waiting.is_none_or(|waiting| waiting >= WAITING_MAX) {
        return Refusal::new(Code::ApprovalsFull, format!("{WAITING_MAX} wait"));
    }
    if case.intent_len > INTENT_LEN_MAX {
        return Refusal::new(Code::ApprovalsFull, format!("the intent has more than {INTENT_LEN_MAX} bytes"));
    }
    Refusal::new(Code::ApprovalNeeded, format!("0 of {} in role {}", approvers.quorum, approvers.role))
}

/// Whom a rule asks.
pub(crate) fn approvers(rule: &Rule) -> Option<&Approvers> {
    match &rule.escalates {
        Some(Escalates::To(approvers)) => Some(approvers),
        Some(Escalates::Exempt(_)) | None => None,
    }
}

/// Whom an `ESCALATE` asks. The first round says until when, whatever policies come later.
pub(crate) fn asked(case: &Case<'_>, facts: &Facts) -> Option<Asked> {
    let Approvers { quorum, role, within_us, .. } = approvers(case.rule?)?;
    let first = case.now.plus(*within_us).min(case.intent.expires_at);
    let deadline = facts.approval.as_ref().map_or(first, |approval| approval.deadline);
    Some(Asked { deadline, quorum: *quorum, role: role.clone(), rule: case.rule_digest()? })
}

impl State {
    /// What is waiting, and what was said of it.
    pub(crate) fn approval(&self, tenant: &Name, intent: Digest) -> Option<ApprovalFact> {
        let escalated = self.escalated.get(&(tenant.clone(), intent))?;
        let mut votes: Vec<VoteFact> = escalated
            .votes
            .iter()
            .map(|(signer, vote)| {
                let key = self.keys.get(signer).filter(|key| key.revoked.is_none() && key.tenant == *tenant);
                VoteFact {
                    granted: vote.granted,
                    principal: key.map(|key| key.principal.clone()),
                    roles: key.map(|key| key.roles.clone()).unwrap_or_default(),
                    rule: vote.rule,
                    seq: vote.seq,
                    signer: *signer,
                }
            })
            .collect();
        votes.sort_by_key(|vote| vote.seq);
        Some(ApprovalFact { deadline: escalated.deadline, passed: escalated.passed, votes })
    }

    /// How many intents of a tenant wait.
    pub(crate) fn waiting(&self, tenant: &Name) -> u64 {
        let first = (tenant.clone(), Digest([0; 32]));
        let last = (tenant.clone(), Digest([u8::MAX; 32]));
        self.escalated.range(first..=last).map(|_| 1).sum()
    }

    /// The intent, or the decision of what is outside, whose deadline must be recorded next, if one has passed by `now`. In the order
    /// of (deadline, seq).
    #[must_use]
    pub fn due(&self, now: UnixMicros) -> Option<Digest> {
        self.deadlines.first().filter(|(deadline, ..)| *deadline <= now).map(|(.., of)| *of)
    }

    /// The intents that wait for approval.
    pub fn escalated(&self) -> impl Iterator<Item = &Signed<Intent>> {
        self.escalated.values().map(|escalated| &*escalated.intent)
    }

    /// Whether what has been said of an intent is enough to decide it again.
    pub(crate) fn is_ripe(&self, tenant: &Name, intent: Digest, now: UnixMicros) -> bool {
        let Some(Escalated { intent: signed, signer, round, .. }) = self.escalated.get(&(tenant.clone(), intent))
        else {
            return false;
        };
        let case = Case::of(self.policy.as_deref(), signed.value(), *signer, round.saturating_add(1), now);
        let mut facts = case.look_up(self, intent);
        // A key that has lost its trust has no facts; what was said of its intent counts all the same, and is not enough yet.
        facts.approval = self.approval(tenant, intent).map(Box::new);
        !matches!(ask(&case, &facts), Err(refusal) if refusal.code == Code::ApprovalNeeded)
    }
}

/// Whether an answer by this key, about this rule, is recorded.
///
/// # Errors
/// `ERR_APPROVAL_UNKNOWN` if nothing of the kind waits, `ERR_APPROVER_INVALID` if it is not this key's to answer, `ERR_FROZEN`.
pub(crate) fn admit(state: &State, act: &Signed<Act>, intent: Digest, seen: Digest) -> Result<(), Refusal> {
    let refuse = |why: &str| Err(Refusal::new(Code::ApproverInvalid, why));
    let Some(signer) = act.signer() else { return refuse("it does not have exactly one signature") };
    let Some(key) = state.keys.get(&signer).filter(|key| key.revoked.is_none()) else {
        return refuse("its signer is not trusted");
    };
    let Some(escalated) = state.escalated.get(&(key.tenant.clone(), intent)) else {
        return Err(Refusal::new(Code::ApprovalUnknown, format!("{intent} does not wait in tenant {}", key.tenant)));
    };
    let asked = escalated.intent.value();
    // It would be decided at once, and refused for good.
    if state.is_frozen(&asked.tenant, &asked.principal) || state.is_frozen(&key.tenant, &key.principal) {
        return Err(Refusal::new(Code::Frozen, "nobody answers what is frozen, and nobody who is"));
    }
    if key.principal == asked.principal || signer == escalated.signer {
        return refuse("who asks cannot answer");
    }
    let rule = state.policy.as_ref().and_then(|policy| policy.rule(&asked.action));
    let Some(approvers) = rule.and_then(approvers) else { return refuse("the policy in force asks nobody") };
    let in_force = state.policy.as_ref().and_then(|policy| policy.rule_digest(&asked.action));
    if in_force != Some(seen) {
        return refuse("the rule in force is another one than its signer saw: look at it, and answer about that");
    }
    if !key.roles.contains(&approvers.role) {
        return refuse("its signer is not in the role that is asked");
    }
    let trusted = |voter: &KeyId| state.keys.get(voter).filter(|it| it.revoked.is_none() && it.tenant == key.tenant);
    let answered = |voter: &KeyId| *voter == signer || trusted(voter).is_some_and(|it| it.principal == key.principal);
    // What was said about another rule keeps nobody from speaking about this one.
    if escalated.votes.iter().any(|(voter, vote)| vote.rule == seen && answered(voter)) {
        return refuse("this principal has answered");
    }
    Ok(())
}

/// Checks whom a rule asks.
pub(crate) fn check(approvers: &Approvers) -> Result<(), String> {
    let Approvers { quorum, within_us, .. } = approvers;
    if !(1..=QUORUM_MAX).contains(quorum) {
        return Err(format!("a quorum is 1 to {QUORUM_MAX}"));
    }
    if !(1..=WITHIN_MAX_US).contains(within_us) {
        return Err("within_us is not between 1 microsecond and 7 days".to_owned());
    }
    Ok(())
}
