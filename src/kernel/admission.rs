//! Whether an administrative act or a piece of evidence becomes an event. Signatures were checked as mathematics before;
//! here it is asked whose they are.

use std::collections::BTreeSet;

use writ_schemas::act::{Act, EXPIRY_AHEAD_MAX, Statement};
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::evidence::{Evidence, VALIDITY_MAX};
use writ_schemas::genesis::Genesis;
use writ_schemas::ids::{Digest, KeyId, UnixMicros};
use writ_schemas::keys;
use writ_schemas::strict::Refusal;

use crate::escalation;
use crate::outcome;
use crate::policy::Policy;
use crate::state::State;

/// The most roles of a key: they stand in every decision that its evidence touches.
const ROLES_MAX: usize = 32;

/// The longest reason of an act, in bytes.
const REASON_LEN_MAX: usize = 1024;

/// The most keys whose statements of one and the same payload are registered: each is a fact in the decisions that name it.
const EVIDENCE_SIGNERS_MAX: usize = 8;

/// The event of an administrative act; nothing if this very act was carried out before.
///
/// # Errors
/// `ERR_LEDGER_MISMATCH`, `ERR_ACT_REFUSED` (expired, too far ahead, no quorum), or what is wrong with the statement.
pub fn act(state: &State, act: &Signed<Act>, now: UnixMicros) -> Result<Option<Event>, Refusal> {
    let refuse = |why: String| Err(Refusal::new(Code::ActRefused, why));
    let Some(genesis) = &state.genesis else { return refuse("the ledger is not open".to_owned()) };
    let Act { ledger, expires_at, statement, .. } = act.value();
    if *ledger != genesis.ledger {
        return Err(Refusal::new(Code::LedgerMismatch, format!("the act is for ledger {ledger}")));
    }
    if state.acts.contains_key(&remembered_as(act)) {
        return Ok(None);
    }
    // Where the clock is in doubt, it does not say how old an act about it is.
    let expires = !matches!(statement, Statement::AdjustClock { .. });
    if *expires_at <= now && expires {
        return refuse("the act has expired".to_owned());
    }
    if *expires_at > now.plus(EXPIRY_AHEAD_MAX) {
        return refuse("the act expires more than 7 days ahead".to_owned());
    }
    if !matches!(statement, Statement::Approve { .. } | Statement::Report { .. }) {
        quorum(genesis, act)?;
    }
    let act = act.clone();
    Ok(Some(match statement {
        Statement::ActivatePolicy { bundle } => {
            Policy::compile(bundle)?;
            Event::PolicyActivated(act)
        }
        Statement::TrustKey { key, tenant, principal, roles } => {
            if roles.len() > ROLES_MAX {
                return Err(Refusal::new(Code::Schema, format!("more than {ROLES_MAX} roles")));
            }
            if !keys::can_sign(key) {
                return Err(Refusal::new(
                    Code::Schema,
                    format!("nobody can sign with {key}: it is no key, or a weak one"),
                ));
            }
            if state.signs_ledger(*key) {
                return refuse("the key signs for the ledger itself, or did".to_owned());
            }
            // It may get other roles, or back the trust that it lost; what it has said stays the words of the same principal.
            if state.keys.get(key).is_some_and(|it| (&it.tenant, &it.principal) != (tenant, principal)) {
                return refuse("the key was trusted before, as somebody else: make a new one".to_owned());
            }
            Event::KeyTrusted(act)
        }
        Statement::RevokeKey { key } => {
            if state.keys.get(key).is_none_or(|key| key.revoked.is_some()) {
                return Err(Refusal::new(Code::KeyUnknown, format!("{key} is not trusted")));
            }
            Event::KeyRevoked(act)
        }
        Statement::RotateDecisionKey { key } => {
            // That it has signed shows that it can.
            let signed_by = |key: KeyId| act.signatures().iter().any(|one| one.key == key);
            if !signed_by(*key) || !state.decision_key().is_some_and(signed_by) {
                return refuse("the old key and the new one have to sign it, too".to_owned());
            }
            if state.signs_ledger(*key) || genesis.operators.contains(key) || state.keys.contains_key(key) {
                return refuse("the new key is in use already, or was".to_owned());
            }
            Event::LedgerKeyRotated(act)
        }
        Statement::AdjustClock { now: said } => {
            // Whether the clock shows it, only the process knows that has the clock.
            if state.adjusted.is_some_and(|last| *said == last.now) {
                return Ok(None);
            }
            Event::ClockAdjusted(act)
        }
        Statement::Freeze { tenant, principal, .. } | Statement::Thaw { tenant, principal }
            if tenant.is_none() && principal.is_some() =>
        {
            return Err(Refusal::new(Code::Schema, "a principal without its tenant"));
        }
        Statement::Freeze { reason, .. } | Statement::Approve { reason, .. } if reason.len() > REASON_LEN_MAX => {
            return Err(Refusal::new(Code::Schema, format!("a reason of more than {REASON_LEN_MAX} bytes")));
        }
        Statement::Freeze { .. } => Event::Frozen(act),
        Statement::Thaw { .. } => Event::Thawed(act),
        Statement::Approve { intent, rule, .. } => {
            escalation::admit(state, &act, *intent, *rule)?;
            Event::ApprovalRecorded(act)
        }
        Statement::Reconcile { receipt, .. } => {
            if !state.uncertain.contains_key(receipt) {
                return Err(Refusal::new(Code::ReceiptUnknown, format!("{receipt} is not an uncertain receipt")));
            }
            Event::OutcomeReconciled(act)
        }
        Statement::Report { .. } => {
            outcome::admit(state, &act)?;
            Event::OutcomeReconciled(act)
        }
        Statement::BindPartitions { .. } => Event::PartitionsBound(act),
    }))
}

