//! What the kernel's answers must add up to, kept in the plainest way: budgets, executions, trust and freeze. It shares no
//! code with the kernel, and hears of each step just before the event that ends it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use writ_kernel::execution::Ending;
use writ_schemas::act::Statement;
use writ_schemas::decision::Decision;
use writ_schemas::errors::Code;
use writ_schemas::ids::{Digest, KeyId, Name, Seq, UnixMicros};
use writ_schemas::intent::Intent;
use writ_schemas::policy::{Bundle, Cost, Mode, Spend, Spends};
use writ_schemas::receipt::Status;

use super::DAY;

/// A tenant's budget, and an amount of it.
type Held = Option<((Name, Name), u64)>;

/// What the model knows of an execution.
struct Run {
    account: Held,
    dispatched: bool,
}

/// The plain model.
#[derive(Default)]
pub(crate) struct Model {
    runs: BTreeMap<Seq, Run>,
    uncertain: BTreeMap<Digest, Held>,
    reserved: BTreeMap<(Name, Name), u64>,
    committed: BTreeMap<(Name, Name), u64>,
    frozen: bool,
    trusted: BTreeMap<KeyId, (Name, Name)>,
    ended: BTreeSet<Seq>,
}

impl Model {
    /// What is reserved and committed, where either is.
    pub(crate) fn accounts(&self) -> BTreeMap<(Name, Name), (u64, u64)> {
        let mut accounts = BTreeMap::new();
        for (account, amount) in &self.reserved {
            accounts.entry(account.clone()).or_insert((0, 0)).0 = *amount;
        }
        for (account, amount) in &self.committed {
            accounts.entry(account.clone()).or_insert((0, 0)).1 = *amount;
        }
        accounts.retain(|_, amounts| *amounts != (0, 0));
        accounts
    }

    /// What must hold for a `PASS` under this bundle; its reservation is entered, for its event comes next.
    pub(crate) fn passed(
        &mut self,
        bundle: &Bundle,
        now: UnixMicros,
        decision: &Decision,
        intent: &Intent,
        signer: KeyId,
        seq: Seq,
    ) {
        assert!(!self.frozen, "a PASS under a freeze");
        assert_eq!(self.trusted.get(&signer), Some(&(intent.tenant.clone(), intent.principal.clone())));
        assert!(now < intent.expires_at && intent.expires_at.0 <= now.0 + 7 * DAY);
        let execution = decision.execution.as_ref().expect("a PASS has one");
        assert!(execution.not_before == now && execution.not_after > now);
        assert!(execution.not_after <= intent.expires_at);
        let rule = bundle.rules.iter().find(|rule| rule.action == intent.action).expect("a rule");
        let wanted = match &rule.spends {
            Spends::Exempt(_) | Spends::Budgets(_) => None,
            Spends::Budget(_) if bundle.gates.budget != Mode::Enforced => None,
            Spends::Budget(Spend { name, cost: Cost::Fixed(cost), .. }) => Some((name, *cost)),
            Spends::Budget(Spend { name, cost: Cost::Arg(key), .. }) => {
                Some((name, intent.args.get(key).and_then(Value::as_u64).expect("a PASS has a cost")))
            }
        };
        let found = execution.reservation.first().map(|it| (&it.budget, it.amount));
        assert_eq!(found, wanted);
        let account = wanted.map(|(budget, amount)| {
            let limits = bundle.budgets.get(budget).expect("a budget");
            let limit = limits.tenants.get(&intent.tenant).copied().unwrap_or(limits.limit);
            let account = (intent.tenant.clone(), budget.clone());
            let reserved = self.reserved.entry(account.clone()).or_default();
            *reserved += amount;
            let spent = *reserved + self.committed.get(&account).copied().unwrap_or(0);
            assert!(spent <= limit, "a PASS raised {budget} to {spent}, above {limit}");
            (account, amount)
        });
        self.runs.insert(seq, Run { account, dispatched: false });
    }

    /// An act of a quorum is carried out.
    pub(crate) fn administered(&mut self, statement: &Statement) {
        match statement {
            Statement::Freeze { .. } => self.frozen = true,
            Statement::Thaw { .. } => self.frozen = false,
            Statement::TrustKey { key, tenant, principal, .. } => {
                self.trusted.insert(*key, (tenant.clone(), principal.clone()));
            }
            Statement::RevokeKey { key } => {
                assert!(self.trusted.remove(key).is_some(), "revoked what was not trusted");
            }
            Statement::Reconcile { receipt, applied } => {
                let held = self.uncertain.remove(receipt).expect("only what is uncertain is reconciled");
                self.settle(held, *applied);
            }
            // It asks nobody.
            Statement::ActivatePolicy { .. }
            | Statement::Approve { .. }
            | Statement::Report { .. }
            | Statement::RotateDecisionKey { .. }
            | Statement::AdjustClock { .. }
            | Statement::BindPartitions { .. } => {}
        }
    }

    fn settle(&mut self, held: Held, commit: bool) {
        let Some((account, amount)) = held else { return };
        let reserved = self.reserved.get_mut(&account).expect("it was reserved");
        *reserved = reserved.checked_sub(amount).expect("no more than was reserved");
        if commit {
            *self.committed.entry(account).or_default() += amount;
        }
    }

    /// Whether an execution waits for its dispatch.
    pub(crate) fn waits(&self, decision: Seq) -> bool {
        self.runs.get(&decision).is_some_and(|run| !run.dispatched)
    }

    /// An execution that waits is dispatched, for the signer of its intent.
    pub(crate) fn dispatched(&mut self, decision: Seq, signer: &KeyId) {
        assert!(!self.frozen && self.trusted.contains_key(signer));
        self.runs.get_mut(&decision).expect("a run").dispatched = true;
    }

    /// Whether an execution can end so: expired is what was never dispatched.
    pub(crate) fn can_end(&self, ending: &Ending) -> bool {
        let fits = |run: &Run| run.dispatched != (ending.status == Status::Expired) && ending.is_possible();
        self.runs.get(&ending.decision).is_some_and(fits)
    }

    /// An execution ends with this receipt, which charges this much.
    pub(crate) fn ended(&mut self, ending: &Ending, charged: Option<u64>, receipt: Digest) {
        let run = self.runs.remove(&ending.decision).expect("a run");
        assert!(self.ended.insert(ending.decision), "it ended before");
        let reserved = run.account.as_ref().map(|(_, amount)| *amount);
        let drifted = ending.status == Status::Failed && ending.code == Code::ConnectorContractDrift;
        let happened = drifted || ending.status == Status::Succeeded;
        assert_eq!(charged, reserved.filter(|_| happened), "what happened is charged, and nothing else");
        match ending.status {
            Status::Succeeded | Status::Failed | Status::Expired => self.settle(run.account, happened),
            Status::Uncertain => {
                self.uncertain.insert(receipt, run.account);
            }
        }
    }
}
