//! Reading usage: the lines of a bill, and the receipts behind each.

use serde::Serialize;
use writ_schemas::ids::{Name, Seq};
use writ_schemas::receipt::Status;

use super::day::Day;
use super::{Counters, LINES, LineKey, Share, Shares, seq_in, shares_prefix, tenant_prefix};
use crate::store::Store;
use crate::value::{self, ReadError};

/// What one tenant used for one action on one UTC day, in one unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsageLine {
    /// The tenant.
    pub tenant: Name,
    /// The action.
    pub action: Name,
    /// The day on which the executions ended, `YYYY-MM-DD`.
    pub day: Day,
    /// What `sum` is counted in; absent where the action spends nothing.
    pub unit: Option<Name>,
    /// Executions that succeeded, those that operators found to have been applied included.
    pub count: u64,
    /// What was charged.
    pub sum: u64,
    /// How much of it was more than what had been reserved for it.
    pub overdrawn: u64,
    /// Executions that failed, those that operators found not to have been applied included.
    pub failed: u64,
    /// Executions that nobody knows the end of yet. They charge nothing so far.
    pub uncertain: u64,
    /// Executions that were never begun.
    pub expired: u64,
}

impl UsageLine {
    fn new(line: LineKey, counters: Counters) -> UsageLine {
        let LineKey { tenant, action, day, unit } = line;
        let Counters { count, sum, overdrawn, failed, uncertain, expired } = counters;
        UsageLine { tenant, action, day, unit, count, sum, overdrawn, failed, uncertain, expired }
    }

    fn key(&self) -> LineKey {
        LineKey { tenant: self.tenant.clone(), action: self.action.clone(), day: self.day, unit: self.unit.clone() }
    }
}

/// A receipt that a line was counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The receipt's entry.
    pub receipt: Seq,
    /// What it is counted as.
    pub status: Status,
    /// What it adds to the line's sum.
    pub amount: u64,
    /// The entry of the operators' act that settled it, where it was uncertain.
    pub reconciled_by: Option<Seq>,
}

/// Reads the view of [`Metering`](super::Metering).
#[derive(Clone, Copy)]
pub struct Meter<'a> {
    store: &'a dyn Store,
}

impl<'a> Meter<'a> {
    /// Reads this store.
    #[must_use]
    pub fn new(store: &'a dyn Store) -> Meter<'a> {
        Meter { store }
    }

    /// Every line, or those of one tenant, by tenant, action, day and unit.
    ///
    /// # Errors
    /// The view did not answer.
    pub fn usage(&self, tenant: Option<&Name>) -> Result<Vec<UsageLine>, ReadError> {
        let prefix = tenant.map_or_else(|| LINES.as_bytes().to_vec(), |tenant| tenant_prefix(LINES, tenant));
        self.store
            .scan(&prefix)
            .map(|pair| {
                let (key, counters) = pair?;
                let line = parse_line(&key).ok_or(ReadError::Value)?;
                Ok(UsageLine::new(line, value::from_bytes(&counters)?))
            })
            .collect()
    }

    /// The receipts that a line was counted from, in the order of the log. Their amounts add up to the line's sum.
    ///
    /// # Errors
    /// The view did not answer.
    pub fn usage_sources(&self, line: &UsageLine) -> Result<Vec<Source>, ReadError> {
        let prefix = shares_prefix(&line.key());
        let mut sources = Vec::new();
        for pair in self.store.scan(&prefix) {
            let (key, shares) = pair?;
            let block = key.strip_prefix(prefix.as_slice()).and_then(|block| block.try_into().ok());
            let block = block.map(u64::from_be_bytes).ok_or(ReadError::Value)?;
            for (offset, share) in value::from_bytes::<Shares>(&shares)? {
                let receipt = seq_in(block, offset).ok_or(ReadError::Value)?;
                let Share { status, amount, reconciled_by } = share;
                sources.push(Source { receipt, status: status.status(), amount, reconciled_by });
            }
        }
        Ok(sources)
    }
}

/// The line that a key says.
fn parse_line(key: &[u8]) -> Option<LineKey> {
    let name = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<Name>().ok();
    let until_zero = |bytes: &[u8]| bytes.iter().position(|byte| *byte == 0);
    let rest = key.strip_prefix(LINES.as_bytes())?;
    let (tenant, rest) = rest.split_at_checked(until_zero(rest)?)?;
    let (_, rest) = rest.split_first()?;
    let (action, rest) = rest.split_at_checked(until_zero(rest)?)?;
    let (_, rest) = rest.split_first()?;
    let (day, rest) = rest.split_first_chunk()?;
    let unit = rest.strip_suffix(&[0])?;
    Some(LineKey {
        tenant: name(tenant)?,
        action: name(action)?,
        day: Day(u64::from_be_bytes(*day)),
        unit: if unit.is_empty() { None } else { Some(name(unit)?) },
    })
}
