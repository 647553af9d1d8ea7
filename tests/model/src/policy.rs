//! The part of a policy that the model knows.

use crate::calendar::Span;
use crate::documents::Word;

/// What decisions follow.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Another one for each policy.
    pub number: u32,
    /// Whether times, rates and pauses are asked.
    pub temporal: bool,
    /// Whether proof is asked for.
    pub proof: bool,
    /// Whether budgets are asked.
    pub budget: bool,
    /// Whether people are asked.
    pub escalation: bool,
    /// One an action.
    pub rules: Vec<Rule>,
    /// What there is to spend.
    pub budgets: Vec<Budget>,
}

impl Policy {
    /// The rule of an action.
    #[must_use]
    pub fn rule(&self, action: Word) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.action == action)
    }
}

/// What an action needs, costs and does.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The action.
    pub action: Word,
    /// What must be shown.
    pub requires: Option<Need>,
    /// Which budgets are spent, and how much of each.
    pub spends: Vec<Spend>,
    /// How long after the decision it may begin, in microseconds.
    pub window_us: u64,
    /// When and how often.
    pub limits: Option<Limits>,
    /// Who is asked.
    pub approvers: Option<Approvers>,
}

/// What is taken out of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spend {
    /// The budget.
    pub budget: Word,
    /// How much is reserved.
    pub cost: Cost,
    /// Whether the output says how much it really was.
    pub told: bool,
}

/// What it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// The same for each.
    Fixed(u64),
    /// The amount in the args.
    Amount,
}

/// What must be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// Each of these.
    All(Vec<Need>),
    /// One of these.
    Any(Vec<Need>),
    /// So many of these.
    AtLeast(u32, Vec<Need>),
    /// Not this.
    Not(Box<Need>),
    /// Evidence.
    Shown(Shown),
    /// A receipt `SUCCEEDED` of this action, earlier in the session.
    Done(Word),
}

/// Which evidence counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its sort.
    pub kind: Word,
    /// A role of its signer.
    pub role: Option<Word>,
    /// Its signer.
    pub key: Option<u32>,
    /// Whether it must speak of this effect.
    pub about_effect: bool,
    /// By how many principals.
    pub signers: u32,
    /// Whether the one who asks does not count.
    pub not_submitter: bool,
    /// How old it may be, in microseconds.
    pub max_age_us: Option<u64>,
    /// Whether it must not have been used before, and is used up.
    pub once: bool,
}

/// How much may be spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Its name.
    pub name: Word,
    /// Its unit.
    pub unit: Word,
    /// For each tenant that is not named.
    pub limit: u64,
    /// For named tenants.
    pub tenants: Vec<(Word, u64)>,
    /// Whether each principal has its own.
    pub per_principal: bool,
    /// Whether each action has its own.
    pub per_action: bool,
    /// In which time.
    pub window: Window,
}

/// The time in which a limit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Ever.
    Total,
    /// An hour of UTC.
    Hour,
    /// A day of UTC.
    Day,
    /// A month of UTC.
    Month,
    /// The last so many microseconds; a multiple of 32.
    Rolling(u64),
}

/// When, how often, and how soon after refusals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Allowed hours of UTC.
    pub hours: Option<Vec<Span>>,
    /// The rate.
    pub rate: Option<Rate>,
    /// The pauses.
    pub cool_down: Option<CoolDown>,
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many.
    pub count: u32,
    /// In so many microseconds.
    pub per_us: u64,
    /// So many at once after a pause.
    pub burst: u32,
}

/// Pauses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoolDown {
    /// From which refusal on.
    pub after: u32,
    /// How long each is, in microseconds.
    pub steps_us: Vec<u64>,
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approvers {
    /// In which role.
    pub role: Word,
    /// How many of them.
    pub quorum: u32,
    /// For how long, in microseconds.
    pub within_us: u64,
    /// Only where the amount in the args is above this.
    pub above: Option<i64>,
}
