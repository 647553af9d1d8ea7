//! Metering: what was used, by tenant, action, UTC day and unit, each line leading to the receipts that it was counted from.
//!
//! A `PASS` opens an execution, and the receipt that ends it is counted, once, on the day of its signed `ended_at`; a receipt
//! of an execution that is not open was counted before. `sum` is what receipts charge. An `UNCERTAIN` receipt charges nothing
//! until operators reconcile it, or its outcome is reported late: then it counts on its own line, as what really became of it, with the amount that its
//! decision had reserved. What spends several units is counted on a line of each; what several budgets count in one unit is
//! counted once.
//!
//! Keys: `d/` decision seq (an open execution) - `r/` digest of an uncertain receipt - `m/` digest of a decision whose outcome was
//! not reported in time (its receipt) - `u/` line - `s/` line, block (its
//! receipts among a few consecutive entries).

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use writ_schemas::act::{Act, Statement};
use writ_schemas::decision::{Amount, Decision};
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::ids::{Digest, Name, Seq};
use writ_schemas::receipt::{Receipt, Status};

use crate::page::Cursor;
use crate::projection::{FoldError, Place, Projection, View};

pub mod day;
pub mod usage;

use day::Day;
pub use usage::{Meter, Source, UsageLine};

/// The fold of usage.
#[derive(Clone, Copy, Debug, Default)]
pub struct Metering;

impl Projection for Metering {
    const NAME: &'static str = "metering";
    const VERSION: u32 = 4;

    fn fold(&self, place: &Place, event: &Event, view: &mut View<'_>) -> Result<(), FoldError> {
        match event {
            Event::DecisionMade(decision) => open(place.seq, decision.value(), view),
            Event::ReceiptIssued(issued) => count(place.seq, &issued.receipt, view),
            Event::OutcomeReconciled(act) => reconcile(place.seq, act, view),
            Event::LedgerOpened(_)
            | Event::IntentAdmitted(_)
            | Event::RecordRefused(_)
            | Event::SourceAdvanced(_)
            | Event::DispatchStarted(_)
            | Event::DispatchRetried(_)
            | Event::EvidenceRegistered(_)
            | Event::ApprovalRecorded(_)
            | Event::DeadlinePassed(_)
            | Event::PolicyActivated(_)
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
            | Event::RecordsOverQuota(_) => Ok(()),
        }
    }
}

/// An execution that has no receipt yet.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct Open {
    /// What was promised in each unit, until the receipt says what is charged.
    reserved: Vec<Quantity>,
}

/// An amount in a unit.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct Quantity {
    unit: Name,
    amount: u64,
    /// How much of it is more than was reserved.
    overdrawn: u64,
}

/// What was used, once in each unit: several budgets may count the same use.
fn by_unit(amounts: &[Amount]) -> Vec<Quantity> {
    let mut quantities: Vec<Quantity> = Vec::new();
    for Amount { unit, amount, overdrawn, .. } in amounts {
        if quantities.iter().all(|known| known.unit != *unit) {
            quantities.push(Quantity { unit: unit.clone(), amount: *amount, overdrawn: overdrawn.unwrap_or(0) });
        }
    }
    quantities
}

/// Which line a receipt is counted on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct LineKey {
    /// The tenant.
    pub tenant: Name,
    /// The action.
    pub action: Name,
    /// The day on which the execution ended.
    pub day: Day,
    /// Absent where the action spends nothing.
    pub unit: Option<Name>,
}

impl LineKey {
    /// The name of the line: opaque, one segment of a path.
    #[must_use]
    pub fn name(&self) -> Cursor {
        Cursor::at(self.bytes(""))
    }

    /// The line of a name.
    #[must_use]
    pub fn named(name: &Cursor) -> Option<LineKey> {
        usage::parse_line(name.place())
    }

    /// The key's bytes after `area`. Names hold no byte below `-`, so a zero byte ends each and sorts before all of them.
    pub(crate) fn bytes(&self, area: &str) -> Vec<u8> {
        let mut key = tenant_prefix(area, &self.tenant);
        key.extend_from_slice(self.action.as_str().as_bytes());
        key.push(0);
        key.extend_from_slice(&self.day.0.to_be_bytes());
        key.extend_from_slice(self.unit.as_ref().map_or("", Name::as_str).as_bytes());
        key.push(0);
        key
    }
}

