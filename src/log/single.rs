//! One entry, without those before it: one read, one checksum, one commitment.
//!
//! **Invariant:** what is found is an entry of this ledger with the payload that it commits to, in a batch that is whole. Whether it
//! follows from the one before it, a walk tells. Whatever is odd on the way is left to a walk, too, which knows what it is called.

use writ_schemas::entry::commitment;
use writ_schemas::ids::{LedgerId, Seq};

use crate::frame::{self, Frame, PREFIX_LEN};
use crate::index::{Index, Spot};
use crate::located::{Located, Place};
use crate::segment::{self, Listing};
use crate::storage::{Storage, length, span};

/// How much is read at once: half of what lies between two places that the index knows.
const AHEAD: u64 = 32 << 10;

/// The entry, if it can be had without a walk.
pub(crate) fn find(storage: &impl Storage, index: &Index, ledger: LedgerId, seq: Seq) -> Option<Located> {
    let (near, whole) = index.frame_before(seq);
    let found = near.filter(|_| whole).and_then(|near| hop(storage, near, seq)).or_else(|| {
        let listing = Listing::read(storage).ok()?;
        let segment = listing.holding(seq)?;
        // A segment is made only after the batches before it are on the disk.
        if !whole && listing.after(segment).is_none() {
            return None;
        }
        hop(storage, Spot::first_of(segment), seq)
    })?;
    let entry = &found.entry;
    let header = &entry.header;
    let right =
        header.seq == seq && header.ledger == ledger && header.commitment == commitment(&entry.salt, &entry.payload);
    right.then_some(found)
}

/// Passes frames by their lengths alone.
fn hop(storage: &impl Storage, from: Spot, seq: Seq) -> Option<Located> {
    let mut bytes = Ahead { storage, file: segment::name(from.segment), size: 0, start: 0, held: Vec::new() };
    bytes.size = storage.size(&bytes.file).ok()?;
    let (mut at, mut next) = (from.offset, from.seq);
    loop {
        let prefix = bytes.get(at, PREFIX_LEN)?.first_chunk()?;
        let len = frame::extent(prefix).ok()?;
        if next == seq {
            let Frame { batch, index, count, entry } = frame::decode(bytes.get(at, len)?).ok()?;
            let last_of_batch = index.checked_add(1) == Some(count);
            return Some(Located { entry, place: Place { segment: from.segment, offset: at, batch, last_of_batch } });
        }
        (at, next) = (at.checked_add(length(len))?, next.next());
    }
}

/// Bytes of one segment, read ahead.
struct Ahead<'a, S> {
    storage: &'a S,
    file: String,
    size: u64,
    start: u64,
    held: Vec<u8>,
}

