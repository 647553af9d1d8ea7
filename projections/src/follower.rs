//! Keeps a view at its bookmark: takes entries in order, commits them in batches, refuses what does not follow.

use std::borrow::Borrow;

use bincode::{Decode, Encode};
use serde::Serialize;
use writ_schemas::entry::{Entry, ROOT_HASH};
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::ids::{Digest, LedgerId, Seq, hex};
use writ_schemas::strict::Refusal;

use crate::projection::{FoldError, Place, Projection, View};
use crate::store::{Batch, Store, StoreError};
use crate::value::{self, ReadError};

/// How many entries make one commit unless told otherwise: enough that a commit's own cost does not show, few enough that
/// their writes (at most some dozens of small ones each) stay within a few megabytes.
pub const ENTRIES_PER_COMMIT: usize = 1024;

/// The key of the bookmark. Keys of projections begin with a letter.
pub(crate) const BOOKMARK_KEY: &[u8] = b"\0bookmark";

const DIGEST_CONTEXT: &str = "writ 2026-11 view digest v1";

/// How far a view has got, stored in the same commit as what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Bookmark {
    /// The version of the projection that wrote the view.
    pub version: u32,
    /// The ledger that it follows.
    pub ledger: LedgerId,
    /// The last entry that it holds.
    pub seq: Seq,
    /// That entry's hash.
    pub hash: [u8; 32],
}

impl Serialize for Bookmark {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut map = to.serialize_struct("Bookmark", 4)?;
        map.serialize_field("hash", &hex(&self.hash))?;
        map.serialize_field("ledger", &self.ledger)?;
        map.serialize_field("seq", &self.seq)?;
        map.serialize_field("version", &self.version)?;
        map.end()
    }
}

/// Why a view must be rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// Another version of the projection wrote it.
    #[error("version {found} of the projection wrote it, this is version {expected}")]
    Version {
        /// The version of this projection.
        expected: u32,
        /// The version of the view.
        found: u32,
    },
    /// It follows another ledger.
    #[error("it follows ledger {found}, not {expected}")]
    Ledger {
        /// The ledger that was asked for.
        expected: LedgerId,
        /// The ledger of the view.
        found: LedgerId,
    },
    /// Its bookmark lies beyond the log: the log was rewound.
    #[error("it holds entry {0}, which the log does not")]
    BeyondLog(Seq),
    /// The log has another entry at its bookmark: another history.
    #[error("it holds another entry {0} than the log")]
    OtherHistory(Seq),
    /// Its bookmark cannot be read: older software wrote it, or it is damaged.
    #[error("its bookmark cannot be read")]
    Unreadable,
    /// A reset was interrupted.
    #[error("it has no bookmark but is not empty")]
    HalfCleared,
}

/// Why an entry was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The store, or a value in it.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The view cannot be continued; reset it.
    #[error("the view must be rebuilt: {0}")]
    Stale(#[from] Stale),
    /// The entry is not the next one.
    #[error("entry {expected} comes next, found {found}")]
    Gap {
        /// The next seq.
        expected: Seq,
        /// The seq of the entry.
        found: Seq,
    },
    /// The entry belongs to another ledger.
    #[error("the view follows ledger {expected}, found an entry of {found}")]
    Ledger {
        /// The ledger of the view.
        expected: LedgerId,
        /// The ledger of the entry.
        found: LedgerId,
    },
    /// The entry's payload holds no event.
    #[error("entry {seq}: {refusal}")]
    Entry {
        /// The entry.
        seq: Seq,
        /// What is wrong with it.
        refusal: Refusal,
    },
    /// The projection could not take the event in.
    #[error("entry {seq}: {source}")]
    Fold {
        /// The entry.
        seq: Seq,
        /// Why.
        source: FoldError,
    },
}

impl From<StoreError> for ViewError {
    fn from(error: StoreError) -> ViewError {
        ViewError::Read(ReadError::Store(error))
    }
}

impl ViewError {
    /// The registered code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            ViewError::Read(error) => error.code(),
            ViewError::Entry { refusal, .. } => refusal.code,
            ViewError::Fold { source, .. } => source.code(),
            ViewError::Stale(_) | ViewError::Gap { .. } | ViewError::Ledger { .. } => Code::ViewDamaged,
        }
    }
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was folded.
    Folded,
    /// The view holds it already; nothing changed.
    Old,
}

/// A projection, its view, and where it stands in the log.
#[derive(Debug)]
pub struct Follower<P, S> {
    projection: P,
    store: S,
    ledger: LedgerId,
    /// The last entry folded; ahead of the stored one by what `pending` holds.
    bookmark: Option<Bookmark>,
    pending: Batch,
    pending_entries: usize,
    entries_per_commit: usize,
}

