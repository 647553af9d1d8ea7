//! The only place where state changes: an event in its place is folded in.

use std::collections::BTreeMap;
use std::sync::Arc;

use writ_schemas::act::{Act, Statement};
use writ_schemas::decision::{Amount, Decision, Verdict};
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::event::{DispatchRetried, Event, IntentAdmitted, Partition, ReceiptIssued, Source};
use writ_schemas::ids::{Digest, Name, Seq, UnixMicros};
use writ_schemas::receipt::Status;

use crate::admission;
use crate::decide::claims_id;
use crate::escalation;
use crate::execution;
use crate::policy::Policy;
use crate::state::{
    Adjusted, Admitted, Binding, Escalated, Expiring, Held, Known, Open, Registered, Session, State, TrustedKey, Vote,
};
use crate::temporal;

/// An event that cannot follow the state it is applied to: this kernel did not write it. There is no going back; whoever
/// gets one drops the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not the next seq, or a time that falls.
    #[error("the entry is not the next one")]
    Place,
    /// Entry 0 is not a genesis, or another one is.
    #[error("genesis is not entry 0")]
    Genesis,
    /// An intent is not followed by its decision, or a decision has no intent.
    #[error("intent and decision are not a pair")]
    Pair,
    /// A dispatch or a receipt without the execution it speaks of.
    #[error("there is no such open execution")]
    Execution,
    /// A `PASS` that authorises nothing, or another verdict that does.
    #[error("a PASS has an execution intent, and nothing else has one")]
    ExecutionIntent,
    /// What is carried out outside has no receipt that says what was reported, where it must be; or one that nothing asks for.
    #[error("a report, or a deadline for one, and its receipt are not a pair")]
    Outcome,
    /// An approval or a deadline without an intent that waits for it.
    #[error("no such intent waits for approval")]
    Approval,
    /// Evidence is used up that is not registered, or is used up already.
    #[error("evidence is used up that is not there to be used")]
    Evidence,
    /// More released or committed than was reserved.
    #[error("a reservation is not what the account holds")]
    Account,
    /// An act whose statement is not one of its event's.
    #[error("the statement does not belong to its event")]
    Statement,
    /// A policy that does not compile.
    #[error("the policy is not valid")]
    Policy,
}

impl Fault {
    /// The registered code.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Fault::Execution => Code::DecisionMissing,
            Fault::ExecutionIntent => Code::ExecutionIntentMissing,
            Fault::Place
            | Fault::Genesis
            | Fault::Pair
            | Fault::Outcome
            | Fault::Approval
            | Fault::Evidence
            | Fault::Account
            | Fault::Statement
            | Fault::Policy => Code::LogDamaged,
        }
    }
}

impl State {
    /// Folds in the event of the entry `seq`, recorded at `at`.
    ///
    /// # Errors
    /// [`Fault`]: the log is not one that this kernel wrote. The state must then be dropped.
    pub fn apply(&mut self, seq: Seq, at: UnixMicros, event: &Event) -> Result<(), Fault> {
        if seq != self.next || at < self.last_at {
            return Err(Fault::Place);
        }
        if (seq == Seq(0)) != matches!(event, Event::LedgerOpened(_)) {
            return Err(Fault::Genesis);
        }
        if self.admitted.is_some() != matches!(event, Event::DecisionMade(_)) {
            return Err(Fault::Pair);
        }
        if self.ending.is_some() && !matches!(event, Event::ReceiptIssued(_)) {
            return Err(Fault::Outcome);
        }
        self.next = seq.next();
        self.last_at = at;
        self.forget(at);
        match event {
            Event::LedgerOpened(genesis) if genesis.value().is_valid() => self.genesis = Some(genesis.value().clone()),
            Event::LedgerOpened(_) => return Err(Fault::Genesis),
            Event::IntentAdmitted(admitted) => self.admit(seq, admitted)?,
            Event::RecordRefused(refused) => self.advance(&refused.source),
            Event::RecordsOverQuota(over) => {
                self.positions.insert(over.partition.clone(), over.next);
            }
            Event::SourceAdvanced(positions) => {
                for position in positions {
                    self.positions.insert(position.partition.clone(), position.next);
                }
            }
            Event::DecisionMade(decision) => self.decided(seq, decision)?,
            Event::DispatchStarted(decision) => {
                let open = self.open.get_mut(decision).filter(|open| open.dispatched_at.is_none());
                open.ok_or(Fault::Execution)?.dispatched_at = Some(at);
                self.let_out(*decision, at)?;
            }
            Event::DispatchRetried(retried) => self.retried(at, retried)?,
            Event::ReceiptIssued(issued) => self.concluded(seq, issued)?,
            Event::OutcomeReconciled(act) => self.reconciled(act)?,
            Event::EvidenceRegistered(evidence) => {
                let (digest, it) = (evidence.digest(), evidence.value());
                let signer = evidence.signer().ok_or(Fault::Statement)?;
                let registered = Registered {
                    seq,
                    tenant: it.tenant.clone(),
                    kind: it.kind.clone(),
                    signer,
                    effect: it.effect,
                    expires_at: it.expires_at,
                    issued_at: it.issued_at,
                };
                self.expiries.insert((it.expires_at, Expiring::Evidence(digest, signer)));
                self.evidence.insert((digest, signer), registered);
            }
            Event::ApprovalRecorded(act) => self.approved(seq, at, act)?,
            Event::DeadlinePassed(of) => self.timed_out(at, *of)?,
            Event::PolicyActivated(act)
            | Event::KeyTrusted(act)
            | Event::KeyRevoked(act)
            | Event::LedgerKeyRotated(act)
            | Event::ClockAdjusted(act)
            | Event::Frozen(act)
            | Event::Thawed(act)
            | Event::PartitionsBound(act) => self.administer(seq, event, act)?,
            Event::SourceGap(gap) => {
                self.positions.insert(gap.partition.clone(), gap.found);
            }
            // They speak of the log itself, not of what deciding depends on.
            Event::StateHashed(_) | Event::CheckpointSigned(_) | Event::TailCut(_) => {}
        }
        Ok(())
    }

