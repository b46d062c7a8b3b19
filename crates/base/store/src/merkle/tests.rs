use proptest::prelude::*;

use super::*;

fn unhex(text: &str) -> Hash {
    let bytes: Vec<u8> = (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect();
    bytes.try_into().unwrap()
}

/// The eight leaves and their roots that the Certificate Transparency implementations test with.
const LEAVES: [&[u8]; 8] = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
];
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn known_leaves() -> Vec<Hash> {
    LEAVES.iter().map(|data| leaf_hash(data)).collect()
}

#[test]
fn roots_are_those_of_the_published_vectors() {
    let leaves = known_leaves();
    for (size, expected) in ROOTS.iter().enumerate() {
        assert_eq!(
            hex::encode(root(&leaves[..size])),
            *expected,
            "{size} leaves"
        );
    }
}

#[test]
fn inclusion_proofs_are_those_of_the_published_vectors() {
    let leaves = known_leaves();
    let proof = |index, size: usize| inclusion_proof(index, &leaves[..size]).unwrap();
    assert!(proof(0, 1).is_empty());
    let expected = [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ];
    assert_eq!(
        proof(0, 8).iter().map(hex::encode).collect::<Vec<_>>(),
        expected
    );
    let expected = [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    assert_eq!(
        proof(5, 8).iter().map(hex::encode).collect::<Vec<_>>(),
        expected
    );
    let expected = ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"];
    assert_eq!(
        proof(2, 3).iter().map(hex::encode).collect::<Vec<_>>(),
        expected
    );
    assert!(inclusion_proof(3, &leaves[..3]).is_none());
}

#[test]
fn consistency_proofs_are_those_of_the_published_vectors() {
    let leaves = known_leaves();
    let proof = |first, size: usize| consistency_proof(first, &leaves[..size]).unwrap();
    assert!(proof(1, 1).is_empty());
    let expected = [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ];
    assert_eq!(
        proof(1, 8).iter().map(hex::encode).collect::<Vec<_>>(),
        expected
    );
    let expected = [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    assert_eq!(
        proof(6, 8).iter().map(hex::encode).collect::<Vec<_>>(),
        expected
    );
    let expected = [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ];
    assert_eq!(
        proof(2, 5).iter().map(hex::encode).collect::<Vec<_>>(),
        expected
    );
    assert!(consistency_proof(0, &leaves).is_none());
    assert!(consistency_proof(9, &leaves).is_none());
}

/// The definition of RFC 9162 section 2.1.1, word by word.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let mut k = 1;
            while k * 2 < leaves.len() {
                k *= 2;
            }
            node_hash(&naive_root(&leaves[..k]), &naive_root(&leaves[k..]))
        }
    }
}

/// The leaf hashes of a tree of `size` leaves.
fn numbered(size: usize) -> Vec<Hash> {
    (0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

#[test]
fn empty_tree_is_the_hash_of_nothing() {
    assert_eq!(hex::encode(empty_root()), ROOTS[0]);
    assert_eq!(unhex(ROOTS[0]), root(&[]));
}

proptest! {
    #[test]
    fn frontier_has_the_root_of_the_recursive_definition(size in 0usize..300) {
        let leaves = numbered(size);
        prop_assert_eq!(root(&leaves), naive_root(&leaves));
    }

    #[test]
    fn frontier_survives_being_written_and_read(size in 0usize..300) {
        let mut frontier = Frontier::default();
        numbered(size).into_iter().for_each(|leaf| frontier.push(leaf));
        let read = Frontier::from_parts(frontier.size(), &frontier.bytes());
        prop_assert_eq!(read, Some(frontier.clone()));
        prop_assert_eq!(Frontier::from_parts(frontier.size() + 1, &frontier.bytes()).is_some(),
            (frontier.size() + 1).count_ones() == frontier.size().count_ones());
    }

    #[test]
    fn inclusion_proofs_hold_for_their_leaf_and_no_other(size in 1usize..130, index in 0usize..130, other in 0usize..130) {
        let (index, other) = (index % size, other % size);
        let leaves = numbered(size);
        let root = naive_root(&leaves);
        let proof = inclusion_proof(index as u64, &leaves).unwrap();
        let holds = |leaf: usize, at: usize| verify_inclusion(&leaves[leaf], at as u64, size as u64, &proof, &root);
        prop_assert!(holds(index, index));
        prop_assert_eq!(holds(other, index), other == index);
        prop_assert_eq!(holds(index, other), other == index);
        prop_assert!(!verify_inclusion(&leaves[index], index as u64, size as u64, &proof, &leaf_hash(b"no")));
        prop_assert!(!verify_inclusion(&leaves[index], size as u64, size as u64, &proof, &root));
    }

    #[test]
    fn consistency_proofs_hold_for_a_prefix_and_nothing_else(size in 1usize..130, first in 0usize..130, flipped in any::<prop::sample::Index>()) {
        let first = first % size + 1;
        let leaves = numbered(size);
        let (old, new) = (naive_root(&leaves[..first]), naive_root(&leaves));
        let proof = consistency_proof(first as u64, &leaves).unwrap();
        let holds = |old: &Hash, proof: &[Hash]| verify_consistency(first as u64, old, size as u64, &new, proof);
        prop_assert!(holds(&old, &proof));
        let mut other = leaves[..first].to_vec();
        other[flipped.index(first)] = leaf_hash(b"altered");
        prop_assert!(!holds(&naive_root(&other), &proof));
        if !proof.is_empty() {
            prop_assert!(!holds(&old, &proof[1..]));
            let mut longer = proof.clone();
            longer.push(old);
            prop_assert!(!holds(&old, &longer));
        }
    }
}
