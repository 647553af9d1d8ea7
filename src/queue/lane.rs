//! A lane: inputs in their order, with their bytes and since when they have waited, bounded in number and bytes.

use std::collections::VecDeque;
use std::time::Duration;

use super::OUTSIDE_BYTES_MAX;
use crate::clock::Stopwatch;

/// What waits in a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// So many inputs.
    pub inputs: usize,
    /// With so many bytes.
    pub bytes: usize,
    /// The oldest of them for so long.
    pub oldest: Duration,
}

struct Place<T> {
    input: T,
    bytes: usize,
    since: Stopwatch,
}

pub(super) struct Lane<T> {
    places: VecDeque<Place<T>>,
    bytes: usize,
    count_max: usize,
}

impl<T> Lane<T> {
    pub(super) fn of(count_max: usize) -> Lane<T> {
        Lane { places: VecDeque::new(), bytes: 0, count_max }
    }

    /// A single input larger than the limit passes when the lane is empty, so that nothing waits forever.
    pub(super) fn is_full(&self, bytes: usize) -> bool {
        self.places.len() >= self.count_max || (!self.places.is_empty() && self.bytes + bytes > OUTSIDE_BYTES_MAX)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn push(&mut self, input: T, bytes: usize) {
        self.bytes += bytes;
        self.places.push_back(Place { input, bytes, since: Stopwatch::start() });
    }

    /// Moves what fits into a batch that has so many bytes already.
    pub(super) fn take(&mut self, batch: &mut Vec<T>, count_max: usize, bytes: &mut usize, bytes_max: usize) {
        while batch.len() < count_max && *bytes < bytes_max {
            let Some(place) = self.places.pop_front() else { return };
            self.bytes -= place.bytes;
            *bytes += place.bytes;
            batch.push(place.input);
        }
    }

    /// Takes all of it out, to be dropped elsewhere.
    pub(super) fn clear(&mut self) -> impl Sized + use<T> {
        self.bytes = 0;
        std::mem::take(&mut self.places)
    }

    pub(super) fn waiting(&self) -> Waiting {
        let oldest = self.places.front().map_or(Duration::ZERO, |place| place.since.elapsed());
        Waiting { inputs: self.places.len(), bytes: self.bytes, oldest }
    }
}
