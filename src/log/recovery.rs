//! Opens a log for writing: reads and checks everything, and brings the end into the one state from which writing goes on.
//!
//! What stands behind the last complete batch is decided by the table in [`crate::tail`]. Around it:
//!
//! | found | done |
//! | --- | --- |
//! | no segment, with or without an unfinished one | refuse: no log was ever created here |
//! | an unfinished segment (`.seg.new`) beside others | it is removed once all else is in order: nothing was ever in it |
//! | the only segment has no batch | the log goes on in it: the crash came between making it and the first batch |
//! | the last batch is whole | it is written again, the same bytes, and synced: the disk may lack what the page cache shows |
//! | a segment header, ledger, version, size or place that is not right | refuse: damaged |
//! | a whole frame that does not belong or follow | refuse: damaged |
//! | another hash where a checkpoint ends | refuse: forked |
//!
//! **Invariant:** an open that refuses has changed nothing.

use writ_schemas::entry::Entry;
use writ_schemas::event::TailCut;
use writ_schemas::ids::LedgerId;

use crate::error::{Doing, Fork, LogError};
use crate::index::Index;
use crate::scan::{Position, Scan, Step};
use crate::segment::Listing;
use crate::storage::{Storage, span};
use crate::tail::{Decision, Stop};
use crate::writer::{Log, Options};

/// What the last signed checkpoint covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    /// How many entries.
    pub size: u64,
    /// The hash of the last of them.
    pub head: [u8; 32],
}

impl Covered {
    /// There is no checkpoint.
    pub const NONE: Covered = Covered { size: 0, head: [0; 32] };
}

/// An opened log.
#[derive(Debug)]
pub struct Opened<S> {
    /// The log, ready for the next batch.
    pub log: Log<S>,
    /// What was cut; the caller records it, with the next batch and at once: the log shows nothing of it any more.
    pub cut: Option<TailCut>,
}

impl<S: Storage + Clone> Log<S> {
    /// Opens a log for writing; `visit` is handed every entry of it, in order. The caller holds the lock.
    ///
    /// # Errors
    /// `ERR_LOG_MISSING`, `ERR_LOG_DAMAGED`, `ERR_LOG_FORKED`, those of the disk, and those of `visit`.
    pub fn open<E: From<LogError>>(
        storage: S,
        ledger: Option<LedgerId>,
        covered: Covered,
        options: Options,
        visit: &mut dyn FnMut(&Entry) -> Result<(), E>,
    ) -> Result<Opened<S>, E> {
        options.check()?;
        let listing = Listing::read(&storage)?;
        let mut scan = Scan::from_start(storage.clone(), listing, ledger)?;
        let index = Index::default();
        let (mut batch, mut last) = (Vec::new(), None);
        let stop = loop {
            match scan.next(&mut batch)? {
                Step::Batch(start) => {
                    index.pass(&start, batch.iter().map(|(offset, entry)| (*offset, entry)));
                    last = Some((start, scan.position().offset));
                    for (_, entry) in &batch {
                        check_covered(entry, covered)?;
                        visit(entry)?;
                    }
                }
                Step::Stop(stop) => match stop.decide(covered.size) {
                    Decision::NextSegment => scan.enter_next()?,
                    Decision::Ends => break None,
                    Decision::Cut => break Some(stop),
                    Decision::Refuse(refusal) => return Err(stop.error(refusal, covered.size).into()),
                },
            }
        };
        let end = *scan.position();
        repair(&storage, last, stop.as_ref())?;
        let cut = stop.map(|stop| TailCut { segment: stop.segment.0, offset: stop.offset, bytes: stop.bytes });
        Ok(Opened { log: Log::opened(storage, options, end, index), cut })
    }
}

fn check_covered(entry: &Entry, covered: Covered) -> Result<(), LogError> {
    if entry.header.seq.next().0 == covered.size && entry.hash() != covered.head {
        return Err(LogError::Forked { covered: covered.size, fork: Fork::OtherHash });
    }
    Ok(())
}

/// Brings the disk to what was read: the last batch, of which only the cache may have known; the cut; the names.
fn repair<S: Storage>(storage: &S, last: Option<(Position, u64)>, cut: Option<&Stop>) -> Result<(), LogError> {
    if let Some((start, end)) = last {
        let file = start.segment.file();
        let mut bytes = vec![0; span(end - start.offset)];
        storage.read_at(&file, start.offset, &mut bytes).map_err(LogError::io(Doing::Read, &file))?;
        write_synced(storage, &file, start.offset, &bytes)?;
    }
    if let Some(stop) = cut {
        let file = crate::segment::name(stop.segment);
        write_synced(storage, &file, stop.offset, &vec![0; span(stop.bytes)])?;
    }
    for file in Listing::read(storage)?.unfinished {
        storage.remove(&file).map_err(LogError::io(Doing::Remove, &file))?;
    }
    storage.sync_names().map_err(LogError::io(Doing::Sync, "the log folder"))
}

fn write_synced(storage: &impl Storage, file: &str, offset: u64, bytes: &[u8]) -> Result<(), LogError> {
    storage.write_at(file, offset, bytes).map_err(LogError::io(Doing::Write, file))?;
    storage.sync(file).map_err(LogError::io(Doing::Sync, file))
}
