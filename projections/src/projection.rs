//! The contract: a projection is a pure fold from events to the keys and values of a view.

use bincode::{Decode, Encode};
use writ_schemas::entry::Entry;
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::ids::{Digest, LedgerId, Seq, UnixMicros};

use crate::follower::BOOKMARK_KEY;
use crate::store::{Batch, Store, StoreError};
use crate::value::{self, ReadError};

/// A read model of the log.
///
/// The contract, held by the conformance suite over every projection and every store: what `fold` writes depends on the
/// events so far and on nothing else, so the view at a seq has one digest, however it came about.
pub trait Projection {
    /// Its name, and that of its tree.
    const NAME: &'static str;

    /// The version of its keys and values. A view of another version is rebuilt.
    const VERSION: u32;

    /// Takes the next event into the view. What it wrote is dropped if it fails.
    ///
    /// # Errors
    /// The view cannot hold the event, or does not fit the log.
    fn fold(&self, place: &Place, event: &Event, view: &mut View<'_>) -> Result<(), FoldError>;
}

/// Where an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The ledger.
    pub ledger: LedgerId,
    /// The place in it.
    pub seq: Seq,
    /// When it was recorded.
    pub at: UnixMicros,
    /// The entry's hash.
    pub hash: [u8; 32],
}

impl Place {
    /// The place of an entry.
    #[must_use]
    pub fn of(entry: &Entry) -> Place {
        let header = &entry.header;
        Place { ledger: header.ledger, seq: header.seq, at: header.recorded_at, hash: entry.hash() }
    }
}

/// Why an event was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// The view did not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A number left its range. Nothing wraps: the view stops here.
    #[error("{0} does not fit its integer")]
    Overflow(&'static str),
    /// A value is larger than values may be.
    #[error("a value is too large")]
    ValueTooLarge,
    /// The fold wanted to write the follower's bookmark.
    #[error("the bookmark's key is reserved")]
    ReservedKey,
    /// The event speaks of an entry that the view has not seen.
    #[error("it refers to entry {0}, which the view does not know")]
    UnknownEntry(Seq),
    /// The event speaks of a document that the view has not seen.
    #[error("it refers to {0}, which the view does not know")]
    UnknownDocument(Digest),
}

impl From<StoreError> for FoldError {
    fn from(error: StoreError) -> FoldError {
        FoldError::Read(ReadError::Store(error))
    }
}

impl FoldError {
    /// The registered code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            FoldError::Read(error) => error.code(),
            FoldError::Overflow(_)
            | FoldError::ValueTooLarge
            | FoldError::ReservedKey
            | FoldError::UnknownEntry(_)
            | FoldError::UnknownDocument(_) => Code::ViewDamaged,
        }
    }
}

/// The view as a fold sees it: its own writes, then those of the batch, then the store.
pub struct View<'a> {
    store: &'a dyn Store,
    batch: &'a Batch,
    writes: Batch,
}

impl<'a> View<'a> {
    /// An overlay without writes.
    pub(crate) fn over(store: &'a dyn Store, batch: &'a Batch) -> View<'a> {
        View { store, batch, writes: Batch::new() }
    }

    /// What was written to it.
    pub(crate) fn into_writes(self) -> Batch {
        self.writes
    }

    /// The bytes of a key.
    ///
    /// # Errors
    /// The store did not answer.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, FoldError> {
        match self.writes.get(key).or_else(|| self.batch.get(key)) {
            Some(written) => Ok(written.clone()),
            None => Ok(self.store.get(key)?),
        }
    }

    /// Sets the bytes of a key.
    ///
    /// # Errors
    /// The bookmark's key.
    pub fn put(&mut self, key: Vec<u8>, bytes: Vec<u8>) -> Result<(), FoldError> {
        self.set(key, Some(bytes))
    }

    /// Removes a key.
    ///
    /// # Errors
    /// The bookmark's key.
    pub fn delete(&mut self, key: Vec<u8>) -> Result<(), FoldError> {
        self.set(key, None)
    }

    /// The value of a key.
    ///
    /// # Errors
    /// The store did not answer, or the value is of another type.
    pub fn read<T: Decode<()>>(&self, key: &[u8]) -> Result<Option<T>, FoldError> {
        Ok(self.get(key)?.map(|bytes| value::from_bytes(&bytes)).transpose()?)
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// The bookmark's key, or a value that is too large.
    pub fn write<T: Encode>(&mut self, key: Vec<u8>, value: &T) -> Result<(), FoldError> {
        let bytes = value::to_bytes(value).ok_or(FoldError::ValueTooLarge)?;
        self.set(key, Some(bytes))
    }

    fn set(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), FoldError> {
        if key == BOOKMARK_KEY {
            return Err(FoldError::ReservedKey);
        }
        self.writes.insert(key, value);
        Ok(())
    }
}
