//! What Writ decides, told a second time and more simply, to be held against the kernel.
//!
//! Written from `docs/policy.md` and sections 3, 6 and 7 of the design, never from the kernel's code. Nothing is summed up
//! here and nothing forgotten: what a question needs is found again each time by going over everything that ever happened.
//!
//! In reading order:
//!
//! - [`documents`]: what comes in and what is answered; digests are numbers that whoever asks gives out
//! - [`policy`]: the part of a policy that the model knows: no CEL but one form of `when`, no time zone but UTC
//! - [`calendar`]: hours, days, months and steps
//! - [`history`]: amounts, rates and pauses, found by going over the past
//! - [`model`]: what is admitted, decided, dispatched, charged and due
//!
//! **Invariant:** this crate depends on nothing.

pub mod documents;
pub mod policy;
pub mod calendar;
pub mod history;
pub mod model;

mod judge;
