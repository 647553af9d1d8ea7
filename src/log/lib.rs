//! The append-only log: frames in pre-zeroed segments, one write and one `fdatasync` a batch, recovery, readers.
//!
//! The bytes are specified in `docs/log-format.md`. In reading order:
//!
//! - [`error`]: what can go wrong, where, and its registered code
//! - [`files`]: how a file is opened and made
//! - [`storage`]: named files in one flat folder: real ones, and a disk in memory that can lose power
//! - [`frame`]: one entry as bytes, with its checksum and its place in a batch
//! - [`segment`]: files of frames, their names and headers
//! - [`tail`]: what may stand after the last complete batch, and what is done about it: the decision table
//! - `scan`: walks batch by batch and checks everything
//! - `index`: where to begin on the way to an entry
//! - [`spares`]: segments made ahead
//! - [`writer`]: creates a log and appends to it
//! - [`recovery`]: opens a log for writing
//! - `located`: an entry, and where it stands
//! - `single`: one entry, without those before it
//! - [`reader`]: reads a log, while it is written or long after
//! - [`lock`], [`mod@replace`]: the one writer's lock; a small file replaced as a whole
//!
//! **Invariant:** `append` returns `Ok` only after `fdatasync` did. After any failure the log is poisoned, and only opening
//! it anew finds out what the disk has; only for a batch for which there was no room it waits.
//!
//! **Invariant:** readers write nothing and take no lock.
//!
//! **Invariant:** nothing here knows what an event means, reads a clock, or prints.

pub mod error;
pub mod files;
pub mod storage;
pub mod frame;
pub mod segment;
pub mod tail;
mod scan;
mod index;
pub mod spares;
pub mod writer;
pub mod recovery;
mod located;
mod single;
pub mod reader;
pub mod lock;
pub mod replace;

#[cfg(test)]
mod workload;
#[cfg(test)]
mod loss_tests;
#[cfg(test)]
mod flip_tests;
#[cfg(test)]
mod recovery_tests;

pub use error::{Damage, LogError, What};
pub use frame::{BATCH_BYTES_MAX, encoded_len};
pub use located::{Located, Place};
pub use lock::Lock;
pub use reader::{End, Entries, Reader};
pub use recovery::{Covered, Opened};
pub use replace::replace;
pub use spares::Spares;
pub use storage::{DirStorage, MemStorage, Storage};
pub use writer::{Log, Options};