/// What the keys of a tenant's lines begin with.
pub(crate) fn tenant_prefix(area: &str, tenant: &Name) -> Vec<u8> {
    let mut key = area.as_bytes().to_vec();
    key.extend_from_slice(tenant.as_str().as_bytes());
    key.push(0);
    key
}

/// The counters of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Counters {
    pub(crate) count: u64,
    pub(crate) sum: u64,
    pub(crate) overdrawn: u64,
    pub(crate) failed: u64,
    pub(crate) uncertain: u64,
    pub(crate) expired: u64,
}

impl Counters {
    /// The counter of a status.
    fn of(&mut self, status: Status) -> &mut u64 {
        match status {
            Status::Succeeded => &mut self.count,
            Status::Failed => &mut self.failed,
            Status::Uncertain => &mut self.uncertain,
            Status::Expired => &mut self.expired,
        }
    }

    fn charge(&mut self, amount: u64, overdrawn: u64) -> Result<(), FoldError> {
        let add = |sum: u64, more| sum.checked_add(more).ok_or(FoldError::Overflow("a sum of usage"));
        (self.sum, self.overdrawn) = (add(self.sum, amount)?, add(self.overdrawn, overdrawn)?);
        Ok(())
    }

    fn raise(&mut self, status: Status) -> Result<(), FoldError> {
        let counter = self.of(status);
        *counter = counter.checked_add(1).ok_or(FoldError::Overflow("a count of receipts"))?;
        Ok(())
    }

    fn lower(&mut self, status: Status) -> Result<(), FoldError> {
        let counter = self.of(status);
        *counter = counter.checked_sub(1).ok_or(FoldError::Overflow("a count of receipts"))?;
        Ok(())
    }
}

/// What an uncertain receipt's reconciliation needs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct Uncertain {
    seq: Seq,
    /// Its lines, and what was reserved in the unit of each.
    lines: Vec<(LineKey, u64)>,
    /// Operators have said what became of it.
    settled: bool,
}

/// A receipt of a line: how it is counted there, what it charges, who settled it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Share {
    pub(crate) status: CountedAs,
    pub(crate) amount: u64,
    pub(crate) reconciled_by: Option<Seq>,
}

/// [`Status`], with an encoding of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum CountedAs {
    Succeeded,
    Failed,
    Uncertain,
    Expired,
}

impl CountedAs {
    fn of(status: Status) -> CountedAs {
        match status {
            Status::Succeeded => CountedAs::Succeeded,
            Status::Failed => CountedAs::Failed,
            Status::Uncertain => CountedAs::Uncertain,
            Status::Expired => CountedAs::Expired,
        }
    }

    pub(crate) fn status(self) -> Status {
        match self {
            CountedAs::Succeeded => Status::Succeeded,
            CountedAs::Failed => Status::Failed,
            CountedAs::Uncertain => Status::Uncertain,
            CountedAs::Expired => Status::Expired,
        }
    }
}

/// Where lines lie.
pub(crate) const LINES: &str = "u/";

fn decision_key(seq: Seq) -> Vec<u8> {
    [b"d/".as_slice(), &seq.0.to_be_bytes()].concat()
}

fn missing_key(decision: &Digest) -> Vec<u8> {
    [b"m/".as_slice(), &decision.0].concat()
}

fn receipt_key(digest: &Digest) -> Vec<u8> {
    [b"r/".as_slice(), &digest.0].concat()
}

/// The receipts of a line among this many consecutive entries share a key: a key costs the store more than a receipt does.
pub(crate) const BLOCK: u64 = 1024;

/// The receipts of one line and block, by their offset in the block.
pub(crate) type Shares = BTreeMap<u64, Share>;

/// Where the receipts of a line lie.
pub(crate) fn shares_prefix(line: &LineKey) -> Vec<u8> {
    line.bytes("s/")
}

/// The seq of a receipt, from its block's number and its offset there.
pub(crate) fn seq_in(block: u64, offset: u64) -> Option<Seq> {
    block.checked_mul(BLOCK)?.checked_add(offset).map(Seq)
}