    /// Forgets what has ended by `at`. Time only rises, so an expired id can come back only as an expired intent.
    fn forget(&mut self, at: UnixMicros) {
        while let Some(first) = self.expiries.first() {
            if first.0 > at {
                return;
            }
            let Some((_, what)) = self.expiries.pop_first() else { return };
            match what {
                Expiring::Id(tenant, id) => {
                    let id = (tenant, id);
                    // As long as its execution is open, the next one of this id could be taken for it.
                    if self.ids.get(&id).is_some_and(|known| !self.open.contains_key(&known.decision)) {
                        self.ids.remove(&id);
                    }
                }
                Expiring::Evidence(digest, signer) => {
                    self.evidence.remove(&(digest, signer));
                    // Whoever has signed this payload: it expires for all of them.
                    self.used.remove(&digest);
                }
                Expiring::Act(digest) => {
                    self.acts.remove(&digest);
                }
                Expiring::Account(key) => self.forget_account(&key),
                Expiring::Pace(tenant, principal, action) => {
                    self.paces.remove(&(tenant, principal, action));
                }
                Expiring::Session(tenant, session) => {
                    self.sessions.remove(&(tenant, session));
                }
            }
        }
    }

    fn advance(&mut self, source: &Source) {
        if let Source::Kafka { partition, offset } = source {
            self.move_to(partition, offset.saturating_add(1));
        }
    }

    fn move_to(&mut self, partition: &Partition, next: u64) {
        match self.positions.get_mut(partition) {
            Some(position) => *position = next,
            None => {
                self.positions.insert(partition.clone(), next);
            }
        }
    }

    fn admit(&mut self, seq: Seq, admitted: &IntentAdmitted) -> Result<(), Fault> {
        self.advance(&admitted.source);
        let intent = admitted.intent.value();
        let rule = self.policy.as_ref().and_then(|policy| policy.rule(&intent.action));
        let asks = rule.is_some_and(|rule| escalation::approvers(rule).is_some());
        self.admitted = Some(Admitted {
            seq,
            intent: admitted.intent.digest(),
            signer: admitted.intent.signer().ok_or(Fault::Statement)?,
            tenant: intent.tenant.clone(),
            id: intent.id.clone(),
            principal: intent.principal.clone(),
            action: intent.action.clone(),
            session: intent.session.clone(),
            expires_at: intent.expires_at,
            round: 0,
            whole: asks.then(|| Box::new(admitted.intent.clone())),
        });
        Ok(())
    }

