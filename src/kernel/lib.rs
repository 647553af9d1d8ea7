//! What Writ decides: state, `decide`, `apply`. The same inputs give the same answers, live and in replay.
//!
//! In reading order:
//!
//! - [`state`]: what deciding needs to remember, and for how long; its hash
//! - [`policy`]: a bundle, checked and ready to be asked
//! - [`shape`]: what connectors take and give
//! - [`expression`]: what a requirement says in CEL
//! - [`decide`]: the staircase of gates; a new gate goes there
//! - [`requirement`]: proof requirements over verified evidence and receipts
//! - [`soundness`]: what is wrong with a requirement before anything is shown
//! - [`temporal`], [`budget`], [`escalation`]: the gates that remember: when and how often, how much, who was asked
//! - [`execution`]: whether a decision may be dispatched, and the receipt of an ending
//! - [`outcome`]: what is carried out outside, and who reports what became of it
//! - [`admission`]: whether an administrative act or a piece of evidence becomes an event
//! - [`apply`]: the only place where state changes
//!
//! **Invariant:** no I/O, no `async`, no clock, no randomness, no hash-ordered maps, no floats. `now` is an argument.
//!
//! **Invariant:** a refusal is a value with a registered code. A [`apply::Fault`] means that the log is not one that this
//! kernel wrote; live, it ends the process.

pub mod state;
pub mod policy;
pub mod shape;
pub mod decide;
pub mod requirement;
pub mod expression;
pub mod soundness;
pub mod temporal;
pub mod budget;
pub mod escalation;
pub mod execution;
pub mod outcome;
pub mod admission;
pub mod apply;
