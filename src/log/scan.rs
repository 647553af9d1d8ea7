//! A walk over the log, batch by batch, that checks everything it passes: checksums, places, padding, chain, commitments,
//! unused space, and that segments continue each other.
//!
//! **Invariant:** a walk holds one batch and one window in memory, however large segments are.

use writ_schemas::entry::{Chain, Entry, ROOT_HASH};
use writ_schemas::ids::{LedgerId, Seq};

use crate::error::{Damage, Doing, LogError, What};
use crate::frame::{self, FIXED_LEN, Frame, FrameFault, PREFIX_LEN};
use crate::segment::{self, DATA_START, Listing, SECTOR, SegmentHeader};
use crate::storage::{Storage, length, span};
use crate::tail::Stop;

/// How much is read at once: large enough for a disk, small enough for many readers.
const WINDOW: u64 = 256 << 10;

static ZEROS: [u8; 256 << 10] = [0; 256 << 10];

/// A place between two batches, with all that is needed to go on from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) segment: SegmentHeader,
    pub(crate) offset: u64,
    pub(crate) batch: u64,
    pub(crate) chain: Chain,
}

impl Position {
    /// The place before the first batch of a segment.
    pub(crate) fn start_of(segment: SegmentHeader) -> Position {
        Position { segment, offset: DATA_START, batch: segment.first_batch, chain: segment.chain() }
    }
}

/// What a step of the walk found.
pub(crate) enum Step {
    /// A whole batch, which starts here; the walk stands behind it.
    Batch(Position),
    /// No whole batch; the walk stands where it stood.
    Stop(Stop),
}

enum Parsed {
    Whole { end: u64, chain: Chain },
    Broken { at: u64 },
}

/// The walk.
pub(crate) struct Scan<S> {
    storage: S,
    position: Position,
    listing: Listing,
    window: Window,
}

#[derive(Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn clear(&mut self) {
        self.bytes.clear();
    }

    /// `len` bytes from `at`. The caller stays within the segment.
    fn bytes(&mut self, from: &impl Storage, segment: &SegmentHeader, at: u64, len: u64) -> Result<&[u8], LogError> {
        let held = at >= self.start && at.saturating_add(len) <= self.start.saturating_add(length(self.bytes.len()));
        if !held {
            let file = segment.file();
            self.start = at;
            self.bytes.resize(span(len.max(WINDOW.min(segment.size.saturating_sub(at)))), 0);
            if let Err(e) = from.read_at(&file, at, &mut self.bytes) {
                self.bytes.clear();
                return Err(LogError::io(Doing::Read, &file)(e));
            }
        }
        let from = span(at - self.start);
        Ok(self.bytes.get(from..from + span(len)).unwrap_or_default())
    }
}

impl<S: Storage> Scan<S> {
    /// A walk from entry 0.
    pub(crate) fn from_start(storage: S, listing: Listing, ledger: Option<LedgerId>) -> Result<Scan<S>, LogError> {
        let first = *listing.segments.first().ok_or(LogError::Missing)?;
        let header = SegmentHeader::read(&storage, first)?;
        let damaged = |what| LogError::Damaged(Damage { file: header.file(), offset: 0, seq: Some(Seq(0)), what });
        if first != Seq(0) {
            return Err(damaged(What::Gap(Seq(0))));
        }
        if ledger.is_some_and(|ledger| ledger != header.ledger) {
            return Err(damaged(What::Ledger(header.ledger)));
        }
        if header.first_batch != 0 || header.previous != ROOT_HASH {
            return Err(damaged(What::NotNext));
        }
        Ok(Scan::at(storage, listing, Position::start_of(header)))
    }

    /// A walk from a place that an earlier walk passed, or that a segment's header names.
    pub(crate) fn at(storage: S, listing: Listing, position: Position) -> Scan<S> {
        Scan { storage, position, listing, window: Window::default() }
    }

    pub(crate) fn position(&self) -> &Position {
        &self.position
    }

