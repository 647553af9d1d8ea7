//! What must hold under every input, as plain functions of bytes. Each panics on an input that breaks it.
//!
//! `cargo test` calls them with every committed input, `fuzz/` with inputs that a fuzzer looks for:
//!
//! - [`envelope`] - signed documents
//! - [`payload`] - events
//! - [`segment`] - a log's files after a crash, damage and forgery
//! - [`decide`] - sequences of acts, intents, dispatches and endings
//! - [`policy`] - policy bundles and expressions
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a property ends at the first surprise"
)]

pub mod envelope;
pub mod payload;
pub mod segment;
pub mod decide;
pub mod policy;

/// A property, and the folder of its inputs in `fuzz/corpus`.
pub type Property = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: [Property; 5] = [
    ("envelope", envelope::check),
    ("payload", payload::check),
    ("segment", segment::check),
    ("decide", decide::check),
    ("policy", policy::check),
];
