//! What may stand after the last complete batch, and what is done about it.
//!
//! A walk stops where no whole batch follows. Batch *n* is written only after `fdatasync` of batch *n - 1* returned, and a
//! segment is made only after that of the last batch before it, with its first batch in it; sectors of one write reach the disk in any order. So a crash
//! leaves at most one unfinished batch, in the last segment, with a sector of it still zero. Everything else is damage:
//!
//! | after the last batch | last segment | frame of another batch | at most one batch | part missing | checkpoint beyond | so |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | zeros | no | - | - | - | - | go on in the next segment |
//! | zeros | yes | - | - | - | no | the log ends here |
//! | zeros | yes | - | - | - | yes | refuse: forked, an older copy |
//! | bytes | no | - | - | - | - | refuse: damaged, a segment was made after this batch was durable |
//! | bytes | yes | yes | - | - | - | refuse: damaged, a batch was written after this one was durable |
//! | bytes | yes | no | no | - | - | refuse: damaged, more than one write leaves |
//! | bytes | yes | no | yes | no | - | refuse: damaged, all was written and it is not a batch |
//! | bytes | yes | no | yes | yes | yes | refuse: damaged, a checkpoint covers what was here |
//! | bytes | yes | no | yes | yes | no | cut: the batch was never acknowledged |

use writ_schemas::ids::Seq;

use crate::error::{Damage, Fork, LogError, What};
use crate::segment;

/// Where a walk stopped, and everything that decides what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The segment, by its first entry.
    pub segment: Seq,
    /// The end of the last complete batch.
    pub offset: u64,
    /// How many bytes from there to the last one that is not zero.
    pub bytes: u64,
    /// The entry that would come next.
    pub seq: Seq,
    /// Whether there is no later segment.
    pub last_segment: bool,
    /// The batch of a whole frame behind `offset` that is not of the next batch.
    pub other_batch: Option<u64>,
    /// Whether one batch can have that many bytes.
    pub fits: bool,
    /// Whether a sector of the unfinished batch is still zero, and its first broken frame is not one flipped bit from whole.
    pub part_missing: bool,
}

/// What is done about a [`Stop`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on in the next segment.
    NextSegment,
    /// The log ends here.
    Ends,
    /// The unfinished batch is cut.
    Cut,
    /// The log is not opened.
    Refuse(Refusal),
}

/// Why a log is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It ends before its checkpoint.
    Forked,
    /// A later segment was made.
    BrokenBeforeSegment,
    /// Another batch was written.
    BrokenBeforeBatch,
    /// There is too much for one write.
    TooLong,
    /// Nothing is missing, and still it is not whole.
    NothingMissing,
    /// It was durable once, for a checkpoint covers it.
    BrokenUnderCheckpoint,
}

/// What is asked of a stop; `None` in a row means that the answer does not matter.
struct Row {
    bytes: bool,
    last_segment: bool,
    other_batch: Option<bool>,
    fits: Option<bool>,
    part_missing: Option<bool>,
    checkpoint_beyond: Option<bool>,
    decision: Decision,
}

#[rustfmt::skip] // A table is read by columns.
const TABLE: [Row; 9] = {
    const fn row(
        bytes: bool, last_segment: bool, other_batch: Option<bool>, fits: Option<bool>, part_missing: Option<bool>,
        checkpoint_beyond: Option<bool>, decision: Decision,
    ) -> Row {
        Row { bytes, last_segment, other_batch, fits, part_missing, checkpoint_beyond, decision }
    }
    const YES: Option<bool> = Some(true);
    const NO: Option<bool> = Some(false);
    const ANY: Option<bool> = None;
    [
        row(false, false, ANY, ANY, ANY, ANY, Decision::NextSegment),
        row(false, true,  ANY, ANY, ANY, NO,  Decision::Ends),
        row(false, true,  ANY, ANY, ANY, YES, Decision::Refuse(Refusal::Forked)),
        row(true,  false, ANY, ANY, ANY, ANY, Decision::Refuse(Refusal::BrokenBeforeSegment)),
        row(true,  true,  YES, ANY, ANY, ANY, Decision::Refuse(Refusal::BrokenBeforeBatch)),
        row(true,  true,  NO,  NO,  ANY, ANY, Decision::Refuse(Refusal::TooLong)),
        row(true,  true,  NO,  YES, NO,  ANY, Decision::Refuse(Refusal::NothingMissing)),
        row(true,  true,  NO,  YES, YES, YES, Decision::Refuse(Refusal::BrokenUnderCheckpoint)),
        row(true,  true,  NO,  YES, YES, NO,  Decision::Cut),
    ]
};

