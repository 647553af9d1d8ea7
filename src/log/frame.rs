//! One entry as bytes: length, checksum, its place in a batch, salt, header, payload.
//!
//! **Invariant:** a frame has one encoding, and every bit of it is covered: by the checksum, or by the rule that padding is
//! zero.

use writ_schemas::entry::{Entry, HEADER_LEN, Header, PAYLOAD_BYTES_MAX, SALT_LEN};
use writ_schemas::ids::LedgerId;

/// Frames start at multiples of this, so that a length and its checksum never lie in two sectors.
pub const ALIGN: usize = 8;

/// What stands before the payload: length, checksum, batch, index, count, salt, header.
pub const FIXED_LEN: usize = PREFIX_LEN + PLACE_LEN + SALT_LEN + HEADER_LEN;

/// The largest frame.
pub(crate) const LEN_MAX: usize = (PREFIX_LEN + BODY_LEN_MAX).next_multiple_of(ALIGN);

/// The largest batch in encoded bytes: five of the largest entries, and half of a default segment.
pub const BATCH_BYTES_MAX: usize = 8 << 20;

/// Length and checksum.
pub(crate) const PREFIX_LEN: usize = 8;
const PLACE_LEN: usize = 16;
const BODY_LEN_MIN: usize = FIXED_LEN - PREFIX_LEN;
const BODY_LEN_MAX: usize = BODY_LEN_MIN + PAYLOAD_BYTES_MAX;

/// The polynomial of CRC-32C, reflected.
const CASTAGNOLI: u32 = 0x82f6_3b78;

/// An entry with its place in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The batch's number.
    pub batch: u64,
    /// The place in it, from 0.
    pub index: u32,
    /// How many entries it has.
    pub count: u32,
    /// The entry.
    pub entry: Entry,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFault {
    /// The length is zero: nothing was written here.
    Unused,
    /// The length is none that a frame can have, or reaches beyond the bytes.
    Length,
    /// The checksum does not fit.
    Checksum,
    /// The checksum fits, but the padding is not zero.
    Padding,
    /// The checksum fits, but the header is not one of this format.
    Header,
}

/// How many bytes an entry takes in a batch.
#[must_use]
pub fn encoded_len(entry: &Entry) -> usize {
    FIXED_LEN.saturating_add(entry.payload.len()).next_multiple_of(ALIGN)
}

/// Appends an entry's frame to `to`. The payload has at most [`PAYLOAD_BYTES_MAX`] bytes: the writer looked.
pub fn encode(batch: u64, index: u32, count: u32, entry: &Entry, to: &mut Vec<u8>) {
    let body = u32::try_from(BODY_LEN_MIN + entry.payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let start = to.len();
    to.extend_from_slice(&body);
    to.extend_from_slice(&[0; 4]);
    to.extend_from_slice(&batch.to_le_bytes());
    to.extend_from_slice(&index.to_le_bytes());
    to.extend_from_slice(&count.to_le_bytes());
    to.extend_from_slice(&entry.salt);
    to.extend_from_slice(&entry.header.to_bytes());
    to.extend_from_slice(&entry.payload);
    let checksum = checksum(&body, to.get(start + PREFIX_LEN..).unwrap_or_default()).to_le_bytes();
    if let Some(place) = to.get_mut(start + body.len()..start + PREFIX_LEN) {
        place.copy_from_slice(&checksum);
    }
    to.resize(start + encoded_len(entry), 0);
}

fn checksum(length: &[u8; 4], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(length), body)
}

/// How many bytes a frame that begins like this takes, padding included.
///
/// # Errors
/// `Unused` or `Length`.
pub fn extent(prefix: &[u8; PREFIX_LEN]) -> Result<usize, FrameFault> {
    let [a, b, c, d, ..] = *prefix;
    match usize::try_from(u32::from_le_bytes([a, b, c, d])) {
        Ok(0) => Err(FrameFault::Unused),
        Ok(body) if (BODY_LEN_MIN..=BODY_LEN_MAX).contains(&body) => Ok((PREFIX_LEN + body).next_multiple_of(ALIGN)),
        Ok(_) | Err(_) => Err(FrameFault::Length),
    }
}

/// Whether the bytes of a frame's fixed part name this ledger: a cheap question before the dear one.
pub(crate) fn names_ledger(fixed: &[u8], ledger: &LedgerId) -> bool {
    let place = PREFIX_LEN + PLACE_LEN + SALT_LEN + 4;
    fixed.get(place..place + ledger.0.len()) == Some(&ledger.0)
}

