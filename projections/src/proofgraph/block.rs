//! A block: the nodes of a few consecutive entries, in one value.
//!
//! Neighbours are written together, and a key costs the store more than a node does. A node is read and replaced without
//! touching the others: every place is the length of its node in two bytes, big-endian, zero for an entry that is no node,
//! and then the node.

use writ_schemas::ids::Seq;

use super::node::Placed;
use crate::projection::FoldError;
use crate::value::{self, ReadError};

/// So many entries share a block.
const ENTRIES: u64 = 64;

/// What precedes a node.
const LENGTH: usize = 2;

/// Where the block of an entry lies, and its place there.
pub(crate) fn place_of(seq: Seq) -> (Vec<u8>, usize) {
    let key = [b"n/".as_slice(), &(seq.0 / ENTRIES).to_be_bytes()].concat();
    (key, usize::try_from(seq.0 % ENTRIES).unwrap_or(usize::MAX))
}

/// The bytes of a block. It ends with its last node.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Block(pub(crate) Vec<u8>);

impl Block {
    /// The node of a place; `None` if there is none.
    pub(crate) fn node(&self, at: usize) -> Result<Option<Placed>, ReadError> {
        let mut rest = self.0.as_slice();
        for _ in 0..at {
            match take(rest)? {
                Some((_, after)) => rest = after,
                None => return Ok(None),
            }
        }
        match take(rest)? {
            None | Some(([], _)) => Ok(None),
            Some((node, _)) => value::from_bytes(node).map(Some),
        }
    }

    /// Puts a node in its place, over the one that is there.
    pub(crate) fn set(&mut self, at: usize, node: &Placed) -> Result<(), FoldError> {
        let bytes = value::to_bytes(node).ok_or(FoldError::ValueTooLarge)?;
        let length = u16::try_from(bytes.len()).map_err(|_| FoldError::ValueTooLarge)?;
        let mut begin = 0_usize;
        for _ in 0..at {
            begin = self.after(begin)?;
        }
        let end = self.after(begin)?;
        self.0.splice(begin..end, length.to_be_bytes().into_iter().chain(bytes));
        Ok(())
    }

    /// Where the place after this one begins. Places that the block does not reach yet are made, empty.
    fn after(&mut self, begin: usize) -> Result<usize, ReadError> {
        let rest = self.0.get(begin..).ok_or(ReadError::Value)?;
        match take(rest)? {
            Some((_, after)) => Ok(self.0.len().saturating_sub(after.len())),
            None => {
                self.0.extend_from_slice(&[0; LENGTH]);
                Ok(self.0.len())
            }
        }
    }
}

/// The bytes of a place, and those that come after it.
type Taken<'a> = (&'a [u8], &'a [u8]);

/// The first place; `None` at the end.
fn take(rest: &[u8]) -> Result<Option<Taken<'_>>, ReadError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let (length, rest) = rest.split_first_chunk::<LENGTH>().ok_or(ReadError::Value)?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).map(Some).ok_or(ReadError::Value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proofgraph::NodeKind;

    fn node(lamport: u64, children: u64) -> Placed {
        let children = (0..children).map(|child| Seq(child * 1000)).collect();
        Placed { kind: NodeKind::Intent, lamport, principal_seq: None, parents: Vec::new(), children }
    }

    #[test]
    fn a_node_is_read_as_it_was_set_and_leaves_the_others_alone() {
        let mut block = Block::default();
        let mut expected = vec![None; 64];
        // Out of order, over each other, longer and shorter than before.
        for (at, lamport, children) in [(5, 1, 0), (0, 2, 1), (63, 3, 0), (5, 4, 4), (0, 5, 0), (62, 6, 2), (5, 7, 1)] {
            block.set(at, &node(lamport, children)).unwrap();
            expected[at] = Some(node(lamport, children));
            let found: Vec<_> = (0..expected.len()).map(|at| block.node(at).unwrap()).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_block_ends_with_its_last_node() {
        let mut block = Block::default();
        block.set(2, &node(1, 0)).unwrap();
        assert_eq!(block.0.len(), 2 * LENGTH + LENGTH + value::to_bytes(&node(1, 0)).unwrap().len());
        assert_eq!(block.node(3).unwrap(), None);
    }

    #[test]
    fn what_is_no_block_is_refused() {
        let mut block = Block::default();
        block.set(0, &node(1, 3)).unwrap();
        for cut in 1..block.0.len() {
            assert!(Block(block.0[..cut].to_vec()).node(0).is_err(), "cut at {cut}");
            assert!(Block(block.0[..cut].to_vec()).set(1, &node(2, 0)).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_node_that_its_length_cannot_say_is_refused() {
        assert!(matches!(Block::default().set(0, &node(1, 30_000)), Err(FoldError::ValueTooLarge)));
    }
}