    fn decided(&mut self, seq: Seq, signed: &Signed<Decision>) -> Result<(), Fault> {
        let mut admitted = self.admitted.take().ok_or(Fault::Pair)?;
        let decision = signed.value();
        let awaited = (admitted.intent, admitted.seq, admitted.round);
        if awaited != (decision.intent_digest, decision.intent_seq, decision.round) {
            return Err(Fault::Pair);
        }
        temporal::count(self, decision, &admitted.principal, &admitted.action);
        self.identified(seq, &admitted, decision);
        self.escalate(&mut admitted, decision)?;
        let execution = match (decision.verdict, &decision.execution) {
            (Verdict::Pass, Some(execution)) => execution,
            (Verdict::Fail | Verdict::Escalate, None) => return Ok(()),
            (Verdict::Pass, None) | (Verdict::Fail | Verdict::Escalate, Some(_)) => return Err(Fault::ExecutionIntent),
        };
        let Admitted { seq: intent_seq, signer, tenant, id, principal, action, session, expires_at, .. } = admitted;
        for amount in &*execution.reservation {
            self.reserve(&tenant, amount)?;
        }
        for digest in &execution.uses {
            let is_there = self.evidence_of(*digest).next().is_some();
            if !is_there || self.used.insert(*digest, seq).is_some() {
                return Err(Fault::Evidence);
            }
        }
        let open = Open {
            intent_seq,
            decision: signed.digest(),
            tenant,
            id,
            principal,
            action,
            session,
            expires_at,
            signer,
            effect: execution.effect_digest,
            connector: execution.connector.clone(),
            idempotency_key: execution.idempotency_key,
            not_after: execution.not_after,
            reservation: execution.reservation.clone(),
            uses: execution.uses.clone(),
            dispatched_at: None,
            attempts: 0,
            due: UnixMicros(0),
        };
        self.loads.entry(open.connector.clone()).or_default().open += 1;
        self.open.insert(seq, open);
        Ok(())
    }

    /// The id points to the latest decision of its intent.
    fn identified(&mut self, seq: Seq, admitted: &Admitted, decision: &Decision) {
        let Admitted { intent, tenant, id, expires_at, round, .. } = admitted;
        let key = (tenant.clone(), id.clone());
        if *round > 0 {
            if let Some(known) = self.ids.get_mut(&key) {
                known.decision = seq;
            }
        } else if claims_id(decision) {
            self.expiries.insert((*expires_at, Expiring::Id(tenant.clone(), id.clone())));
            self.ids.insert(key, Known { intent: *intent, decision: seq, expires_at: *expires_at });
        }
    }

    /// What asks waits; what was waiting and is decided does not.
    fn escalate(&mut self, admitted: &mut Admitted, decision: &Decision) -> Result<(), Fault> {
        let Admitted { seq, intent, signer, tenant, round, whole, .. } = admitted;
        let key = (tenant.clone(), *intent);
        match (decision.verdict, round) {
            (Verdict::Escalate, 0) => {
                let deadline = decision.asks.as_ref().ok_or(Fault::Approval)?.deadline;
                let intent = whole.take().ok_or(Fault::Pair)?;
                self.deadlines.insert((deadline, *seq, key.0.clone(), key.1));
                let (signer, seq, votes) = (*signer, *seq, BTreeMap::new());
                let escalated = Escalated { intent, signer, seq, round: 0, deadline, passed: false, votes };
                self.escalated.insert(key, escalated);
            }
            // It is decided again only when it does not ask any more.
            (Verdict::Escalate, _) => return Err(Fault::Approval),
            (Verdict::Pass | Verdict::Fail, 0) => {}
            (Verdict::Pass | Verdict::Fail, _) => {
                let ended = self.escalated.remove(&key).ok_or(Fault::Approval)?;
                self.deadlines.remove(&(ended.deadline, ended.seq, key.0, key.1));
            }
        }
        Ok(())
    }

    fn approved(&mut self, seq: Seq, at: UnixMicros, act: &Signed<Act>) -> Result<(), Fault> {
        let Statement::Approve { intent, granted, rule, .. } = &act.value().statement else {
            return Err(Fault::Statement);
        };
        let signer = act.signer().ok_or(Fault::Statement)?;
        let tenant = self.keys.get(&signer).ok_or(Fault::Approval)?.tenant.clone();
        let escalated = self.escalated.get_mut(&(tenant.clone(), *intent)).ok_or(Fault::Approval)?;
        escalated.votes.insert(signer, Vote { seq, granted: *granted, rule: *rule });
        self.remember(act);
        if self.is_ripe(&tenant, *intent, at) {
            self.await_again((tenant, *intent))?;
        }
        Ok(())
    }

