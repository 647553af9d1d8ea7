//! Reading usage: the lines of a bill, and the receipts behind each.

use serde::Serialize;
use writ_schemas::ids::{Name, Seq};
use writ_schemas::receipt::Status;

use super::day::Day;
use super::{BLOCK, Counters, LINES, LineKey, Share, Shares, seq_in, shares_prefix, tenant_prefix};
use crate::page::{Cursor, Page, Part};
use crate::store::{Pair, Store};
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

    /// Which line it is.
    #[must_use]
    pub fn key(&self) -> LineKey {
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

    /// The lines, or those of one tenant, by tenant, action, day and unit.
    ///
    /// # Errors
    /// The view did not answer.
    pub fn usage(&self, tenant: Option<&Name>, part: &Part) -> Result<Page<UsageLine>, ReadError> {
        let prefix = tenant.map_or_else(|| LINES.as_bytes().to_vec(), |tenant| tenant_prefix(LINES, tenant));
        let from = part.cursor.as_ref().map_or(prefix.as_slice(), Cursor::place);
        let lines = self.store.scan_from(&prefix, from).map(|pair| {
            let (mut key, counters) = pair?;
            let line = key.strip_prefix(LINES.as_bytes()).and_then(parse_line).ok_or(ReadError::Value)?;
            key.push(0); // nothing lies between a key and this one
            Ok((UsageLine::new(line, value::from_bytes(&counters)?), Cursor::at(key)))
        });
        Page::of(lines, part.limit)
    }

    /// The receipts that a line was counted from, in the order of the log. The amounts of all of them add up to the line's sum.
    ///
    /// # Errors
    /// The view did not answer.
    pub fn usage_sources(&self, line: &LineKey, part: &Part) -> Result<Page<Source>, ReadError> {
        let (prefix, from) = (shares_prefix(line), part.from());
        let first = [prefix.as_slice(), &(from / BLOCK).to_be_bytes()].concat();
        let blocks = self.store.scan_from(&prefix, &first).map(|pair| sources_of(&prefix, pair?));
        let sources = blocks.flat_map(|block| match block {
            Ok(sources) => sources.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        });
        let sources = sources.filter(|it| it.as_ref().map_or(true, |it| it.receipt.0 >= from));
        Page::of(sources.map(|it| it.map(|it| (it, Cursor::from(it.receipt.next().0)))), part.limit)
    }
}

/// The receipts of one line and block.
fn sources_of(prefix: &[u8], (key, shares): Pair) -> Result<Vec<Source>, ReadError> {
    let block = key.strip_prefix(prefix).and_then(|block| block.try_into().ok());
    let block = block.map(u64::from_be_bytes).ok_or(ReadError::Value)?;
    let shares = value::from_bytes::<Shares>(&shares)?.into_iter().map(|(offset, share)| {
        let Share { status, amount, reconciled_by } = share;
        let receipt = seq_in(block, offset).ok_or(ReadError::Value)?;
        Ok(Source { receipt, status: status.status(), amount, reconciled_by })
    });
    shares.collect()
}

/// The line that a key says, without its area.
pub(super) fn parse_line(key: &[u8]) -> Option<LineKey> {
    let name = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<Name>().ok();
    let until_zero = |bytes: &[u8]| bytes.iter().position(|byte| *byte == 0);
    let (tenant, rest) = key.split_at_checked(until_zero(key)?)?;
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
