//! Creates a log and appends to it: one write and one `fdatasync` a batch.
//!
//! A segment but the first comes into being with its first batch in it, whole or not at all. A batch that is larger than
//! segments are gets one of its own size.
//!
//! **Invariant:** a log that failed once does nothing more. What the disk has is found out by opening it anew. Only a disk that was
//! full may be tried again, with the same batch: whatever there is of it is written over.

use writ_schemas::entry::{Chain, Entry, PAYLOAD_BYTES_MAX};
use writ_schemas::errors::Code;
use writ_schemas::ids::LedgerId;

use crate::error::{Doing, LogError};
use crate::frame;
use crate::index::Index;
use crate::reader::Reader;
use crate::scan::Position;
use crate::segment::{self, Listing, SegmentHeader};
use crate::spares::Spares;
use crate::storage::{Storage, length};

/// How a log is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The size of new segments in bytes: a multiple of 512, at least 1024.
    pub segment_bytes: u64,
    /// How many segments [`Spares`] makes ahead.
    pub segments_prepared: usize,
}

impl Default for Options {
    /// 16 MiB: two of the largest batches; made in a fraction of a second.
    fn default() -> Options {
        Options { segment_bytes: 16 << 20, segments_prepared: 1 }
    }
}

impl Options {
    pub(crate) fn check(&self) -> Result<(), LogError> {
        if segment::size_is_valid(self.segment_bytes) { Ok(()) } else { Err(LogError::SegmentSize(self.segment_bytes)) }
    }
}

/// A log that is open for appending.
#[derive(Debug)]
pub struct Log<S> {
    storage: S,
    options: Options,
    end: Position,
    index: Index,
    spares: Spares,
    buffer: Vec<u8>,
    takes: Takes,
}

/// What a log takes next.
#[derive(Debug)]
enum Takes {
    /// What follows.
    Next,
    /// The batch for which the disk had no room, which leads to this chain.
    Again(Chain),
    /// Nothing any more.
    Nothing,
}

impl<S> Drop for Log<S> {
    fn drop(&mut self) {
        self.spares.close();
    }
}

impl<S: Storage + Clone> Log<S> {
    /// Makes an empty log: its first segment, which its first batch must fit into.
    ///
    /// # Errors
    /// `ERR_LOG_EXISTS` if there is a segment.
    pub fn create(storage: S, ledger: LedgerId, options: Options) -> Result<Log<S>, LogError> {
        options.check()?;
        if !Listing::read(&storage)?.segments.is_empty() {
            return Err(LogError::Exists);
        }
        let chain = Chain::empty(ledger);
        let segment = header_of(&chain, 0, options.segment_bytes);
        let file = segment.file();
        storage.create(&file, &segment.to_bytes(), segment.size).map_err(LogError::io(Doing::Create, &file))?;
        Ok(Log::opened(storage, options, Position::start_of(segment), Index::default()))
    }

    pub(crate) fn opened(storage: S, options: Options, end: Position, index: Index) -> Log<S> {
        Log { storage, options, end, index, spares: Spares::new(options), buffer: Vec::new(), takes: Takes::Next }
    }

