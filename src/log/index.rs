//! Where to start a walk towards an entry: a few places that were passed and checked before.
//!
//! **Invariant:** the index is a hint. Losing it costs time, nothing else.

use std::sync::{Arc, Mutex, PoisonError};

use writ_schemas::ids::Seq;

use crate::scan::Position;

/// One place every so many bytes: what is read to find an entry from the nearest place before it.
const EVERY: u64 = 64 << 10;

/// The most places held: about 700 KiB, and every reader has its own. When there are more, every second one is given up and
/// the distance doubles: in 100 GiB of log a walk towards an entry passes 24 MiB.
const POINTS_MAX: usize = 1 << 12;

/// Places in the order of the log. A clone is another handle to the same index.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index(Arc<Mutex<Points>>);

#[derive(Debug)]
struct Points {
    /// By the seq of the entry that follows.
    places: Vec<Position>,
    every: u64,
}

impl Default for Points {
    fn default() -> Points {
        Points { places: Vec::new(), every: EVERY }
    }
}

impl Index {
    /// Keeps a place that a walk passed, if none is near.
    pub(crate) fn pass(&self, position: &Position) {
        let mut points = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let near = points.before(position.chain.next).is_some_and(|before| {
            let same_segment = before.segment.first == position.segment.first;
            before.chain.next == position.chain.next || same_segment && position.offset - before.offset < points.every
        });
        if near {
            return;
        }
        let at = points.places.partition_point(|place| place.chain.next <= position.chain.next);
        points.places.insert(at, *position);
        if points.places.len() > POINTS_MAX {
            points.every = points.every.saturating_mul(2);
            let mut keep = false;
            points.places.retain(|_| {
                keep = !keep;
                keep
            });
        }
    }

    /// The nearest known place at or before `seq`.
    pub(crate) fn before(&self, seq: Seq) -> Option<Position> {
        let points = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        points.before(seq).copied()
    }
}

impl Points {
    fn before(&self, seq: Seq) -> Option<&Position> {
        let after = self.places.partition_point(|place| place.chain.next <= seq);
        self.places.get(..after)?.last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::SegmentHeader;
    use writ_schemas::ids::LedgerId;

    #[test]
    fn it_stays_small_and_finds_the_nearest_place_before() {
        let header = SegmentHeader {
            ledger: LedgerId([0; 16]),
            first: Seq(0),
            first_batch: 0,
            size: 1 << 40,
            previous: [0; 32],
        };
        let index = Index::default();
        assert_eq!(index.before(Seq(9)), None);
        for seq in 0..200_000 {
            let mut position = Position::start_of(header);
            position.chain.next = Seq(seq);
            position.offset += seq * EVERY / 2;
            index.pass(&position);
        }
        assert!(index.0.lock().expect("lock").places.len() <= POINTS_MAX);
        for seq in [0, 1, 77_777, 199_999] {
            let found = index.before(Seq(seq)).expect("a place").chain.next.0;
            assert!(found <= seq && seq - found <= 64, "{found} before {seq}");
        }
    }
}