impl<P: Projection, S: Store> Follower<P, S> {
    /// Continues the view in `store`, or begins it. `hash_at` tells the hash of the log's entry at a seq, if it has one.
    ///
    /// A view that does not fit this ledger, this log or this version is reset; the second value then says why, and the
    /// caller feeds the log from the start.
    ///
    /// # Errors
    /// The store did not answer.
    pub fn open(
        projection: P,
        store: S,
        ledger: LedgerId,
        hash_at: impl FnOnce(Seq) -> Option<[u8; 32]>,
    ) -> Result<(Follower<P, S>, Option<Stale>), ViewError> {
        let mut follower = Follower {
            projection,
            store,
            ledger,
            bookmark: None,
            pending: Batch::new(),
            pending_entries: 0,
            entries_per_commit: ENTRIES_PER_COMMIT,
        };
        let stale = follower.continue_from_store(hash_at)?;
        if stale.is_some() {
            follower.reset()?;
        }
        Ok((follower, stale))
    }

    /// Commits every `entries` entries instead of every [`ENTRIES_PER_COMMIT`].
    #[must_use]
    pub fn commit_every(mut self, entries: usize) -> Follower<P, S> {
        self.entries_per_commit = entries.max(1);
        self
    }

    fn continue_from_store(
        &mut self,
        hash_at: impl FnOnce(Seq) -> Option<[u8; 32]>,
    ) -> Result<Option<Stale>, ViewError> {
        let Some(bytes) = self.store.get(BOOKMARK_KEY)? else {
            let empty = self.store.scan(b"").next().transpose()?.is_none();
            return Ok((!empty).then_some(Stale::HalfCleared));
        };
        let Ok(bookmark) = value::from_bytes::<Bookmark>(&bytes) else {
            return Ok(Some(Stale::Unreadable));
        };
        let stale = if bookmark.version != P::VERSION {
            Some(Stale::Version { expected: P::VERSION, found: bookmark.version })
        } else if bookmark.ledger != self.ledger {
            Some(Stale::Ledger { expected: self.ledger, found: bookmark.ledger })
        } else {
            match hash_at(bookmark.seq) {
                None => Some(Stale::BeyondLog(bookmark.seq)),
                Some(hash) if hash != bookmark.hash => Some(Stale::OtherHistory(bookmark.seq)),
                Some(_) => None,
            }
        };
        self.bookmark = Some(bookmark);
        Ok(stale)
    }

    /// The last entry folded, committed or not.
    pub fn bookmark(&self) -> Option<Bookmark> {
        self.bookmark
    }

    /// The seq of the entry that comes next.
    pub fn next(&self) -> Seq {
        self.bookmark.map_or(Seq(0), |bookmark| bookmark.seq.next())
    }

    /// The view as committed, for queries.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Gives the store back; what is not committed is forgotten.
    pub fn into_store(self) -> S {
        self.store
    }

    /// Empties the view. The bookmark goes first and durably, so that an interrupted reset is seen at the next open.
    ///
    /// # Errors
    /// The store did not take it.
    pub fn reset(&mut self) -> Result<(), ViewError> {
        self.pending.clear();
        self.pending_entries = 0;
        self.bookmark = None;
        self.store.commit(&Batch::from([(BOOKMARK_KEY.to_vec(), None)]))?;
        self.store.flush()?;
        self.store.clear()?;
        Ok(())
    }

    /// Takes one entry in and commits.
    ///
    /// # Errors
    /// As [`Follower::stage`], or the store did not take the commit.
    pub fn apply(&mut self, entry: &Entry) -> Result<Applied, ViewError> {
        let applied = self.stage(entry)?;
        self.commit()?;
        Ok(applied)
    }

    /// Takes entries in, with a commit every so many and one at the end. Returns how many were folded.
    ///
    /// # Errors
    /// As [`Follower::apply`], at the first entry that is refused; those before it are committed.
    pub fn apply_all<E: Borrow<Entry>>(&mut self, entries: impl IntoIterator<Item = E>) -> Result<u64, ViewError> {
        let mut folded = 0_u64;
        for entry in entries {
            match self.stage(entry.borrow()) {
                Ok(Applied::Folded) => folded = folded.saturating_add(1),
                Ok(Applied::Old) => {}
                Err(error) => {
                    self.commit()?;
                    return Err(error);
                }
            }
        }
        self.commit()?;
        Ok(folded)
    }