    /// The deadline of an outcome, or of the answer to an intent.
    fn timed_out(&mut self, at: UnixMicros, of: Digest) -> Result<(), Fault> {
        let first = self.deadlines.first().filter(|first| first.0 <= at && first.3 == of).ok_or(Fault::Approval)?;
        let first = first.clone();
        self.deadlines.remove(&first);
        if self.not_reported(of).is_some() {
            return Ok(());
        }
        let key = (first.2, of);
        self.escalated.get_mut(&key).ok_or(Fault::Approval)?.passed = true;
        self.await_again(key)
    }

    /// The next entry must decide an intent again.
    fn await_again(&mut self, key: (Name, Digest)) -> Result<(), Fault> {
        let Escalated { intent: signed, signer, seq, round, .. } = self.escalated.get(&key).ok_or(Fault::Approval)?;
        let intent = signed.value();
        self.admitted = Some(Admitted {
            seq: *seq,
            intent: key.1,
            signer: *signer,
            tenant: key.0,
            id: intent.id.clone(),
            principal: intent.principal.clone(),
            action: intent.action.clone(),
            session: intent.session.clone(),
            expires_at: intent.expires_at,
            round: round.checked_add(1).ok_or(Fault::Approval)?,
            whole: None,
        });
        Ok(())
    }

    /// An attempt that certainly did nothing: it waits to be dispatched again.
    fn retried(&mut self, at: UnixMicros, retried: &DispatchRetried) -> Result<(), Fault> {
        if self.is_outside(retried.decision) {
            return Err(Fault::Outcome);
        }
        let open = self.open.get_mut(&retried.decision).filter(|open| open.dispatched_at.is_some());
        let open = open.ok_or(Fault::Execution)?;
        let first = open.attempts == 0;
        (open.dispatched_at, open.attempts, open.due) = (None, retried.attempts, retried.due);
        let connector = open.connector.clone();
        self.loads.entry(connector.clone()).or_default().again += u64::from(first);
        self.answered(&connector, false, at);
        Ok(())
    }

    /// Counts the failures of a connector in a row, where its policy says what follows from them.
    fn answered(&mut self, connector: &Name, well: bool, at: UnixMicros) {
        let breaker = self.policy.as_ref().and_then(|policy| policy.connector(connector)?.breaker.as_ref());
        match breaker.filter(|_| !well) {
            None => _ = self.failing.remove(connector),
            Some(breaker) => {
                let failing = self.failing.entry(connector.clone()).or_default();
                failing.failures = failing.failures.saturating_add(1);
                if failing.failures >= breaker.failures {
                    failing.until = at.plus(breaker.pause_us);
                }
            }
        }
    }

    fn concluded(&mut self, seq: Seq, issued: &ReceiptIssued) -> Result<(), Fault> {
        let (receipt, digest) = (issued.receipt.value(), issued.receipt.digest());
        let open = self.open.remove(&receipt.decision_seq).ok_or(Fault::Execution)?;
        // An id that its intent's expiry could not free yet.
        let id = (open.tenant.clone(), open.id.clone());
        if self.ids.get(&id).is_some_and(|it| it.decision == receipt.decision_seq && it.expires_at <= self.last_at) {
            self.ids.remove(&id);
        }
        if let Some(load) = self.loads.get_mut(&open.connector) {
            load.open = load.open.saturating_sub(1);
            load.outside = load.outside.saturating_sub(u64::from(self.outside.contains_key(&open.decision)));
            load.again = load.again.saturating_sub(u64::from(open.attempts > 0));
            if load.open == 0 {
                self.loads.remove(&open.connector);
            }
        }
        let missing = self.came_back(&open, receipt, digest)?;
        if let Some(well) = execution::answered_well(receipt.code) {
            self.answered(&open.connector, well, self.last_at);
        }
        match receipt.status {
            Status::Succeeded | Status::Failed | Status::Expired => {
                let charged = execution::charges(&open, receipt.status, receipt.code, issued.output.as_deref());
                self.settle_all(&open.tenant, &open.reservation, &charged)?;
                if !execution::was_done(receipt.status, receipt.code) {
                    self.give_back(&open.uses);
                }
            }
            Status::Uncertain => {
                let Open { reservation, uses, .. } = open;
                let held = Held { tenant: open.tenant.clone(), reservation, uses, missing };
                self.uncertain.insert(digest, held);
            }
        }
        if let Some(session) = open.session {
            let key = (open.tenant, session);
            let ends = |at| (at, Expiring::Session(key.0.clone(), key.1.clone()));
            let (before, mut succeeded) = match self.sessions.remove(&key) {
                Some(session) => (session.expires_at, session.succeeded),
                None => (UnixMicros(0), BTreeMap::new()),
            };
            if receipt.status == Status::Succeeded {
                succeeded.insert(receipt.action.clone(), seq);
            }
            let expires_at = before.max(open.expires_at).max(self.last_at);
            // One line a session, however many receipts prolong it.
            self.expiries.remove(&ends(before));
            self.expiries.insert(ends(expires_at));
            self.sessions.insert(key, Session { receipt: digest, lamport: receipt.lamport, expires_at, succeeded });
        }
        Ok(())
    }