impl<S: Storage> Ahead<'_, S> {
    fn get(&mut self, at: u64, len: usize) -> Option<&[u8]> {
        let end = at.checked_add(length(len)).filter(|end| *end <= self.size)?;
        if at < self.start || end > self.start + length(self.held.len()) {
            self.held.resize(span(length(len).max(AHEAD).min(self.size - at)), 0);
            self.start = at;
            self.storage.read_at(&self.file, at, &mut self.held).ok()?;
        }
        let from = span(at - self.start);
        self.held.get(from..from + len)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::recovery::Covered;
    use crate::storage::MemStorage;
    use crate::workload::{self, LEDGER};
    use crate::{Log, Options};

    /// A log of three segments, and all that a walk finds in it.
    fn written() -> (MemStorage, Vec<Located>) {
        let storage = MemStorage::new();
        let batches = workload::batches(&[&[900, 0, 900], &[7], &[900, 900], &[1, 2, 3], &[2000], &[5, 6]]);
        drop(workload::write(&storage, &batches));
        let reader = crate::Reader::over(storage.clone()).expect("a log");
        let all = reader.entries(Seq(0)).expect("a walk").collect::<Result<Vec<_>, _>>().expect("no damage");
        assert!(all.iter().any(|it| it.place.segment == all[all.len() - 1].place.segment && it.place.segment > Seq(0)));
        (storage, all)
    }

    #[test]
    fn it_finds_what_a_walk_finds_whether_or_not_it_was_passed_before() {
        let (storage, all) = written();
        let (log, ..) = workload::open(&storage, Covered::NONE).expect("opens");
        let known = log.reader();
        let last_segment = all.last().expect("entries").place.segment;
        for located in &all {
            let seq = located.entry.header.seq;
            assert_eq!(find(&storage, known.index(), LEDGER, seq).as_ref(), Some(located));
            // Of the last batch of a log that was never walked nobody knows whether it is whole.
            let unknown = find(&storage, &Index::default(), LEDGER, seq);
            assert_eq!(unknown.as_ref(), (located.place.segment < last_segment).then_some(located));
            assert_eq!(known.get(seq).expect("no damage").as_ref(), Some(located));
        }
        assert_eq!(find(&storage, known.index(), LEDGER, log.chain().next), None);
    }

    /// A disk that counts how much is read of it, and how often it is listed.
    #[derive(Clone, Default)]
    struct Counted {
        disk: MemStorage,
        bytes: Arc<AtomicU64>,
        lists: Arc<AtomicU64>,
    }

    impl Storage for Counted {
        fn list(&self) -> io::Result<Vec<String>> {
            self.lists.fetch_add(1, Ordering::Relaxed);
            self.disk.list()
        }

        fn size(&self, name: &str) -> io::Result<u64> {
            self.disk.size(name)
        }

        fn prepare(&self, unfinished: &str, size: u64) -> io::Result<()> {
            self.disk.prepare(unfinished, size)
        }

        fn adopt(&self, unfinished: &str, name: &str, head: &[u8]) -> io::Result<()> {
            self.disk.adopt(unfinished, name, head)
        }

        fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()> {
            self.bytes.fetch_add(length(into.len()), Ordering::Relaxed);
            self.disk.read_at(name, offset, into)
        }

        fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
            self.disk.write_at(name, offset, bytes)
        }

        fn sync(&self, name: &str) -> io::Result<()> {
            self.disk.sync(name)
        }

        fn sync_names(&self) -> io::Result<()> {
            self.disk.sync_names()
        }

        fn remove(&self, name: &str) -> io::Result<()> {
            self.disk.remove(name)
        }
    }

    /// What one entry costs does not depend on how large its batch is, nor on how many segments there are.
    #[test]
    fn one_entry_of_a_large_batch_is_one_read() {
        let storage = Counted::default();
        let options = Options { segment_bytes: 4 << 20, segments_prepared: 0 };
        let mut log = Log::create(storage.clone(), LEDGER, options).expect("creates");
        let batches = workload::batches(&[&[1000; 3000], &[1000; 3000], &[10]]);
        batches.iter().for_each(|batch| log.append(batch).expect("appends"));
        let reader = log.reader();
        let (before, lists) = (storage.bytes.load(Ordering::Relaxed), storage.lists.load(Ordering::Relaxed));
        for seq in [0, 1, 2999, 3000, 5999, 6000] {
            let found = reader.get(Seq(seq)).expect("no damage").expect("an entry");
            assert_eq!(found.entry.header.seq, Seq(seq));
        }
        let read = storage.bytes.load(Ordering::Relaxed) - before;
        assert!(read <= 6 * 3 * AHEAD, "{read} bytes for six entries");
        assert_eq!(storage.lists.load(Ordering::Relaxed), lists, "the folder is not listed");
    }

    #[test]
    fn no_flipped_bit_of_it_passes() {
        let (storage, all) = written();
        let (log, ..) = workload::open(&storage, Covered::NONE).expect("opens");
        let known = log.reader();
        let located = &all[1];
        let file = located.place.file();
        let len = frame::encoded_len(&located.entry);
        let mut bytes = vec![0; len];
        storage.read_at(&file, located.place.offset, &mut bytes).expect("reads");
        for bit in 0..len * 8 {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            storage.write_at(&file, located.place.offset, &broken).expect("writes");
            assert_eq!(find(&storage, known.index(), LEDGER, Seq(1)), None, "bit {bit}");
        }
    }

    #[test]
    fn another_ledgers_entry_and_another_payload_are_none() {
        let (storage, all) = written();
        let (log, ..) = workload::open(&storage, Covered::NONE).expect("opens");
        let known = log.reader();
        let other = LedgerId([9; 16]);
        assert_eq!(find(&storage, known.index(), other, Seq(3)), None);
        let Located { entry, place } = &all[3];
        let mut entry = entry.clone();
        entry.payload[0] ^= 1;
        let mut bytes = Vec::new();
        frame::encode(place.batch, 0, 1, &entry, &mut bytes);
        storage.write_at(&place.file(), place.offset, &bytes).expect("writes");
        assert_eq!(find(&storage, known.index(), LEDGER, Seq(3)), None);
    }
}