    /// Passes the next batch and puts its entries, each with its offset, in place of what `entries` held.
    ///
    /// A writer may be at work. Bytes that were read ahead may be older than what came later, so before a walk stops it
    /// looks again: whatever was seen behind this place was written after the batch at this place was whole.
    pub(crate) fn next(&mut self, entries: &mut Vec<(u64, Entry)>) -> Result<Step, LogError> {
        let mut parsed = self.parse(entries)?;
        if matches!(parsed, Parsed::Broken { .. }) {
            self.window.clear();
            parsed = self.parse(entries)?;
        }
        let mut seen = None;
        if let Parsed::Broken { at } = parsed {
            seen = Some(self.examine(at)?);
            self.window.clear();
            parsed = self.parse(entries)?;
        }
        match (parsed, seen) {
            (Parsed::Whole { end, chain }, _) => {
                let before = self.position;
                self.position = Position { offset: end, batch: before.batch + 1, chain, ..before };
                Ok(Step::Batch(before))
            }
            (Parsed::Broken { .. }, Some(stop)) => Ok(Step::Stop(stop)),
            (Parsed::Broken { at }, None) => self.examine(at).map(Step::Stop),
        }
    }

    /// Goes over to the next segment, which a [`Stop`] said exists.
    pub(crate) fn enter_next(&mut self) -> Result<(), LogError> {
        let Position { segment, batch, chain, .. } = self.position;
        let next = self.listing.after(segment.first).ok_or(LogError::Missing)?;
        let damaged =
            |what| LogError::Damaged(Damage { file: segment::name(next), offset: 0, seq: Some(chain.next), what });
        if next != chain.next {
            return Err(damaged(What::Gap(chain.next)));
        }
        let header = SegmentHeader::read(&self.storage, next)?;
        if header.ledger != chain.ledger {
            return Err(damaged(What::Ledger(header.ledger)));
        }
        if header.previous != chain.head || header.first_batch != batch {
            return Err(damaged(What::NotNext));
        }
        self.position = Position { segment: header, offset: DATA_START, batch, chain };
        self.window.clear();
        Ok(())
    }

    fn damage(&self, at: u64, seq: Seq, what: What) -> LogError {
        LogError::Damaged(Damage { file: self.position.segment.file(), offset: at, seq: Some(seq), what })
    }

    fn bytes(&mut self, at: u64, len: u64) -> Result<&[u8], LogError> {
        self.window.bytes(&self.storage, &self.position.segment, at, len)
    }

    fn frame(&mut self, at: u64) -> Result<Result<Frame, FrameFault>, LogError> {
        let left = self.position.segment.size.saturating_sub(at);
        if left < length(PREFIX_LEN) {
            return Ok(Err(FrameFault::Unused));
        }
        let extent = match self.bytes(at, length(PREFIX_LEN))?.first_chunk().map(frame::extent) {
            Some(Ok(extent)) => length(extent),
            Some(Err(fault)) => return Ok(Err(fault)),
            None => return Ok(Err(FrameFault::Length)),
        };
        if extent > left { Ok(Err(FrameFault::Length)) } else { Ok(frame::decode(self.bytes(at, extent)?)) }
    }

    fn parse(&mut self, entries: &mut Vec<(u64, Entry)>) -> Result<Parsed, LogError> {
        entries.clear();
        let Position { segment, offset, batch, mut chain } = self.position;
        let (mut at, mut index, mut count) = (offset, 0, 1);
        while index < count {
            let seq = chain.next;
            let frame = match self.frame(at)? {
                Ok(frame) => frame,
                Err(FrameFault::Unused | FrameFault::Length | FrameFault::Checksum) => {
                    return Ok(Parsed::Broken { at });
                }
                Err(FrameFault::Padding) => return Err(self.damage(at, seq, What::Padding)),
                Err(FrameFault::Header) => return Err(self.damage(at, seq, What::EntryHeader)),
            };
            if frame.batch != batch {
                return Err(self.damage(at, seq, What::Batch { expected: batch, found: frame.batch }));
            }
            if index == 0 {
                count = frame.count;
            }
            if frame.index != index || frame.count != count || count == 0 {
                return Err(self.damage(at, seq, What::PlaceInBatch));
            }
            chain.follow(&frame.entry).map_err(|broken| self.damage(at, seq, What::Chain(broken)))?;
            let end = at + length(frame::encoded_len(&frame.entry));
            if end - offset > segment.batch_bytes_max() {
                return Err(self.damage(at, seq, What::TooLong));
            }
            entries.push((at, frame.entry));
            (at, index) = (end, index + 1);
        }
        Ok(Parsed::Whole { end: at, chain })
    }