    fn reconciled(&mut self, act: &Signed<Act>) -> Result<(), Fault> {
        if let Statement::Reconcile { receipt, applied } = &act.value().statement {
            self.settled(*receipt, *applied)?;
        } else {
            self.reported(&act.value().statement)?;
        }
        self.remember(act);
        Ok(())
    }

    /// It became known what became of an uncertain receipt.
    pub(crate) fn settled(&mut self, receipt: Digest, applied: bool) -> Result<(), Fault> {
        let held = self.uncertain.remove(&receipt).ok_or(Fault::Execution)?;
        let charged: &[Amount] = if applied { &held.reservation } else { &[] };
        self.settle_all(&held.tenant, &held.reservation, charged)?;
        if !applied {
            self.give_back(&held.uses);
        }
        held.missing.map(|decision| self.missing.remove(&decision));
        Ok(())
    }

    /// Evidence that was used up for nothing may be used again.
    fn give_back(&mut self, uses: &[Digest]) {
        for digest in uses {
            self.used.remove(digest);
        }
    }

    /// Ends a reservation: each amount with what was charged in its place, if anything was.
    fn settle_all(&mut self, tenant: &Name, reserved: &[Amount], charged: &[Amount]) -> Result<(), Fault> {
        let charged = charged.iter().map(|it| it.amount).chain(std::iter::repeat(0));
        reserved.iter().zip(charged).try_for_each(|(amount, charged)| self.settle(tenant, amount, charged))
    }

    fn administer(&mut self, seq: Seq, event: &Event, act: &Signed<Act>) -> Result<(), Fault> {
        match (&act.value().statement, event) {
            (Statement::ActivatePolicy { bundle }, Event::PolicyActivated(_)) => {
                self.policy = Some(Arc::new(Policy::compile(bundle).map_err(|_| Fault::Policy)?));
            }
            (Statement::TrustKey { key, tenant, principal, roles }, Event::KeyTrusted(_)) => {
                let trusted = TrustedKey {
                    tenant: tenant.clone(),
                    principal: principal.clone(),
                    roles: roles.clone(),
                    revoked: None,
                };
                self.keys.insert(*key, trusted);
            }
            (Statement::RevokeKey { key }, Event::KeyRevoked(_)) => {
                self.keys.get_mut(key).ok_or(Fault::Statement)?.revoked = Some(seq);
            }
            (Statement::RotateDecisionKey { key }, Event::LedgerKeyRotated(_)) => {
                self.retired.extend(self.decision_key.replace(*key));
            }
            (Statement::AdjustClock { now }, Event::ClockAdjusted(_)) => {
                self.adjusted = Some(Adjusted { now: *now, at: self.last_at });
            }
            (Statement::Freeze { tenant, principal, .. }, Event::Frozen(_)) => match tenant {
                None => self.frozen = true,
                Some(tenant) => _ = self.frozen_parts.insert((tenant.clone(), principal.clone())),
            },
            (Statement::Thaw { tenant, principal }, Event::Thawed(_)) => match tenant {
                None => self.frozen = false,
                Some(tenant) => _ = self.frozen_parts.remove(&(tenant.clone(), principal.clone())),
            },
            (Statement::BindPartitions { cluster, topic, topic_id, partitions }, Event::PartitionsBound(_)) => {
                let binding = Binding { cluster: cluster.clone(), topic_id: topic_id.clone(), partitions: *partitions };
                self.bindings.insert(topic.clone(), binding);
            }
            _ => return Err(Fault::Statement),
        }
        self.remember(act);
        Ok(())
    }

    fn remember(&mut self, act: &Signed<Act>) {
        let (digest, expires_at) = (admission::remembered_as(act), act.value().expires_at);
        self.expiries.insert((expires_at, Expiring::Act(digest)));
        self.acts.insert(digest, expires_at);
    }
}

#[cfg(test)]
mod tests;
