//! What a node says of itself: one line for a person, and whose it is.

use writ_schemas::act::{Act, Statement};
use writ_schemas::decision::{Amount, Decision, Verdict};
use writ_schemas::event::Event;
use writ_schemas::evidence::Evidence;
use writ_schemas::genesis::Genesis;
use writ_schemas::ids::{KeyId, Name};
use writ_schemas::intent::Intent;
use writ_schemas::receipt::{Receipt, Status};

/// The longest free text in a label, in characters; the log has the rest.
const FREE_TEXT_MAX: usize = 80;

/// How many digits of a key tell it from others to the eye.
const KEY_CHARS: usize = "ed25519:".len() + 12;

/// Free text as one short line: a reader's terminal obeys no control character that somebody signed.
fn free_text(text: &str) -> String {
    let mut line: String =
        text.chars().take(FREE_TEXT_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(FREE_TEXT_MAX).is_some() {
        line.push('…');
    }
    line
}

fn short(key: &KeyId) -> String {
    key.to_string().chars().take(KEY_CHARS).collect()
}

fn amount(amount: &Amount) -> String {
    let overdrawn = amount.overdrawn.map_or_else(String::new, |more| format!(" ({more} overdrawn)"));
    format!(", {} {}{overdrawn}", amount.amount, amount.unit)
}

/// What an event says of its node.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) label: String,
    pub(super) tenant: Option<Name>,
    pub(super) id: Option<Name>,
    pub(super) principal: Option<Name>,
}

impl Words {
    /// The words of an event; none for one that is no node.
    pub(super) fn of(event: &Event) -> Words {
        let only = |label| Words { label, ..Words::default() };
        match event {
            Event::LedgerOpened(signed) => only(genesis(signed.value())),
            Event::IntentAdmitted(admitted) => {
                let value = admitted.intent.value();
                Words {
                    principal: Some(value.principal.clone()),
                    ..only(intent(value)).of_case(&value.tenant, &value.id)
                }
            }
            Event::DecisionMade(signed) => {
                let value = signed.value();
                only(decision(value)).of_case(&value.tenant, &value.id)
            }
            Event::ReceiptIssued(issued) => {
                let value = issued.receipt.value();
                only(receipt(value)).of_case(&value.tenant, &value.id)
            }
            Event::EvidenceRegistered(signed) => {
                let value = signed.value();
                Words { tenant: Some(value.tenant.clone()), ..only(evidence(value)) }
            }
            Event::KeyTrusted(signed)
            | Event::OutcomeReconciled(signed)
            | Event::ApprovalRecorded(signed)
            | Event::PolicyActivated(signed)
            | Event::KeyRevoked(signed)
            | Event::LedgerKeyRotated(signed)
            | Event::ClockAdjusted(signed)
            | Event::Frozen(signed)
            | Event::Thawed(signed)
            | Event::PartitionsBound(signed) => {
                let value = signed.value();
                let tenant = match &value.statement {
                    Statement::TrustKey { tenant, .. } => Some(tenant.clone()),
                    Statement::Freeze { tenant, .. } | Statement::Thaw { tenant, .. } => tenant.clone(),
                    Statement::ActivatePolicy { .. }
                    | Statement::RevokeKey { .. }
                    | Statement::Approve { .. }
                    | Statement::RotateDecisionKey { .. }
                    | Statement::AdjustClock { .. }
                    | Statement::Reconcile { .. }
                    | Statement::Report { .. }
                    | Statement::BindPartitions { .. } => None,
                };
                Words { tenant, ..only(act(value)) }
            }
            Event::DeadlinePassed(_) => only("deadline passed".to_owned()),
            Event::CheckpointSigned(note) => only(checkpoint(note)),
            Event::RecordRefused(_)
            | Event::SourceAdvanced(_)
            | Event::DispatchStarted(_)
            | Event::DispatchRetried(_)
            | Event::StateHashed(_)
            | Event::TailCut(_)
            | Event::SourceGap(_)
            | Event::RecordsOverQuota(_) => Words::default(),
        }
    }