fn set_share(line: &LineKey, seq: Seq, share: Share, view: &mut View<'_>) -> Result<(), FoldError> {
    let mut key = shares_prefix(line);
    key.extend_from_slice(&(seq.0 / BLOCK).to_be_bytes());
    let mut shares: Shares = view.read(&key)?.unwrap_or_default();
    shares.insert(seq.0 % BLOCK, share);
    view.write(key, &shares)
}

fn open(seq: Seq, decision: &Decision, view: &mut View<'_>) -> Result<(), FoldError> {
    match &decision.execution {
        Some(execution) => view.write(decision_key(seq), &Open { reserved: by_unit(&execution.reservation) }),
        None => Ok(()),
    }
}

fn count(seq: Seq, signed: &Signed<Receipt>, view: &mut View<'_>) -> Result<(), FoldError> {
    let receipt = signed.value();
    let Some(Open { reserved }) = view.read(&decision_key(receipt.decision_seq))? else {
        return Ok(());
    };
    view.delete(decision_key(receipt.decision_seq))?;
    let charged = by_unit(&receipt.usage);
    let charge_of = |unit: &Name| charged.iter().find(|it| it.unit == *unit).map(|it| (it.amount, it.overdrawn));
    let mut units: Vec<Option<(Name, u64)>> = reserved.into_iter().map(|it| Some((it.unit, it.amount))).collect();
    if units.is_empty() {
        units.push(None); // what spends nothing has a line too
    }
    let mut lines = Vec::new();
    for unit in units {
        let (amount, overdrawn) = unit.as_ref().and_then(|(unit, _)| charge_of(unit)).unwrap_or_default();
        let (unit, reserved) = unit.map_or((None, 0), |(unit, reserved)| (Some(unit), reserved));
        let (tenant, action) = (receipt.tenant.clone(), receipt.action.clone());
        let line = LineKey { tenant, action, day: Day::of(receipt.ended_at), unit };
        change(&line, view, |counters| {
            counters.raise(receipt.status)?;
            counters.charge(amount, overdrawn)
        })?;
        let share = Share { status: CountedAs::of(receipt.status), amount, reconciled_by: None };
        set_share(&line, seq, share, view)?;
        lines.push((line, reserved));
    }
    if receipt.code == Code::OutcomeMissing {
        view.write(missing_key(&receipt.decision_digest), &signed.digest())?;
    }
    match receipt.status {
        Status::Uncertain => view.write(receipt_key(&signed.digest()), &Uncertain { seq, lines, settled: false }),
        Status::Succeeded | Status::Failed | Status::Expired => Ok(()),
    }
}

fn change(
    line: &LineKey,
    view: &mut View<'_>,
    change: impl FnOnce(&mut Counters) -> Result<(), FoldError>,
) -> Result<(), FoldError> {
    let key = line.bytes(LINES);
    let mut counters: Counters = view.read(&key)?.unwrap_or_default();
    change(&mut counters)?;
    view.write(key, &counters)
}

/// Only the first reconciliation of a receipt counts; the kernel lets no second one in, and this view does not depend on it.
fn reconcile(by: Seq, act: &Signed<Act>, view: &mut View<'_>) -> Result<(), FoldError> {
    let known = if let Statement::Report { decision, applied, .. } = &act.value().statement {
        view.read(&missing_key(decision))?.map(|receipt: Digest| (receipt, *applied))
    } else if let Statement::Reconcile { receipt, applied } = &act.value().statement {
        Some((*receipt, *applied))
    } else {
        None
    };
    // A report in time is followed by its receipt, which is what counts.
    let Some((receipt, applied)) = known else { return Ok(()) };
    let key = receipt_key(&receipt);
    let uncertain: Uncertain = view.read(&key)?.ok_or(FoldError::UnknownDocument(receipt))?;
    if uncertain.settled {
        return Ok(());
    }
    let Uncertain { seq, lines, .. } = &uncertain;
    for (line, reserved) in lines {
        let (status, amount) = if applied { (Status::Succeeded, *reserved) } else { (Status::Failed, 0) };
        change(line, view, |counters| {
            counters.lower(Status::Uncertain)?;
            counters.raise(status)?;
            counters.charge(amount, 0)
        })?;
        let share = Share { status: CountedAs::of(status), amount, reconciled_by: Some(by) };
        set_share(line, *seq, share, view)?;
    }
    view.write(key, &Uncertain { settled: true, ..uncertain })
}

#[cfg(test)]
#[path = "metering/tests.rs"]
mod tests;
