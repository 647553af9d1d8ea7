//! Segments made ahead: files of zeros that wait for their first batch, so that no append waits for a whole segment to be
//! written.
//!
//! **Invariant:** a spare holds nothing. Losing one costs the time to make another.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::segment;
use crate::storage::{Storage, UNFINISHED};
use crate::writer::Options;

/// What the writer takes and another thread makes. A clone is another handle to the same spares.
#[derive(Clone, Debug)]
pub struct Spares(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: Options,
    shelf: Mutex<Shelf>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Shelf {
    /// File names.
    ready: VecDeque<String>,
    made: u64,
    /// Whether the writer will soon need one.
    asked: bool,
    closed: bool,
}

impl Spares {
    pub(crate) fn new(options: Options) -> Spares {
        Spares(Arc::new(Shared { options, shelf: Mutex::default(), changed: Condvar::new() }))
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.0.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many wait to be written.
    #[must_use]
    pub fn prepared(&self) -> usize {
        self.shelf().ready.len()
    }

    /// The writer's segment is half full: a log that stays small never pays for a second one.
    pub(crate) fn ask(&self) {
        self.shelf().asked = true;
        self.0.changed.notify_all();
    }

    /// The file of a spare of this size, if there is one.
    pub(crate) fn take(&self, size: u64) -> Option<String> {
        let file = (size == self.0.options.segment_bytes).then(|| self.shelf().ready.pop_front())?;
        self.0.changed.notify_all();
        file
    }

    /// One that was taken and not used.
    pub(crate) fn put_back(&self, file: String) {
        self.shelf().ready.push_front(file);
    }

    /// Nobody takes any more.
    pub(crate) fn close(&self) {
        self.shelf().closed = true;
        self.0.changed.notify_all();
    }

    /// Removes what nobody will take any more. What cannot be removed, the next opening removes.
    pub fn clear(&self, storage: &impl Storage) {
        while let Some(file) = { self.shelf().ready.pop_front() } {
            let _ = storage.remove(&file);
        }
    }

    /// Waits until spares are missing; `false` once nobody takes any more.
    #[must_use]
    pub fn wait(&self) -> bool {
        let wanted = self.0.options.segments_prepared;
        let due = |shelf: &Shelf| shelf.closed || shelf.asked && shelf.ready.len() < wanted;
        let shelf =
            self.0.changed.wait_while(self.shelf(), |shelf| !due(shelf)).unwrap_or_else(PoisonError::into_inner);
        !shelf.closed
    }

    /// Makes what is missing.
    ///
    /// # Errors
    /// Those of the disk. Nothing more is made until the writer asks again; meanwhile it makes its segments itself.
    pub fn fill(&self, storage: &impl Storage) -> io::Result<()> {
        loop {
            let file = {
                let mut shelf = self.shelf();
                if shelf.closed || shelf.ready.len() >= self.0.options.segments_prepared {
                    shelf.asked = false;
                    return Ok(());
                }
                shelf.made += 1;
                format!("spare-{}{}{UNFINISHED}", shelf.made, segment::SUFFIX)
            };
            if let Err(error) = storage.prepare(&file, self.0.options.segment_bytes) {
                self.shelf().asked = false;
                return Err(error);
            }
            self.shelf().ready.push_back(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::Covered;
    use crate::segment::Listing;
    use crate::storage::{Fault, MemStorage};
    use crate::workload::{self, LEDGER};
    use crate::writer::Log;
    use writ_schemas::ids::Seq;

    const OPTIONS: Options = Options { segment_bytes: 4096, segments_prepared: 2 };

    fn listing(storage: &MemStorage) -> Listing {
        Listing::read(storage).expect("lists")
    }

    #[test]
    fn a_log_that_grows_asks_for_spares_and_goes_on_in_them() {
        let storage = MemStorage::new();
        let mut log = Log::create(storage.clone(), LEDGER, OPTIONS).expect("creates");
        let spares = log.spares();
        let batches = workload::batches(&[&[500], &[2000], &[2000], &[9000], &[10]]);
        log.append(&batches[0]).expect("appends");
        assert!(!spares.shelf().asked, "a small log asks for nothing");
        log.append(&batches[1]).expect("appends");
        assert!(spares.wait(), "half of the segment is used");
        spares.fill(&storage).expect("fills");
        assert_eq!(listing(&storage).unfinished, ["spare-1.seg.new", "spare-2.seg.new"]);
        log.append(&batches[2]).expect("appends");
        assert_eq!(listing(&storage).unfinished, ["spare-2.seg.new"]);
        log.append(&batches[3]).expect("a large one does not go into a spare");
        assert_eq!(listing(&storage).unfinished, ["spare-2.seg.new"]);
        log.append(&batches[4]).expect("appends");
        assert_eq!(listing(&storage).segments, [Seq(0), Seq(2), Seq(3), Seq(4)]);

        // They hold nothing: an opening removes what was left of them.
        let (_, entries, cut) = workload::open_with(&storage, Covered::NONE, OPTIONS).expect("opens");
        assert_eq!((entries, cut), (batches.concat(), None));
        assert_eq!(listing(&storage).unfinished, Vec::<String>::new());
        drop(log);
        assert!(!spares.wait(), "nobody takes any more");
        spares.fill(&storage).expect("and so nothing is made");
        assert_eq!(listing(&storage).unfinished, Vec::<String>::new());
    }

    #[test]
    fn who_closes_politely_leaves_none() {
        let storage = MemStorage::new();
        let log = Log::create(storage.clone(), LEDGER, OPTIONS).expect("creates");
        let spares = log.spares();
        spares.fill(&storage).expect("fills");
        assert_eq!(listing(&storage).unfinished.len(), 2);
        drop(log);
        spares.clear(&storage);
        assert_eq!(listing(&storage).unfinished, Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_prepared_is_made_by_the_writer() {
        let storage = MemStorage::new();
        let mut log = Log::create(storage.clone(), LEDGER, OPTIONS).expect("creates");
        let batches = workload::batches(&[&[2500], &[2500], &[2500]]);
        log.append(&batches[0]).expect("appends");
        storage.inject(storage.operations(), Fault::Error);
        assert!(log.spares().fill(&storage).is_err());
        assert_eq!(listing(&storage).unfinished, Vec::<String>::new());
        assert!(!log.spares().shelf().asked, "not again and again");
        log.append(&batches[1]).expect("appends all the same");
        assert!(log.spares().shelf().asked, "the next segment asks again");
        assert_eq!(workload::open_with(&storage, Covered::NONE, OPTIONS).expect("opens").1, batches[..2].concat());
    }
}
