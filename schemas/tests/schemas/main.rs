//! What is published beside the types holds: schemas, vectors, error codes; and hostile input stops nothing.
//!
//! In reading order:
//!
//! - `golden`: a published file is what this code says, or the test names the first line that is not
//! - `samples`: realistic documents and events, every variant at least once
//! - `agreement`: `schemas/v1/*.schema.json` and the Rust types accept and refuse the same documents
//! - `codes`: `schemas/v1/error-codes.json`, and the list of released codes
//! - `edges`: each limit at its edge, each word and default as it is written
//! - `vectors`: `schemas/vectors/*.json`, computed again and read back
//! - `properties`: nothing panics; what is accepted has one meaning
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests stop at the first surprise"
)]

mod golden;
mod samples;
mod agreement;
mod codes;
mod edges;
mod vectors;
mod properties;
