//! What Writ derives: read models, each a pure fold of the log.
//!
//! In reading order:
//!
//! - [`store`]: where a view lies: get, scan, one atomic commit; in memory here
//! - [`sled_store`]: the same on disk, one tree a projection
//! - [`value`]: the one encoding of a view's values
//! - [`projection`]: the contract: what a fold is, and the overlay that it writes to
//! - [`page`]: a part of a long answer
//! - [`follower`]: keeps a view at its bookmark; gap, other ledger, other history are refused
//! - [`proofgraph`]: who caused what: intents, attestations, effects, trust events, checkpoints
//! - [`metering`]: usage that leads back to the receipts that it was counted from
//! - `conformance` (tests): one suite over every projection and every store
//!
//! **Invariant:** a fold does no I/O, is not `async`, reads no clock, draws no random number and iterates no hash-ordered map.
//! What it writes depends on the log alone, so a view that is rebuilt has the digest of the one that followed all along.
//!
//! **Invariant:** a view is written by its follower only, and its bookmark is written with it or not at all.
//!
//! **Invariant:** nothing here is the truth. Deleting a view loses nothing but the time to fold it again.
//!
//! **Invariant:** signatures and the chain's commitments are not checked here. Entries come from a reader that did so.

pub mod store;
pub mod sled_store;
pub mod value;
pub mod projection;
pub mod page;
pub mod follower;
pub mod proofgraph;
pub mod metering;
#[cfg(test)]
mod conformance;