    /// The chain up to the last durable entry.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.end.chain
    }

    /// The number of the next batch.
    #[must_use]
    pub fn next_batch(&self) -> u64 {
        self.end.batch
    }

    /// The segments made ahead: for the thread that makes them. Until there is one, an append that needs a segment makes it.
    #[must_use]
    pub fn spares(&self) -> Spares {
        self.spares.clone()
    }

    /// A reader of this log that knows what opening and appending learned about places. It is bounded by nothing: the caller
    /// says up to where entries are durable.
    #[must_use]
    pub fn reader(&self) -> Reader<S> {
        self.reader_over(self.storage.clone())
    }

    /// The same over another handle to the same files.
    #[must_use]
    pub fn reader_over<R: Storage + Clone>(&self, storage: R) -> Reader<R> {
        Reader::of(storage, self.end.chain.ledger, self.index.clone())
    }

    /// Appends one batch. When this returns `Ok`, it is on disk. No entries are no batch, and nothing is written.
    ///
    /// # Errors
    /// `ERR_DISK_FULL`: the batch is not on disk; the same may be appended again, and no other. After any other error the batch may or
    /// may not be on disk, and every later call fails.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        if entries.is_empty() && !matches!(self.takes, Takes::Nothing) {
            return Ok(());
        }
        let takes = std::mem::replace(&mut self.takes, Takes::Nothing);
        if matches!(takes, Takes::Nothing) {
            return Err(LogError::Poisoned);
        }
        let chain = self.encode(entries)?;
        if matches!(takes, Takes::Again(the_same) if the_same != chain) {
            return Err(LogError::Poisoned);
        }
        let appended = self.append_batch(entries, chain);
        match &appended {
            Ok(()) => self.takes = Takes::Next,
            Err(error) if error.code() == Code::DiskFull => self.takes = Takes::Again(chain),
            Err(_) => {}
        }
        appended
    }

    /// Appends what is in the buffer: these entries, which lead to `chain`.
    fn append_batch(&mut self, entries: &[Entry], chain: Chain) -> Result<(), LogError> {
        let len = length(self.buffer.len());
        let mut at = self.end;
        if at.offset + len <= at.segment.size {
            let file = at.segment.file();
            self.storage.write_at(&file, at.offset, &self.buffer).map_err(LogError::io(Doing::Write, &file))?;
            self.storage.sync(&file).map_err(LogError::io(Doing::Sync, &file))?;
        } else if at.chain.next == at.segment.first {
            let max = at.segment.batch_bytes_max();
            return Err(LogError::BatchTooLarge { bytes: len, max });
        } else {
            let size = self.options.segment_bytes.max(segment::size_for(len));
            at = Position { chain: at.chain, ..Position::start_of(header_of(&at.chain, at.batch, size)) };
            self.begin_segment(&at.segment)?;
        }
        let half = at.segment.size / 2;
        if at.offset < half && at.offset + len >= half {
            self.spares.ask();
        }
        let offsets = entries.iter().scan(at.offset, |next, entry| {
            let offset = *next;
            *next += length(frame::encoded_len(entry));
            Some(offset)
        });
        self.index.pass(&at, offsets.zip(entries));
        self.end = Position { offset: at.offset + len, batch: at.batch + 1, chain, ..at };
        Ok(())
    }

    /// Makes a segment that begins with the batch in the buffer.
    fn begin_segment(&mut self, header: &SegmentHeader) -> Result<(), LogError> {
        let mut head = header.to_bytes();
        head.extend_from_slice(&self.buffer);
        let file = header.file();
        let made = match self.spares.take(header.size) {
            Some(spare) => self.storage.adopt(&spare, &file, &head).inspect_err(|_| self.spares.put_back(spare)),
            None => self.storage.create(&file, &head, header.size),
        };
        made.map_err(LogError::io(Doing::Create, &file))
    }

    /// Fills the buffer with the frames; checks what readers will check, before anything is written.
    fn encode(&mut self, entries: &[Entry]) -> Result<Chain, LogError> {
        let mut chain = self.end.chain;
        let max = length(frame::BATCH_BYTES_MAX);
        let bytes = entries.iter().map(|entry| length(frame::encoded_len(entry))).fold(0, u64::saturating_add);
        let count = u32::try_from(entries.len()).map_err(|_| LogError::BatchTooLarge { bytes, max })?;
        if bytes > max {
            return Err(LogError::BatchTooLarge { bytes, max });
        }
        self.buffer.clear();
        for (index, entry) in (0..count).zip(entries) {
            if entry.payload.len() > PAYLOAD_BYTES_MAX {
                let bytes = length(entry.payload.len());
                return Err(LogError::BatchTooLarge { bytes, max: length(PAYLOAD_BYTES_MAX) });
            }
            chain.follow(entry).map_err(LogError::NotNext)?;
            frame::encode(self.end.batch, index, count, entry, &mut self.buffer);
        }
        Ok(chain)
    }
}