/// The place of the one byte of which one flipped bit keeps the frame that `bytes` begin with from being whole, if one bit
/// is all that is wrong. Bytes that were never written look like that by a chance of one in 2^32 for each bit of the frame.
pub(crate) fn flipped(bytes: &[u8]) -> Option<usize> {
    let (prefix, after) = bytes.split_first_chunk::<PREFIX_LEN>()?;
    let [a, b, c, d, stored @ ..] = *prefix;
    let (length, stored) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes(stored));
    let difference = |length: u32| {
        let body_len = usize::try_from(length).ok().filter(|len| (BODY_LEN_MIN..=BODY_LEN_MAX).contains(len))?;
        let body = after.get(..body_len)?;
        Some((checksum(&length.to_le_bytes(), body) ^ stored, body_len))
    };
    for bit in 0..u32::BITS {
        if difference(length ^ (1 << bit)).is_some_and(|(difference, _)| difference == 0) {
            return usize::try_from(bit / 8).ok();
        }
    }
    let (difference, body_len) = difference(length)?;
    if difference.is_power_of_two() {
        return usize::try_from(difference.trailing_zeros() / 8).ok().map(|byte| 4 + byte);
    }
    // What a flipped bit does to the checksum depends only on how many bits stand behind it.
    let mut effect: u32 = 1;
    for bits_behind in 0..body_len * 8 {
        effect = (effect >> 1) ^ if effect & 1 == 1 { CASTAGNOLI } else { 0 };
        if effect == difference {
            return Some(PREFIX_LEN + body_len - 1 - bits_behind / 8);
        }
    }
    None
}

/// The frame that `bytes` begin with.
///
/// # Errors
/// The first thing that does not hold.
pub fn decode(bytes: &[u8]) -> Result<Frame, FrameFault> {
    let (prefix, rest) = bytes.split_first_chunk::<PREFIX_LEN>().ok_or(FrameFault::Length)?;
    let padded = extent(prefix)? - PREFIX_LEN;
    let (length, stored) = prefix.split_first_chunk::<4>().ok_or(FrameFault::Length)?;
    let body_len = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| FrameFault::Length)?;
    let (body, padding) = rest.get(..padded).and_then(|b| b.split_at_checked(body_len)).ok_or(FrameFault::Length)?;
    if checksum(length, body).to_le_bytes() != stored {
        return Err(FrameFault::Checksum);
    }
    if padding.iter().any(|byte| *byte != 0) {
        return Err(FrameFault::Padding);
    }
    parse(body).ok_or(FrameFault::Header)
}

fn parse(body: &[u8]) -> Option<Frame> {
    let (batch, rest) = body.split_first_chunk()?;
    let (index, rest) = rest.split_first_chunk()?;
    let (count, rest) = rest.split_first_chunk()?;
    let (salt, rest) = rest.split_first_chunk()?;
    let (header, payload) = rest.split_first_chunk()?;
    Some(Frame {
        batch: u64::from_le_bytes(*batch),
        index: u32::from_le_bytes(*index),
        count: u32::from_le_bytes(*count),
        entry: Entry { header: Header::from_bytes(header)?, salt: *salt, payload: payload.to_vec() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload;

    #[test]
    fn a_frame_is_its_bytes_and_every_flipped_bit_is_noticed() {
        for payload in [0, 1, 7, 8, 9, 300] {
            let entry = workload::entry_of(payload);
            let mut bytes = Vec::new();
            encode(7, 1, 3, &entry, &mut bytes);
            assert_eq!(bytes.len(), encoded_len(&entry));
            assert_eq!(bytes.len() % ALIGN, 0);
            assert_eq!(decode(&bytes), Ok(Frame { batch: 7, index: 1, count: 3, entry }));
            let covered = FIXED_LEN + payload;
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&bytes).is_err(), "bit {bit}");
                // Padding is not covered by the checksum; its own rule names it.
                assert_eq!(flipped(&bytes), (bit / 8 < covered).then_some(bit / 8), "bit {bit}");
                // Two flipped bits are never taken for one other.
                let second = (bit * 7 + 13) % (covered * 8);
                if second != bit && bit / 8 < covered {
                    bytes[second / 8] ^= 1 << (second % 8);
                    assert_eq!(flipped(&bytes), None, "bits {bit} and {second}");
                    bytes[second / 8] ^= 1 << (second % 8);
                }
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            for len in 0..bytes.len() {
                assert!(decode(&bytes[..len]).is_err(), "{len} bytes");
            }
        }
    }

    #[test]
    fn lengths_that_no_frame_has_are_refused() {
        let extent_of = |length: usize| {
            let mut prefix = [0; PREFIX_LEN];
            prefix[..4].copy_from_slice(&u32::try_from(length).expect("fits").to_le_bytes());
            extent(&prefix)
        };
        assert_eq!(extent_of(0), Err(FrameFault::Unused));
        assert_eq!(extent_of(BODY_LEN_MIN - 1), Err(FrameFault::Length));
        assert_eq!(extent_of(BODY_LEN_MIN), Ok(144));
        assert!(extent_of(BODY_LEN_MAX).is_ok());
        assert_eq!(extent_of(BODY_LEN_MAX + 1), Err(FrameFault::Length));
    }
}
