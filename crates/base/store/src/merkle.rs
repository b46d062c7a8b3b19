//! Merkle trees as RFC 6962 (and RFC 9162) hashes them, with SHA-256: pure functions over leaf hashes.
//!
//! A leaf is hashed with a 0x00 before its data and a node with a 0x01 before its children, so that
//! neither can be passed off as the other. The empty tree's hash is SHA-256 of nothing. A tree of `n`
//! leaves is a perfect tree of the largest power of two below `n`, beside the tree of the rest; that is why
//! the roots of its perfect subtrees ([`Frontier`]) are all that an append needs.

use aws_lc_rs::digest::{Context, SHA256};

/// A SHA-256 value.
pub type Hash = [u8; 32];

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = Hash::default();
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// The hash of a leaf's data (RFC 9162 section 2.1.1).
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Hash {
    sha256(&[&[0], data])
}

/// The hash of a node from those of its children (RFC 9162 section 2.1.1).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The hash of the tree without leaves.
#[must_use]
pub fn empty_root() -> Hash {
    sha256(&[])
}

/// The largest power of two below `n`, which is at least 2.
fn split(n: usize) -> usize {
    1 << (usize::BITS - 1 - (n - 1).leading_zeros())
}

/// The root of the tree over these leaf hashes (RFC 9162 section 2.1.1).
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::default();
    for leaf in leaves {
        frontier.push(*leaf);
    }
    frontier.root()
}

/// What an append needs of a tree: its size, and the roots of its perfect subtrees from left to right, one
/// per 1 in the binary form of its size.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

impl Frontier {
    /// The frontier with this size and these roots, concatenated, if they are as many as that size has.
    #[must_use]
    pub fn from_parts(size: u64, bytes: &[u8]) -> Option<Self> {
        let roots: Vec<Hash> = bytes
            .chunks(32)
            .map(|chunk| Hash::try_from(chunk).ok())
            .collect::<Option<_>>()?;
        (roots.len() == size.count_ones() as usize).then_some(Self { size, roots })
    }

    /// The roots, concatenated.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.roots.concat()
    }

    /// How many leaves the tree has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf. Each 1 at the end of the size is a perfect subtree that becomes complete with this
    /// leaf and joins the one to its left.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.roots.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.roots.push(hash);
        self.size += 1;
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        let joined = self.roots.iter().rev().copied();
        joined
            .reduce(|right, left| node_hash(&left, &right))
            .unwrap_or_else(empty_root)
    }
}

/// The inclusion proof of leaf `index` in the tree over these leaf hashes (RFC 9162 section 2.1.3.1), from
/// the leaf's sibling upwards; `None` when there is no such leaf.
#[must_use]
pub fn inclusion_proof(index: u64, leaves: &[Hash]) -> Option<Vec<Hash>> {
    let mut index = usize::try_from(index)
        .ok()
        .filter(|index| *index < leaves.len())?;
    let mut rest = leaves;
    let mut proof = Vec::new();
    while rest.len() > 1 {
        let (left, right) = rest.split_at(split(rest.len()));
        if index < left.len() {
            proof.push(root(right));
            rest = left;
        } else {
            proof.push(root(left));
            index -= left.len();
            rest = right;
        }
    }
    proof.reverse();
    Some(proof)
}

/// The consistency proof between the tree over the first `first` leaf hashes and that over all of them
/// (RFC 9162 section 2.1.4.1); `None` unless `first` is from 1 to their number. Empty when the trees are the
/// same one.
#[must_use]
pub fn consistency_proof(first: u64, leaves: &[Hash]) -> Option<Vec<Hash>> {
    let first = usize::try_from(first)
        .ok()
        .filter(|first| (1..=leaves.len()).contains(first))?;
    let mut proof = Vec::new();
    subproof(first, leaves, Known::Yes, &mut proof);
    Some(proof)
}

/// Whether the verifier knows the root of a subtree already, it being the whole old tree.
#[derive(Clone, Copy, PartialEq)]
enum Known {
    Yes,
    No,
}

fn subproof(first: usize, leaves: &[Hash], known: Known, proof: &mut Vec<Hash>) {
    if first == leaves.len() {
        if known == Known::No {
            proof.push(root(leaves));
        }
        return;
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    if first <= left.len() {
        subproof(first, left, known, proof);
        proof.push(root(right));
    } else {
        subproof(first - left.len(), right, Known::No, proof);
        proof.push(root(left));
    }
}

/// Whether the proof shows that `leaf` is number `index` of the tree with this size and root
/// (RFC 9162 section 2.1.3.2).
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether the proof shows that the tree `(second_size, second)` continues the tree `(first_size, first)`
/// (RFC 9162 section 2.1.4.2).
#[must_use]
pub fn verify_consistency(
    first_size: u64,
    first: &Hash,
    second_size: u64,
    second: &Hash,
    proof: &[Hash],
) -> bool {
    if first_size == 0 || first_size > second_size {
        return false;
    }
    if first_size == second_size {
        return proof.is_empty() && first == second;
    }
    let (start, path) = if first_size.is_power_of_two() {
        (first, proof)
    } else {
        match proof.split_first() {
            Some(parts) => parts,
            None => return false,
        }
    };
    let shift = (first_size - 1).trailing_ones();
    let (mut node, mut last) = ((first_size - 1) >> shift, (second_size - 1) >> shift);
    let (mut old, mut new) = (*start, *start);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old == *first && new == *second
}

#[cfg(test)]
mod tests;
