//! What nobody signed whom the ledger trusts must not fill the disk: of the records of a partition that become no intent for that
//! reason, a few have an entry each, and the others are counted together.

use std::collections::BTreeMap;

use writ_schemas::event::{Partition, RecordsOverQuota};
use writ_schemas::ids::UnixMicros;

/// So many such records of a partition have an entry of their own at once, and then [`REFUSALS_PER_SECOND`].
pub const REFUSALS_MAX: u64 = 1024;

/// 86 400 entries a day, some 40 MB, are what a stranger can make a partition cost.
pub const REFUSALS_PER_SECOND: u64 = 1;

const SECOND: u64 = 1_000_000;

/// The quotas of all bound partitions.
#[derive(Default)]
pub(super) struct Quotas(BTreeMap<Partition, Quota>);

struct Quota {
    left: u64,
    /// When it was last filled up.
    at: UnixMicros,
    over: Option<RecordsOverQuota>,
}

impl Quotas {
    /// Whether a record has an entry of its own; otherwise it is counted here.
    pub(super) fn admits(&mut self, partition: &Partition, offset: u64, now: UnixMicros) -> bool {
        let full = || Quota { left: REFUSALS_MAX, at: now, over: None };
        let quota = self.0.entry(partition.clone()).or_insert_with(full);
        let seconds = now.0.saturating_sub(quota.at.0) / SECOND;
        if seconds > 0 {
            quota.left = quota.left.saturating_add(seconds.saturating_mul(REFUSALS_PER_SECOND)).min(REFUSALS_MAX);
            quota.at = now;
        }
        if quota.left > 0 {
            quota.left -= 1;
            return true;
        }
        let none = || RecordsOverQuota { partition: partition.clone(), first: offset, next: offset, count: 0 };
        let over = quota.over.get_or_insert_with(none);
        (over.next, over.count) = (offset.saturating_add(1), over.count.saturating_add(1));
        false
    }

    /// What was counted of a partition since it was last asked for.
    pub(super) fn over(&mut self, partition: &Partition) -> Option<RecordsOverQuota> {
        self.0.get_mut(partition)?.over.take()
    }

    /// The same of all partitions.
    pub(super) fn all_over(&mut self) -> Vec<RecordsOverQuota> {
        self.0.values_mut().filter_map(|quota| quota.over.take()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_it_is_counted_once_and_it_fills_up_again() {
        let partition = Partition { topic_id: "t".to_owned(), number: 0 };
        let other = Partition { number: 1, ..partition.clone() };
        let mut quotas = Quotas::default();
        let start = UnixMicros(7 * SECOND);
        assert!((0..REFUSALS_MAX).all(|offset| quotas.admits(&partition, offset, start)));
        let over = [REFUSALS_MAX, REFUSALS_MAX + 1, REFUSALS_MAX + 9].map(|at| quotas.admits(&partition, at, start));
        assert_eq!(over, [false; 3]);
        assert!(quotas.admits(&other, 0, start), "each has its own");
        let counted =
            RecordsOverQuota { partition: partition.clone(), first: REFUSALS_MAX, next: REFUSALS_MAX + 10, count: 3 };
        assert!(counted.is_valid());
        assert_eq!((quotas.over(&partition), quotas.over(&partition)), (Some(counted), None));
        let later = start.plus(2 * SECOND + 1);
        let after = [10, 11, 12].map(|more| quotas.admits(&partition, REFUSALS_MAX + more, later));
        assert_eq!(after, [true, true, false]);
        assert_eq!(quotas.all_over().len(), 1);
        let next_day = start.plus(86_400 * SECOND);
        assert_eq!((0..2 * REFUSALS_MAX).filter(|at| quotas.admits(&partition, *at, next_day)).count(), 1024);
    }
}
