//! Segments: pre-zeroed files of frames, named by their first entry, each with a header of one sector.
//!
//! **Invariant:** what is not used is zero.

use writ_schemas::entry::Chain;
use writ_schemas::ids::{LedgerId, Seq, UnixMicros};

use crate::error::{Damage, Doing, LogError, What};
use crate::frame::{self, BATCH_BYTES_MAX};
use crate::storage::{Storage, UNFINISHED, length, span};

/// What a disk writes as a whole or not at all.
pub const SECTOR: u64 = 512;

/// The version of the segment format.
pub const VERSION: u32 = 1;

/// Where the first frame stands: the header has a sector of its own, which is never written again.
pub const DATA_START: u64 = SECTOR;

/// The smallest segment: a header and one more sector.
pub const SIZE_MIN: u64 = DATA_START + SECTOR;

const MAGIC: [u8; 8] = *b"writ-seg";
pub(crate) const SUFFIX: &str = ".seg";

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The ledger.
    pub ledger: LedgerId,
    /// The seq of its first entry.
    pub first: Seq,
    /// The number of its first batch.
    pub first_batch: u64,
    /// The length of the file.
    pub size: u64,
    /// The hash of the entry before the first.
    pub previous: [u8; 32],
}

impl SegmentHeader {
    /// The header's sector.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut after = Vec::with_capacity(span(SECTOR));
        after.extend_from_slice(&self.ledger.0);
        after.extend_from_slice(&self.first.0.to_le_bytes());
        after.extend_from_slice(&self.first_batch.to_le_bytes());
        after.extend_from_slice(&self.size.to_le_bytes());
        after.extend_from_slice(&self.previous);
        after.resize(span(SECTOR) - MAGIC.len() - 8, 0);
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&out), &after);
        out.extend_from_slice(&checksum.to_le_bytes());
        out.extend_from_slice(&after);
        out
    }

    /// The header of a sector.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_bytes(sector: &[u8]) -> Result<SegmentHeader, What> {
        let header = Self::parse(sector)?.ok_or(What::SegmentHeader)?;
        // One encoding: checksum and padding are compared by encoding again.
        if header.to_bytes() == sector { Ok(header) } else { Err(What::SegmentHeader) }
    }

    fn parse(sector: &[u8]) -> Result<Option<SegmentHeader>, What> {
        let split = || {
            let (magic, rest) = sector.split_first_chunk::<8>()?;
            let (version, rest) = rest.split_first_chunk()?;
            let (_checksum, rest) = rest.split_first_chunk::<4>()?;
            let (ledger, rest) = rest.split_first_chunk()?;
            let (first, rest) = rest.split_first_chunk()?;
            let (first_batch, rest) = rest.split_first_chunk()?;
            let (size, rest) = rest.split_first_chunk()?;
            let (previous, _padding) = rest.split_first_chunk()?;
            let header = SegmentHeader {
                ledger: LedgerId(*ledger),
                first: Seq(u64::from_le_bytes(*first)),
                first_batch: u64::from_le_bytes(*first_batch),
                size: u64::from_le_bytes(*size),
                previous: *previous,
            };
            (*magic == MAGIC).then_some((u32::from_le_bytes(*version), header))
        };
        match split() {
            Some((VERSION, header)) => Ok(Some(header)),
            Some((version, _)) => Err(What::Version(version)),
            None => Ok(None),
        }
    }

    /// The name of its file.
    #[must_use]
    pub fn file(&self) -> String {
        name(self.first)
    }

    /// The chain before its first entry. Its time is unknown, so the first entry may have any.
    #[must_use]
    pub fn chain(&self) -> Chain {
        Chain { ledger: self.ledger, next: self.first, head: self.previous, last_at: UnixMicros(0) }
    }

    /// The largest batch that it takes.
    #[must_use]
    pub fn batch_bytes_max(&self) -> u64 {
        batch_bytes_max(self.size)
    }

    /// Reads and checks the header of the segment that begins with `first`.
    ///
    /// # Errors
    /// Damage, or an error of the operating system.
    pub fn read(storage: &impl Storage, first: Seq) -> Result<SegmentHeader, LogError> {
        let file = name(first);
        let size = storage.size(&file).map_err(LogError::io(Doing::Read, &file))?;
        let damaged = |what| LogError::Damaged(Damage { file: name(first), offset: 0, seq: Some(first), what });
        if size < SIZE_MIN {
            return Err(damaged(What::Size(size)));
        }
        let mut sector = vec![0; span(SECTOR)];
        storage.read_at(&file, 0, &mut sector).map_err(LogError::io(Doing::Read, &file))?;
        let header = SegmentHeader::from_bytes(&sector).map_err(damaged)?;
        if header.first != first {
            return Err(damaged(What::NotNext));
        }
        if header.size != size || !size_is_valid(size) {
            return Err(damaged(What::Size(size)));
        }
        Ok(header)
    }
}