/// The header of the segment that follows a chain.
fn header_of(chain: &Chain, first_batch: u64, size: u64) -> SegmentHeader {
    SegmentHeader { ledger: chain.ledger, first: chain.next, first_batch, size, previous: chain.head }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::Covered;
    use crate::storage::{Fault, MemStorage};
    use crate::workload::{self, LEDGER};
    use writ_schemas::entry::ChainBreak;
    use writ_schemas::ids::Seq;

    const OPTIONS: Options = Options { segment_bytes: 4096, segments_prepared: 0 };

    #[test]
    fn what_does_not_fit_or_follow_is_refused_and_poisons() {
        let check = |entries: &[Entry], expected: &str| {
            let storage = MemStorage::new();
            let mut log = Log::create(storage.clone(), LEDGER, OPTIONS).expect("creates");
            let before = storage.operations();
            assert_eq!(log.append(entries).map_err(|e| e.to_string()), Err(expected.to_owned()));
            assert_eq!(storage.operations(), before, "nothing is written");
            assert!(matches!(log.append(entries), Err(LogError::Poisoned)));
        };
        let batches = workload::batches(&[&[10], &[10]]);
        check(&batches[1], &format!("an entry handed to the log does not follow: {}", ChainBreak::Seq(Seq(1))));
        check(&workload::batches(&[&[3600]])[0], "a batch of 3744 bytes; the limit is 3584");
    }

    /// Wherever a disk has no room, the batch goes in once it has, whole, and nothing else does.
    #[test]
    fn a_batch_for_which_there_was_no_room_goes_in_later() {
        let batches = workload::batches(&[&[500], &[500, 2000], &[3000], &[10]]);
        let mut refused = 0;
        for spares in [0, 1] {
            for at in 0.. {
                let storage = MemStorage::new();
                let options = Options { segments_prepared: spares, ..OPTIONS };
                let mut log = Log::create(storage.clone(), LEDGER, options).expect("creates");
                log.append(&batches[0]).expect("appends");
                log.spares().fill(&storage).expect("fills");
                storage.inject(storage.operations() + at, Fault::Full);
                let Some(failed) = batches.iter().skip(1).position(|batch| log.append(batch).is_err()) else { break };
                let (failed, later) = (&batches[failed + 1], &batches[failed + 2..]);
                match log.append(failed) {
                    Ok(()) => refused += 1,
                    // It was a sync that failed, or the name was there already.
                    Err(LogError::Poisoned | LogError::Io { .. }) => continue,
                    Err(other) => panic!("{other}"),
                }
                later.iter().for_each(|batch| log.append(batch).expect("goes on"));
                let unfinished = listing(&storage);
                assert!(unfinished.len() <= spares, "{unfinished:?}");
                let opened = workload::open_with(&storage, Covered::NONE, OPTIONS).expect("opens");
                assert_eq!((opened.1, opened.2), (batches.concat(), None), "operation {at}, {spares} spares");
            }
        }
        assert!(refused > 8, "{refused}");
    }

    fn listing(storage: &MemStorage) -> Vec<String> {
        Listing::read(storage).expect("lists").unfinished
    }

    #[test]
    fn only_the_same_batch_is_tried_again() {
        let storage = MemStorage::new();
        let mut log = Log::create(storage.clone(), LEDGER, OPTIONS).expect("creates");
        let (one, other) = (workload::batches(&[&[10]]), workload::batches(&[&[11]]));
        storage.inject(storage.operations(), Fault::Full);
        assert_eq!(log.append(&one[0]).map_err(|e| e.code()), Err(Code::DiskFull));
        assert!(matches!(log.append(&other[0]), Err(LogError::Poisoned)));
        assert!(matches!(log.append(&one[0]), Err(LogError::Poisoned)));
    }

    #[test]
    fn a_log_is_created_once_and_takes_batches_up_to_the_limit() {
        let storage = MemStorage::new();
        let mut log = Log::create(storage.clone(), LEDGER, OPTIONS).expect("creates");
        let batches = workload::batches(&[&[3584 - frame::FIXED_LEN], &[1, 2]]);
        for (number, batch) in batches.iter().enumerate() {
            assert_eq!(log.next_batch(), length(number));
            log.append(batch).expect("appends");
            log.append(&[]).expect("no entries are no batch");
        }
        assert_eq!((log.chain().next, log.next_batch()), (Seq(3), 2));
        assert_eq!(Listing::read(&storage).expect("lists").segments, [Seq(0), Seq(1)]);
        assert!(matches!(Log::create(storage.clone(), LEDGER, OPTIONS), Err(LogError::Exists)));
        let chain = *log.chain();
        let opened = workload::open(&storage, Covered::NONE).expect("opens").0;
        assert_eq!(*opened.chain(), chain);
        let odd = Options { segment_bytes: 1000, ..OPTIONS };
        assert!(matches!(Log::create(MemStorage::new(), LEDGER, odd), Err(LogError::SegmentSize(1000))));
    }
}