    /// Looks at all that stands behind the last complete batch, of which the frame at `broken` is the first that is not
    /// whole.
    fn examine(&mut self, broken: u64) -> Result<Stop, LogError> {
        let Position { segment, offset, chain, .. } = self.position;
        let end = self.used_end()?;
        let bytes = end - offset;
        if self.listing.after(segment.first).is_none() {
            self.listing = Listing::read(&self.storage)?;
        }
        Ok(Stop {
            segment: segment.first,
            offset,
            bytes,
            seq: chain.next,
            last_segment: self.listing.after(segment.first).is_none(),
            other_batch: self.other_batch(end)?,
            fits: bytes <= segment.batch_bytes_max(),
            part_missing: bytes > 0 && !self.flipped(broken)? && self.part_missing(broken)?,
        })
    }

    /// Behind the last byte of the segment that is not zero, but not before the walk's own place.
    fn used_end(&mut self) -> Result<u64, LogError> {
        let Position { segment, offset, .. } = self.position;
        let (mut at, mut end) = (offset, offset);
        while at < segment.size {
            let len = WINDOW.min(segment.size - at);
            let bytes = self.bytes(at, len)?;
            // Most of what is looked at is zero, and comparing is faster than searching.
            if ZEROS.get(..bytes.len()) != Some(bytes)
                && let Some(last) = bytes.iter().rposition(|byte| *byte != 0)
            {
                end = at + length(last) + 1;
            }
            at += len;
        }
        Ok(end)
    }

    /// The batch of a whole frame of this ledger before `end` that is not of the next batch. It is searched at every place
    /// where a frame could start, because lengths before it may be what is broken.
    ///
    /// Nobody outside can plant one: payloads from outside are JSON, and every frame has a zero byte in its length.
    fn other_batch(&mut self, end: u64) -> Result<Option<u64>, LogError> {
        let Position { segment, offset, batch, chain } = self.position;
        let mut at = offset;
        while at < end {
            let left = segment.size - at;
            let plausible =
                left >= length(FIXED_LEN) && frame::names_ledger(self.bytes(at, length(FIXED_LEN))?, &chain.ledger);
            if plausible
                && let Ok(frame) = self.frame(at)?
                && frame.batch != batch
            {
                return Ok(Some(frame.batch));
            }
            at += length(frame::ALIGN);
        }
        Ok(None)
    }

    /// Whether one flipped bit, in a sector that was written, is all that keeps the frame at `broken` from being whole. Then
    /// nothing of it is missing, although its last sector may be all zero: real frames end in zeros.
    fn flipped(&mut self, broken: u64) -> Result<bool, LogError> {
        let left = self.position.segment.size.saturating_sub(broken);
        let place = frame::flipped(self.bytes(broken, left.min(length(frame::LEN_MAX)))?);
        place.map_or(Ok(false), |place| self.unwritten(broken + length(place)).map(|unwritten| !unwritten))
    }

    /// Whether, up to the end of the frame at `broken`, a sector has nothing in it behind the last complete batch. Where a
    /// frame ends in zeros says nothing: only sectors are written or not.
    fn part_missing(&mut self, broken: u64) -> Result<bool, LogError> {
        let Position { segment, offset, .. } = self.position;
        let left = segment.size.saturating_sub(broken);
        let len = if left < length(PREFIX_LEN) {
            0
        } else {
            let extent = self.bytes(broken, length(PREFIX_LEN))?.first_chunk().map(frame::extent);
            extent.and_then(Result::ok).map_or(length(PREFIX_LEN), length).min(left)
        };
        let mut at = offset;
        while at < broken + len {
            if self.unwritten(at)? {
                return Ok(true);
            }
            at = (at / SECTOR + 1) * SECTOR;
        }
        Ok(false)
    }

    /// Whether the sector of `at` has nothing in it behind the last complete batch.
    fn unwritten(&mut self, at: u64) -> Result<bool, LogError> {
        let sector = at / SECTOR * SECTOR;
        let from = sector.max(self.position.offset);
        Ok(self.bytes(from, sector + SECTOR - from)?.iter().all(|byte| *byte == 0))
    }
}