impl Row {
    fn fits(&self, stop: &Stop, covered: u64) -> bool {
        let is = |wanted: Option<bool>, found: bool| wanted.is_none_or(|wanted| wanted == found);
        self.bytes == (stop.bytes > 0)
            && self.last_segment == stop.last_segment
            && is(self.other_batch, stop.other_batch.is_some())
            && is(self.fits, stop.fits)
            && is(self.part_missing, stop.part_missing)
            && is(self.checkpoint_beyond, covered > stop.seq.0)
    }
}

impl Stop {
    /// What is done, when a checkpoint covers the first `covered` entries.
    #[must_use]
    pub fn decide(&self, covered: u64) -> Decision {
        // A test holds that one row fits, always; were there none, refusing would be right.
        TABLE
            .iter()
            .find(|row| row.fits(self, covered))
            .map_or(Decision::Refuse(Refusal::NothingMissing), |row| row.decision)
    }

    /// The error of a refusal, when a checkpoint covers the first `covered` entries.
    #[must_use]
    pub fn error(&self, refusal: Refusal, covered: u64) -> LogError {
        let what = match refusal {
            Refusal::Forked => return LogError::Forked { covered, fork: Fork::Shorter(self.seq.0) },
            Refusal::BrokenBeforeSegment => What::BrokenBeforeSegment,
            Refusal::BrokenBeforeBatch => What::BrokenBeforeBatch(self.other_batch.unwrap_or_default()),
            Refusal::TooLong => What::TooLong,
            Refusal::NothingMissing => What::NothingMissing,
            Refusal::BrokenUnderCheckpoint => What::BrokenUnderCheckpoint(covered),
        };
        let file = segment::name(self.segment);
        LogError::Damaged(Damage { file, offset: self.offset, seq: Some(self.seq), what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_exactly_one_row() {
        let mut decided = Vec::new();
        for state in 0..64_u32 {
            let is = |bit: u32| state & (1 << bit) != 0;
            let stop = Stop {
                segment: Seq(0),
                offset: 512,
                bytes: u64::from(is(0)),
                seq: Seq(5),
                last_segment: is(1),
                other_batch: is(2).then_some(3),
                fits: is(3),
                part_missing: is(4),
            };
            let covered = if is(5) { 6 } else { 5 };
            let rows: Vec<Decision> =
                TABLE.iter().filter(|row| row.fits(&stop, covered)).map(|row| row.decision).collect();
            assert_eq!(rows, [stop.decide(covered)], "{stop:?} {covered}");
            decided.extend(rows);
        }
        for row in &TABLE {
            assert!(decided.contains(&row.decision), "no state leads to {:?}", row.decision);
        }
        // What acknowledged entries could be lost by happens in one state of the 64.
        assert_eq!(decided.iter().filter(|decision| **decision == Decision::Cut).count(), 1);
    }

    #[test]
    fn the_documents_have_the_same_rows() {
        let word = |answer: bool| if answer { "yes" } else { "no" };
        let any = |answer: Option<bool>| answer.map_or("-", word);
        for row in &TABLE {
            let line = format!(
                "| {} | {} | {} | {} | {} | {} |",
                if row.bytes { "bytes" } else { "zeros" },
                word(row.last_segment),
                any(row.other_batch),
                any(row.fits),
                any(row.part_missing),
                any(row.checkpoint_beyond),
            );
            for (name, text) in [("tail.rs", include_str!("tail.rs")), ("log-format.md", DOCUMENT)] {
                let found = text.lines().filter(|l| l.trim_start_matches("//! ").starts_with(&line)).count();
                assert_eq!(found, 1, "{name}: {line}");
            }
        }
    }

    const DOCUMENT: &str = include_str!("../../docs/log-format.md");
}
