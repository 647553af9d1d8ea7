//! How much of each budget is used, for those who watch.

use std::collections::BTreeMap;

use writ_schemas::ids::{Name, UnixMicros};

use super::AccountKey;
use crate::state::State;

/// What somebody has used of a limit of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// What is reserved and committed, in all windows that still count.
    pub amount: u64,
    /// Of so much.
    pub limit: u64,
}

impl Used {
    /// Whether a larger part is used here than there.
    fn is_more_than(self, other: Used) -> bool {
        u128::from(self.amount) * u128::from(other.limit) > u128::from(other.amount) * u128::from(self.limit)
    }
}

impl State {
    /// Of each budget of the policy in force that anybody has used, how much of it has been used by the one who used most.
    #[must_use]
    pub fn budgets_used(&self, now: UnixMicros) -> BTreeMap<&Name, Used> {
        let mut most: BTreeMap<&Name, Used> = BTreeMap::new();
        let Some(policy) = &self.policy else { return most };
        let mut accounts = self.accounts.iter().filter(|(key, _)| !key.is_over(now)).peekable();
        while let Some((key, account)) = accounts.next() {
            let mut amount = account.reserved.saturating_add(account.committed);
            while let Some((_, account)) = accounts.next_if(|(other, _)| is_of_one(key, other)) {
                amount = amount.saturating_add(account.reserved).saturating_add(account.committed);
            }
            let Some(budget) = policy.bundle().budgets.get(&key.budget) else { continue };
            let used = Used { amount, limit: budget.tenants.get(&key.tenant).copied().unwrap_or(budget.limit) };
            let known = most.entry(&key.budget).or_insert(used);
            if used.is_more_than(*known) {
                *known = used;
            }
        }
        most
    }
}

/// Whether two accounts are windows of one limit.
fn is_of_one(a: &AccountKey, b: &AccountKey) -> bool {
    (&a.tenant, &a.budget, &a.principal, &a.action) == (&b.tenant, &b.budget, &b.principal, &b.action)
}