/// Under which digest an act is remembered. What approvers say is theirs: the same words of two of them are two acts.
pub(crate) fn remembered_as(act: &Signed<Act>) -> Digest {
    match (&act.value().statement, act.signer()) {
        (Statement::Approve { .. }, Some(signer)) => Digest::of(format!("{}\n{signer}\n", act.digest()).as_bytes()),
        _ => act.digest(),
    }
}

/// Whether enough operators have signed.
fn quorum(genesis: &Genesis, act: &Signed<Act>) -> Result<(), Refusal> {
    let signers: BTreeSet<KeyId> = act.signatures().iter().map(|one| one.key).collect();
    let operators = signers.iter().filter(|key| genesis.operators.contains(key)).count();
    if operators < usize::try_from(genesis.quorum).unwrap_or(usize::MAX) {
        let (all, needed) = (genesis.operators.len(), genesis.quorum);
        let why = format!("signed by {operators} of {all} operators, {needed} needed");
        return Err(Refusal::new(Code::ActRefused, why));
    }
    Ok(())
}

/// The event of a piece of evidence; nothing if this signer has registered it already.
///
/// # Errors
/// `ERR_LEDGER_MISMATCH`, or `ERR_EVIDENCE_INVALID`: expired, too far ahead, signed by too many others, or its signer is not trusted for its
/// tenant.
pub fn evidence(state: &State, evidence: &Signed<Evidence>, now: UnixMicros) -> Result<Option<Event>, Refusal> {
    let refuse = |why: &str| Err(Refusal::new(Code::EvidenceInvalid, why));
    let Evidence { ledger, tenant, expires_at, .. } = evidence.value();
    if state.genesis.as_ref().is_none_or(|genesis| genesis.ledger != *ledger) {
        return Err(Refusal::new(Code::LedgerMismatch, format!("the evidence is for ledger {ledger}")));
    }
    let Some(signer) = evidence.signer() else { return refuse("it does not have exactly one signature") };
    if state.evidence.contains_key(&(evidence.digest(), signer)) {
        return Ok(None);
    }
    if *expires_at <= now || *expires_at > now.plus(VALIDITY_MAX) {
        return refuse("it has expired, or expires more than 30 days ahead");
    }
    if state.evidence_of(evidence.digest()).count() >= EVIDENCE_SIGNERS_MAX {
        return refuse("as many keys as may sign one payload have signed it");
    }
    match state.keys.get(&signer) {
        Some(key) if key.revoked.is_none() && key.tenant == *tenant => {
            Ok(Some(Event::EvidenceRegistered(evidence.clone())))
        }
        Some(_) | None => refuse("its signer is not trusted for its tenant"),
    }
}