    /// Folds one entry; commits only if the batch is full. A refused entry changes nothing.
    ///
    /// # Errors
    /// The entry does not follow, or the projection cannot take it in.
    pub fn stage(&mut self, entry: &Entry) -> Result<Applied, ViewError> {
        if self.place(entry)? == Applied::Old {
            return Ok(Applied::Old);
        }
        let event = entry.event().map_err(|refusal| ViewError::Entry { seq: entry.header.seq, refusal })?;
        self.fold(entry, &event)
    }

    /// As [`Follower::stage`], where the caller has decoded the entry's event: once for several followers.
    ///
    /// # Errors
    /// The entry does not follow, or the projection cannot take it in.
    pub fn stage_event(&mut self, entry: &Entry, event: &Event) -> Result<Applied, ViewError> {
        match self.place(entry)? {
            Applied::Old => Ok(Applied::Old),
            Applied::Folded => self.fold(entry, event),
        }
    }

    fn fold(&mut self, entry: &Entry, event: &Event) -> Result<Applied, ViewError> {
        let place = Place::of(entry);
        let mut view = View::over(&self.store, &self.pending);
        let folded = self.projection.fold(&place, event, &mut view);
        folded.map_err(|source| ViewError::Fold { seq: place.seq, source })?;
        let writes = view.into_writes();
        self.pending.extend(writes);
        self.bookmark = Some(Bookmark { version: P::VERSION, ledger: self.ledger, seq: place.seq, hash: place.hash });
        self.pending_entries = self.pending_entries.saturating_add(1);
        if self.pending_entries >= self.entries_per_commit {
            self.commit()?;
        }
        Ok(Applied::Folded)
    }

    /// Whether the entry is the next one, an old one, or does not belong here.
    fn place(&self, entry: &Entry) -> Result<Applied, ViewError> {
        let header = &entry.header;
        if header.ledger != self.ledger {
            return Err(ViewError::Ledger { expected: self.ledger, found: header.ledger });
        }
        let expected = self.next();
        if header.seq > expected {
            return Err(ViewError::Gap { expected, found: header.seq });
        }
        if header.seq < expected {
            return match self.bookmark {
                Some(bookmark) if bookmark.seq == header.seq && bookmark.hash != header.hash() => {
                    Err(Stale::OtherHistory(header.seq).into())
                }
                Some(_) | None => Ok(Applied::Old),
            };
        }
        if header.previous != self.bookmark.map_or(ROOT_HASH, |bookmark| bookmark.hash) {
            return Err(Stale::OtherHistory(self.bookmark.map_or(Seq(0), |bookmark| bookmark.seq)).into());
        }
        Ok(Applied::Folded)
    }

    /// Writes what was folded, and the bookmark with it, in one commit.
    ///
    /// # Errors
    /// The store did not take it; nothing of it is stored, and the same commit may be tried again.
    pub fn commit(&mut self) -> Result<(), ViewError> {
        if self.pending_entries == 0 {
            return Ok(());
        }
        if let Some(bookmark) = &self.bookmark {
            let bytes = value::to_bytes(bookmark).ok_or(ReadError::Value)?;
            self.pending.insert(BOOKMARK_KEY.to_vec(), Some(bytes));
        }
        self.store.commit(&self.pending)?;
        self.pending.clear();
        self.pending_entries = 0;
        Ok(())
    }

    /// Commits, and returns when it would survive the machine.
    ///
    /// # Errors
    /// The store did not take it.
    pub fn flush(&mut self) -> Result<(), ViewError> {
        self.commit()?;
        Ok(self.store.flush()?)
    }

    /// Commits, and gives the digest of the view: equal for equal logs, rebuilt or not.
    ///
    /// # Errors
    /// The store did not answer.
    pub fn digest(&mut self) -> Result<Digest, ViewError> {
        self.commit()?;
        Ok(digest::<P>(&self.store)?)
    }
}

/// BLAKE3 over the projection's name and every pair in key order, the bookmark's included, each with its length before it.
///
/// # Errors
/// The store did not answer.
pub fn digest<P: Projection>(store: &dyn Store) -> Result<Digest, StoreError> {
    let mut hasher = blake3::Hasher::new_derive_key(DIGEST_CONTEXT);
    let mut part = |bytes: &[u8]| {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        hasher.update(&length.to_le_bytes()).update(bytes);
    };
    part(P::NAME.as_bytes());
    for pair in store.scan(b"") {
        let (key, value) = pair?;
        part(&key);
        part(&value);
    }
    Ok(Digest(*hasher.finalize().as_bytes()))
}
