//! What actions cost, and how much may be spent.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::Name;

/// The budgets of a rule, or the signed reason why there are none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spends {
    /// This budget.
    Budget(Spend),
    /// Each of these budgets: all must hold.
    Budgets(Vec<Spend>),
    /// Nothing, for this reason.
    Exempt(String),
}

impl Spends {
    /// What is spent, in its order.
    #[must_use]
    pub fn each(&self) -> &[Spend] {
        match self {
            Spends::Budget(spend) => std::slice::from_ref(spend),
            Spends::Budgets(spends) => spends,
            Spends::Exempt(_) => &[],
        }
    }
}

/// What an intent takes out of a budget of its tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spend {
    /// The key of the connector's output at which an integer says what it really cost. What was reserved for `cost` is settled by
    /// it, also where it is more: that is overdrawn. Left out, or where the output does not say: what was reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<String>,
    /// How much.
    pub cost: Cost,
    /// The budget's name.
    pub name: Name,
}

/// How much an intent costs, in the unit of its budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cost {
    /// The same for each.
    Fixed(u64),
    /// The integer at this key of the args.
    Arg(String),
}

/// How much a tenant may spend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The unit's name: `cents`, `requests`, `tokens`.
    pub unit: Name,
    /// The limit of each tenant that is not named below.
    pub limit: u64,
    /// Limits of named tenants.
    #[serde(default)]
    pub tenants: BTreeMap<Name, u64>,
    /// What of a tenant has a limit of its own: each principal, each action, or each pair. Nothing: the tenant as a whole.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub per: BTreeSet<Share>,
    /// In which time.
    #[serde(default, skip_serializing_if = "Window::is_total")]
    pub window: Window,
}

/// What has a limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// Each action.
    Action,
    /// Each principal.
    Principal,
}

/// The time in which a limit holds. What is spent counts in the window of its decision, whenever its receipt comes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// Ever.
    #[default]
    Total,
    /// An hour of UTC.
    Hour,
    /// A calendar day in this time zone (IANA).
    Day(String),
    /// A calendar month in this time zone (IANA).
    Month(String),
    /// The last so many microseconds. An amount counts for at least that long, and up to 1/32 longer.
    RollingUs(u64),
}

impl Window {
    /// Whether it has no end.
    #[must_use]
    pub fn is_total(&self) -> bool {
        *self == Window::Total
    }

    /// The time zone that it is in, where it matters.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        match self {
            Window::Day(zone) | Window::Month(zone) => Some(zone),
            Window::Total | Window::Hour | Window::RollingUs(_) => None,
        }
    }
}
