//! Reads a log, while it is written or long after.
//!
//! **Invariant:** a reader writes nothing and takes no lock. A walk checks everything it passes; who asks for one entry gets it
//! checked by itself.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use writ_schemas::entry::Entry;
use writ_schemas::ids::{LedgerId, Seq};

use crate::error::{Damage, LogError, What};
use crate::index::Index;
use crate::located::{Located, Place};
use crate::scan::{Position, Scan, Step};
use crate::segment::{self, Listing, SegmentHeader};
use crate::single;
use crate::storage::{DirStorage, Storage};
use crate::tail::{Decision, Refusal};

/// How often a walk looks again at a broken batch of which nothing is missing, a millisecond apart: another process may be
/// in the middle of writing it.
const PATIENCE: u32 = 20;

/// Reads a log.
#[derive(Clone, Debug)]
pub struct Reader<S = DirStorage> {
    storage: S,
    ledger: LedgerId,
    index: Index,
    patience: u32,
}

/// How a log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With a whole batch, or with none.
    Clean,
    /// With bytes of a batch that was never acknowledged, or is just being written.
    Incomplete {
        /// The segment file.
        file: String,
        /// Where the batch starts.
        offset: u64,
        /// How many bytes of it there are.
        bytes: u64,
    },
}

impl End {
    /// Takes an incomplete end for an error.
    ///
    /// # Errors
    /// `ERR_LOG_TAIL`.
    pub fn require_clean(self) -> Result<(), LogError> {
        match self {
            End::Clean => Ok(()),
            End::Incomplete { file, offset, bytes } => Err(LogError::Tail { file, offset, bytes }),
        }
    }
}

impl Reader<DirStorage> {
    /// Reads the segments of a folder.
    ///
    /// # Errors
    /// `ERR_LOG_MISSING` if there are none; damage to the first segment's header.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Reader<DirStorage>, LogError> {
        Reader::over(DirStorage::reading(dir))
    }
}

impl<S: Storage + Clone> Reader<S> {
    /// Reads the segments of a storage.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn over(storage: S) -> Result<Reader<S>, LogError> {
        let scan = Scan::from_start(storage.clone(), Listing::read(&storage)?, None)?;
        Ok(Reader::of(storage, scan.position().chain.ledger, Index::default()))
    }

    pub(crate) fn of(storage: S, ledger: LedgerId, index: Index) -> Reader<S> {
        Reader { storage, ledger, index, patience: PATIENCE }
    }

    #[cfg(test)]
    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// For tests that break thousands of batches.
    #[cfg(test)]
    pub(crate) fn impatient(mut self) -> Reader<S> {
        self.patience = 0;
        self
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// The entries from `from` on. From 0 on, everything is checked; from another place, everything from the segment or the
    /// place that the walk starts at.
    ///
    /// # Errors
    /// Damage where the walk starts.
    pub fn entries(&self, from: Seq) -> Result<Entries<S>, LogError> {
        let listing = Listing::read(&self.storage)?;
        let scan = if from == Seq(0) {
            Scan::from_start(self.storage.clone(), listing, Some(self.ledger))?
        } else {
            let position = self.nearest(&listing, from)?;
            Scan::at(self.storage.clone(), listing, position)
        };
        Ok(Entries {
            scan,
            index: self.index.clone(),
            from,
            bound: None,
            batch: Vec::new(),
            ready: VecDeque::new(),
            end: None,
            failed: false,
            patience: self.patience,
        })
    }

    /// One entry, by its seq; `None` beyond the end. It is what its header commits to; its place in the chain is not checked,
    /// for those around it are not read, unless it lies where no walk and no writer of this process has been.
    ///
    /// # Errors
    /// Damage of it, or on the way to it.
    pub fn get(&self, seq: Seq) -> Result<Option<Located>, LogError> {
        if let Some(found) = single::find(&self.storage, &self.index, self.ledger, seq) {
            return Ok(Some(found));
        }
        self.entries(seq)?.until(seq.next()).next().transpose()
    }

    fn nearest(&self, listing: &Listing, seq: Seq) -> Result<Position, LogError> {
        let segment = listing.holding(seq).ok_or(LogError::Missing)?;
        match self.index.batch_before(seq) {
            Some(position) if position.segment.first >= segment => Ok(position),
            Some(_) | None => {
                let header = SegmentHeader::read(&self.storage, segment)?;
                if header.ledger != self.ledger {
                    let what = What::Ledger(header.ledger);
                    let damage = Damage { file: header.file(), offset: 0, seq: Some(segment), what };
                    return Err(LogError::Damaged(damage));
                }
                Ok(Position::start_of(header))
            }
        }
    }
}

