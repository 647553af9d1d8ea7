//! How much of each budget is used, for those who watch.

use std::collections::BTreeMap;
use std::ops::Bound;

use writ_schemas::ids::{Name, UnixMicros};

use super::{Account, AccountKey};
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

/// A walk over all accounts, a part at a time: there may be as many as there are principals and actions, and whoever walks has other work
/// to do.
#[derive(Debug, Default)]
pub struct BudgetWalk {
    /// The last account that it came past; nothing at the start.
    past: Option<AccountKey>,
    most: BTreeMap<Name, Used>,
}

impl BudgetWalk {
    /// Walks past so many accounts, and at most the other windows of the last limit besides. At the end: of each budget of the policy in force
    /// that anybody has used, how much of it has been used by the one who used most, each as it was when the walk came past. The next
    /// step begins a new walk.
    pub fn step(&mut self, state: &State, now: UnixMicros, accounts: usize) -> Option<BTreeMap<Name, Used>> {
        let from = self.past.take().map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = state.accounts.range((from, Bound::Unbounded)).peekable();
        let mut walked = 0;
        while let Some((first, account)) = rest.next() {
            let (mut last, mut amount) = (first, spent(first, account, now));
            walked += 1;
            while let Some((key, account)) = rest.next_if(|(key, _)| is_of_one(first, key)) {
                (last, amount) = (key, amount.saturating_add(spent(key, account, now)));
                walked += 1;
            }
            self.note(state, first, amount);
            if walked >= accounts && rest.peek().is_some() {
                self.past = Some(last.clone());
                return None;
            }
        }
        Some(std::mem::take(&mut self.most))
    }

    /// So much of this limit is used.
    fn note(&mut self, state: &State, key: &AccountKey, amount: u64) {
        let budget = state.policy.as_ref().and_then(|policy| policy.bundle().budgets.get(&key.budget));
        let Some(budget) = budget.filter(|_| amount > 0) else { return };
        let used = Used { amount, limit: budget.tenants.get(&key.tenant).copied().unwrap_or(budget.limit) };
        match self.most.get_mut(&key.budget) {
            Some(most) if used.is_more_than(*most) => *most = used,
            Some(_) => {}
            None => _ = self.most.insert(key.budget.clone(), used),
        }
    }
}

/// What of an account counts.
fn spent(key: &AccountKey, account: &Account, now: UnixMicros) -> u64 {
    if key.is_over(now) { 0 } else { account.reserved.saturating_add(account.committed) }
}

/// Whether two accounts are windows of one limit.
fn is_of_one(a: &AccountKey, b: &AccountKey) -> bool {
    (&a.tenant, &a.budget, &a.principal, &a.action) == (&b.tenant, &b.budget, &b.principal, &b.action)
}
