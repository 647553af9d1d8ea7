//! The tests of the whole: the rules of the house, and ledgers that are forged, tampered with and lost in part.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::wildcard_enum_match_arm,
    clippy::print_stderr,
    clippy::type_complexity,
    reason = "tests stop at the first surprise"
)]

mod house;
mod demo;
mod golden;
mod ledgers;
mod forged;
mod tampered;
mod loss;
mod desk;
mod requirements;
mod gates;
mod escalation;
mod shop;
mod execution;
mod killed;
mod external;
mod misreported;
mod rotation;
mod planted;
mod service;
mod transcripts;
mod audit;
mod codes;
mod unreadable;
mod regress;
mod scene;
mod preload;
mod shift;
mod bad_input;
mod questions;
mod command_line;
mod hostile;
mod submit_kafka;
mod unserved;
mod kafka;
mod held;
mod ended;
mod process;
mod metrics;
mod ops;
mod top;
mod traces;
mod telemetry;
mod foreign;
mod faults;
mod disk;
mod init;
mod keys;
mod signer;
mod acts;
mod errors;