/// A walk over entries. At the end of the log, or at its bound, it gives `None`; asked again later, it goes on with what has
/// come since. After an error it gives nothing more.
pub struct Entries<S = DirStorage> {
    scan: Scan<S>,
    index: Index,
    from: Seq,
    bound: Option<Seq>,
    batch: Vec<(u64, Entry)>,
    ready: VecDeque<Located>,
    end: Option<End>,
    failed: bool,
    patience: u32,
}

impl<S: Storage> Entries<S> {
    /// Gives only entries before `bound`, and looks at nothing behind them.
    #[must_use]
    pub fn until(mut self, bound: Seq) -> Entries<S> {
        self.bound = Some(bound);
        self
    }

    /// Tells a follower that everything before `bound` is durable now.
    pub fn extend_to(&mut self, bound: Seq) {
        self.bound = self.bound.max(Some(bound));
    }

    /// How the log ends, once the walk has come to its end; `None` before, at a bound, or after an error.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    fn bounded(&self, seq: Seq) -> bool {
        self.bound.is_some_and(|bound| seq >= bound)
    }

    /// Reads the next batch into `ready`; whether there was one.
    fn fill(&mut self) -> Result<bool, LogError> {
        let mut patience = self.patience;
        loop {
            match self.scan.next(&mut self.batch)? {
                Step::Batch(start) => {
                    self.end = None;
                    self.index.pass(&start, self.batch.iter().map(|(offset, entry)| (*offset, entry)));
                    self.make_ready(&start);
                    return Ok(true);
                }
                Step::Stop(stop) => match stop.decide(0) {
                    Decision::NextSegment => self.scan.enter_next()?,
                    Decision::Refuse(Refusal::NothingMissing) if patience > 0 => {
                        patience -= 1;
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    Decision::Refuse(refusal) => return Err(stop.error(refusal, 0)),
                    Decision::Ends => {
                        self.end = Some(End::Clean);
                        return Ok(false);
                    }
                    Decision::Cut => {
                        let file = segment::name(stop.segment);
                        self.end = Some(End::Incomplete { file, offset: stop.offset, bytes: stop.bytes });
                        return Ok(false);
                    }
                },
            }
        }
    }

    fn make_ready(&mut self, start: &Position) {
        let last = self.batch.len().saturating_sub(1);
        for (index, (offset, entry)) in self.batch.drain(..).enumerate() {
            let place =
                Place { segment: start.segment.first, offset, batch: start.batch, last_of_batch: index == last };
            if entry.header.seq >= self.from {
                self.ready.push_back(Located { entry, place });
            }
        }
    }
}

impl<S: Storage> Iterator for Entries<S> {
    type Item = Result<Located, LogError>;

    fn next(&mut self) -> Option<Result<Located, LogError>> {
        loop {
            if let Some(next) = self.ready.front() {
                if self.bounded(next.entry.header.seq) {
                    return None;
                }
                return self.ready.pop_front().map(Ok);
            }
            if self.failed || self.bounded(self.scan.position().chain.next) {
                return None;
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(e) => {
                    self.failed = true;
                    self.end = None;
                    return Some(Err(e));
                }
            }
        }
    }
}