    fn of_case(self, tenant: &Name, id: &Name) -> Words {
        Words { tenant: Some(tenant.clone()), id: Some(id.clone()), ..self }
    }
}

fn genesis(genesis: &Genesis) -> String {
    format!("ledger {} opened as {}", genesis.ledger, free_text(&genesis.origin))
}

fn intent(intent: &Intent) -> String {
    format!("{} {}/{} by {}", intent.action, intent.tenant, intent.id, intent.principal)
}

fn decision(decision: &Decision) -> String {
    let verdict = decision.verdict.as_str();
    match decision.verdict {
        Verdict::Pass => format!("{verdict} {}/{}", decision.tenant, decision.id),
        Verdict::Fail | Verdict::Escalate => {
            format!("{verdict} {}/{} {}", decision.tenant, decision.id, decision.code)
        }
    }
}

fn receipt(receipt: &Receipt) -> String {
    let usage = receipt.usage.iter().map(amount).collect::<String>();
    let head = format!("{} {}/{}", receipt.status.as_str(), receipt.tenant, receipt.id);
    match receipt.status {
        Status::Succeeded => format!("{head} {}{usage}", receipt.action),
        Status::Failed | Status::Uncertain | Status::Expired => {
            format!("{head} {} {}{usage}", receipt.action, receipt.code)
        }
    }
}

fn evidence(evidence: &Evidence) -> String {
    format!("evidence {} of {}", evidence.kind, evidence.tenant)
}

fn act(act: &Act) -> String {
    match &act.statement {
        Statement::ActivatePolicy { bundle } => format!("policy {} activated", bundle.name),
        Statement::TrustKey { key, tenant, principal, .. } => {
            format!("key {} trusted as {principal} of {tenant}", short(key))
        }
        Statement::RevokeKey { key } => format!("key {} revoked", short(key)),
        Statement::RotateDecisionKey { key } => format!("decisions are signed by key {} from here on", short(key)),
        Statement::AdjustClock { .. } => "the clock is right, operators say".to_owned(),
        Statement::Freeze { reason, tenant, principal } => {
            format!("{} frozen: {}", extent(tenant.as_ref(), principal.as_ref()), free_text(reason))
        }
        Statement::Thaw { tenant, principal } => format!("{} thawed", extent(tenant.as_ref(), principal.as_ref())),
        Statement::Approve { granted: true, reason, .. } => format!("granted: {}", free_text(reason)),
        Statement::Approve { granted: false, reason, .. } => format!("refused: {}", free_text(reason)),
        Statement::Reconcile { applied: true, .. } => "reconciled: applied".to_owned(),
        Statement::Reconcile { applied: false, .. } => "reconciled: not applied".to_owned(),
        Statement::Report { applied: true, .. } => "reported: applied".to_owned(),
        Statement::Report { applied: false, because, .. } => {
            format!("reported: not applied: {}", free_text(because.as_deref().unwrap_or_default()))
        }
        Statement::BindPartitions { topic, partitions, .. } => {
            format!("{partitions} partitions of {} bound", free_text(topic))
        }
    }
}

/// What is frozen.
fn extent(tenant: Option<&Name>, principal: Option<&Name>) -> String {
    match (tenant, principal) {
        (Some(tenant), Some(principal)) => format!("{tenant}/{principal}"),
        (Some(tenant), None) => tenant.to_string(),
        (None, _) => "ledger".to_owned(),
    }
}

/// The second line of a checkpoint is the number of entries (C2SP tlog-checkpoint).
fn checkpoint(note: &str) -> String {
    format!("checkpoint of {} entries", free_text(note.lines().nth(1).unwrap_or("unknown")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_text_is_one_short_line() {
        assert_eq!(free_text("a\nb\u{1b}[2J"), "a\u{fffd}b\u{fffd}[2J");
        assert_eq!(free_text(&"é".repeat(80)), "é".repeat(80));
        assert_eq!(free_text(&"é".repeat(81)), format!("{}…", "é".repeat(80)));
    }
}
