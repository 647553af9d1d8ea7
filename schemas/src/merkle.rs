//! The Merkle tree of RFC 6962 (SHA-256) over entry headers: how the world checks us.
//!
//! A [`Frontier`] holds the roots of the perfect subtrees of a tree of any size: 32 bytes for each set bit of the size. It
//! can be appended to and asked for its root; proofs and tiles are derived elsewhere.

use sha2::{Digest as _, Sha256};

/// A node of the tree.
pub type Hash = [u8; 32];

/// The hash of a leaf: SHA-256 over 0x00 and the header (RFC 6962, section 2.1).
#[must_use]
pub fn leaf(header: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(header).finalize().into()
}

/// The hash of an inner node: SHA-256 over 0x01, left and right (RFC 6962, section 2.1).
#[must_use]
pub fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The right edge of a tree: all that is needed to append to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// The roots of the perfect subtrees, largest first; one for each set bit of `size`.
    subtrees: Vec<Hash>,
}

impl Frontier {
    /// The number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut root = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.subtrees.pop() {
                root = node(&left, &root);
            }
        }
        self.subtrees.push(root);
        self.size += 1;
    }

    /// The root: of the empty tree, SHA-256 of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut from_right = self.subtrees.iter().rev();
        match from_right.next() {
            None => Sha256::digest([]).into(),
            Some(last) => from_right.fold(*last, |right, left| node(left, &right)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::hex;

    /// RFC 6962's definition, word for word, as the slow reference.
    fn reference(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => *one,
            more => {
                let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
                node(&reference(left), &reference(right))
            }
        }
    }

    #[test]
    fn roots_of_the_reference_tree() {
        // The eight leaves and the roots that Certificate Transparency implementations test with
        // (google/certificate-transparency, merkle_tree_test).
        let inputs =
            ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = Frontier::default();
        for (input, root) in inputs.into_iter().zip(roots) {
            let bytes: Vec<u8> = (0..input.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&input[at..at + 2], 16).expect("hex"))
                .collect();
            tree.push(leaf(&bytes));
            assert_eq!(hex(&tree.root()), root);
        }
    }

    #[test]
    fn the_frontier_is_the_definition() {
        let mut tree = Frontier::default();
        let mut leaves = Vec::new();
        for n in 0..=130_u8 {
            assert_eq!((tree.size(), tree.root()), (u64::from(n), reference(&leaves)));
            let next = leaf(&[n]);
            leaves.push(next);
            tree.push(next);
        }
    }
}
