//! Where to begin on the way to an entry: places that were passed and checked before.
//!
//! **Invariant:** the index is a hint. Losing it costs time, nothing else; who uses a place looks whether it is the right one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use writ_schemas::entry::Entry;
use writ_schemas::ids::Seq;

use crate::scan::Position;
use crate::segment::DATA_START;

/// One place every so many bytes: what is read to find an entry from the nearest place before it.
const EVERY: u64 = 64 << 10;

/// The most batches held, for walks: about 700 KiB. When there are more, every second one is given up and the distance doubles.
const BATCHES_MAX: usize = 1 << 12;

/// The most frames held, for single entries: 6 MiB, each 64 KiB from the next in 16 GiB of log, 512 KiB in 100 GiB.
const FRAMES_MAX: usize = 1 << 18;

/// Something that has its place in the log.
trait Placed: Copy {
    fn seq(&self) -> Seq;
    fn segment(&self) -> Seq;
    fn offset(&self) -> u64;
}

/// Where the frame of an entry begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    /// The entry.
    pub(crate) seq: Seq,
    /// Its segment, by the first entry of that.
    pub(crate) segment: Seq,
    /// The first byte in it.
    pub(crate) offset: u64,
}

impl Spot {
    /// The first frame of a segment.
    pub(crate) fn first_of(segment: Seq) -> Spot {
        Spot { seq: segment, segment, offset: DATA_START }
    }
}

impl Placed for Spot {
    fn seq(&self) -> Seq {
        self.seq
    }

    fn segment(&self) -> Seq {
        self.segment
    }

    fn offset(&self) -> u64 {
        self.offset
    }
}

impl Placed for Position {
    fn seq(&self) -> Seq {
        self.chain.next
    }

    fn segment(&self) -> Seq {
        self.segment.first
    }

    fn offset(&self) -> u64 {
        self.offset
    }
}

/// Places in the order of the log, none near to another of its segment.
#[derive(Debug)]
struct Spaced<P> {
    places: Vec<P>,
    every: u64,
    max: usize,
}

impl<P: Placed> Spaced<P> {
    fn of_at_most(max: usize) -> Spaced<P> {
        Spaced { places: Vec::new(), every: EVERY, max }
    }

    fn before(&self, seq: Seq) -> Option<&P> {
        let after = self.places.partition_point(|place| place.seq() <= seq);
        self.places.get(..after)?.last()
    }

    /// Keeps a place, if none is near.
    fn pass(&mut self, place: P) {
        let near = self.before(place.seq()).is_some_and(|before| {
            let same_segment = before.segment() == place.segment();
            before.seq() == place.seq() || same_segment && place.offset() - before.offset() < self.every
        });
        if near {
            return;
        }
        let at = self.places.partition_point(|known| known.seq() <= place.seq());
        self.places.insert(at, place);
        if self.places.len() > self.max {
            self.every = self.every.saturating_mul(2);
            let mut keep = false;
            self.places.retain(|_| {
                keep = !keep;
                keep
            });
        }
    }
}

/// A clone is another handle to the same index.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index(Arc<Mutex<Known>>);

#[derive(Debug)]
struct Known {
    batches: Spaced<Position>,
    frames: Spaced<Spot>,
    /// The seq after the last batch that was passed.
    end: Seq,
}

impl Default for Known {
    fn default() -> Known {
        Known { batches: Spaced::of_at_most(BATCHES_MAX), frames: Spaced::of_at_most(FRAMES_MAX), end: Seq(0) }
    }
}

impl Index {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what is worth it of a whole batch that begins at `start`: its entries, each with the offset of its frame.
    pub(crate) fn pass<'a>(&self, start: &Position, batch: impl IntoIterator<Item = (u64, &'a Entry)>) {
        let mut known = self.known();
        known.batches.pass(*start);
        let mut next_at = start.offset;
        for (offset, entry) in batch {
            let seq = entry.header.seq;
            if offset >= next_at {
                known.frames.pass(Spot { seq, segment: start.segment.first, offset });
                next_at = offset.saturating_add(EVERY);
            }
            known.end = known.end.max(seq.next());
        }
    }

    /// The nearest known start of a batch at or before `seq`.
    pub(crate) fn batch_before(&self, seq: Seq) -> Option<Position> {
        self.known().batches.before(seq).copied()
    }

    /// The nearest known frame at or before `seq`, and whether the batch of `seq` is known to be whole.
    pub(crate) fn frame_before(&self, seq: Seq) -> (Option<Spot>, bool) {
        let known = self.known();
        (known.frames.before(seq).copied(), seq < known.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::SegmentHeader;
    use crate::workload;
    use writ_schemas::ids::LedgerId;

    #[test]
    fn it_stays_small_and_finds_the_nearest_place_before() {
        let mut spots = Spaced::of_at_most(BATCHES_MAX);
        assert_eq!(spots.before(Seq(9)), None);
        for seq in 0..200_000 {
            spots.pass(Spot { seq: Seq(seq), segment: Seq(0), offset: DATA_START + seq * EVERY / 2 });
        }
        assert!(spots.places.len() <= BATCHES_MAX);
        for seq in [0, 1, 77_777, 199_999] {
            let found = spots.before(Seq(seq)).expect("a place").seq.0;
            assert!(found <= seq && seq - found <= 64, "{found} before {seq}");
        }
    }

    #[test]
    fn a_large_batch_has_places_within_it() {
        let header = SegmentHeader {
            ledger: LedgerId([0; 16]),
            first: Seq(0),
            first_batch: 0,
            size: 1 << 40,
            previous: [0; 32],
        };
        let entries: Vec<Entry> = workload::batches(&[&[0; 512]]).remove(0);
        let index = Index::default();
        assert_eq!(index.frame_before(Seq(3)), (None, false));
        index.pass(&Position::start_of(header), (0..).map(|at| DATA_START + at * (8 << 10)).zip(&entries));
        for seq in 0..512 {
            let (spot, whole) = index.frame_before(Seq(seq));
            let spot = spot.expect("a place");
            assert!(whole && spot.seq.0 <= seq && seq - spot.seq.0 < 8, "{spot:?} before {seq}");
            assert_eq!(spot.offset, DATA_START + spot.seq.0 * (8 << 10));
        }
        assert!(!index.frame_before(Seq(512)).1);
        assert_eq!(index.batch_before(Seq(500)), Some(Position::start_of(header)));
    }
}
