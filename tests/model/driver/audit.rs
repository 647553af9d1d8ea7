//! The budget rules of section 6 of the design, and that evidence is used up once, held by events alone: neither the kernel's sums nor the model's are asked.

use std::collections::BTreeMap;

use serde_json::Value;

use writ_schemas::act::Statement;
use writ_schemas::decision::{Amount, Decision, Verdict};
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, ReceiptIssued};
use writ_schemas::ids::{Digest, Name, UnixMicros};
use writ_schemas::policy::{Bundle, Mode};
use writ_schemas::receipt::Status;

/// What became of the amounts of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Reserved,
    Committed,
    Released,
}

/// Every amount that a `PASS` took.
#[derive(Clone, Debug)]
struct Taken {
    tenant: Name,
    amounts: Vec<Amount>,
    /// The evidence that it used up.
    uses: Vec<Digest>,
    fate: Fate,
    /// Whether its receipt has come.
    closed: bool,
}

/// The auditor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit {
    bundle: Option<Bundle>,
    taken: BTreeMap<u64, Taken>,
    uncertain: BTreeMap<Digest, u64>,
}

impl Audit {
    /// Holds one more event against the rules.
    pub(crate) fn see(&mut self, seq: u64, now: UnixMicros, event: &Event) -> Result<(), String> {
        let broken = match event {
            Event::PolicyActivated(act) => {
                if let Statement::ActivatePolicy { bundle } = &act.value().statement {
                    self.bundle = Some(bundle.clone());
                }
                None
            }
            Event::DecisionMade(decision) => self.decided(seq, now, decision.value()),
            Event::ReceiptIssued(issued) => self.closed(issued),
            Event::OutcomeReconciled(act) => {
                if let Statement::Reconcile { receipt, applied } = &act.value().statement {
                    self.reconciled(*receipt, *applied)
                } else {
                    Some("an outcome that is none")
                }
            }
            Event::LedgerOpened(_)
            | Event::IntentAdmitted(_)
            | Event::RecordRefused(_)
            | Event::SourceAdvanced(_)
            | Event::DispatchStarted(_)
            | Event::DispatchRetried(_)
            | Event::EvidenceRegistered(_)
            | Event::ApprovalRecorded(_)
            | Event::DeadlinePassed(_)
            | Event::KeyTrusted(_)
            | Event::KeyRevoked(_)
            | Event::LedgerKeyRotated(_)
            | Event::ClockAdjusted(_)
            | Event::Frozen(_)
            | Event::Thawed(_)
            | Event::StateHashed(_)
            | Event::CheckpointSigned(_)
            | Event::TailCut(_)
            | Event::PartitionsBound(_)
            | Event::SourceGap(_)
            | Event::RecordsOverQuota(_) => None,
        };
        broken.map_or(Ok(()), |rule| Err(format!("entry {seq} breaks a rule: {rule}")))
    }