/// Whether segments can have this size.
#[must_use]
pub fn size_is_valid(size: u64) -> bool {
    size >= SIZE_MIN && size.is_multiple_of(SECTOR)
}

/// The size of the smallest segment that takes a batch of so many bytes.
#[must_use]
pub fn size_for(batch_bytes: u64) -> u64 {
    DATA_START.saturating_add(batch_bytes).next_multiple_of(SECTOR).max(SIZE_MIN)
}

/// The largest batch that segments of this size take.
#[must_use]
pub fn batch_bytes_max(size: u64) -> u64 {
    size.saturating_sub(DATA_START).min(length(BATCH_BYTES_MAX))
}

/// The name of the segment that begins with `first`.
#[must_use]
pub fn name(first: Seq) -> String {
    format!("{first:020}{SUFFIX}", first = first.0)
}

/// What a folder holds, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The segments by their first entries, rising.
    pub segments: Vec<Seq>,
    /// Segments that were never finished, by file name.
    pub unfinished: Vec<String>,
}

impl Listing {
    /// Lists a folder. Names that have nothing of a segment's are passed over.
    ///
    /// # Errors
    /// Damage if a name is almost a segment's.
    pub fn read(storage: &impl Storage) -> Result<Listing, LogError> {
        let mut listing = Listing::default();
        for file in storage.list().map_err(LogError::io(Doing::List, "the log folder"))? {
            if file.strip_suffix(UNFINISHED).is_some_and(|name| name.ends_with(SUFFIX)) {
                listing.unfinished.push(file);
            } else if let Some(number) = file.strip_suffix(SUFFIX) {
                match number.parse().map(Seq) {
                    Ok(first) if name(first) == file => listing.segments.push(first),
                    Ok(_) | Err(_) => {
                        return Err(LogError::Damaged(Damage { file, offset: 0, seq: None, what: What::Name }));
                    }
                }
            }
        }
        listing.segments.sort_unstable();
        Ok(listing)
    }

    /// The segment after the one that begins with `first`.
    #[must_use]
    pub fn after(&self, first: Seq) -> Option<Seq> {
        self.segments.get(self.segments.partition_point(|other| *other <= first)).copied()
    }

    /// The segment in which `seq` lies, if it lies in any.
    #[must_use]
    pub fn holding(&self, seq: Seq) -> Option<Seq> {
        self.segments.get(self.segments.partition_point(|other| *other <= seq).checked_sub(1)?).copied()
    }
}

const _: () = assert!(frame::ALIGN == 8, "a sector holds whole alignment units");

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader =
        SegmentHeader { ledger: LedgerId([7; 16]), first: Seq(42), first_batch: 9, size: 4096, previous: [3; 32] };

    #[test]
    fn a_header_is_one_sector_and_every_flipped_bit_is_noticed() {
        let mut bytes = HEADER.to_bytes();
        assert_eq!(bytes.len(), 512);
        assert_eq!(SegmentHeader::from_bytes(&bytes), Ok(HEADER));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::from_bytes(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        bytes[8] = 2;
        assert_eq!(SegmentHeader::from_bytes(&bytes), Err(What::Version(2)));
    }

    #[test]
    fn names_are_the_first_entry_in_twenty_digits() {
        assert_eq!(HEADER.file(), "00000000000000000042.seg");
        assert_eq!(name(Seq(u64::MAX)), "18446744073709551615.seg");
        let listing = |names: &[&str]| {
            let storage = crate::storage::MemStorage::new();
            names.iter().for_each(|name| storage.plant(name, b""));
            Listing::read(&storage).map_err(|e| e.to_string())
        };
        let good = listing(&["00000000000000000042.seg", "00000000000000000000.seg", "x.seg.new", "notes"]);
        let good = good.expect("a listing");
        assert_eq!(good, Listing { segments: vec![Seq(0), Seq(42)], unfinished: vec!["x.seg.new".to_owned()] });
        assert_eq!((good.after(Seq(0)), good.after(Seq(42))), (Some(Seq(42)), None));
        assert_eq!((good.holding(Seq(41)), good.holding(Seq(42))), (Some(Seq(0)), Some(Seq(42))));
        for bad in ["1.seg", "x.seg", "+0000000000000000001.seg", "00000000000000000001 copy.seg"] {
            assert!(listing(&[bad]).is_err(), "{bad}");
        }
    }
}
