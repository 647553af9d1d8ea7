//! The tests of the kernel by itself: what it answers, at each limit and on either side of it, and what it refuses to fold
//! in.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::type_complexity,
    reason = "tests stop at the first surprise"
)]

mod desk;
mod faults;
mod admission;
mod evidence;
mod gates;
mod approval;
mod voters;
mod dispatch;
mod endings;
mod retries;
mod outside;
mod reports;
mod memory;
mod hashes;