    fn decided(&mut self, seq: u64, now: UnixMicros, decision: &Decision) -> Option<&'static str> {
        let Some(execution) = &decision.execution else {
            return (decision.verdict == Verdict::Pass).then_some("a PASS authorises an execution");
        };
        if decision.verdict != Verdict::Pass {
            return Some("no denied call reserves");
        }
        let amounts = execution.reservation.to_vec();
        let uses = execution.uses.clone();
        let held = self.taken.values().filter(|it| it.fate != Fate::Released).flat_map(|it| &it.uses);
        if held.into_iter().any(|digest| uses.contains(digest)) {
            return Some("evidence is used up once");
        }
        let taken = Taken { tenant: decision.tenant.clone(), amounts, uses, fate: Fate::Reserved, closed: false };
        let amounts = taken.amounts.clone();
        self.taken.insert(seq, taken);
        let enforced = self.bundle.as_ref().is_some_and(|bundle| bundle.gates.budget == Mode::Enforced);
        if !enforced && !amounts.is_empty() {
            return Some("a gate that is not asked reserves nothing");
        }
        for of in &amounts {
            if of.since.is_some_and(|since| now < since) || of.until.is_some_and(|until| until <= now) {
                return Some("an amount counts when it is taken");
            }
            let Some(budget) = self.bundle.as_ref().and_then(|bundle| bundle.budgets.get(&of.budget)) else {
                return Some("an amount is out of a budget of the policy in force");
            };
            let limit = budget.tenants.get(&decision.tenant).unwrap_or(&budget.limit);
            if self.counted(&decision.tenant, of, now) > u128::from(*limit) {
                return Some("no PASS raises reserved and committed above the limit in force");
            }
        }
        None
    }

    /// What counts of a share: reserved and committed.
    fn counted(&self, tenant: &Name, of: &Amount, now: UnixMicros) -> u128 {
        let held = self.taken.values().filter(|it| it.tenant == *tenant && it.fate != Fate::Released);
        let same = held.flat_map(|it| &it.amounts).filter(|it| {
            (&it.budget, &it.principal, &it.action) == (&of.budget, &of.principal, &of.action)
                && it.until.is_some() == of.until.is_some()
                && it.until.is_none_or(|until| now < until)
        });
        same.map(|it| u128::from(it.amount)).sum()
    }

    fn closed(&mut self, issued: &ReceiptIssued) -> Option<&'static str> {
        let (receipt, digest) = (issued.receipt.value(), issued.receipt.digest());
        let Some(taken) = self.taken.get_mut(&receipt.decision_seq.0) else {
            return Some("a receipt is of a PASS");
        };
        if std::mem::replace(&mut taken.closed, true) {
            return Some("a reservation ends once");
        }
        let charged = match (receipt.status, receipt.code) {
            (Status::Succeeded, _) | (Status::Failed, Code::ConnectorContractDrift) => true,
            (Status::Failed | Status::Expired | Status::Uncertain, _) => false,
        };
        if charged {
            taken.fate = Fate::Committed;
        } else if receipt.status == Status::Uncertain {
            self.uncertain.insert(digest, receipt.decision_seq.0);
        } else {
            taken.fate = Fate::Released;
        }
        let usage = receipt.usage.to_vec();
        if !charged {
            return (!usage.is_empty()).then_some("what was not done, or is not certain, is not charged");
        }
        if usage.len() != taken.amounts.len() {
            return Some("what was done is charged out of each budget that it was reserved out of");
        }
        let output = issued.output.as_deref().filter(|_| receipt.status == Status::Succeeded);
        for (reserved, charged) in taken.amounts.iter_mut().zip(usage) {
            if (Amount { amount: reserved.amount, overdrawn: None, actual: reserved.actual.clone(), ..charged.clone() })
                != *reserved
            {
                return Some("what was done is charged where it was reserved");
            }
            let asked = reserved.actual.as_ref().zip(output.and_then(|it| serde_json::from_slice::<Value>(it).ok()));
            let told = asked.and_then(|(key, output)| output.get(key)?.as_u64()).filter(|it| *it <= 1 << 43);
            if charged.amount != told.unwrap_or(reserved.amount) {
                return Some(
                    "what was done is charged as its output tells where it is asked, and else as it was reserved",
                );
            }
            if charged.overdrawn.unwrap_or(0) != charged.amount.saturating_sub(reserved.amount) {
                return Some("a cost above the reservation is overdrawn, visibly");
            }
            *reserved = charged;
        }
        None
    }

    fn reconciled(&mut self, receipt: Digest, applied: bool) -> Option<&'static str> {
        let decision = self.uncertain.remove(&receipt);
        let Some(taken) = decision.and_then(|decision| self.taken.get_mut(&decision)) else {
            return Some("an uncertain receipt is reconciled once");
        };
        taken.fate = if applied { Fate::Committed } else { Fate::Released };
        None
    }

    /// What is held of each tenant and budget: all that counts now, and the windows that are over as long as something is
    /// reserved in them.
    pub(crate) fn held(&self, now: UnixMicros) -> BTreeMap<(Name, Name), u128> {
        let mut windows: BTreeMap<_, (u128, u128)> = BTreeMap::new();
        for taken in self.taken.values().filter(|it| it.fate != Fate::Released) {
            for it in &taken.amounts {
                let share = (&it.principal, &it.action, it.since, it.until);
                let (reserved, committed) = windows.entry((&taken.tenant, &it.budget, share)).or_default();
                *if taken.fate == Fate::Reserved { reserved } else { committed } += u128::from(it.amount);
            }
        }
        let mut held = BTreeMap::new();
        for ((tenant, budget, (.., until)), (reserved, committed)) in windows {
            if reserved > 0 || until.is_none_or(|until| now < until) {
                *held.entry((tenant.clone(), budget.clone())).or_default() += reserved + committed;
            }
        }
        held.retain(|_, sum| *sum > 0);
        held
    }
}
