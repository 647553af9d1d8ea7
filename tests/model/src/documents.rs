//! What comes in and what is answered.
//!
//! A digest is a number here, the same for the same bytes; a key is a number too.

use crate::policy::Policy;

/// A name out of the small pools that a run draws from.
pub type Word = &'static str;

/// Microseconds since 1970.
pub type Time = u64;

/// The amount that an intent's args hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arg {
    /// Nothing.
    Absent,
    /// An integer.
    Number(i64),
    /// Something that is no number.
    Text,
}

/// What a producer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The number of its payload.
    pub content: u32,
    /// The key that signed it.
    pub key: u32,
    /// On whose behalf.
    pub tenant: Word,
    /// Which agent asks.
    pub principal: Word,
    /// For what.
    pub action: Word,
    /// The producer's id for it.
    pub id: u32,
    /// The session that it belongs to.
    pub session: Option<Word>,
    /// From when on it must not be done any more.
    pub expires_at: Time,
    /// The amount in its args.
    pub amount: Arg,
    /// The number of action and args.
    pub effect: u32,
    /// The payloads of the evidence that it names.
    pub evidence: Vec<u32>,
}

/// A statement that an artifact exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The number of its payload.
    pub payload: u32,
    /// Whether it is for this ledger.
    pub ours: bool,
    /// The keys that signed it.
    pub signers: Vec<u32>,
    /// For which tenant.
    pub tenant: Word,
    /// What sort of artifact.
    pub kind: Word,
    /// The effect that it speaks of.
    pub effect: Option<u32>,
    /// When it says that it was made.
    pub issued_at: Time,
    /// From when on it proves nothing.
    pub expires_at: Time,
}

/// A statement of operators, or of an approver.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    /// The number of its payload.
    pub number: u32,
    /// Whether it is for this ledger.
    pub ours: bool,
    /// The keys that signed it.
    pub signers: Vec<u32>,
    /// From when on it is refused.
    pub expires_at: Time,
    /// What is to hold.
    pub statement: Statement,
}

/// What is stated.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// A policy comes in force.
    Activate(Policy),
    /// A key is trusted.
    Trust {
        /// The key.
        key: u32,
        /// For which tenant.
        tenant: Word,
        /// As whom.
        principal: Word,
        /// In which roles.
        roles: Vec<Word>,
    },
    /// A key is trusted no more.
    Revoke(u32),
    /// Everything, a tenant or a principal is frozen.
    Freeze(Option<Word>, Option<Word>),
    /// And is not any more.
    Thaw(Option<Word>, Option<Word>),
    /// What became of the uncertain receipt of this decision, and whether it happened.
    Reconcile(u64, bool),
    /// An answer about the intent of this content.
    Approve {
        /// The intent.
        content: u32,
        /// Whether it grants it.
        granted: bool,
        /// The policy that its signer saw.
        policy: Box<Policy>,
        /// The action whose rule they saw.
        action: Word,
    },
}

/// The word for how a decision, a receipt or an admission came out.
pub type Code = &'static str;

/// A decision's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It may be done.
    Pass,
    /// It must not.
    Fail,
    /// People are asked.
    Escalate,
}

/// An amount out of a budget.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount {
    /// The budget.
    pub budget: Word,
    /// Its unit.
    pub unit: Word,
    /// How much.
    pub amount: u64,
    /// Whether the output is to say how much it really was.
    pub told: bool,
    /// By how much it is more than what was reserved.
    pub overdrawn: u64,
    /// Whose share, where each has its own.
    pub principal: Option<Word>,
    /// Which action's share, where each has its own.
    pub action: Option<Word>,
    /// From when on it counts, where it ends.
    pub since: Option<Time>,
    /// Until when.
    pub until: Option<Time>,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Its word.
    pub verdict: Verdict,
    /// `OK`, or why not.
    pub code: Code,
    /// 0, and one more each time that it is decided again.
    pub round: u32,
    /// What a `PASS` reserves.
    pub reservation: Vec<Amount>,
    /// The payloads of the evidence that a `PASS` uses up, in their order.
    pub uses: Vec<u32>,
    /// Until when a `PASS` may be dispatched.
    pub not_after: Option<Time>,
    /// Whom an `ESCALATE` asks.
    pub asked: Option<Asked>,
}

/// Whom an `ESCALATE` asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// In which role.
    pub role: Word,
    /// How many of them.
    pub quorum: u32,
    /// Until when.
    pub deadline: Time,
}

/// What became of an intent that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It was decided by this entry before.
    Known(u64),
    /// Its id belongs to another.
    Reused,
    /// Nobody who is trusted signed it in time: it is refused with this code, and nothing is told of its id.
    Stranger(Code),
    /// It is decided now.
    Decided(Decision),
}

/// What became of an act or a piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It is refused with this code.
    Refused(Code),
    /// It was carried out before.
    Already,
    /// It is an entry, and this intent is decided again.
    Recorded(Option<(u32, Decision)>),
}

/// How an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// It was done.
    Succeeded,
    /// It was done, and answered in another shape than the pinned one.
    Drifted,
    /// It was not done.
    Failed,
    /// Nobody knows.
    Uncertain,
    /// It was never begun.
    Expired,
}

/// The part of a receipt that the model tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What is charged.
    pub usage: Vec<Amount>,
    /// Its place in its session.
    pub lamport: u64,
}

/// What becomes of a `PASS` whose turn has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dispatched {
    /// This answer is wrong to ask for.
    Refused(Code),
    /// It begins.
    Started,
    /// It never will, and this is its receipt.
    Expired(Code, Receipt),
}
