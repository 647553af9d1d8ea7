//! An entry, and where it stands.

use writ_schemas::entry::Entry;
use writ_schemas::ids::Seq;

use crate::segment;

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The segment, by its first entry.
    pub segment: Seq,
    /// The frame's first byte in it.
    pub offset: u64,
    /// The batch.
    pub batch: u64,
    /// Whether it is the last of its batch.
    pub last_of_batch: bool,
}

impl Place {
    /// The name of the segment's file.
    #[must_use]
    pub fn file(&self) -> String {
        segment::name(self.segment)
    }
}

/// An entry and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The entry.
    pub entry: Entry,
    /// Where it stands.
    pub place: Place,
}
